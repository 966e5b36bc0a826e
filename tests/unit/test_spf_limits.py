"""The limits of a check (RFC 7208 section 4.6.4)."""

from typing import Any

import pytest

from mailnotary.resolver import Answer, RecordKind, ZoneResolver
from mailnotary.spf import MAX_QUESTIONS, SpfResult, check_helo, check_mail_from
from mailnotary.spf.limits import MAX_AHEAD
from support.spf import CLIENT, CLIENT6, CountingResolver, spf

OTHER = [{"A": "198.51.100.1"}, {"AAAA": "2001:db8:1::1"}]


@pytest.mark.parametrize(
    "term", ["a:o.example", "mx:m.example", "exists:v6only.example", "ptr:o.example", "include:i.example"]
)
def test_ten_terms_may_ask_and_no_more(term: str) -> None:
    zone: dict[str, Any] = {
        "o.example": OTHER,
        "m.example": [{"MX": [1, "o.example"]}],
        "v6only.example": [{"CNAME": "o2.example"}],
        "o2.example": [{"AAAA": "::1"}],
        "i.example": [{"TXT": "v=spf1 ?all"}],
        "1.2.0.192.in-addr.arpa": [{"PTR": "x.example"}],
    }
    at_limit = spf(f"v=spf1 {f'{term} ' * 10} -all", zone, void_limit=99)
    assert (at_limit.status, at_limit.lookups) == ("fail", 10)
    beyond = spf(f"v=spf1 {f'{term} ' * 11} -all", zone, void_limit=99)
    assert (beyond.status, beyond.lookups) == ("permerror", 10)
    assert "10" in beyond.reason


def test_terms_count_over_all_records() -> None:
    zone = {
        "i.example": [{"TXT": "v=spf1 a:o.example a:o.example a:o.example"}],
        "r.example": [{"TXT": "v=spf1 a:o.example -all"}],
        "o.example": OTHER,
    }
    assert spf("v=spf1 include:i.example include:i.example redirect=r.example", zone).lookups == 10
    assert spf("v=spf1 a:o.example include:i.example include:i.example redirect=r.example", zone).status == "permerror"


def test_what_asks_nothing_does_not_count() -> None:
    terms = "ip4:1.2.3.4 ip6:::1 x=y " * 100
    assert spf(f"v=spf1 {terms} -all exp=e.example").lookups == 0


def test_a_term_that_is_not_reached_does_not_count() -> None:
    zone = {"o.example": OTHER}
    assert spf(f"v=spf1 {'a:o.example ' * 10} ip4:192.0.2.1 {'a:o.example ' * 10}", zone).status == "pass"


@pytest.mark.parametrize("record", ["v=spf1 include:example.com", "v=spf1 redirect=example.com", "v=spf1 include:%{d}"])
def test_loops_end(record: str) -> None:
    resolver = CountingResolver({"example.com": [{"TXT": record}]})
    assert check_mail_from(CLIENT, "a@example.com", "h.example", resolver).status == "permerror"
    assert len(resolver.questions) == 11


class TestVoidLookups:
    @pytest.mark.parametrize("term", ["a:%.example", "mx:%.example", "exists:%.example", "a:none%.example.com"])
    def test_two_may_find_nothing_and_no_more(self, term: str) -> None:
        terms = [term.replace("%", f"nowhere{number}") for number in range(3)]
        zone = {f"nonenowhere{number}.example.com": [{"TXT": "NODATA counts too"}] for number in range(3)}
        two = spf(f"v=spf1 {terms[0]} {terms[1]} -all", zone)
        assert (two.status, two.void_lookups) == ("fail", 2)
        three = spf(f"v=spf1 {' '.join(terms)} -all", zone)
        assert (three.status, three.void_lookups) == ("permerror", 3)

    def test_the_limit_is_the_receivers(self) -> None:
        record = "v=spf1 a:n1.example a:n2.example a:n3.example -all"
        assert spf(record, void_limit=3).status == "fail"
        assert spf(record, void_limit=0).status == "permerror"

    def test_the_hosts_of_an_mx_count_once_together(self) -> None:
        zone = {f"m{mx}.example": [{"MX": [number, f"h{number}.example"]} for number in range(3)] for mx in range(3)}
        outcome = spf("v=spf1 mx:m0.example mx:m1.example -all", zone)
        assert (outcome.status, outcome.void_lookups) == ("fail", 2)
        assert spf("v=spf1 mx:m0.example mx:m1.example mx:m2.example -all", zone).status == "permerror"

    def test_an_ipv6_client_is_found_behind_hosts_that_have_ipv4_alone(self) -> None:
        zone: dict[str, Any] = {
            "d.example": [
                {"TXT": "v=spf1 mx include:o.example -all"},
                *[{"MX": [n, f"m{n}.example"]} for n in range(3)],
            ],
            **{f"m{number}.example": [{"A": "198.51.100.1"}] for number in range(3)},
            "o.example": [{"TXT": "v=spf1 ip6:2001:db8::/32 -all"}],
        }
        outcome = check_mail_from("2001:db8::5", "u@d.example", "h", ZoneResolver(zone))
        assert (outcome.status, outcome.void_lookups) == ("pass", 1)

    def test_the_clients_own_missing_name_counts_once(self) -> None:
        outcome = spf("v=spf1 ptr ptr exists:%{p}.x.example -all", {"unknown.x.example": [{"AAAA": "::1"}]})
        assert (outcome.status, outcome.void_lookups) == ("fail", 2)

    def test_malformed_names_are_not_asked_for_and_do_not_count(self) -> None:
        assert spf("v=spf1 a:a..b mx:a..b exists:a..b a:%{d}..c -all").status == "fail"

    def test_neither_the_first_record_nor_the_explanation_counts(self) -> None:
        outcome = spf("v=spf1 a:n1.example a:n2.example -all exp=%{p}.nowhere.example")
        assert (outcome.status, outcome.void_lookups, outcome.lookups) == ("fail", 2, 2)


class TestMx:
    @staticmethod
    def zone(count: int) -> dict[str, Any]:
        return {
            "m.example": [{"MX": [number, f"h{number}.example"]} for number in range(count)],
            **{f"h{number}.example": OTHER for number in range(count)},
            f"h{count - 1}.example": [{"A": CLIENT}],
        }

    def test_ten_hosts_are_looked_up(self) -> None:
        assert spf("v=spf1 mx:m.example", self.zone(10)).status == "pass"

    def test_eleven_are_permerror_whichever_would_match(self) -> None:
        assert spf("v=spf1 mx:m.example", self.zone(11)).status == "permerror"
        assert spf("v=spf1 mx:m.example", self.zone(11) | {"h0.example": [{"A": CLIENT}]}).status == "permerror"


class TestClientNameMacro:
    def test_its_look_up_counts_beside_its_term_and_once(self) -> None:
        zone: dict[str, Any] = {
            "1.2.0.192.in-addr.arpa": [{"PTR": "c.example"}],
            "c.example": [{"A": CLIENT}],
            "c.example.x.example": OTHER,
        }
        assert spf("v=spf1 a:%{p}.x.example a:%{p}.x.example ptr:q.example -all", zone).lookups == 4
        assert spf(f"v=spf1 {'a:%{p}.x.example ' * 9} -all", zone).status == "fail"
        assert spf(f"v=spf1 {'a:%{p}.x.example ' * 10} -all", zone).status == "permerror"
        assert spf("v=spf1 ptr:q.example a:%{p}.x.example -all", zone).lookups == 2


def test_the_octets_of_all_records_are_bounded() -> None:
    def long(record: str) -> str:
        return f"{record} {'ip4:1.2.3.4 ' * 670}"  # 8,000 octets

    zone: dict[str, Any] = {
        "a.example": [{"TXT": long("v=spf1 -ip4:192.0.2.1 redirect=b.example")}],
        "b.example": [{"TXT": long("v=spf1")}],
        "c.example": [{"TXT": long("v=spf1 -ip4:192.0.2.1")}],
    }
    assert spf("v=spf1 redirect=a.example", zone).status == "fail"
    assert spf(long("v=spf1 include:c.example redirect=a.example"), zone).status == "fail"
    outcome = spf(long("v=spf1 include:c.example include:c.example include:c.example redirect=a.example"), zone)
    assert outcome.status == "permerror"
    assert "octets" in outcome.reason


def test_the_bound_on_questions_is_what_the_worst_records_come_to() -> None:
    reverse = "1.2.0.192.in-addr.arpa"
    zone: dict[str, Any] = {
        "example.com": [{"TXT": "v=spf1 " + "mx:m.example " * 10 + "-all exp=%{p}.e.example"}],
        "m.example": [{"MX": [number, f"h{number}.example"]} for number in range(10)],
        **{f"h{number}.example": OTHER for number in range(10)},
        reverse: [{"PTR": f"p{number}.example"} for number in range(99)],
        "unknown.e.example": [{"TXT": "%{p} again"}],
    }
    resolver = CountingResolver(zone)
    outcome = check_mail_from(CLIENT, "a@example.com", "h.example", resolver)
    assert outcome.explanation == "unknown again"
    assert len(resolver.questions) == MAX_QUESTIONS - MAX_AHEAD  # this resolver begins with none ahead of its turn


class TestTime:
    def test_the_check_ends_when_its_time_is_over(self) -> None:
        outcome, questions = self.check("v=spf1 a:o.example a:o.example a:o.example a:o.example -all")
        assert (outcome.status, len(questions)) == ("temperror", 3)
        assert "time" in outcome.reason

    def test_the_time_is_the_receivers(self) -> None:
        record = "v=spf1 a:o.example a:o.example a:o.example a:o.example -all"
        outcome, _ = self.check(record, deadline=1100.0)
        assert outcome.status == "fail"

    def test_helo_and_mail_from_share_a_deadline(self) -> None:
        record = "v=spf1 a:o.example -all"
        clock = Clock()
        resolver = SlowResolver({"example.com": [{"TXT": record}], "o.example": OTHER}, clock)
        deadline = clock() + 20
        helo = check_helo(CLIENT, "example.com", resolver, deadline=deadline, clock=clock)
        mail = check_mail_from(CLIENT, "a@example.com", "example.com", resolver, deadline=deadline, clock=clock)
        assert (helo.status, mail.status) == ("fail", "temperror")

    def test_an_explanation_is_given_up_and_the_fail_stays(self) -> None:
        outcome, _ = self.check("v=spf1 a:o.example a:o.example -all exp=e.example", default_explanation="D")
        assert (outcome.status, outcome.explanation) == ("fail", "D")

    def test_a_ptr_does_not_hide_that_time_is_over(self) -> None:
        outcome, _ = self.check("v=spf1 a:o.example a:o.example ptr -all")
        assert outcome.status == "temperror"

    @staticmethod
    def check(record: str, **options: Any) -> tuple[SpfResult, list[tuple[str, RecordKind]]]:
        clock = Clock()
        zone = {"example.com": [{"TXT": record}], "o.example": OTHER, "e.example": [{"TXT": "late"}]}
        resolver = SlowResolver(zone, clock)
        outcome = check_mail_from(CLIENT, "a@example.com", "h.example", resolver, clock=clock, **options)
        return outcome, resolver.questions


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SlowResolver(CountingResolver):
    """Takes 7 seconds a question."""

    def __init__(self, zone: dict[str, Any], clock: Clock) -> None:
        super().__init__(zone)
        self._clock = clock

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self._clock.now += 7
        return super().lookup(name, kind)


def test_ipv6_clients_have_the_same_limits() -> None:
    resolver = ZoneResolver(
        {
            "example.com": [{"TXT": "v=spf1 a:o.example a:v4.example a:v4.example a:v4.example -all"}],
            "o.example": OTHER,
            "v4.example": [{"A": CLIENT}],
        }
    )
    outcome = check_mail_from(CLIENT6, "a@example.com", "h.example", resolver)
    assert (outcome.status, outcome.void_lookups) == ("permerror", 3)
