"""DKIM2 in the daemon's session: off unless it is asked for, told of where it is, and never in the mail's way."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from mailnotary.config.settings import Dkim2Mode, Dkim2Settings, Settings, TrustedRelays
from mailnotary.dkim2 import Verifier
from mailnotary.history.story import complete, row_of, story_of
from mailnotary.metrics.counts import Counts
from mailnotary.session.experiment import Recipients
from mailnotary.session.message import wants_recipients
from support.dkim import key, key_record
from support.dkim2 import BOUNCES, NOW, READER, through_list
from support.mail import GOOD_IP, Outcome, Played, zone

OBSERVE = Settings(dkim2=Dkim2Settings(Dkim2Mode.OBSERVE))
KEYS = {
    f"sel._domainkey.{domain}": [{"TXT": key_record(key("ed25519"))}] for domain in ("example.org", "lists.example.net")
}
LISTED = through_list()
AR = "Authentication-Results"
ABOUT = "experimental, draft-ietf-dkim-dkim2-spec-06"


def play(message: bytes = LISTED, settings: Settings = OBSERVE, keys: Any = None, **options: Any) -> Outcome:
    options = {"mail_from": BOUNCES.encode(), "recipients": [READER.encode()]} | options
    records = zone() | (KEYS if keys is None else keys)
    return Played(settings, zone=records, options={"clock": lambda: float(NOW)}).play(message, **options)


def header(outcome: Outcome) -> str:
    return outcome.inserted[AR].replace("\r\n", "").replace("\t", " ")


def test_it_is_off_unless_it_is_asked_for() -> None:
    outcome = play(settings=Settings())
    assert "dkim2" not in header(outcome)
    assert outcome.record.results.dkim2 is None
    assert "dkim2" not in outcome.record.log_fields()
    assert not wants_recipients(Settings())
    assert wants_recipients(OBSERVE)


def test_a_chain_is_told_of_in_the_header_and_the_log() -> None:
    outcome = play()
    assert f"dkim2=pass ({ABOUT}, 2 signatures) header.d=example.org" in header(outcome)
    fields = outcome.record.log_fields()
    assert str(fields["dkim2"]) == "pass:example.org"
    assert fields["dkim2_draft"] == "draft-ietf-dkim-dkim2-spec-06"


def test_mail_without_a_chain_is_told_of_too() -> None:
    outcome = play(b"From: a@example.org\r\n\r\nx\r\n")
    assert f"dkim2=none ({ABOUT})" in header(outcome)


def test_the_envelope_is_compared() -> None:
    outcome = play(recipients=[READER.encode(), b"<eve@other.example>"])
    assert "dkim2=permerror" in header(outcome)
    assert 'reason="RCPT TO did not match"' in header(outcome)
    assert "header.d" not in header(outcome).partition("dkim2=")[2]
    assert str(outcome.record.log_fields()["dkim2"]).endswith(
        "(DKIM2-Signature i=2 RCPT TO <eve@other.example> did not match)"
    )
    assert play(mail_from=b"<>").record.log_fields()["dkim2"].reason.endswith("MAIL FROM <> did not match")  # type: ignore[attr-defined]
    unknown = play(recipients=[])
    assert 'reason="envelope not compared"' in header(unknown)


def test_it_decides_nothing() -> None:
    broken = LISTED.replace(b"noon", b"one")
    outcome = play(broken)
    assert "dkim2=fail" in header(outcome)
    assert 'reason="body changed"' in header(outcome)
    assert outcome.record.action == "accept"
    off = play(broken, settings=Settings())
    assert (off.record.action, off.record.verdict, off.record.results.dmarc) == (
        *("accept", outcome.record.verdict),
        outcome.record.results.dmarc,
    )


def test_dns_that_fails_costs_its_own_result() -> None:
    outcome = play(
        keys={"sel._domainkey.example.org": ["TIMEOUT"]} | {name: KEYS[name] for name in KEYS if "lists" in name}
    )
    assert "dkim2=temperror" in header(outcome)
    assert 'reason="DNS gives no key"' in header(outcome)
    assert outcome.record.action == "accept"


@pytest.mark.parametrize("step", ["__init__", "body", "finish"])
def test_a_defect_in_it_costs_its_own_result(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Verifier, step, fail)
    outcome = play()
    assert outcome.record.error == ""
    assert outcome.record.action == "accept"
    assert str(outcome.record.log_fields()["dkim2"]) == "permerror: (defect in mailnotary: RuntimeError: a defect)"
    assert "dkim2=permerror" in header(outcome)


def test_mail_of_a_trusted_relay_is_looked_at_with_the_recipients_that_the_relay_gave() -> None:
    relays = TrustedRelays(networks=(ip_network(GOOD_IP),))
    received = b"Received: from lists.example.net ([192.0.2.99]) by mx.example.net; Fri, 28 May 2026 20:26:00 +0000\r\n"
    outcome = play(received + LISTED, settings=replace(OBSERVE, trusted_relays=relays))
    assert str(outcome.record.log_fields()["dkim2"]) == "pass:example.org"
    outcome = play(received + LISTED, settings=replace(OBSERVE, trusted_relays=relays), recipients=[b"<eve@x.example>"])
    assert "dkim2=permerror" in header(outcome)


def test_mail_of_ours_is_not_looked_at() -> None:
    outcome = play(user="alice")
    assert outcome.record.mode == "none", "there is no key for its author"
    assert outcome.record.results.dkim2 is None


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_the_body_comes_in_any_chunks(chunk: int) -> None:
    assert "dkim2=pass" in header(play(chunk=chunk))


def test_more_recipients_than_a_signature_can_name_never_match() -> None:
    recipients = Recipients()
    for number in range(5000):
        recipients.add(f"u{number}@example.org")
        recipients.add("u" * 2000)
    assert recipients.known is not None
    assert len(recipients.known) == 1001
    assert max(map(len, recipients.known)) == 513
    assert Recipients().known is None


def test_the_history_keeps_the_result_and_no_recipient() -> None:
    outcome = play(recipients=[b"<eve@other.example>"])
    for hide in (str, lambda _: "hidden"):
        text = story_of(outcome.record, hide)
        assert "other.example" not in text
        told = complete(row_of(outcome.record), "host", text)["dkim2"]
        assert told == {
            "status": "permerror",
            "domain": "example.org",
            "brief": "RCPT TO did not match",
            "hops": 2,
            "draft": "draft-ietf-dkim-dkim2-spec-06",
        }
    assert complete(row_of(outcome.record), "host", "[]")["dkim2"] is None, "what older versions wrote"


def test_the_result_is_counted() -> None:
    counts = Counts()
    counts.messages([play().record])
    assert b'[["results","dkim2","pass"],1]' in counts.take()
