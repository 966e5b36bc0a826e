"""What the admin decides: mail that is refused at MAIL FROM, refused or held after its end, or not looked at."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.mail import BAD_IP, GOOD_IP, MESSAGE
from support.rig import KEYS, MTA, Rig, fields, results, start

pytestmark = pytest.mark.mta

CONFIG: dict[str, Any] = {
    "authserv_id": "id.example.net",
    "exempt": {"networks": ["192.0.2.77"]},
    "spf": {"fail": "reject", "permerror": "tempfail"},
    "dmarc": {"mode": "enforce", "reject": "reject", "quarantine": "hold"},
    "authentication_results": {"authenticated": True, "remove_from": ["old.example.net"]},
}
ZONE = {
    "broken.example": [{"TXT": "v=spf1 nonsense"}],
    "neutral.example": [{"TXT": "v=spf1 ?all"}],
    "hold.example": [{"TXT": "v=spf1 ?all"}],
    "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
    "_dmarc.hold.example": [{"TXT": "v=DMARC1; p=quarantine"}],
}
NEUTRAL = {"ip": BAD_IP, "helo": "neutral.example", "sender": "x@neutral.example"}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with start(**CONFIG, keystore={MTA: {"keys": KEYS[:1]}}, zone_too=ZONE, unix=True) as running:
        yield running


def test_spf_fail_is_refused_at_mail_from(rig: Rig) -> None:
    with rig.postfix.client(BAD_IP, "neutral.example") as client:
        code, text = client.command("MAIL FROM:<alice@example.org>", None)
    assert code == 550
    assert text.startswith("5.7.23 ")  # RFC 7372 3.2
    assert "SPF" in text


def test_a_broken_spf_record_is_a_temporary_failure_where_the_admin_says_so(rig: Rig) -> None:
    code, text = rig.postfix.send(MESSAGE, ip=BAD_IP, helo="neutral.example", sender="x@broken.example")
    assert 400 <= code < 500
    assert text.startswith("4.7.24 ")


def test_p_reject_is_refused_at_the_end(rig: Rig) -> None:
    code, text = rig.postfix.send(MESSAGE, **NEUTRAL)
    assert code == 550
    assert text.startswith("5.7.1 ")
    assert "example.org" in text


def test_the_postmaster_is_reached_where_the_admin_says_so() -> None:
    """RFC 5321 4.5.1."""
    with start(**CONFIG, reachable_recipients=["postmaster"], zone_too=ZONE) as running:
        failing = {"ip": BAD_IP, "helo": "neutral.example", "sender": "alice@example.org"}  # SPF fail, and p=reject
        delivered = running.deliver(MESSAGE, **failing, recipient="Postmaster@rcpt.example")
        assert "dmarc=fail" in results(delivered.data, "id.example.net")
        code, text = running.postfix.send(MESSAGE, **failing)
        assert (code, text[:7]) == (550, "5.7.23 "), "of others, it is refused as ever, at its end"


@pytest.mark.parametrize(
    "head",
    [
        "From: Bank <a@bank.example\u00a0>",
        'From: Bank <a@"bank.example">',
        "From: Bank <a@bank.example!>",
        "From: Bank <a\uff20bank.example>",
        "From: =?utf-8?q?a=40bank.example?=",
        "From: =?utf-8?b?PGFAYmFuay5leGFtcGxlPg==?=,<x@neutral.example>",
        "From: \\ (a@d1.example a@d2.example a@d3.example a@d4.example a@d5.example) Bank <a@bank.example>",
        "From: " + "\r\n ".join(["a" * 900] * 73) + "<x@neutral.example>\r\nFrom: Bank <a@bank.example>",
        "From: " + "a" * 65_500 + "<x@neutral.example>\r\nFrom: Bank <a@bank.example>",
        "From: x@neutral.example\r\nTo: b@example.org\r\n From: Bank <a@bank.example>",
        "To: b@example.org",
    ],
)
def test_no_disguise_of_the_author_gets_around_a_policy(rig: Rig, head: str) -> None:
    message = f"{head}\r\nSubject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\nhi\r\n".encode()
    code, text = rig.postfix.send(message, **NEUTRAL)
    assert code == 550
    assert text.startswith("5.7.1 ")


def test_p_quarantine_is_held_with_its_results_written_down(rig: Rig) -> None:
    code, _ = rig.postfix.send(MESSAGE.replace(b"example.org", b"hold.example"), **NEUTRAL)
    assert code == 250
    [queue_id] = rig.postfix.held()
    assert b"dmarc=fail" in rig.postfix.content(queue_id)


def test_mail_of_an_exempt_network_is_not_touched(rig: Rig) -> None:
    forged = b"Authentication-Results: id.example.net; spf=pass\r\n" + MESSAGE
    mail = rig.deliver(forged, ip="192.0.2.77", helo="filter", sender="alice@example.org")
    assert mail.data.endswith(forged)
    assert fields(mail.data, "Authentication-Results") == ["id.example.net; spf=pass"]


def test_a_login_is_published_where_the_admin_says_so(rig: Rig) -> None:
    mail = rig.deliver(MESSAGE, ip=BAD_IP, helo="laptop", login="bob@example.org", sender="alice@example.org")
    [said] = fields(mail.data, "Authentication-Results")
    assert said.startswith("id.example.net; auth=pass")
    assert "bob@example.org" in said


def test_results_of_a_retired_id_are_removed_too(rig: Rig) -> None:
    old = b"Authentication-Results: old.example.net; spf=pass\r\n"
    mail = rig.deliver(old + MESSAGE, ip=GOOD_IP, helo="mail.example.org", sender="alice@example.org")
    assert "spf=pass" in results(mail.data, "id.example.net")
    assert len(fields(mail.data, "Authentication-Results")) == 1


def test_a_bounce_is_not_signed_where_postfix_does_not_show_it(rig: Rig) -> None:
    rig.postfix.send(MESSAGE, recipient="refuse@rcpt.example", ip=BAD_IP, login="alice", sender="alice@example.org")
    bounce = rig.postfix.receive()
    assert f"MAILER-DAEMON@{MTA}" in fields(bounce.data, "From")[0], "a domain that the keystore covers"
    assert bounce.data.startswith(b"Received:")
