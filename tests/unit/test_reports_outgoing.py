"""Who gets a report, in whose name, and how it is handed to the sendmail command."""

from pathlib import Path
from typing import Any

import pytest

from mailnotary.config.settings import ReportsSettings, Settings
from mailnotary.reports import submit as submit_module
from mailnotary.reports.destinations import Consent, Destinations
from mailnotary.reports.gather import gathering
from mailnotary.reports.names import Reporter
from mailnotary.reports.outgoing import only, outgoing, reporter_of
from mailnotary.reports.period import DAY, Period
from mailnotary.reports.submit import SubmitError, submit
from mailnotary.resolver import ZoneResolver
from support.messages import verified
from support.reports import BEGIN, asking, told, under


def made(settings: ReportsSettings, rua: str = "mailto:d@example.org", tags: str = "") -> Any:
    """What becomes of the report of one message."""
    record = asking(verified(), rua) if not tags else under(verified(), f"v=DMARC1; p=none; rua={rua}; {tags}")
    with gathering(only(())) as gatherer:
        gatherer.add([told(record)])
        gatherer.finish()
        [one] = outgoing(gatherer, Period(BEGIN, BEGIN + DAY), settings, ZoneResolver({}))
    return one


def test_a_public_suffix_gets_reports_only_if_the_administrator_says_so() -> None:
    assert made(ReportsSettings(), tags="psd=y").skipped == "it is a public suffix (reports.public_suffixes)"
    assert made(ReportsSettings(public_suffixes=True), tags="psd=y").skipped == ""


@pytest.mark.parametrize(("excluded", "consent"), [("example.org", None), ("other.example", Consent.OWN)])
def test_a_domain_that_is_excluded_gets_none(excluded: str, consent: Consent | None) -> None:
    one = made(ReportsSettings(exclude=(excluded,)))
    assert [found.consent for found in one.destinations] == ([] if consent is None else [consent])


def test_a_destination_that_is_excluded_gets_none() -> None:
    zone: dict[str, Any] = {"example.org._report._dmarc.reader.example": [{"TXT": "v=DMARC1"}]}
    with gathering(only(())) as gatherer:
        gatherer.add([told(asking(verified(), "mailto:d@reader.example"))])
        gatherer.finish()
        settings = ReportsSettings(exclude=("reader.example",))
        [one] = outgoing(gatherer, Period(BEGIN, BEGIN + DAY), settings, ZoneResolver(zone))
    assert [(found.consent, found.mailboxes) for found in one.destinations] == [(Consent.REFUSED, ())]


def test_an_organization_that_takes_too_many_questions_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.dmarc.discover.MAX_QUESTIONS", 1)
    [one] = Destinations(ZoneResolver({})).of("a.b.example", ["mailto:d@example.net"])
    assert (one.consent, "too many questions" in one.reason) == (Consent.REFUSED, True)


@pytest.mark.parametrize(
    ("reports", "reporter"),
    [
        (ReportsSettings(org_name="O", from_="d@a.example"), Reporter("O", "a.example", "d@a.example", "", "x")),
        (
            ReportsSettings(org_name="O", from_="d@a.example", contact="help@b.example"),
            Reporter("O", "a.example", "help@b.example", "", "x"),
        ),
        (
            ReportsSettings(org_name="O", from_="d@a.example", contact="https://b.example/"),
            Reporter("O", "a.example", "d@a.example", "https://b.example/", "x"),
        ),
        (ReportsSettings(), Reporter("mx.example", "mx.example", "postmaster@mx.example", "", "x")),
    ],
)
def test_who_reports(reports: ReportsSettings, reporter: Reporter) -> None:
    assert reporter_of(Settings(reports=reports, authserv_id="mx.example"), "x") == reporter


# --- the sendmail command ---------------------------------------------------------------------------------------------


@pytest.fixture
def sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command that keeps what it gets, and ends with the status in a file."""
    program = tmp_path / "sendmail"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\ncat >{tmp_path}/stdin\n'
        f"echo 'it was not to be' >&2\nexit $(cat {tmp_path}/status)\n"
    )
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    monkeypatch.setattr(submit_module, "_SENDMAIL_PATH", str(tmp_path))
    return tmp_path


def send(sender: str = "") -> None:
    submit("sendmail", b"A: 1\r\n\r\nx\r\n", sender=sender, recipient="-d@example.org", hostname="a.example")


def test_no_address_is_an_option_of_the_sendmail_command(sendmail: Path) -> None:
    send()
    assert (sendmail / "arguments").read_text().split() == ["-i", "-f", "<>", "--", "-d@example.org"]
    assert (sendmail / "stdin").read_bytes() == b"A: 1\n\nx\n"
    send("bounces@a.example")
    assert (sendmail / "arguments").read_text().split()[:3] == ["-i", "-f", "bounces@a.example"]


@pytest.mark.parametrize(("status", "for_good"), [(75, False), (69, False), (64, False), (67, True), (68, True)])
def test_what_the_sendmail_command_ends_with(sendmail: Path, status: int, for_good: bool) -> None:
    (sendmail / "status").write_text(str(status))
    with pytest.raises(SubmitError) as raised:
        send()
    assert (raised.value.for_good, f"ended with {status}: it was not to be" in str(raised.value)) == (for_good, True)


def test_a_machine_without_the_sendmail_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_module, "_SENDMAIL_PATH", str(tmp_path))
    with pytest.raises(SubmitError, match="there is no sendmail command"):
        send()
