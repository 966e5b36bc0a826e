"""Questions of SPF records that are sent before their terms' turn: what for, which, how many, and that no result shows
it."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.config.settings import Settings, SpfAction, SpfSettings
from mailnotary.resolver import Answer, RecordKind, Resolver, ZoneResolver
from mailnotary.spf import SpfResult, check_mail_from
from mailnotary.spf.limits import MAX_AHEAD
from support.mail import MESSAGE, Played, zone
from support.spf import CLIENT, CLIENT6, AnyZone

A, AAAA, MX, PTR, TXT = RecordKind.A, RecordKind.AAAA, RecordKind.MX, RecordKind.PTR, RecordKind.TXT
Question = tuple[str, RecordKind]


class Early:
    """A resolver that begins early, and notes which questions were out when each answer was waited for."""

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self.begun: list[Question] = []
        self.asked: list[Question] = []
        self.waits: list[Question] = []  # for questions that were not begun with
        self.most_in_vain = 0

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        if (name, kind) not in self.begun and (name, kind) not in self.asked:
            self.waits.append((name, kind))
        self.asked.append((name, kind))
        return self._inner.lookup(name, kind)

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        assert seconds > 0
        return self.lookup(name, kind)

    def prefetch(self, questions: Iterable[Question]) -> None:
        self.begun += questions
        self.most_in_vain = max(self.most_in_vain, len(set(self.begun) - set(self.asked)))


def begun(record: str, more: dict[str, Any] | None = None, ip: str = CLIENT) -> list[Question]:
    """What is begun with for this record of example.com."""
    resolver = Early(ZoneResolver({"example.com": [{"TXT": record}], **(more or {})}))
    check_mail_from(ip, "a@example.com", "h.example", resolver)
    return resolver.begun


@pytest.mark.parametrize(
    ("terms", "questions"),
    [
        ("ip4:198.51.100.0/24 -all", []),
        ("include:a.example -all", []),  # it is asked at once
        ("include:a.example include:b.example -all", [("a.example", TXT), ("b.example", TXT)]),
        ("a mx -all", [("example.com", A), ("example.com", MX)]),
        ("a:%.a mx:m..x exists:e.example -all", None),
        ("a ip4:192.0.2.0/24 mx -all", [("example.com", A)]),
        ("a ip4:198.51.100.0/24 mx", [("example.com", A), ("example.com", MX)]),
        ("a ?all mx", [("example.com", A)]),
        ("exists:e.example redirect=r.example", [("e.example", A), ("r.example", TXT)]),
        ("exists:%{i}.example exists:%{l}.example a", [("example.com", A)]),
        ("ptr a:b.example", [("1.2.0.192.in-addr.arpa", PTR), ("b.example", A)]),
        ("a:b..example a:b.example. -all", [("b.example", A)]),
    ],
)
def test_the_terms_that_may_be_reached_are_begun_with(terms: str, questions: list[Question] | None) -> None:
    assert begun(f"v=spf1 {terms}") == (questions or [])


def test_the_family_is_the_clients() -> None:
    assert begun("v=spf1 a a:b.example -all", ip=CLIENT6) == [("example.com", AAAA), ("b.example", AAAA)]


def test_only_terms_within_the_limit_are_begun_with() -> None:
    more = {"i.example": [{"TXT": "v=spf1 " + " ".join(f"a:i{n}.example" for n in range(10))}]}
    more |= {f"i{n}.example": [{"A": "198.51.100.1"}] for n in range(10)}
    questions = begun("v=spf1 a:i0.example a:i1.example include:i.example -all", more)
    assert questions[:3] == [("i0.example", A), ("i1.example", A), ("i.example", TXT)]
    assert questions[3:] == [(f"i{n}.example", A) for n in range(7)]


def test_hosts_of_an_mx_and_names_of_the_client_are_begun_with() -> None:
    hosts = [{"MX": [n, f"h{n}.example"]} for n in range(3)]
    assert begun("v=spf1 mx:m.example -all", {"m.example": hosts}) == [(f"h{n}.example", A) for n in range(3)]
    names = {"1.2.0.192.in-addr.arpa": [{"PTR": f"p{n}.example"} for n in range(12)]}
    assert begun("v=spf1 ptr:x.example -all", names) == [(f"p{n}.example", A) for n in range(10)]


def test_a_chain_of_includes_waits_once_for_each_of_its_steps() -> None:
    more = {
        "i.example": [{"TXT": "v=spf1 include:j.example include:k.example -all"}],
        **{f"{n}.example": [{"TXT": "v=spf1 ip4:198.51.100.1 -all"}] for n in "jkl"},
    }
    resolver = Early(
        ZoneResolver({"example.com": [{"TXT": "v=spf1 include:i.example include:l.example -all"}], **more})
    )
    assert check_mail_from(CLIENT, "a@example.com", "h", resolver).status == "fail"
    assert resolver.waits == [("example.com", TXT)]
    assert resolver.begun == [(f"{n}.example", TXT) for n in "iljk"]


def test_no_more_than_the_bound_are_sent_in_vain() -> None:
    """Each of ten records has more terms than may be reached, and its first, an include, leads to all that follows."""
    names = [f"n{n}.example" for n in range(9)]
    more: dict[str, Any] = {
        name: [{"TXT": f"v=spf1 include:n{n + 1}.example " + " ".join(f"mx:{name}{k}.example" for k in range(20))}]
        for n, name in enumerate(names)
    }
    more["n9.example"] = [{"TXT": "v=spf1 ip4:192.0.2.0/24"}]
    resolver = Early(
        ZoneResolver({"example.com": [{"TXT": "v=spf1 include:n0.example a:x.example mx:y.example"}], **more})
    )
    result = check_mail_from(CLIENT, "a@example.com", "h", resolver)
    assert (result.status, result.lookups) == ("pass", 10)
    assert resolver.most_in_vain == MAX_AHEAD
    assert len(set(resolver.begun) - set(resolver.asked)) == MAX_AHEAD - 1  # the last include had its place among them


_NAMES = st.sampled_from(["a.x", "b.x", "c.x", "d.x", "%{i}.x", "%{d}", "%{p}.x", "a..x"])
_TERMS = st.builds(
    "{}{}".format, st.sampled_from(["include:", "a:", "mx:", "exists:", "ptr:", "-a:", "redirect="]), _NAMES
) | st.sampled_from(["a", "mx", "ptr", "all", "-all", "ip4:0.0.0.0/1", "ip4:192.0.2.0/24", "exp=%{p}.x"])
_RECORDS = st.lists(st.lists(_TERMS, max_size=12).map(lambda terms: f"v=spf1 {' '.join(terms)}".encode()), min_size=1)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([CLIENT, CLIENT6]), _RECORDS)
def test_no_result_depends_on_what_was_sent_ahead(ip: str, records: Sequence[bytes]) -> None:
    def check(resolver: Resolver) -> SpfResult:
        return check_mail_from(ip, "a@example.com", "h.example", resolver, now=0)

    late, early = AnyZone(records), Early(AnyZone(records))
    assert check(early) == check(late)
    assert len(early.asked) == late.asked
    assert early.most_in_vain <= MAX_AHEAD


@pytest.mark.parametrize("action", [SpfAction.ACCEPT, SpfAction.REJECT])
def test_the_questions_of_both_identities_go_out_at_mail_from(action: SpfAction) -> None:
    """The HELO name's address among them, for its record nearly always leads there; also where SPF may refuse."""
    resolver = Early(ZoneResolver(zone()))
    played = Played(Settings(spf=SpfSettings(fail=action)), options={"resolver": resolver})
    played.play(MESSAGE, helo="mail.example.org", mail_from=b"<alice@example.org>")
    first = [("example.org", TXT), ("mail.example.org", TXT), ("mail.example.org", A)]
    assert resolver.begun[:3] == first
    assert resolver.waits == []


def test_without_a_client_no_spf_is_asked_for() -> None:
    resolver = Early(ZoneResolver(zone()))
    Played(options={"resolver": resolver}).play(MESSAGE, ip=None)
    assert ("example.org", TXT) not in resolver.begun
