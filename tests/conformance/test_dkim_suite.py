"""The public DKIM suites: the RFCs' examples, real mail, and the messages of dkimpy's own tests."""

from pathlib import Path
from typing import Any

import pytest

from mailnotary import dkim
from mailnotary.mail.message import crlf
from mailnotary.resolver import ZoneResolver
from support.backends import each_backend
from support.suites import suite

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")

NOW = 1667843664  # when all signatures of tests/data/mail-auth are valid
MAIL_AUTH = sorted((Path(__file__).parents[1] / "data" / "mail-auth").glob("0*.txt"))
each_mail = pytest.mark.parametrize("mail", MAIL_AUTH, ids=lambda path: path.name)


def read(path: Path) -> tuple[ZoneResolver, bytes]:
    head, _, message = path.read_bytes().partition(b"\n\n")
    zone: dict[str, Any] = {}
    for line in head.split(b"\n"):
        name, _, text = line.partition(b" ")
        zone.setdefault(name.decode(), []).append({"TXT": text})
    return ZoneResolver(zone), crlf(message)


def test_the_suite_is_whole() -> None:
    assert len(MAIL_AUTH) == 6


@each_mail
def test_signed_mail_passes(mail: Path) -> None:
    resolver, message = read(mail)
    results = dkim.verify(message, resolver, now=NOW)
    assert [(result.status, result.reason) for result in results] == [("pass", "")] * len(results)
    assert results


@each_mail
def test_a_changed_body_fails(mail: Path) -> None:
    resolver, message = read(mail)
    results = dkim.verify(message + b"one more line\r\n", resolver, now=NOW)
    assert {result.status for result in results} <= {"fail", "policy"}


DKIMPY = suite("dkim/dkimpy")
ED25519 = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def football(message: str) -> list[str]:
    zone = {
        "brisbane._domainkey.football.example.com": [{"TXT": ED25519}],
        "test._domainkey.football.example.com": [{"TXT": (DKIMPY / "test.txt").read_bytes().strip()}],
    }
    results = dkim.verify(crlf((DKIMPY / message).read_bytes()), ZoneResolver(zone), now=NOW)
    return [str(result.status) for result in results]


def test_dkimpy_signature_of_exim_passes() -> None:
    zone = ZoneResolver({"sed._domainkey.test.ex": [{"TXT": (DKIMPY / "eximtest.dns").read_bytes().strip()}]})
    results = dkim.verify((DKIMPY / "ed25519test2.msg").read_bytes(), zone, now=NOW)
    assert [str(result.status) for result in results] == ["pass"]


@pytest.mark.parametrize("name", ["rfc6376.signed.msg", "rfc6376.signed.rsa.msg"])
def test_dkimpy_signed_examples_pass(name: str) -> None:
    assert set(football(name)) == {"pass"}


def test_dkimpy_signature_that_lost_its_t_fails() -> None:
    assert football("rfc6376.signed.no_t.msg") == ["fail"]


def test_dkimpy_degenerate_folding_is_read() -> None:
    """Space within b=, folds before colons: the signature's domain and selector come out right."""
    resolver = ZoneResolver({"20120113._domainkey.gmail.com": [{"TXT": (DKIMPY / "test2.txt").read_bytes().strip()}]})
    results = dkim.verify(crlf((DKIMPY / "test2.message").read_bytes()), resolver, now=NOW)
    assert [(result.domain, result.selector) for result in results] == [("gmail.com", "20120113")]


def test_dkimpy_domain_with_a_parenthesis_is_refused() -> None:
    zone = ZoneResolver({"test._domainkey.legitimate.com": [{"TXT": (DKIMPY / "test.txt").read_bytes().strip()}]})
    (result,) = dkim.verify(crlf((DKIMPY / "test.message.baddomain").read_bytes()), zone, now=NOW)
    assert (result.status, result.domain) == ("neutral", "")
