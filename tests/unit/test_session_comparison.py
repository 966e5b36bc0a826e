"""Results of another filter beside ours, and the mode that changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mailnotary.authres import Results
from mailnotary.config.history import HistorySettings
from mailnotary.config.keystore import KeyStore
from mailnotary.config.settings import (
    AuthenticationResultsSettings,
    DmarcAction,
    DmarcMode,
    DmarcSettings,
    Mode,
    Settings,
    SpfAction,
    SpfSettings,
)
from mailnotary.mail.message import HeaderField
from mailnotary.resolver import ZoneResolver
from mailnotary.session.comparison import MAX_COMPARED, compare
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.policy import Action, DeleteHeader
from mailnotary.session.session import Session
from mailnotary.status import DkimStatus
from support.messages import refused, verified

OLD = ("old.example",)
ZONE = ZoneResolver(
    {
        "bank.example": [{"TXT": "v=spf1 -all"}],
        "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
    }
)


def fields(*values: str) -> list[HeaderField]:
    return [HeaderField(b"Authentication-Results", b" " + value.encode()) for value in values]


def words(*values: str, results: Results | None = None) -> list[tuple[str, str, str]]:
    found = compare(fields(*values), OLD, results or verified().results)
    return [(one.method, one.theirs, one.ours) for one in found]


def test_each_method_is_compared_with_ours() -> None:
    assert words("old.example; spf=fail (no) smtp.mailfrom=x; dkim=pass header.d=example.org; dmarc=pass") == [
        ("spf", "fail", "pass"),
        ("dkim", "pass", "pass"),
        ("dmarc", "pass", "pass"),
    ]
    assert words("old.example; dkim=none; dmarc=none", results=refused().results) == [
        ("dkim", "none", "none"),
        ("dmarc", "none", "fail"),
    ]


def test_several_fields_of_one_filter_are_one_answer() -> None:
    assert words("old.example; dmarc=fail", "old.example; dkim=fail; dkim=pass; dmarc=pass") == [
        ("dmarc", "fail", "pass"),
        ("dkim", "pass", "pass"),
    ]


def test_one_pass_of_several_signatures_is_a_pass() -> None:
    signature = verified().results.signatures[0]
    both = Results(dkim=(replace(signature, status=DkimStatus.FAIL), signature))
    assert words("old.example; dkim=fail", results=both) == [("dkim", "fail", "pass")]
    failed = Results(dkim=(replace(signature, status=DkimStatus.PERMERROR),))
    assert words("old.example; dkim=permerror", results=failed) == [("dkim", "permerror", "permerror")]


@pytest.mark.parametrize(
    "value", ["other.example; dmarc=fail", "old.example; arc=fail", "old.example; dmarc", "old.example; none"]
)
def test_what_says_nothing_is_not_compared(value: str) -> None:
    assert words(value) == []


def test_what_a_sender_wrote_is_bounded_and_plain() -> None:
    flood = ["old.example; dmarc=fail"] * 500
    assert len(words(*flood)) == 1
    methods = [f"old.example; x-{number}=pass" for number in range(MAX_COMPARED)]
    assert words(*methods, "old.example; dmarc=fail") == []
    [one] = compare(fields('OLD.example; dmarc=fail reason="x"'), OLD, verified().results)
    assert (one.other, one.reason, one.agrees) == ("old.example", "x", False)


# --- in a session


def run(settings: Settings, *extra: HeaderField) -> tuple[tuple[Action, ...], MessageRecord]:
    records: list[MessageRecord] = []
    note: Callable[[MessageRecord], None] = records.append
    environment = Environment(settings, KeyStore(), ZONE, note, "mx.example")
    session = Session(lambda: environment)
    session.connect("192.0.2.1", None, None)
    session.helo("client.example")
    assert session.mail_from(b"<x@bank.example>", None) is None
    for field in [*extra, HeaderField(b"From", b" x@bank.example")]:
        session.header(field.name, field.value)
    session.end_of_headers()
    session.body(b"hi\r\n")
    return session.end_of_message("Q1"), records[0]


ENFORCE = Settings(
    spf=SpfSettings(fail=SpfAction.REJECT), dmarc=DmarcSettings(mode=DmarcMode.ENFORCE, reject=DmarcAction.REJECT)
)


def test_observing_changes_nothing_and_says_what_would_have_been_done() -> None:
    forged = fields("mx.example; dmarc=pass")
    actions, record = run(replace(ENFORCE, mode=Mode.OBSERVE), *forged)
    assert actions == ()
    assert record.action == "accept"
    assert record.verdict is not None
    assert record.verdict.would == "reject"
    assert record.verdict.why.startswith("mode is observe; SPF MAIL FROM check failed")
    without_spf = replace(ENFORCE, spf=SpfSettings(), mode=Mode.OBSERVE)
    _, record = run(without_spf)
    assert record.verdict is not None
    assert (record.verdict.would, record.verdict.why) == ("reject", "mode is observe")


def test_observing_does_not_even_refuse_a_header_that_is_too_large() -> None:
    large = HeaderField(b"X-Large", b" " + b"x" * 2_000_000)
    actions, record = run(Settings(mode=Mode.OBSERVE), large)
    assert actions == ()
    assert record.regardless


def test_our_own_mail_is_left_alone_while_observing() -> None:
    records: list[MessageRecord] = []
    environment = Environment(Settings(mode=Mode.OBSERVE), KeyStore(), ZONE, records.append, "mx.example")
    session = Session(lambda: environment)
    session.connect("127.0.0.1", None, None)
    session.helo("localhost")
    session.mail_from(b"<x@bank.example>", "user")
    session.header(b"Authentication-Results", b" mx.example; dmarc=pass")
    session.header(b"From", b" x@bank.example")
    session.end_of_headers()
    assert session.end_of_message("Q1") == ()
    assert records[0].why == "authenticated as user; mode is observe"


def test_the_fields_that_are_compared_with_are_kept() -> None:
    settings = Settings(
        history=HistorySettings(compare_with=OLD),
        authentication_results=AuthenticationResultsSettings(remove_from=("old.example", "mx2.example")),
    )
    actions, record = run(settings, *fields("old.example; dmarc=none", "mx2.example; dmarc=pass"))
    assert [action for action in actions if isinstance(action, DeleteHeader)] == [
        DeleteHeader("Authentication-Results", 2)
    ]
    assert [(one.theirs, one.ours) for one in record.compared] == [("none", "fail")]
