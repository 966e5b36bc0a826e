"""DMARC policy records (RFC 9989 sections 4.7, 4.8 and 4.10.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.dmarc.policy_record import (
    MAX_TAGS,
    MAX_TEXT,
    MAX_URIS,
    Alignment,
    PolicyRecord,
    Psd,
    is_record,
    parse,
    policy_records,
)
from mailnotary.dmarc.result import Policy


def record(text: str) -> PolicyRecord:
    data = text.encode("latin-1")
    assert is_record(data)
    return parse(data)


@pytest.mark.parametrize(
    "text",
    ["v=DMARC1", "v=DMARC1;", "v=DMARC1; p=none", "v = DMARC1 ;p=none", "v\t=\tDMARC1\t;", "V=DMARC1; p=none"],
)
def test_a_record_begins_with_its_version(text: str) -> None:
    assert is_record(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=spf1 -all",
        "v=DMARC2; p=none",
        "v=dmarc1; p=reject",  # the value has its case
        "v=DMARC1p=reject",
        "v=DMARC1 p=reject",
        "v=DMARC10; p=reject",
        "p=reject; v=DMARC1",  # the first tag it must be
        "; v=DMARC1; p=reject",
        " v=DMARC1; p=reject",  # the grammar has no white space before it
        '"v=DMARC1; p=reject"',
        "v=DMARC1, p=reject",
    ],
)
def test_anything_else_is_no_record(text: str) -> None:
    assert not is_record(text.encode())


@pytest.mark.parametrize("blank", [" ", "\t", "\r\n", "\xa0", "\ufeff"])
def test_blanks_before_the_version_take_no_protection_away(blank: str) -> None:
    pasted = f"{blank}v=DMARC1; p=reject".encode()
    assert [parse(text).policy for text in policy_records([b"v=spf1 -all", pasted])] == [Policy.REJECT]


def test_beside_a_right_one_a_record_with_a_blank_before_it_is_discarded() -> None:
    assert policy_records([b" v=DMARC1; p=none", b"v=DMARC1; p=reject"]) == [b"v=DMARC1; p=reject"]
    assert len(policy_records([b" v=DMARC1; p=none", b"\tv=DMARC1; p=reject"])) == 2


def test_defaults() -> None:
    found = record("v=DMARC1; p=reject")
    assert found.policy is found.subdomain_policy is found.nonexistent_policy is Policy.REJECT
    assert found.psd is Psd.UNKNOWN
    assert not found.testing
    assert found.dkim_alignment is found.spf_alignment is Alignment.RELAXED
    assert found.usable
    assert found.problems == ()


def test_all_tags() -> None:
    found = record(
        "v=DMARC1; p=none; sp=quarantine; np=reject; psd=n; t=y; adkim=s; aspf=s; fo=1:d; "
        "rua=mailto:a@example.org!10m , https://example.org/x; ruf=mailto:b@example.org;"
    )
    assert (found.policy, found.subdomain_policy, found.nonexistent_policy) == ("none", "quarantine", "reject")
    assert found.psd is Psd.NO
    assert found.testing
    assert found.dkim_alignment is found.spf_alignment is Alignment.STRICT
    assert found.rua == ("mailto:a@example.org", "https://example.org/x")
    assert found.problems == ()


def test_np_falls_back_to_sp_then_to_p() -> None:
    assert record("v=DMARC1; p=none; sp=reject").nonexistent_policy is Policy.REJECT
    assert record("v=DMARC1; p=quarantine").nonexistent_policy is Policy.QUARANTINE
    assert record("v=DMARC1; p=quarantine; np=none").subdomain_policy is Policy.QUARANTINE


def test_values_have_no_case() -> None:
    found = record("v=DMARC1; p=REJECT; psd=Y; adkim=S; t=Y")
    assert (found.policy, found.psd, found.dkim_alignment, found.testing) == ("reject", "y", "s", True)


@pytest.mark.parametrize("text", ["v=DMARC1; P=reject", "v=DMARC1; P = REJECT; Rua=mailto:a@example.org"])
def test_a_policy_under_a_name_in_upper_case_protects(text: str) -> None:
    assert record(text).policy is Policy.REJECT


@pytest.mark.parametrize("text", ["v=DMARC1; p=reject; P=none", "v=DMARC1; P=none; p=reject"])
def test_beside_one_in_lower_case_it_is_ignored_and_told(text: str) -> None:
    found = record(text)
    assert found.policy is Policy.REJECT
    assert found.problems


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\xa0", "\xc2\xa0", " \t\n \xc2\xa0", "\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1; p=reject{}",
        "v=DMARC1; p={}reject;",
        "v=DMARC1;{}p=reject",
        "v=DMARC1; p{}=reject;{}",
        "v=DMARC1{};p=reject",
    ],
)
def test_what_pasting_into_a_form_leaves_around_a_value_takes_no_protection_away(text: str, blank: str) -> None:
    assert record(text.replace("{}", blank)).policy is Policy.REJECT


def test_a_list_of_addresses_may_have_tabs_around_its_commas() -> None:
    """RFC 9989 4.8: dmarc-urilist has *WSP there."""
    found = record("v=DMARC1; p=bogus; rua=mailto:a@example.org\t,\tmailto:b@example.org")
    assert found.usable
    assert found.rua == ("mailto:a@example.org", "mailto:b@example.org")


def test_unknown_and_historic_tags_are_ignored() -> None:
    found = record("v=DMARC1; p=reject; pct=0; rf=afrf; ri=86400; future=yes")
    assert found.policy is Policy.REJECT
    assert not found.testing
    assert found.problems == ()


@pytest.mark.parametrize("bad", ["psd=x", "t=maybe", "adkim=q", "aspf=", "garbage", "=x", "p2=x", "fo\x80=1", "t=\xff"])
def test_an_error_in_another_tag_leaves_its_default_and_is_told(bad: str) -> None:
    found = record(f"v=DMARC1; {bad}; p=reject")
    assert found.policy is Policy.REJECT
    assert found.usable
    assert (found.psd, found.testing, found.dkim_alignment, found.spf_alignment) == ("u", False, "r", "r")
    assert found.problems


@pytest.mark.parametrize("bad", ["", "p=", "p=bogus;", "p=reject; sp=bogus;", "p=reject; np=;", "p=none; p=reject;"])
def test_bad_policies_are_none_with_a_reporting_address_and_nothing_without(bad: str) -> None:
    with_address = record(f"v=DMARC1; {bad} rua=mailto:reports@example.org" if bad != "p=" else "v=DMARC1; p=; rua=x:y")
    assert with_address.usable
    assert with_address.policy is with_address.subdomain_policy is with_address.nonexistent_policy is Policy.NONE
    assert with_address.problems
    without = record(f"v=DMARC1; {bad}")
    assert not without.usable
    assert without.problems


@pytest.mark.parametrize(
    ("uris", "valid"),
    [
        ("mailto:a@example.org", True),
        ("mailto:a@example.org!10m", True),
        ("mailto:a@example.org!10", True),
        ("mailto:a@example.org?subject=x", True),
        ("junk, mailto:a@example.org", True),
        ("HTTPS://example.org/%20x", True),
        ("mailto:", False),
        ("mailto:a", False),
        ("a@example.org", False),
        ("mailto:a@example.org!!", False),
        ("mailto:a b@example.org", False),
        ("https://example.org/%zz", False),
        (",", False),
    ],
)
def test_what_counts_as_a_reporting_address(uris: str, valid: bool) -> None:
    assert record(f"v=DMARC1; p=bogus; rua={uris}").usable is valid


def test_what_is_shown_of_a_record_is_safe() -> None:
    found = record("v=DMARC1; p=\x1b[31m\r\n; \x07=x; rua=\x1b:")
    for text in (found.text, *found.problems):
        assert text.isprintable()


@given(st.binary(max_size=300))
def test_any_octets_are_read_without_an_error(tail: bytes) -> None:
    found = parse(b"v=DMARC1;" + tail)
    assert found.usable or found.problems
    assert len(found.problems) <= 10


def test_the_longest_record_is_read_in_one_pass() -> None:
    assert parse(b"v=DMARC1;" + b"p=none;" * 9000).problems
    assert parse(b"v=DMARC1; p=none; rua=" + b"mailto:a@b.example," * 3000).usable


def test_what_stands_beyond_the_bounds_of_a_record_is_discarded_and_the_rest_followed() -> None:
    long = parse(b"v=DMARC1; p=reject; rua=mailto:a@x.example; x=" + b"y" * MAX_TEXT + b"; sp=none")
    assert (long.policy, long.subdomain_policy, long.usable) == ("reject", "reject", True)
    assert "octets" in long.problems[0]
    many = parse(b"v=DMARC1; p=reject; " + b"x=y; " * MAX_TAGS + b"sp=none")
    assert (many.policy, many.subdomain_policy) == ("reject", "reject")
    assert "tags" in many.problems[0]
    uris = parse(b"v=DMARC1; p=reject; rua=" + b",".join([b"mailto:a@x.example"] * (MAX_URIS + 1)))
    assert (uris.policy, len(uris.rua)) == ("reject", MAX_URIS)


@pytest.mark.parametrize(
    ("tags", "options"),
    [
        ("", "0"),
        ("fo=1", "0"),  # "MUST be ignored if a "ruf" tag is not also specified"
        ("fo=1; ruf=mailto:f@a.example", "1"),
        ("fo=D : s:0; ruf=mailto:f@a.example", "d:s:0"),
        ("fo=0:1; ruf=mailto:f@a.example", "0"),
        ("fo=x; ruf=mailto:f@a.example", "0"),
        ("fo=d:d:d:d:d; ruf=mailto:f@a.example", "0"),
    ],
)
def test_failure_options(tags: str, options: str) -> None:
    assert parse(f"v=DMARC1; p=none; {tags}".encode()).fo == options
