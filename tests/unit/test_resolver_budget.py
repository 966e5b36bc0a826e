"""MessageResolver: what one message may cost in DNS."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from mailnotary.resolver import Answer, DnsTempError, MessageResolver, RecordKind, Share, ZoneResolver, prefetch
from mailnotary.resolver.budget import FAILURE_OCTETS
from mailnotary.resolver.dns import DnsResolver
from support.dns_server import DnsServer

A, TXT = RecordKind.A, RecordKind.TXT
SHARE = Share(350, 100_000)
ZONE = {"x.org": [{"TXT": "hello"}], "slow.org": "TIMEOUT"}


class Clock:
    """A clock that the test sets."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_questions_are_passed_on_and_different_ones_counted() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), SHARE, 30)
    assert resolver.lookup("x.org", TXT).texts == (b"hello",)
    resolver.lookup("x.org", TXT)
    resolver.lookup("x.org", A)
    assert len(resolver.asked) == 2


def test_failed_questions_count_too() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), SHARE, 30)
    with pytest.raises(DnsTempError):
        resolver.lookup("slow.org", TXT)
    assert len(resolver.asked) == 1


def test_beyond_the_bound_no_new_question_is_asked() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), Share(3, 100_000), 30)
    for i in range(3):
        resolver.lookup(f"n{i}.org", A)
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup("n3.org", A)
    assert caught.value.word == "SERVFAIL"
    assert resolver.lookup("n0.org", A) == Answer((), exists=False)
    assert len(resolver.asked) == 3


def test_when_the_messages_time_is_over_nothing_is_asked() -> None:
    clock = Clock()
    resolver = MessageResolver(ZoneResolver(ZONE), SHARE, 20, clock=clock)
    clock.now += 19.9
    assert resolver.lookup("x.org", TXT).texts
    clock.now += 0.1
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup("x.org", TXT)
    assert caught.value.word == "TIMEOUT"


def test_a_question_gets_the_rest_of_the_messages_time() -> None:
    with DnsServer(ZONE) as server:
        resolver = MessageResolver(DnsResolver([server.address], timeout=30), SHARE, 0.2)
        start = time.monotonic()
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup("slow.org", TXT)
        assert caught.value.word == "TIMEOUT"
        assert time.monotonic() - start < 5


def test_one_budget_may_be_within_another() -> None:
    with DnsServer(ZONE) as server:
        message = MessageResolver(DnsResolver([server.address], timeout=30), SHARE, 30)
        part = MessageResolver(message, SHARE, 0.2)
        with pytest.raises(DnsTempError):
            part.lookup("slow.org", TXT)
        assert message.lookup("x.org", TXT).texts == (b"hello",)
        assert (len(part.asked), len(message.asked)) == (1, 2)


def test_prefetched_questions_are_counted_once_and_bounded() -> None:
    with DnsServer(ZONE) as server:
        resolver = MessageResolver(DnsResolver([server.address]), Share(2, 100_000), 30)
        prefetch(resolver, [("x.org", TXT), ("x.org", A), ("y.org", A)])
        assert len(resolver.asked) == 2
        assert resolver.lookup("x.org", TXT).texts == (b"hello",)
        assert resolver.lookup("x.org", A) == Answer(())
        assert sorted(server.questions) == [("x.org", "A"), ("x.org", "TXT")]


def test_a_resolver_that_cannot_prefetch_is_left_alone_and_nothing_counted() -> None:
    prefetch(ZoneResolver(ZONE), [("x.org", TXT)])
    resolver = MessageResolver(ZoneResolver(ZONE), SHARE, 30)
    prefetch(resolver, [("x.org", TXT)])
    assert len(resolver.asked) == 0


def test_threads_together_stay_within_the_bound() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), Share(50, 100_000), 30)

    def ask(start: int) -> int:
        admitted = 0
        for i in range(start, start + 40):
            with suppress(DnsTempError):
                resolver.lookup(f"n{i}.org", A)
                admitted += 1
        return admitted

    with ThreadPoolExecutor(4) as threads:
        admitted = sum(threads.map(ask, [0, 20, 40, 60]))
    assert len(resolver.asked) == 50
    assert admitted >= 50


class Large:
    """A resolver whose answers all have so many octets."""

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        if name.startswith("broken"):
            raise DnsTempError(f"{kind} {name}: SERVFAIL")
        return Answer((b"x",), octets=1000)


def test_beyond_the_octets_no_new_question_is_asked() -> None:
    resolver = MessageResolver(Large(), Share(100, 2500))
    for name in ("a.org", "b.org", "a.org", "b.org", "c.org"):  # the last one's size is known only once it is there
        assert resolver.lookup(name, TXT).texts
    with pytest.raises(DnsTempError, match="2500 octets"):
        resolver.lookup("d.org", TXT)
    assert resolver.lookup("a.org", TXT).texts


def test_a_question_without_an_answer_is_billed_too() -> None:
    resolver = MessageResolver(Large(), Share(100, 3 * FAILURE_OCTETS))
    for number in range(5):
        with pytest.raises(DnsTempError, match="SERVFAIL" if number < 3 else "octets"):
            resolver.lookup(f"broken{number}.org", TXT)


def test_what_udp_and_tcp_bring_is_counted() -> None:
    zone = {
        "small.org": [{"TXT": "x"}],
        "large.org": [{"TXT": str(i) * 250} for i in range(9)],
        "c.org": [{"CNAME": "large.org"}],
    }
    with DnsServer(zone) as server:
        resolver = DnsResolver([server.address])
        small, large, alias, none = (
            resolver.lookup(name, TXT) for name in ("small.org", "large.org", "c.org", "no.org")
        )
    assert 30 < small.octets < 200
    assert 9 * 250 < large.octets < 9 * 300 + 200
    assert alias.octets > large.octets
    assert 30 < none.octets < 300
