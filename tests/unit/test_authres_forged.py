"""Which Authentication-Results fields claim to be ours."""

import re
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mailnotary.authres import claims
from mailnotary.domain import to_ascii

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
        # in the grammar, but with marks that readers take for quotes or white space, or don't see
        "'mx.example.org'; dkim=pass",
        "`mx.example.org'; dkim=pass",
        "'mx.example.org' 1; dkim=pass",
        "\u2018mx.example.org\u2019; dkim=pass",
        "\u201cmx.example.org\u201d; dkim=pass",
        "\xabmx.example.org\xbb; dkim=pass",
        '"<mx.example.org>"; dkim=pass',
        '"mx.example.org other.example"; dkim=pass',
        "mx.example.org\u2028; dkim=pass",
        "mx.example.org\u20281; dkim=pass",
        "mx.example.org\u2029x; dkim=pass",
        "mx.example.org\xa0; dkim=pass",
        "\xa0mx.example.org; dkim=pass",
        "other.example\xa0mx.example.org; dkim=pass",
        "mx.example.org\u200b.other.net; dkim=pass",
        "mx.example.org\x85; dkim=pass",
        "mx.exa\u3164mple.org; dkim=pass",
        "mx.\u00b4example\u00b4.org; dkim=pass",
        "'.mx.example.org.'; dkim=pass",
        b"mx.example.org\xa0; dkim=pass",
        b"'mx.example.org\xff'; dkim=pass",
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
        "mx.example.org.other.net; dkim=pass header.d=mx.example.org",
        "mx.example.org.other.net.; dkim=pass",
        "mx.example.org-2.other.net; dkim=pass",
        "other-mx.example.org; dkim=pass",
        "back_mx.example.org; dkim=pass",
        "a.mx.example.org; dkim=pass",
        "mx.example.orgé; dkim=pass",
        "übermx.example.org; dkim=pass",
        "नीmx.example.org; dkim=pass",
        "'mx.example.org.other.net'; dkim=pass",
        "other.example; dkim=pass header.i='mx.example.org'",
        "other.example; dkim=pass (from 'mx.example.org') header.d=a.example",
        "other.example; spf=pass smtp.mailfrom=a@mx.example.org smtp.helo=mx.example.org",
        "'other.example'; spf=pass smtp.helo=mx.example.org",
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


def _is_mark(character: str) -> bool:
    """No part of any name, neither as it stands nor as IDNA and NFKC map it."""
    changed = unicodedata.normalize("NFKC", character)
    return not re.search(r"[\w.\u3002-]", changed) and (character.isascii() or to_ascii("a" + character) in (None, "a"))


def _marks() -> st.SearchStrategy[str]:
    """Punctuation, all white space, controls, what shows nothing."""
    known = st.sampled_from(" \t'`\"!|~{}^%$#&*+/<>,:\u2018\u201d\xb4\xa0\u2028\u2029\x85\u200b\u2060\u3164\ufeff")
    every = st.characters(categories=["P", "Sk", "Z", "Cc", "Cf"]).filter(_is_mark)
    return st.text(st.one_of(known, every, st.just("\udcff")), max_size=4)


@given(st.lists(_marks(), min_size=3, max_size=3), st.integers(1, 13), st.booleans(), st.sampled_from(["", "x", "a.b"]))
@example(["", "", "\ufbb2"], 1, True, "x")  # a sign amid the ligatures
def test_no_mark_around_an_id_or_in_it_hides_it(marks: list[str], at: int, whole: bool, beside: str) -> None:
    """A mark within the id is skipped or not seen; a word beside it is another's only where no mark parts them."""
    before, within, after = marks
    own = OURS[0] if whole else OURS[0][:at] + within + OURS[0][at:]
    assume(not beside or (whole and after))
    text = f"{before}{own}{after}{beside}"
    assume(";" not in unicodedata.normalize("NFKC", text) and "=" not in text)
    assume(not before.count("(") and not (within if not whole else "").count("("))  # a comment hides what is in it
    assert claims(f"{text}; dkim=pass".encode("utf-8", "surrogateescape"), OURS), ascii(text)


_LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(
    st.lists(_LABEL, max_size=2),
    st.sampled_from(["", "mx.example.org", "MX.Example.ORG", "example.org", "mx.example"]),
    st.lists(_LABEL, min_size=1, max_size=2),
    st.sampled_from(["", " (mx.example.org)", " ('mx.example.org')"]),
    st.sampled_from(
        ["header.d=mx.example.org", "smtp.helo='mx.example.org'", 'reason="by mx.example.org" smtp.helo=a']
    ),
)
def test_the_field_of_another_host_stays(before: list[str], part: str, after: list[str], note: str, said: str) -> None:
    name = ".".join([*before, *([part] if part else []), *after])
    assume(name.lower() != OURS[0])
    assert not claims(f"{name}{note}; dkim=pass{note} {said}".encode(), OURS), name


@pytest.mark.parametrize(
    "piece", ["'", "'a", "\u2028x", "(", ")", "\\", '"', "mx.example.or", "=?utf-8?q?", "\ufdfa", ";", "a=b ", "\0"]
)
def test_long_values_take_time_in_proportion(piece: str) -> None:
    """Two hundred thousand octets of trouble are done with before anybody notices."""
    assert not claims((piece * 200_000)[:200_000].encode(), OURS)


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0316\u0300", "e\u0300\u0316"])
def test_combining_marks_in_the_wrong_order_take_time_in_proportion(marks: str) -> None:
    """Two hundred thousand of them would take a minute, were they put in order all at once."""
    first, last = marks[:-1], marks[-1]
    assert not claims((first * 100_000 + last * 100_000).encode(), ["mx.example.org"])
    assert claims(("(" + first * 1000 + last * 1000 + " mx.example.org").encode(), ["mx.example.org"])


@pytest.mark.parametrize("before", range(250, 260))
def test_a_disguise_is_seen_through_at_every_place(before: int) -> None:
    assert claims(("\u4e00" * before + "bu\u0308cher.example;").encode(), ["bücher.example"])


@pytest.mark.parametrize("nothing", "\xad\u034f\u061c\u180e\u200c\u2060\u3164\ufe0f\U000e0020")
def test_characters_that_show_nothing_disguise_no_id(nothing: str) -> None:
    for rest in ("; dkim=pass", " dkim=pass"):
        assert claims(f"mx.exa{nothing}mple.org{rest}".encode(), ["mx.example.org"])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("mx\u3002example\uff0enet", True),
        ("\uff4dx.example.net", True),
        ("mx.ex\xadample.net", True),
        ("\u212ax.example.net", False),
        ("b\xfccher.mx.example.net", False),
        ("mx.example.net.b\xfccher.example", False),
    ],
)
def test_an_id_in_unicode_is_compared_without_idna_where_ours_has_no_such_label(found: str, expected: bool) -> None:
    assert claims(f"{found}; dkim=pass".encode(), ["mx.example.net"]) is expected
    assert claims(f"{found}; dkim=pass".encode(), ["mx.example.net", "b\xfccher.example"]) is expected
