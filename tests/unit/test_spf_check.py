"""check_host() (RFC 7208 sections 4 to 6): what each term comes to, and which errors win."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, ZoneResolver
from mailnotary.resolver.types import RecordData
from mailnotary.spf import check_host, check_mail_from
from support.spf import CLIENT, CLIENT6, CountingResolver, spf

HOSTS: dict[str, Any] = {
    "host.example.com": [{"A": CLIENT}, {"AAAA": CLIENT6}],
    "other.example.com": [{"A": "198.51.100.1"}, {"AAAA": "2001:db8:1::1"}],
    "near.example.com": [{"A": "192.0.2.77"}, {"AAAA": "2001:db8::77"}],
    "v4.example.com": [{"A": CLIENT}],
    "v6.example.com": [{"AAAA": CLIENT6}],
    "mx.example.com": [{"MX": [10, "other.example.com"]}, {"MX": [20, "host.example.com"]}],
    "nullmx.example.com": [{"MX": [0, ""]}],
    "empty.example.com": [{"TXT": "nothing"}],
    "broken.example.com": "TIMEOUT",
    "mxbroken.example.com": [{"MX": [10, "broken.example.com"]}, {"MX": [20, "host.example.com"]}],
}


def result(record: str, zone: dict[str, Any] | None = None, ip: str = CLIENT) -> str:
    return str(spf(record, HOSTS | (zone or {}), ip).status)


@pytest.mark.parametrize(
    ("term", "status", "status6"),
    [
        ("all", "pass", "pass"),
        ("+all", "pass", "pass"),
        ("-all", "fail", "fail"),
        ("~ALL", "softfail", "softfail"),
        ("?all", "neutral", "neutral"),
        ("", "neutral", "neutral"),
        ("ip4:192.0.2.1", "pass", "neutral"),
        ("ip4:192.0.2.2", "neutral", "neutral"),
        ("ip4:192.0.2.255/24", "pass", "neutral"),
        ("ip4:0.0.0.0/0", "pass", "neutral"),
        ("ip6:2001:db8::1", "neutral", "pass"),
        ("ip6:2001:db8::2", "neutral", "neutral"),
        ("ip6:2001:db8:ffff::/32", "neutral", "pass"),
        ("ip6:::/0", "neutral", "pass"),
        ("ip6:::ffff:192.0.2.1", "neutral", "neutral"),
        ("a:host.example.com", "pass", "pass"),
        ("A:HOST.example.com.", "pass", "pass"),
        ("a:other.example.com", "neutral", "neutral"),
        ("a:other.example.com/0", "pass", "neutral"),
        ("a:other.example.com//0", "neutral", "pass"),
        ("a:near.example.com/24//64", "pass", "pass"),
        ("a:near.example.com/25//121", "pass", "pass"),
        ("a:near.example.com/26//122", "neutral", "neutral"),
        ("a:v4.example.com", "pass", "neutral"),
        ("a:v6.example.com", "neutral", "pass"),
        ("a:empty.example.com/0//0", "neutral", "neutral"),
        ("a:nowhere.example.com/0//0", "neutral", "neutral"),
        ("mx:mx.example.com", "pass", "pass"),
        ("mx:host.example.com", "neutral", "neutral"),
        ("mx:nullmx.example.com/0//0", "neutral", "neutral"),
        ("exists:v4.example.com", "pass", "pass"),
        ("exists:v6.example.com", "neutral", "neutral"),
        ("exists:nowhere.example.com", "neutral", "neutral"),
        ("a:broken.example.com", "temperror", "temperror"),
        ("mx:broken.example.com", "temperror", "temperror"),
        ("mx:mxbroken.example.com", "temperror", "temperror"),
        ("exists:broken.example.com", "temperror", "temperror"),
        ("include:broken.example.com", "temperror", "temperror"),
        ("redirect=broken.example.com", "temperror", "temperror"),
        ("include:nowhere.example.com", "permerror", "permerror"),
        ("include:empty.example.com", "permerror", "permerror"),
        ("redirect=nowhere.example.com", "permerror", "permerror"),
        ("redirect=empty.example.com", "permerror", "permerror"),
        ("include:%{h2}..example.com", "permerror", "permerror"),
        ("redirect=%{d}..example.com", "permerror", "permerror"),
        ("include:%{d1}", "permerror", "permerror"),  # 4.3: "com" has one label
        ("a:%{d1} exists:a..b mx:x..y", "neutral", "neutral"),
        ("ptr", "neutral", "neutral"),
    ],
)
def test_each_term(term: str, status: str, status6: str) -> None:
    assert result(f"v=spf1 {term}") == status
    assert result(f"v=spf1 {term}", ip=CLIENT6) == status6


def test_the_first_match_decides() -> None:
    assert result("v=spf1 ?ip4:192.0.2.0/24 -ip4:192.0.2.1 all") == "neutral"
    assert result("v=spf1 all a:broken.example.com") == "pass"


def test_syntax_is_checked_before_anything_is_asked() -> None:
    resolver = CountingResolver({"example.com": [{"TXT": "v=spf1 a all a:"}]})
    outcome = check_mail_from(CLIENT, "a@example.com", "h.example", resolver)
    assert outcome.status == "permerror"
    assert resolver.questions == [("example.com", RecordKind.TXT)]
    assert "a:" in outcome.reason


@pytest.mark.parametrize(
    ("inner", "status"),
    [
        ("v=spf1 all", "softfail"),
        ("v=spf1 -all", "pass"),
        ("v=spf1 ~all", "pass"),
        ("v=spf1 ?all", "pass"),
        ("v=spf1", "pass"),
        ("v=spf1 a:broken.example.com", "temperror"),
        ("v=spf1 moo", "permerror"),
        ("v=spf10", "permerror"),
        ("v=spf1 redirect=deeper.example.com", "softfail"),
        ("v=spf1 -include:deeper.example.com", "pass"),
        ("v=spf1 redirect=nowhere.example.com", "permerror"),
    ],
)
def test_what_an_include_makes_of_each_result(inner: str, status: str) -> None:
    zone = {"inner.example.com": [{"TXT": inner}], "deeper.example.com": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}]}
    assert result("v=spf1 ~include:inner.example.com all", zone) == status


def test_a_redirect_takes_the_place_of_the_record() -> None:
    zone = {"other.example": [{"TXT": "v=spf1 a -all"}, {"A": CLIENT}]}
    assert result("v=spf1 redirect=other.example", zone) == "pass"
    assert result("v=spf1 redirect=other.example", zone, "203.0.113.9") == "fail"
    assert result("v=spf1 redirect=other.example ?all", zone) == "neutral"
    assert result("v=spf1 redirect=other.example -ip4:192.0.2.1", zone) == "fail"


def test_mechanism_and_reason_name_the_term_that_decided() -> None:
    zone = {
        "a.example": [{"TXT": "v=spf1 include:b.example -all"}],
        "b.example": [{"TXT": "v=spf1 IP4:192.0.2.0/24"}],
    }
    outcome = spf("v=spf1 redirect=a.example", zone)
    assert outcome.mechanism == "include:b.example"
    assert outcome.reason == (
        "192.0.2.1 matches include:b.example of a.example (192.0.2.1 matches IP4:192.0.2.0/24 of b.example)"
    )
    assert (outcome.lookups, outcome.void_lookups, outcome.domain) == (2, 0, "example.com")
    assert spf("v=spf1 ip4:1.2.3.4").mechanism == ""
    assert spf("v=spf1 moo").mechanism == ""


def test_records_are_selected_by_their_version() -> None:
    def select(*texts: object) -> str:
        zone = ZoneResolver({"example.com": [{"TXT": text} for text in texts]})
        return check_host(CLIENT, "example.com", "a@example.com", helo="h.example", resolver=zone).status

    assert select("v=spf1 -all") == "fail"
    assert select("other", "v=spf1 -all", "v=spf10 all", "v=spf2.0/pra all", "\xff") == "fail"
    assert select("v=spf1 -all", "V=SPF1 -all") == "permerror"
    assert select("v=spf1", "v=spf1 moo") == "permerror"
    assert select("v=spf1-all", "v=spf1,all") == "none"
    assert select(["v=spf1 ip4:192.0", ".2.1 -all"]) == "pass"
    assert select(["v=spf1", "-all"]) == "none"
    assert select(["v=s", "pf1 ", "-all"]) == "fail"
    assert select() == "none"


@pytest.mark.parametrize(
    ("data", "status"),
    [("NXDOMAIN", "none"), ("TIMEOUT", "temperror"), ("SERVFAIL", "temperror"), ([{"A": CLIENT}], "none")],
)
def test_the_record_look_up(data: object, status: str) -> None:
    zone = ZoneResolver({"example.com": data})
    outcome = check_host(CLIENT, "example.com", "a@example.com", helo="h.example", resolver=zone)
    assert outcome.status == status
    assert outcome.reason


class TestPtr:
    """5.5"""

    REVERSE = "1.2.0.192.in-addr.arpa"

    def check(self, term: str, names: list[str], zone: dict[str, Any] | None = None) -> str:
        return result(f"v=spf1 {term}", {self.REVERSE: [{"PTR": name} for name in names], **(zone or {})})

    def test_a_validated_name_matches_its_domain_and_those_above(self) -> None:
        assert self.check("ptr", ["Host.Example.COM"]) == "pass"
        assert self.check("ptr:host.example.com", ["host.example.com"]) == "pass"
        assert self.check("ptr:x.host.example.com", ["host.example.com"]) == "neutral"
        assert self.check("ptr:ample.com", ["host.example.com"]) == "neutral"
        assert self.check("ptr:example.org", ["host.example.com"]) == "neutral"

    def test_a_name_without_the_address_is_none(self) -> None:
        assert self.check("ptr", ["other.example.com", "nowhere.example.com", "v6.example.com"]) == "neutral"

    def test_dns_errors_are_passed_over(self) -> None:
        assert self.check("ptr", ["broken.example.com"]) == "neutral"
        assert self.check("ptr", ["broken.example.com", "host.example.com"]) == "pass"
        assert result("v=spf1 ptr -all", {self.REVERSE: "TIMEOUT"}) == "fail"

    def test_only_ten_names_are_looked_at(self) -> None:
        names = [f"n{number}.example.com" for number in range(9)]
        assert self.check("ptr", [*names, "host.example.com"]) == "pass"
        assert self.check("ptr", [*names, "n9.example.com", "host.example.com"]) == "neutral"

    def test_names_without_addresses_are_no_void_look_ups(self) -> None:
        # They are written by whoever has the client's address, not by the domain.
        assert self.check("ptr -all", [f"nowhere{number}.example" for number in range(10)]) == "fail"

    def test_names_that_dns_cannot_carry(self) -> None:
        assert self.check("ptr", ["", "a..example.com", "x" * 64 + ".example.com"]) == "neutral"

    def test_ipv6(self) -> None:
        reverse = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        assert result("v=spf1 ptr", {reverse: [{"PTR": "v6.example.com"}]}, CLIENT6) == "pass"
        assert result("v=spf1 ptr", {reverse: [{"PTR": "v4.example.com"}]}, CLIENT6) == "neutral"


class TestClientNameMacro:
    """%{p}: 7.3"""

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["z.example.org", "sub.example.com", "example.com"], "example.com"),
            (["z.example.org", "Sub.example.com"], "Sub.example.com"),
            (["bad.example.com", "z.example.org"], "z.example.org"),
            (["bad.example.com"], "unknown"),
            ([], "unknown"),
            (["notexample.com", "sub.example.com"], "sub.example.com"),
        ],
    )
    def test_the_best_validated_name(self, names: list[str], expected: str) -> None:
        hosts = {name: [{"A": CLIENT}] for name in names if name != "bad.example.com"}
        reverse = {TestPtr.REVERSE: [{"PTR": name} for name in names]}
        record = {"example.com": [{"TXT": "v=spf1 exists:%{p}.listed.example"}, {"A": CLIENT}]}
        resolver = CountingResolver({**hosts, **reverse, **record})
        check_host(CLIENT, "example.com", "a@example.com", helo="h.example", resolver=resolver)
        assert resolver.questions[-1] == (f"{expected}.listed.example", RecordKind.A)

    def test_dns_errors_make_it_unknown(self) -> None:
        zone = {TestPtr.REVERSE: "TIMEOUT", "unknown.listed.example": [{"A": "127.0.0.2"}]}
        assert result("v=spf1 exists:%{p}.listed.example", zone) == "pass"


class TestArguments:
    """4.1, 4.3, section 5"""

    ZONE = ZoneResolver({"example.com": [{"TXT": "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"}]})

    @pytest.mark.parametrize(
        "ip",
        [
            *(CLIENT, IPv4Address(CLIENT), "::ffff:192.0.2.1", "::FFFF:c000:201", IPv6Address("::ffff:192.0.2.1")),
            *(CLIENT6, IPv6Address(CLIENT6), "2001:0DB8:0::1"),
        ],
    )
    def test_addresses(self, ip: str | IPv4Address | IPv6Address) -> None:
        assert check_mail_from(ip, "a@example.com", "h.example", self.ZONE).status == "pass"

    def test_what_only_looks_like_a_mapped_address(self) -> None:
        assert check_mail_from("::192.0.2.1", "a@example.com", "h.example", self.ZONE).status == "fail"
        assert check_mail_from("64:ff9b::192.0.2.1", "a@example.com", "h.example", self.ZONE).status == "fail"

    @pytest.mark.parametrize("ip", ["", "localhost", "192.0.2", "192.0.2.1/32", "[192.0.2.1]"])
    def test_what_is_no_address_is_the_callers_error(self, ip: str) -> None:
        with pytest.raises(ValueError, match="address"):
            check_mail_from(ip, "a@example.com", "h.example", self.ZONE)

    def test_a_resolver_needs_no_more_than_lookup(self) -> None:
        class Own:
            def lookup(self, name: str, kind: RecordKind) -> Answer:
                if kind is RecordKind.TXT:
                    return Answer((b"v=spf1 a -all",))
                raise DnsTempError(f"{name} is not known")

        assert check_host(CLIENT, "example.com", "a@example.com", helo="h", resolver=Own()).status == "temperror"

    def test_a_resolver_may_give_absolute_names(self) -> None:
        class Own:
            def lookup(self, name: str, kind: RecordKind) -> Answer:
                records: dict[tuple[str, RecordKind], RecordData] = {
                    ("example.com", RecordKind.TXT): b"v=spf1 mx:m.example ptr:example.org -all",
                    ("m.example", RecordKind.MX): MxRecord(10, "mx.m.example."),
                    ("mx.m.example", RecordKind.A): IPv4Address("192.0.2.2"),
                    ("1.2.0.192.in-addr.arpa", RecordKind.PTR): "c.example.org.",
                    ("c.example.org", RecordKind.A): IPv4Address(CLIENT),
                }
                return Answer((records[name, kind],))

        assert check_mail_from(CLIENT, "a@example.com", "h.example", Own()).mechanism == "ptr:example.org"
        assert check_mail_from("192.0.2.2", "a@example.com", "h.example", Own()).mechanism == "mx:m.example"
