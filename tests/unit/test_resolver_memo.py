"""Results are kept for as long as the answers that they follow from."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailnotary import dmarc
from mailnotary.resolver import Answer, DnsTempError, Memo, NotingResolver, RecordKind, ZoneResolver
from mailnotary.resolver.memo import MAX_QUESTIONS
from mailnotary.spf import SpfIdentity, SpfResult, check_host
from mailnotary.status import SpfStatus

TXT = RecordKind.TXT


class Cache:
    """A resolver that gives the same answers until it forgets them, and counts what it is asked."""

    def __init__(self, zone: dict[str, Any]) -> None:
        self.change(zone)
        self.asked: list[str] = []

    def change(self, zone: dict[str, Any]) -> None:
        self._zone = ZoneResolver(zone)
        self._kept: dict[tuple[str, RecordKind], Answer] = {}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked.append(name)
        if (name, kind) not in self._kept:
            self._kept[name, kind] = self._zone.lookup(name, kind)
        return self._kept[name, kind]


def _cost(key: str, result: str) -> int:
    return len(key) + len(result)


def keep(memo: Memo[str, str], key: str, resolver: Cache, *names: str) -> None:
    noted = NotingResolver(resolver)
    for name in names:
        noted.lookup(name, TXT)
    memo.keep(key, f"of {key}", noted)


def test_a_result_is_recalled_while_its_answers_stay() -> None:
    memo: Memo[str, str] = Memo(100_000, _cost)
    resolver = Cache({"a.example": [{"TXT": "1"}]})
    keep(memo, "k", resolver, "a.example", "b.example")
    assert memo.recall("k", NotingResolver(resolver)) == "of k"
    assert memo.recall("other", NotingResolver(resolver)) is None
    resolver.change({"a.example": [{"TXT": "1"}]})  # an equal answer, but a new one
    assert memo.recall("k", NotingResolver(resolver)) is None


def test_what_was_asked_to_recall_is_not_asked_again() -> None:
    memo: Memo[str, str] = Memo(100_000, _cost)
    resolver = Cache({})
    keep(memo, "k", resolver, "a.example")
    resolver.change({"a.example": "TIMEOUT"})
    resolver.asked.clear()
    noted = NotingResolver(resolver)
    assert memo.recall("k", noted) is None
    for _ in range(2):
        try:
            noted.lookup("a.example", TXT)
        except DnsTempError as error:
            assert error.word == "TIMEOUT"  # noqa: PT017
    assert resolver.asked == ["a.example"] * 2
    memo.keep("k", "of k", noted)
    assert memo.recall("k", NotingResolver(resolver)) is None


def test_the_memory_is_bounded_and_the_oldest_make_room() -> None:
    memo: Memo[str, str] = Memo(10_000, _cost)
    resolver = Cache({})
    for number in range(100):
        keep(memo, f"{number}{'x' * 1000}", resolver, "a.example")
    kept = [memo.recall(f"{number}{'x' * 1000}", NotingResolver(resolver)) is not None for number in range(100)]
    assert kept == [False] * kept.count(False) + [True] * kept.count(True)
    assert 2 <= kept.count(True) <= 8
    keep(memo, "x" * 20_000, resolver, "a.example")
    assert memo.recall("x" * 20_000, NotingResolver(resolver)) is None


def test_what_rests_on_many_answers_is_not_kept() -> None:
    memo: Memo[str, str] = Memo(100_000, _cost)
    resolver = Cache({})
    keep(memo, "long", resolver, *["a.example"] * (MAX_QUESTIONS + 1))
    assert memo.recall("long", NotingResolver(resolver)) is None


RECORDS = [
    "v=spf1 a -all",
    "v=spf1 a:%{l}.b.example ~all",
    "v=spf1 a:%{h}.b.example ~all",
    "v=spf1 include:b.example",
    "v=spf1 mx ?all exp=b.example",
    "x",
]


@given(
    st.lists(st.sampled_from(RECORDS), min_size=1, max_size=4),
    st.sampled_from(["v=spf1 ip4:192.0.2.1", "v=spf1 ptr", "v=spf1 -exists:%{s}.b.example", "TIMEOUT"]),
    st.lists(
        st.tuples(st.sampled_from("uv"), st.sampled_from("uv"), st.sampled_from(["192.0.2.1", "192.0.2.2"])),
        min_size=1,
        max_size=5,
    ),
)
def test_spf_comes_to_the_same_as_if_it_had_never_been_asked(
    records: list[str], other: str, mails: list[tuple[str, str, str]]
) -> None:
    resolver = Cache({})
    for record in records:
        zone = {
            "a.example": [{"TXT": record}, {"A": "192.0.2.1"}, {"MX": [1, "a.example"]}],
            "b.example": [other if other == "TIMEOUT" else {"TXT": other}],
            "u.b.example": [{"A": "192.0.2.2"}],
        }
        resolver.change(zone)
        for user, helo, ip in mails:
            sender = f"{user}@a.example"
            asked = [
                check_host(ip, "a.example", sender, helo=helo, resolver=one, now=0)
                for one in (resolver, ZoneResolver(zone))
            ]
            assert asked[0] == asked[1]


def test_dmarc_follows_its_record() -> None:
    resolver = Cache({"_dmarc.a.example": [{"TXT": "v=DMARC1; p=reject"}]})
    passed = [SpfResult(SpfStatus.PASS, SpfIdentity.MAILFROM, "a.example")]
    for _ in range(2):
        assert dmarc.evaluate("a.example", passed, [], resolver).status == "pass"
        assert dmarc.evaluate("a.example", [], [], resolver).disposition == "reject"
    resolver.change({"_dmarc.a.example": [{"TXT": "v=DMARC1; p=quarantine"}]})
    assert dmarc.evaluate("a.example", [], [], resolver).disposition == "quarantine"


def test_spf_of_the_same_client_and_domain_is_evaluated_once_while_its_answers_stay() -> None:
    resolver = Cache({"a.example": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]})
    results = [
        check_host("192.0.2.1", "a.example", f"user{i}@a.example", helo="h.example", resolver=resolver)
        for i in range(3)
    ]
    assert results[1] is results[0]
    assert results[2] is results[0]
    assert resolver.asked == ["a.example"] * 3  # each check is billed for its questions
    resolver.change({"a.example": [{"TXT": "v=spf1 -all"}]})
    assert check_host("192.0.2.1", "a.example", "user@a.example", helo="h.example", resolver=resolver).status == "fail"


def test_spf_with_macros_is_evaluated_once_for_the_same_sender() -> None:
    resolver = Cache(
        {"a.example": [{"TXT": "v=spf1 exists:%{l}.%{h}.a.example ?all"}], "u.h.a.example": [{"A": "127.0.0.2"}]}
    )
    checks = [("u", "h"), ("u", "h"), ("v", "h"), ("u", "i"), ("u", "h")]
    results = [
        check_host("192.0.2.1", "a.example", f"{user}@a.example", helo=helo, resolver=resolver) for user, helo in checks
    ]
    assert results[1] is results[0]
    assert results[4] is results[0]
    assert resolver.asked[:4] == ["a.example", "u.h.a.example"] * 2  # each check is billed for its questions
    assert resolver.asked[4:8] == ["a.example", "v.h.a.example", "a.example", "u.i.a.example"]
