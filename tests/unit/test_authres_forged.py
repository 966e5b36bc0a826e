"""Which Authentication-Results fields claim to be ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.authres import claims

OURS = ["mx.example.org"]


@pytest.mark.parametrize(
    "value",
    [
        "mx.example.org; dkim=pass",
        "MX.Example.ORG; dkim=pass",
        "mx.example.org.; dkim=pass",
        "mx.example.org..; dkim=pass",
        "mx.example.org 1; none",
        "mx.example.org 99; none",
        "  \t mx.example.org; none",
        "\r\n mx.example.org\r\n ; none",
        "(x) mx.example.org (y) 1 (z); none",
        "((a)(b\\)))mx.example.org(c); none",
        '"mx.example.org"; none',
        '"MX.EXAMPLE.ORG."; none',
        '"mx\\.example\\.org" 1; none',
        "mx．example。org; none",  # full-width and ideographic dots, as IDNA maps them
        "ｍｘ.example.org; none",
        # not in the grammar, but ours to a reader who is not strict
        "mx.example.org",
        "mx.example.org;",
        "mx.example.org dkim=pass",
        "mx.example.org x; dkim=pass",
        "mx.example.org/1; dkim=pass",
        "mx.example.org, dkim=pass",
        "; mx.example.org; dkim=pass",
        "dkim=pass; mx.example.org",
        "=mx.example.org; dkim=pass",
        "other.example; none; mx.example.org; dkim=pass",
        "other.example mx.example.org; dkim=pass",
        "mx(x).example.org; dkim=pass",
        "mx.exa(a(b)c\\))mple.org; dkim=pass",
        "mx.exa\r\n mple.org; dkim=pass",
        "mx .example.\torg; dkim=pass",
        'mx."example".org; dkim=pass',
        'mx."exa\\mple".org; dkim=pass',
        "mx.exa\\mple.org; dkim=pass",
        '"mx.example.org; dkim=pass',
        "(mx.example.org; dkim=pass",
        "mx(.example.org; dkim=pass",
        "mx.example.org\0; dkim=pass",
        "mx.exa\0mple.org; dkim=pass",
        "mx.exa\u200bmple.org dkim=pass",
        "mx.example.org\r\nX: y",
        "mx.example.org; dkim=pass header.d=\x07",
        "mx.example.org; dkim=pass" + " (" * 100,
        "=?utf-8?q?mx.example.org?=; dkim=pass",
        "=?utf-8?b?bXguZXhhbXBsZS5vcmc=?=; dkim=pass",
        "=?utf-8?q?mx.exam?= =?utf-8?q?ple.org?=; dkim=pass",
        b"mx.exa\xffmple.org; dkim=pass",
        b"\xef\xbb\xbfmx.example.org; dkim=pass",
        b"mx.example.org; dkim=pass" + b" " * 70_000,
    ],
)
def test_a_claim_is_seen_through_every_disguise(value: str | bytes) -> None:
    assert claims(value if isinstance(value, bytes) else value.encode(), OURS)


@pytest.mark.parametrize(
    "value",
    [
        "other.example; dkim=pass",
        "other.example; dkim=pass header.d=mx.example.org",
        "other.example (mx.example.org); dkim=pass",
        'other.example; dkim=pass reason="mx.example.org; dkim=pass"',
        "mx.example.org.evil.example; dkim=pass",
        "xmx.example.org; dkim=pass",
        "example.org; none",
        "mx.example; none",
        "org; none",
        "",
        ";",
        "spf=pass smtp.mailfrom=example.com",
        "(",
    ],
)
def test_the_results_of_others_are_not_ours(value: str) -> None:
    assert not claims(value.encode(), OURS)


def test_any_of_several_ids_counts_however_it_is_written() -> None:
    assert claims(b"two.example; none", ["one.example", "TWO.example."])
    assert claims(b"two.example", ["one.example", "TWO.example."])
    assert not claims(b"two.example; none", [])


@pytest.mark.parametrize("own", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.EXAMPLE."])
@pytest.mark.parametrize(
    "value", ["bücher.example; none", "XN--BCHER-KVA.example; none", '"Bücher.example." 1; none', "Bücher.example x=y"]
)
def test_u_labels_and_a_labels_are_one_id(own: str, value: str) -> None:
    assert claims(value.encode(), [own])


def test_an_id_need_not_be_a_domain() -> None:
    assert claims(b'"Our Filter"; none', ["our filter"])
    assert claims(b"our filter; none", ["our filter"])
    assert claims(b"example-auth; none", ["Example-Auth"])


@given(
    st.lists(st.sampled_from(["", " ", "(x)", "\r\n ", "(a(b))", "\t"]), min_size=3, max_size=3),
    st.sampled_from(["mx.example.org", "MX.example.ORG.", '"mx.example.org"', '"m\\x.example.org"']),
    st.sampled_from(["", " 1", " 1 "]),
    st.sampled_from(["none", "dkim=pass header.d=bank.example", "dkim", "dkim=pass x", '"']),
)
def test_a_claim_is_seen_whatever_stands_around_it(gaps: list[str], own: str, version: str, rest: str) -> None:
    assert claims(f"{gaps[0]}{own}{version}{gaps[1]};{gaps[2]}{rest}".encode(), OURS)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_cannot_be_read_and_has_the_id_in_it_is_a_claim(before: bytes, after: bytes) -> None:
    assert claims(b"\0" + before + b" mx.example.org " + after, OURS)


@pytest.mark.parametrize("piece", ["(", ")", "\\", '"', "mx.example.or", "=?utf-8?q?", "\ufdfa", ";", "a=b ", "\0"])
def test_long_values_take_time_in_proportion(piece: str) -> None:
    """Two hundred thousand octets of trouble are done with before anybody notices."""
    assert not claims((piece * 200_000)[:200_000].encode(), OURS)
