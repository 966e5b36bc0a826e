"""Where reports go: the URIs of rua=, and the consent of domains outside of the organization."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.mail.envelope import MAX_MAILBOX, mailbox_of
from mailnotary.reports.destinations import (
    MAX_DESTINATIONS,
    Consent,
    Destination,
    Destinations,
    confirming_name,
    questions,
    recipients,
)
from mailnotary.reports.uri import host_of, mailbox_in
from mailnotary.resolver import ZoneResolver


@pytest.mark.parametrize(
    ("uri", "mailbox"),
    [
        ("mailto:dmarc@example.org", "dmarc@example.org"),
        ("MAILTO:dmarc@Example.ORG", "dmarc@example.org"),
        ("mailto:d%2Bx@example.org", "d+x@example.org"),
        ("mailto:dmarc@example.org?subject=hello", "dmarc@example.org"),
        ("mailto:dmarc@b%C3%BCcher.example", "dmarc@xn--bcher-kva.example"),
        ("mailto:%22john%20doe%22@example.org", '"john doe"@example.org'),
        ("mailto:-f@example.org", "-f@example.org"),
        ("mailto:_dmarc@_reports.example.org", "_dmarc@_reports.example.org"),
    ],
)
def test_a_uri_names_a_mailbox(uri: str, mailbox: str) -> None:
    assert str(mailbox_in(uri)) == mailbox


@pytest.mark.parametrize(
    "uri",
    [
        *("", "mailto:", "mailto:@", "mailto:x@", "mailto:@example.org", "https://example.org/x", "dmarc@example.org"),
        *("mailto:a@b@example.org", "mailto:a%20b@example.org", "mailto:a%0Ab@example.org", "mailto:a%00@example.org"),
        *("mailto:a@example.org%0D%0ABcc:x@y.example", "mailto:a@[192.0.2.1]", "mailto:%FF@example.org"),
        *(
            "mailto:a.@example.org",
            "mailto:a@ex ample.org",
            "mailto:" + "a" * 65 + "@example.org",
            "mailto:ü@example.org",
        ),
        *("mailto:a@" + "a" * 300, "mailto:a@" + ".".join(["a" * 60] * 4) + ".muchtoolong", "mailto:a,b@example.org"),
    ],
)
def test_what_does_not_name_one_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        mailbox_in(uri)


@given(st.text(max_size=80))
def test_no_mailbox_has_more_than_a_mailbox(text: str) -> None:
    for read in (mailbox_of, lambda uri: mailbox_in("mailto:" + uri)):
        try:
            mailbox = str(read(text))
        except ValueError:
            continue
        assert mailbox.isascii()
        assert mailbox.isprintable()
        assert len(mailbox) <= MAX_MAILBOX


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("mailto:a@Example.org", "example.org"),
        ("https://Example.org:8443/x", "example.org"),
        ("https:x", None),
        ("mailto:x", None),
        ("https://[::1", None),
    ],
)
def test_the_host_of_a_uri(uri: str, host: str | None) -> None:
    assert host_of(uri) == host


ZONE: dict[str, Any] = {
    "_dmarc.example.org": [{"TXT": "v=DMARC1; p=none"}],
    "_dmarc.example.net": [{"TXT": "v=DMARC1; p=none"}],
    "blue.example.org._report._dmarc.wants.example": [{"TXT": "v=DMARC1"}],
    "blue.example.org._report._dmarc.semicolon.example": [{"TXT": "v=DMARC1;"}],
    "blue.example.org._report._dmarc.other.example": [{"TXT": "v=DMARC1; rua=mailto:in@other.example"}],
    "blue.example.org._report._dmarc.https.example": [{"TXT": "v=DMARC1; rua=https://https.example/in"}],
    "blue.example.org._report._dmarc.elsewhere.example": [{"TXT": "v=DMARC1; rua=mailto:in@victim.example"}],
    "blue.example.org._report._dmarc.mixed.example": [
        {"TXT": "v=DMARC1; rua=mailto:in@mixed.example,mailto:in@victim.example"}
    ],
    "blue.example.org._report._dmarc.broken.example": [{"TXT": "v=DMARC1; rua=nonsense"}],
    "blue.example.org._report._dmarc.text.example": [{"TXT": "hello"}, {"TXT": "p=none; v=DMARC1"}],
    "blue.example.org._report._dmarc.both.example": [{"TXT": "hello"}, {"TXT": "v=DMARC1"}],
    "blue.example.org._report._dmarc.slow.example": ["TIMEOUT"],
}


def found(uri: str, policy_domain: str = "blue.example.org") -> Destination:
    [one] = Destinations(ZoneResolver(ZONE)).of(policy_domain, [uri])
    return one


@pytest.mark.parametrize(
    ("uri", "consent", "mailboxes"),
    [
        ("mailto:d@example.org", Consent.OWN, ["d@example.org"]),
        ("mailto:d@blue.example.org", Consent.OWN, ["d@blue.example.org"]),
        ("mailto:d@red.example.org", Consent.OWN, ["d@red.example.org"]),
        ("mailto:d@example.net", Consent.REFUSED, []),
        ("mailto:d@wants.example", Consent.CONFIRMED, ["d@wants.example"]),
        ("mailto:d@semicolon.example", Consent.CONFIRMED, ["d@semicolon.example"]),
        ("mailto:d@other.example", Consent.CONFIRMED, ["in@other.example"]),
        ("mailto:d@https.example", Consent.CONFIRMED, []),
        ("mailto:d@elsewhere.example", Consent.REFUSED, []),
        ("mailto:d@mixed.example", Consent.REFUSED, []),
        ("mailto:d@broken.example", Consent.CONFIRMED, ["d@broken.example"]),
        ("mailto:d@text.example", Consent.REFUSED, []),
        ("mailto:d@both.example", Consent.CONFIRMED, ["d@both.example"]),
        ("mailto:d@slow.example", Consent.UNKNOWN, []),
        ("https://example.org/d", Consent.REFUSED, []),
    ],
)
def test_who_wants_reports(uri: str, consent: Consent, mailboxes: list[str]) -> None:
    one = found(uri)
    assert (one.consent, [str(mailbox) for mailbox in one.mailboxes]) == (consent, mailboxes)
    assert one.reason


def test_a_name_that_is_too_long_confirms_nothing() -> None:
    long = ".".join(["a" * 60] * 4)
    one = found("mailto:d@wants.example", long)
    assert (one.consent, one.mailboxes) == (Consent.REFUSED, ())
    assert "too long" in one.reason
    assert all(len(name) <= 253 for name, _ in questions(long, ["mailto:d@wants.example"]))


def test_each_mailbox_is_written_to_once_and_no_more_than_so_many() -> None:
    uris = ["mailto:d@example.org", "mailto:d@Example.org", "mailto:d@other.example", "mailto:e@other.example"]
    destinations = Destinations(ZoneResolver(ZONE)).of("blue.example.org", uris)
    assert [str(one) for one in recipients(destinations)] == ["d@example.org", "in@other.example"]
    many = Destinations(ZoneResolver(ZONE)).of("blue.example.org", [f"mailto:{n}@example.org" for n in range(50)])
    assert len(recipients(many)) == MAX_DESTINATIONS


def test_the_questions_are_known_beforehand() -> None:
    names = [name for name, _ in questions("blue.example.org", ["mailto:d@wants.example", "garbage"])]
    assert names == [
        *("_dmarc.blue.example.org", "_dmarc.example.org", "_dmarc.org", "_dmarc.wants.example", "_dmarc.example"),
        confirming_name("blue.example.org", "wants.example"),
    ]
