"""How many addresses an SPF record lets in."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.cli.breadth_text import advice, in_words, of_mechanism
from mailnotary.resolver import ZoneResolver
from mailnotary.spf.breadth import Breadth, breadth, of_term


def of(record: str, **more: list[dict[str, Any]]) -> Breadth:
    zone = {"a.example": [{"TXT": record}, {"A": "192.0.2.1"}, {"MX": [10, "mx.example"]}]}
    zone["mx.example"] = [{"A": "198.51.100.1"}, {"AAAA": "2001:db8::1"}]
    return breadth("a.example", ZoneResolver(zone | {name.replace("_", "."): found for name, found in more.items()}))


@pytest.mark.parametrize(
    ("record", "ipv4", "ipv6"),
    [
        ("v=spf1 -all", 0, 0),
        ("v=spf1 ip4:192.0.2.0/24 -all", 256, 0),
        ("v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.128/25 ip4:192.0.2.1 -all", 256, 0),  # each address once
        ("v=spf1 ip6:2001:db8::/64 ~all", 0, 1 << 64),
        ("v=spf1 a mx/24 -all", 1 + 256, 1),
        ("v=spf1 ?ip4:10.0.0.0/8 -ip4:11.0.0.0/8 ~mx ip4:192.0.2.7 ?all", 1, 0),
        ("v=spf1 -all ip4:10.0.0.0/8", 0, 0),
        ("v=spf1 include:b.example ip4:192.0.2.7 -all", 257, 0),
        ("v=spf1 redirect=b.example", 256, 0),
        ("v=spf1 redirect=b.example ~all", 0, 0),
    ],
)
def test_the_addresses_that_pass_are_counted(record: str, ipv4: int, ipv6: int) -> None:
    found = of(record, b_example=[{"TXT": "v=spf1 ip4:203.0.113.0/24 ?ip4:10.0.0.0/8 -all"}])
    assert (found.ipv4, found.ipv6) == (ipv4, ipv6)
    assert found == Breadth(ipv4, ipv6)


def test_what_cannot_be_counted_is_told() -> None:
    assert of("v=spf1 +all").everybody
    assert of("v=spf1 include:b.example -all", b_example=[{"TXT": "v=spf1 all"}]).everybody
    found = of("v=spf1 ptr exists:%{i}.b.example include:%{d}.c.example a:%{o} -all")
    assert found.open_ended == ("ptr", "exists:%{i}.b.example", "include:%{d}.c.example", "a:%{o}")
    assert "whatever ptr, exists:" in in_words(found)
    assert of("v=spf1 include:none.example -all").incomplete == "none.example has no SPF record"
    assert "TIMEOUT" in of("v=spf1 include:b.example -all", b_example=["TIMEOUT"]).incomplete  # type: ignore[list-item]
    assert of("v=spf1 foo:bar").incomplete
    chain = {f"n{number}_example": [{"TXT": f"v=spf1 include:n{number + 1}.example -all"}] for number in range(20)}
    assert of("v=spf1 include:n0.example -all", **chain).incomplete.startswith("more than 10 terms ask DNS")
    assert of("v=spf1 include:a.example -all").incomplete  # a loop ends


def test_words_and_advice() -> None:
    assert in_words(Breadth(1, 0)) == "lets in 1 IPv4 address"
    assert in_words(Breadth(70_000, 1 << 65)) == "lets in 70,000 IPv4 addresses and 2 IPv6 networks of 64 bits"
    assert in_words(Breadth(0, 3)) == "lets in 0 IPv4 addresses and 3 IPv6 addresses"
    assert in_words(Breadth(0, 0, everybody=True)) == "lets in every address"
    assert advice(Breadth(500_000, 0)) == []
    assert "BreakSPF" in advice(Breadth(1 << 24, 0))[0]


@pytest.mark.parametrize(
    ("term", "count", "told"),
    [
        ("ip4:10.0.0.0/8", 1 << 24, "ip4:10.0.0.0/8 lets in 16,777,216 addresses"),
        ("ip4:192.0.2.0/24", 256, ""),
        ("+ip4:10.0.0.0/16", 1 << 16, "+ip4:10.0.0.0/16 lets in 65,536 addresses"),
        ("ip6:2000::/3", 1 << 125, "ip6:2000::/3 lets in 2,305,843,009,213,693,952 IPv6 networks of 64 bits"),
        ("ip6:2001:db8::/64", 1 << 64, ""),
        ("include:x.example", 0, ""),
        ("", 0, ""),
        ("a b", 0, ""),
        ("\xff\x00", 0, ""),
    ],
)
def test_the_term_that_matched(term: str, count: int, told: str) -> None:
    assert of_term(term) == count
    assert of_mechanism(term) == told


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=8))
def test_the_count_is_that_of_the_set(networks: list[tuple[int, int]]) -> None:
    terms = [f"ip4:{IPv4Address(number)}/{bits}" for number, bits in networks]
    found = of(" ".join(["v=spf1", *terms, "-all"])).ipv4
    sizes = [1 << (32 - bits) for _, bits in networks]
    assert max(sizes, default=0) <= found <= sum(sizes)
    assert of(" ".join(["v=spf1", *terms, *terms, "-all"])).ipv4 == found
