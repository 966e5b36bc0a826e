"""ZoneResolver: zone data in, the answers that DNS would give out."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, ZoneResolver
from mailnotary.resolver.types import MAX_CNAMES
from mailnotary.resolver.zone import ZoneError

A, AAAA, MX, PTR, TXT = RecordKind.A, RecordKind.AAAA, RecordKind.MX, RecordKind.PTR, RecordKind.TXT


def zone(**names: Any) -> ZoneResolver:
    return ZoneResolver({name.replace("_", "."): data for name, data in names.items()})


def test_each_kind_of_record_has_its_python_type() -> None:
    resolver = zone(
        a_example=[
            {"A": "192.0.2.1"},
            {"AAAA": "2001:db8::1"},
            {"MX": [10, "mx.example."]},
            {"PTR": "host.example."},
            {"TXT": "hello"},
        ]
    )
    assert resolver.lookup("a.example", A).records == (IPv4Address("192.0.2.1"),)
    assert resolver.lookup("a.example", AAAA).records == (IPv6Address("2001:db8::1"),)
    assert resolver.lookup("a.example", MX).records == (MxRecord(10, "mx.example"),)
    assert resolver.lookup("a.example", PTR).records == ("host.example",)
    assert resolver.lookup("a.example", TXT).records == (b"hello",)


def test_nodata_nxdomain_and_an_empty_non_terminal_are_told_apart() -> None:
    resolver = zone(b_example=[{"A": "192.0.2.1"}], gone_example="NXDOMAIN")
    assert resolver.lookup("b.example", TXT) == Answer((), exists=True)
    assert resolver.lookup("example", TXT) == Answer((), exists=True)  # RFC 8020 section 2
    assert resolver.lookup("c.example", TXT) == Answer((), exists=False)
    assert resolver.lookup("gone.example", TXT) == Answer((), exists=False)


def test_a_name_that_only_a_nonexistent_one_is_below_does_not_exist() -> None:
    assert not zone(gone_example="NXDOMAIN").lookup("example", TXT).exists


@pytest.mark.parametrize("word", ["TIMEOUT", "SERVFAIL"])
def test_a_fault_holds_for_the_types_without_records(word: str) -> None:
    resolver = zone(
        mixed_example=[{"A": "192.0.2.1"}, word], one_example=[{"TXT": word}, {"A": "192.0.2.2"}], bare=word
    )
    assert resolver.lookup("mixed.example", A).records
    assert resolver.lookup("one.example", A).records
    assert not resolver.lookup("one.example", MX).records
    for name in ("mixed.example", "one.example", "bare"):
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup(name, TXT)
        assert caught.value.word == word


def test_character_strings_are_joined_without_spaces() -> None:
    assert zone(x=[{"TXT": ["v=spf1 ip4:192.0", ".2.1 -all"]}]).lookup("x", TXT).texts == (
        b"v=spf1 ip4:192.0.2.1 -all",
    )


def test_text_beyond_ascii_is_octets_where_it_can_be_and_utf8_where_not() -> None:
    resolver = zone(x=[{"TXT": "\x80\xff"}, {"TXT": "\u20ac"}, {"TXT": b"\x00"}, {"TXT": ""}])
    assert resolver.lookup("x", TXT).texts == (b"\x80\xff", "\u20ac".encode(), b"\x00", b"")


def test_spf_stands_for_txt_unless_the_name_has_its_own() -> None:
    assert zone(x=[{"SPF": "v=spf1 -all"}]).lookup("x", TXT).texts == (b"v=spf1 -all",)
    assert zone(x=[{"SPF": "a"}, {"TXT": "b"}]).lookup("x", TXT).texts == (b"b",)
    assert zone(x=[{"SPF": "a"}, {"TXT": "NONE"}]).lookup("x", TXT).texts == ()
    assert zone(x=[{"SPF": "TIMEOUT"}, {"TXT": "b"}]).lookup("x", TXT).texts == (b"b",)


def test_names_match_without_regard_to_case_and_to_a_trailing_dot() -> None:
    resolver = ZoneResolver({"MiXed.Example.": [{"A": "192.0.2.1"}]})
    for name in ("mixed.example", "MIXED.EXAMPLE", "mixed.example."):
        assert resolver.lookup(name, A).records


def test_only_the_letters_a_to_z_have_case() -> None:
    resolver = ZoneResolver({"\xc9.example": [{"A": "192.0.2.1"}]})
    assert resolver.lookup("\xc9.EXAMPLE", A).records
    assert not resolver.lookup("\xe9.example", A).exists


def test_a_name_with_u_labels_is_found_by_its_a_labels() -> None:
    resolver = ZoneResolver({"b\xfccher.example": [{"A": "192.0.2.1"}]})
    assert resolver.lookup("xn--bcher-kva.example", A).records


def test_cnames_are_followed() -> None:
    resolver = zone(a=[{"CNAME": "B."}], b=[{"CNAME": "c"}], c=[{"TXT": "here"}], d=[{"CNAME": "nowhere"}])
    assert resolver.lookup("a", TXT).texts == (b"here",)
    assert resolver.lookup("a", A) == Answer((), exists=True)
    assert resolver.lookup("d", A) == Answer((), exists=False)


def test_as_many_cnames_are_followed_as_promised_and_no_more() -> None:
    def chain(length: int) -> ZoneResolver:
        names: dict[str, Any] = {f"n{i}": [{"CNAME": f"n{i + 1}"}] for i in range(length)}
        return ZoneResolver({**names, f"n{length}": [{"TXT": "end"}]})

    assert chain(MAX_CNAMES).lookup("n0", TXT).texts == (b"end",)
    with pytest.raises(DnsTempError):
        chain(MAX_CNAMES + 1).lookup("n0", TXT)


def test_a_loop_of_cnames_ends() -> None:
    resolver = zone(a=[{"CNAME": "b"}], b=[{"CNAME": "a"}], self=[{"CNAME": "self"}])
    for name in ("a", "self"):
        with pytest.raises(DnsTempError):
            resolver.lookup(name, A)


@pytest.mark.parametrize(
    "data",
    [
        "NOSUCHWORD",
        ["NOSUCHWORD"],
        7,
        None,
        [None],
        [{}],
        [{"A": "192.0.2.1", "TXT": "two keys"}],
        [{"CAA": "unknown type"}],
        [{"A": "2001:db8::1"}],
        [{"A": None}],
        [{"AAAA": "192.0.2.1"}],
        [{"MX": "10 mx.example"}],
        [{"MX": "10"}],
        [{"MX": [10]}],
        [{"MX": ["ten", "mx.example"]}],
        [{"MX": [10, None]}],
        [{"PTR": 7}],
        [{"CNAME": None}],
        [{"TXT": {"a": "b"}}],
        [{"TXT": None}],
    ],
)
def test_data_in_another_form_is_refused_with_its_name(data: Any) -> None:
    with pytest.raises(ZoneError, match="bad\\.example"):
        ZoneResolver({"bad.example": data})


def test_an_error_names_an_attackers_name_only_escaped() -> None:
    with pytest.raises(DnsTempError) as caught:
        ZoneResolver({"a\x1b[2J": "SERVFAIL"}).lookup("a\x1b[2J", A)
    assert "\x1b" not in caught.value.reason


@given(st.text(max_size=300), st.sampled_from(RecordKind))
def test_any_name_has_an_answer(name: str, kind: RecordKind) -> None:
    assert isinstance(zone(x_example=[{"A": "192.0.2.1"}]).lookup(name, kind), Answer)
