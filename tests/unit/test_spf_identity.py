"""The identities (RFC 7208 sections 2.3, 2.4, 4.3; RFC 8616 section 4)."""

from typing import Any

import pytest

from mailnotary.resolver import RecordKind, ZoneResolver
from mailnotary.spf import SpfResult, check_helo, check_host, check_mail_from
from support.spf import CLIENT, CountingResolver

PASSING = ZoneResolver(
    {
        "example.com": [{"TXT": "v=spf1 all"}],
        "mail.example.com": [{"TXT": "v=spf1 -all"}],
        "xn--bcher-kva.example": [{"TXT": "v=spf1 all"}],
        "foo-.example.com": [{"TXT": "v=spf1 all"}],
        "a_b.example.com": [{"TXT": "v=spf1 all"}],
    }
)


def mail_from(sender: str | bytes, helo: str | bytes = "mail.example.com") -> SpfResult:
    return check_mail_from(CLIENT, sender, helo, PASSING)


@pytest.mark.parametrize(
    "sender",
    [
        *("a@example.com", "<a@example.com>", b"a@example.com", b"<a@example.com>", "a@EXAMPLE.com", "a@example.com."),
        *('"a@b"@example.com', '"a b"@example.com', "<@x.example,@y.example:a@example.com>", "b@x@example.com"),
        *("a%b.example@example.com", "x.example!a@example.com", "@example.com", b"\xe9@example.com", "é@example.com"),
    ],
)
def test_the_domain_follows_the_last_at_sign(sender: str | bytes) -> None:
    outcome = mail_from(sender)
    assert (outcome.status, outcome.domain, outcome.identity) == ("pass", "example.com", "mailfrom")


@pytest.mark.parametrize("sender", ["", "<>", b"", b"<>", " <> "])
def test_the_null_sender_is_postmaster_at_helo(sender: str | bytes) -> None:
    outcome = mail_from(sender)
    assert (outcome.status, outcome.domain, outcome.identity) == ("fail", "mail.example.com", "mailfrom")


def test_helo_is_an_identity_of_its_own() -> None:
    outcome = check_helo(CLIENT, "Mail.Example.com", PASSING)
    assert (outcome.status, outcome.domain, outcome.identity) == ("fail", "mail.example.com", "helo")


MALFORMED = [
    "", ".", "com", "localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "example..com", ".example.com",
    "example.com..", "a" * 64 + ".example.com", ".".join(["a" * 49] * 6), "exam ple.com", "example.com\r\nX: y",
    "example.com\x00", "example.c\x7fm", "\udcff.example.com", "\ud800.example.com", "é" * 300 + ".example.com",
    "\u2028.example.com", "xn--\u00e9.example", "a\u3002..b",
]  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_domain_name_gives_none_and_asks_nothing(name: str) -> None:
    resolver = CountingResolver({})
    outcomes = [
        check_helo(CLIENT, name, resolver),
        check_mail_from(CLIENT, f"a@{name}", "h.example.com", resolver),
        check_host(CLIENT, name, "a@example.com", helo=name, resolver=resolver),
        check_mail_from(CLIENT, "", name, resolver),
    ]
    assert {outcome.status for outcome in outcomes} == {"none"}
    assert all(outcome.domain.isascii() and outcome.domain.isprintable() for outcome in outcomes)
    assert all(outcome.reason.isprintable() for outcome in outcomes)
    assert resolver.questions == []


@pytest.mark.parametrize("sender", ["postmaster", "example.com", "<example.com>", "a@", "<a", "a@>", "<@example.com:>"])
def test_a_sender_without_a_domain_gives_none(sender: str) -> None:
    assert mail_from(sender).status == "none"


@pytest.mark.parametrize("name", ["foo-.example.com", "a_b.example.com"])
def test_names_that_dns_carries_are_looked_up(name: str) -> None:
    assert mail_from(f"a@{name}").status == "pass"


class TestInternationalized:
    """RFC 8616 section 4"""

    @pytest.mark.parametrize("domain", ["bücher.example", "BÜCHER.example", "bücher。example", "xn--bcher-kva.example"])
    def test_u_labels_are_looked_up_as_a_labels(self, domain: str) -> None:
        outcome = mail_from(f"a@{domain}")
        assert (outcome.status, outcome.domain) == ("pass", "xn--bcher-kva.example")
        assert mail_from(f"a@{domain}".encode()).status == "pass"
        assert check_helo(CLIENT, domain, PASSING).domain == "xn--bcher-kva.example"

    def test_u_labels_expand_as_a_labels(self) -> None:
        record = "v=spf1 a:%{d}.d.example a:%{o}.o.example a:%{h}.h.example -all"
        resolver = CountingResolver({"xn--bcher-kva.example": [{"TXT": record}]})
        check_mail_from(CLIENT, "a@bücher.example", "bücher.example", resolver)
        assert [name for name, _ in resolver.questions[1:]] == [
            f"xn--bcher-kva.example.{letter}.example" for letter in "doh"
        ]

    @pytest.mark.parametrize(
        ("record", "status"),
        [
            ("v=spf1 exists:%{l}.x.example -all", "fail"),
            ("v=spf1 a:%{s} mx:%{L1}.x.example include:%{S}.x.example ptr:%{l} -all", "fail"),
            ("v=spf1 -exists:%{l}.x.example all", "pass"),
            ("v=spf1 redirect=%{l}.x.example", "neutral"),
            ("v=spf1 exists:%{o}.x.example -all", "pass"),
        ],
    )
    def test_a_utf8_local_part_never_matches(self, record: str, status: str) -> None:
        zone: dict[str, Any] = {"example.com": [{"TXT": record}], "example.com.x.example": [{"A": "127.0.0.2"}]}
        resolver = CountingResolver(zone)
        assert check_mail_from(CLIENT, "jösé@example.com", "h.example", resolver).status == status
        assert all(name.isascii() for name, _ in resolver.questions)

    def test_an_explanation_shows_it_in_us_ascii(self) -> None:
        def explained(exp: str, text: str) -> str:
            zone = {"example.com": [{"TXT": f"v=spf1 -all exp={exp}"}], "e.example": [{"TXT": text}]}
            return check_mail_from(CLIENT, "é@example.com", "h.example", ZoneResolver(zone)).explanation

        assert explained("e.example", "see http://x.example/?s=%{S}") == "see http://x.example/?s=%C3%A9%40example.com"
        assert explained("e.example", "%{l}") == "\\xc3\\xa9"
        assert explained("%{l}.e.example", "x") == ""

    def test_a_helo_of_other_octets_is_asked_for_as_octets(self) -> None:
        resolver = CountingResolver({"example.com": [{"TXT": "v=spf1 a:%{h}.x.example -all"}]})
        check_mail_from(CLIENT, "a@example.com", b"\xff\x00 .\xe9", resolver)
        assert resolver.questions[1] == ("\xff\x00 .\xe9.x.example", RecordKind.A)


def test_macros_take_the_identity_as_it_was_said() -> None:
    record = "v=spf1 exists:%{s}.s.example exists:%{l}.l.example exists:%{o}.o.example exists:%{h}.h.example"
    resolver = CountingResolver({"example.com": [{"TXT": record}]})
    check_mail_from(CLIENT, '<@x.example:"A b"@Example.com>', "Mail.Example.org", resolver, void_limit=4)
    assert [name for name, _ in resolver.questions[1:]] == [
        '"A b"@Example.com.s.example',
        '"A b".l.example',
        "Example.com.o.example",
        "Mail.Example.org.h.example",
    ]


def test_a_name_that_is_none_is_shown_in_lower_case_with_its_escapes_as_they_are() -> None:
    found = check_helo(CLIENT, "A\U0001f600\xe9 B", ZoneResolver({}))
    assert found.domain == "a\\U0001f600\\xe9 b"
    assert found.reason == '"a\\U0001f600\\xe9 b" is not a domain name that can have a record'


def test_a_sender_without_a_domain_is_said_to_have_none() -> None:
    found = check_mail_from(CLIENT, "bob", "mx.example.org", ZoneResolver({}))
    assert (found.status, found.reason) == ("none", "there is no domain to check")


def test_a_lone_surrogate_that_no_octet_made_is_a_question_mark_in_the_local_part() -> None:
    resolver = CountingResolver({"example.com": [{"TXT": "v=spf1 exists:%{l}.example.com -all"}]})
    outcome = check_mail_from(CLIENT, "\ud800@example.com", "mail.example.com", resolver)
    assert outcome.status == "fail"
    assert ("?.example.com", RecordKind.A) in resolver.questions
