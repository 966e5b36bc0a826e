"""The syntax of SPF records (RFC 7208 sections 4.5, 4.6.1, 5, 6, 12)."""

import time
from contextlib import suppress

import pytest

from mailnotary.spf.record import (
    MAX_RECORD,
    A,
    All,
    Exists,
    Include,
    Ip4,
    Ip6,
    Mx,
    Ptr,
    SpfRecordError,
    almost_spf,
    ignored_mechanisms,
    is_spf_record,
    parse_record,
)
from mailnotary.status import SpfStatus
from support.spf import record_of, words


@pytest.mark.parametrize("text", [b"v=spf1", b"v=spf1 ", b"V=SPF1 -all", b"v=spf1  a"])
def test_an_spf_record_has_the_version(text: bytes) -> None:
    assert is_spf_record(text)


@pytest.mark.parametrize(
    "text", [b"", b"v=spf10", b"v=spf1-all", b" v=spf1", b"v=spf1\t-all", b"v=spf2.0/pra", b"v=spf"]
)
def test_any_other_text_is_none(text: bytes) -> None:
    assert not is_spf_record(text)


def test_each_term_comes_to_its_type() -> None:
    record = record_of(
        "v=spf1 a MX:b.example/24//64 -pTr ~ip4:192.0.2.9/24 ?ip6:2001:DB8::1/32 exists:%{i}.x.y include:c.d all"
    )
    types = [type(directive.mechanism) for directive in record.directives]
    assert types == [A, Mx, Ptr, Ip4, Ip6, Exists, Include, All]
    results = [directive.result for directive in record.directives]
    passed = SpfStatus.PASS
    assert results == [passed, passed, SpfStatus.FAIL, SpfStatus.SOFTFAIL, SpfStatus.NEUTRAL, passed, passed, passed]
    assert record.directives[1].text == "MX:b.example/24//64"
    mx, ip4, ip6 = (record.directives[number].mechanism for number in (1, 3, 4))
    assert isinstance(mx, Mx)
    assert (mx.prefix4, mx.prefix6) == (24, 64)
    assert ip4 == Ip4(0xC0000200, 0xFFFFFF00)
    assert ip6 == Ip6(0x20010DB8 << 96, 0xFFFFFFFF << 96)


@pytest.mark.parametrize(
    "argument", ["", ":a.b", "/0", "/32", "//0", "//128", "/24//64", ":a.b/24", ":a.b//64", ":a.b/24//64"]
)
def test_dual_cidr_lengths(argument: str) -> None:
    for name in ("a", "mx"):
        record_of(f"v=spf1 {name}{argument}")


@pytest.mark.parametrize(
    "term",
    words("""
        a/33 a/024 a/ a// a//129 a///64 a/24/64 a/24// a//64/24 a/-1 a/x a:/24 a: a:b a:a.b/33 a:a.b/ a:a.b/24/64
        a:a.b.c/24.d/ a:%{d}. a.b a=b/% a24
    """),
)
def test_bad_host_terms(term: str) -> None:
    with pytest.raises(SpfRecordError):
        record_of(f"v=spf1 {term} -all")


@pytest.mark.parametrize(
    "term",
    words("""
        ip4 ip4: ip4:1.2.3 ip4:1.2.3.4.5 ip4:1.2.3.256 ip4:01.2.3.4 ip4:1.2.3.4/33 ip4:1.2.3.4/08 ip4:1.2.3.4/
        ip4:1.2.3.4//32 ip4:1.2.3.4:25 ip4:a.b ip4/24 ip4:2001:db8::1 ip4:1.2.3.4, ip4:%{i} ip4:١.2.3.4
        ip4:1.2.3.4/٣
    """),
)
def test_bad_ip4_networks(term: str) -> None:
    with pytest.raises(SpfRecordError):
        parse_record(f"v=spf1 {term} -all".encode())


@pytest.mark.parametrize(
    "network", ["::", "::1", "1::", "2001:db8::1.2.3.4", "1:2:3:4:5:6:7:8", "::FFFF:1.2.3.4", "1::/0", "::/128"]
)
def test_ip6_networks(network: str) -> None:
    record_of(f"v=spf1 ip6:{network}")


@pytest.mark.parametrize(
    "term",
    words("""
        ip6 ip6: ip6:1.2.3.4 ip6:::1/129 ip6:::1/064 ip6:::1//64 ip6:1:2 ip6:1::2::3 ip6:12345:: ip6:fe80::1%eth0
        ip6:[::1] ip6:1:2:3:4:5:6:7:8:9 ip6::1:: ip6:::1/ ip6:::1.2.3.256
    """),
)
def test_bad_ip6_networks(term: str) -> None:
    with pytest.raises(SpfRecordError):
        record_of(f"v=spf1 {term} -all")


@pytest.mark.parametrize(
    "term",
    words("""
        all: all/8 all. all:a.b - +-all --all *all !all moo -moo include include: include:a.b/24 include/24 exists
        exists:a.b/24 ptr/24 ptr: ptr:a.b/0 redirect:a.b -redirect=a.b =a 1a=b _a=b redirect= exp= redirect=a
        exp=a.1 moo=% moo=%{z} exp=%{c}.a a, v=spf1:%a
    """),
)
def test_bad_terms(term: str) -> None:
    with pytest.raises(SpfRecordError):
        record_of(f"v=spf1 {term} -all")


@pytest.mark.parametrize(
    "term", ["moo=", "moo=cow", "m.o-o_1=%{c}%%/:=", "v=spf1", "ra=postmaster", "include=a", "all=1", "redirec=:"]
)
def test_unknown_modifiers_are_ignored_however_often(term: str) -> None:
    assert len(record_of(f"v=spf1 {term} {term} -all").directives) == 1


@pytest.mark.parametrize("name", ["redirect", "exp", "REDIRECT", "eXp"])
def test_a_known_modifier_stands_once(name: str) -> None:
    record_of(f"v=spf1 {name}=a.b ")
    with pytest.raises(SpfRecordError, match="duplicated"):
        record_of(f"v=spf1 {name}=a.b {name.lower()}=a.b")


def test_all_anywhere_makes_a_redirect_void() -> None:
    assert record_of("v=spf1 redirect=a.b").redirect is not None
    assert record_of("v=spf1 redirect=a.b ?all").redirect is None
    assert record_of("v=spf1 all a redirect=a.b").redirect is None


@pytest.mark.parametrize("octet", [b"\t", b"\r", b"\n", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xa0", b"\xff"])
def test_only_spaces_separate_terms_and_all_else_is_visible_ascii(octet: bytes) -> None:
    with pytest.raises(SpfRecordError):
        parse_record(b"v=spf1 a" + octet + b"mx -all")
    with pytest.raises(SpfRecordError):
        parse_record(b"v=spf1 x=" + octet + b" -all")


def test_an_error_says_where_and_what() -> None:
    with pytest.raises(SpfRecordError) as caught:
        record_of("v=spf1 mx  a:111.222.33.44 -all")
    assert caught.value.position == 24
    assert "a:111.222.33.44" in str(caught.value)
    assert "ip4:111.222.33.44" in str(caught.value)
    with pytest.raises(SpfRecordError) as caught:
        parse_record(b"v=spf1 a:b.c\xe9 -all")
    assert caught.value.position == 12


def test_a_record_of_any_size_is_parsed_in_linear_time() -> None:
    for text in (
        b"v=spf1 " + b"ip6:" + b":" * 8_000,
        b"v=spf1 " + b"a:" + b"1" * 8_000,
        b"v=spf1 " + b"x=" + b"%{d" + b"1" * 8_000 + b"}",
        b"v=spf1 " + b"a" * 8_000,
        b"v=spf1 " + b"a/" * 4_000,
        b"v=spf1 " + b"x=" + b"%{d.-+}" * 1_100,
        b"v=spf1 " + b"a " * 4_000,
        b"v=spf1 " + b"ip4:1.2.3.4 " * 680,
        b"v=spf1 " + b"mx:%{d}.a-" + b"-" * 1_900,
    ):
        began = time.process_time()
        with suppress(SpfRecordError):
            parse_record(text)
        assert time.process_time() - began < 5  # far above what it takes, far below what a quadratic scan would


def test_a_record_of_many_times_what_is_advised_is_refused() -> None:
    assert parse_record(b"v=spf1 ".ljust(MAX_RECORD)).directives == ()
    with pytest.raises(SpfRecordError, match=str(MAX_RECORD)):
        parse_record(b"v=spf1 ".ljust(MAX_RECORD + 1))


@pytest.mark.parametrize(
    ("term", "hint"),
    [
        ("192.0.2.0/24", "(ip4:192.0.2.0/24)"),
        ("192.0.2.1", "(ip4:192.0.2.1)"),
        ("a:192.0.2.0/24", "(ip4:192.0.2.0/24?)"),
        ("mx:192.0.2.0", "(ip4:192.0.2.0?)"),
        ("include:192.0.2.0/24", "(ip4:192.0.2.0/24?)"),
        ("2001:db8::/32", "(ip6:2001:db8::/32)"),
        ("-include=example.org", '(":" goes before its argument, not "=")'),
        ("redirect:example.org", "redirect="),
        ("a\u2013b", "a dash (U+2013) is not US-ASCII"),
        ("\u2013all", "a dash (U+2013) is not US-ASCII"),
        ("\u201call\u201d", "a quotation mark (U+201C) is not US-ASCII"),
        ("\u00e9", "a character (U+00E9) is not US-ASCII"),
    ],
)
def test_an_error_says_what_was_meant(term: str, hint: str) -> None:
    with pytest.raises(SpfRecordError) as caught:
        parse_record(f"v=spf1 {term} -all".encode())
    assert hint in caught.value.reason


def test_broken_utf_8_is_an_octet() -> None:
    for octets in (b"\xe2", b"\xe2\x80", b"\xff\xfe", b"\xc3(\xa9"):
        with pytest.raises(SpfRecordError, match=f"octet 0x{octets[0]:02x} is not US-ASCII"):
            parse_record(b"v=spf1 " + octets)


@pytest.mark.parametrize(
    ("text", "almost"),
    [
        (b" v=spf1 -all", True),
        (b'"v=spf1 -all"', True),
        (b"\tv=spf1 -all", True),
        (b"v=spf1; -all", True),
        (b"v=spf1\t-all", True),
        (b"v = spf1 -all", True),
        (b"V=SPF1,mx", True),
        (b"\xef\xbb\xbfv=spf1 -all", True),
        ("v=spf1\u00a0-all".encode(), True),
        (b"v=spf1 -all", False),
        (b"v=spf10 -all", False),
        (b"spf2.0/pra -all", False),
        (b"v=DMARC1; p=none", False),
        (b"see v=spf1 of example.org", False),
        (b"", False),
    ],
)
def test_what_is_almost_an_spf_record(text: bytes, almost: bool) -> None:
    assert almost_spf(text) is almost


def test_mechanisms_that_are_written_as_modifiers_are_known() -> None:
    text = b"v=spf1 include=a.example ip4=192.0.2.1 IP6=::1 redirect=b.example x=1 exp=c.example a:d.example/e=f -all"
    assert ignored_mechanisms(text) == ["include=a.example", "ip4=192.0.2.1", "IP6=::1"]
