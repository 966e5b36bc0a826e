"""Explanations (RFC 7208 section 6.2)."""

from typing import Any

import pytest

from mailnotary.resolver import RecordKind
from mailnotary.spf import check_mail_from
from support.spf import CLIENT, CLIENT6, CountingResolver, spf


def explained(text: object, record: str = "v=spf1 -all exp=e.example", **options: Any) -> str:
    data = text if isinstance(text, list) else [{"TXT": text}]
    return spf(record, {"e.example": data}, default_explanation="DEFAULT", **options).explanation


def test_the_text_is_expanded() -> None:
    text = "%{i} is not one of %{d}'s mail servers, %{l} at %{o} says; %{h} %{v} %{p} %{s}"
    assert explained(text) == (
        "192.0.2.1 is not one of example.com's mail servers, user at example.com says; "
        "mail.example.com in-addr unknown user@example.com"
    )


def test_the_macros_of_explanations_alone() -> None:
    assert explained("%{c} %{r} %{t}", receiver="mx.example.net", now=1_700_000_000.9) == (
        "192.0.2.1 mx.example.net 1700000000"
    )
    assert explained("%{r}") == "unknown"
    assert explained("%{t}").isdigit()
    assert explained("%{c} %{C}", ip=CLIENT6) == "2001:db8::1 2001%3Adb8%3A%3A1"


def test_several_strings_are_joined_without_spaces_and_the_final_dot_stays() -> None:
    assert explained([{"TXT": ["See http://x", ".example/why."]}]) == "See http://x.example/why."


@pytest.mark.parametrize(
    "data",
    [
        "NXDOMAIN",
        "TIMEOUT",
        "SERVFAIL",
        [],
        [{"A": CLIENT}],
        [{"TXT": "one"}, {"TXT": "two"}],
        [{"TXT": "%"}],
        [{"TXT": "%{x}"}],
        [{"TXT": "tab\there"}],
        [{"TXT": "line\r\n250 OK"}],
        [{"TXT": "\xe9"}],
        [{"TXT": "\x00"}],
        [{"TXT": "x" * 4097}],
    ],
)
def test_whatever_is_wrong_with_it_is_as_if_there_were_none(data: object) -> None:
    outcome = spf("v=spf1 -all exp=e.example", {"e.example": data}, default_explanation="DEFAULT")
    assert (outcome.status, outcome.explanation) == ("fail", "DEFAULT")


@pytest.mark.parametrize("target", ["a..b.example", "%{l1r+}..example", "x" * 64 + ".example"])
def test_a_target_that_dns_cannot_carry_is_not_asked_for(target: str) -> None:
    resolver = CountingResolver({"example.com": [{"TXT": f"v=spf1 -all exp={target}"}]})
    outcome = check_mail_from(CLIENT, "a@example.com", "h.example", resolver)
    assert (outcome.status, outcome.explanation) == ("fail", "")
    assert len(resolver.questions) == 1


@pytest.mark.parametrize(
    "record", ["v=spf1 ~all exp=e.example", "v=spf1 all exp=e.example", "v=spf1 moo exp=e.example"]
)
def test_only_a_fail_asks_for_it(record: str) -> None:
    resolver = CountingResolver({"example.com": [{"TXT": record}], "e.example": [{"TXT": "no"}]})
    outcome = check_mail_from(CLIENT, "a@example.com", "h.example", resolver)
    assert outcome.explanation == ""
    assert ("e.example", RecordKind.TXT) not in resolver.questions


def test_an_include_uses_that_of_the_record_which_includes() -> None:
    zone = {
        "i.example": [{"TXT": "v=spf1 all exp=wrong.example"}],
        "wrong.example": [{"TXT": "wrong"}],
        "right.example": [{"TXT": "%{d}"}],
    }
    assert spf("v=spf1 -include:i.example exp=right.example", zone).explanation == "example.com"
    assert spf("v=spf1 -include:i.example", zone, default_explanation="D").explanation == "D"


def test_a_redirect_uses_its_targets() -> None:
    zone = {
        "r.example": [{"TXT": "v=spf1 -all exp=right.example"}],
        "s.example": [{"TXT": "v=spf1 -all"}],
        "wrong.example": [{"TXT": "wrong"}],
        "right.example": [{"TXT": "%{d} for %{o}"}],
    }
    assert spf("v=spf1 redirect=r.example exp=wrong.example", zone).explanation == "r.example for example.com"
    assert spf("v=spf1 redirect=s.example exp=wrong.example", zone).explanation == ""


def test_what_the_client_said_can_do_nothing_to_a_reply() -> None:
    resolver = CountingResolver(
        {"example.com": [{"TXT": "v=spf1 -all exp=e.example"}], "e.example": [{"TXT": "%{l}|%{h}"}]}
    )
    outcome = check_mail_from(CLIENT, "a\r\n250 ok\x1b[0m\\@example.com", "\x00h\u202eé", resolver)
    assert outcome.explanation.isascii()
    assert outcome.explanation.isprintable()


@pytest.mark.parametrize("text", ["x" * 4000, "%{l}" * 1000, "%{L}" * 1000, "%{l}"])
def test_its_length_is_capped(text: str) -> None:
    resolver = CountingResolver({"example.com": [{"TXT": "v=spf1 -all exp=e.example"}], "e.example": [{"TXT": text}]})
    outcome = check_mail_from(CLIENT, "\x01" * 60_000 + "@example.com", "h.example", resolver)
    assert 390 < len(outcome.explanation) <= 400  # no escape is cut
