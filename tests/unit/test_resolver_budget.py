"""MessageResolver: what one message may cost in DNS."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from mailnotary.resolver import Answer, DnsResolver, DnsTempError, MessageResolver, RecordKind, ZoneResolver, prefetch
from support.dns_server import DnsServer

A, TXT = RecordKind.A, RecordKind.TXT
ZONE = {"x.org": [{"TXT": "hello"}], "slow.org": "TIMEOUT"}


class Clock:
    """A clock that the test sets."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_questions_are_passed_on_and_different_ones_counted() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), 30)
    assert resolver.lookup("x.org", TXT).texts == (b"hello",)
    resolver.lookup("x.org", TXT)
    resolver.lookup("x.org", A)
    assert resolver.count == 2


def test_failed_questions_count_too() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), 30)
    with pytest.raises(DnsTempError):
        resolver.lookup("slow.org", TXT)
    assert resolver.count == 1


def test_beyond_the_bound_no_new_question_is_asked() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), 30, max_questions=3)
    for i in range(3):
        resolver.lookup(f"n{i}.org", A)
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup("n3.org", A)
    assert caught.value.word == "SERVFAIL"
    assert resolver.lookup("n0.org", A) == Answer((), exists=False)
    assert resolver.count == 3


def test_when_the_messages_time_is_over_nothing_is_asked() -> None:
    clock = Clock()
    resolver = MessageResolver(ZoneResolver(ZONE), 20, clock=clock)
    clock.now += 19.9
    assert resolver.lookup("x.org", TXT).texts
    assert resolver.seconds_left == pytest.approx(0.1)
    clock.now += 0.1
    assert resolver.seconds_left == 0
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup("x.org", TXT)
    assert caught.value.word == "TIMEOUT"


def test_a_question_gets_the_rest_of_the_messages_time() -> None:
    with DnsServer(ZONE) as server:
        resolver = MessageResolver(DnsResolver([server.address], timeout=30), 0.2)
        start = time.monotonic()
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup("slow.org", TXT)
        assert caught.value.word == "TIMEOUT"
        assert time.monotonic() - start < 5


def test_one_budget_may_be_within_another() -> None:
    with DnsServer(ZONE) as server:
        message = MessageResolver(DnsResolver([server.address], timeout=30), 30)
        part = MessageResolver(message, 0.2)
        with pytest.raises(DnsTempError):
            part.lookup("slow.org", TXT)
        assert message.lookup("x.org", TXT).texts == (b"hello",)
        assert (part.count, message.count) == (1, 2)


def test_prefetched_questions_are_counted_once_and_bounded() -> None:
    with DnsServer(ZONE) as server:
        resolver = MessageResolver(DnsResolver([server.address]), 30, max_questions=2)
        prefetch(resolver, [("x.org", TXT), ("x.org", A), ("y.org", A)])
        assert resolver.count == 2
        assert resolver.lookup("x.org", TXT).texts == (b"hello",)
        assert resolver.lookup("x.org", A) == Answer(())
        assert sorted(server.questions) == [("x.org", "A"), ("x.org", "TXT")]


def test_a_resolver_that_cannot_prefetch_is_left_alone_and_nothing_counted() -> None:
    prefetch(ZoneResolver(ZONE), [("x.org", TXT)])
    resolver = MessageResolver(ZoneResolver(ZONE), 30)
    prefetch(resolver, [("x.org", TXT)])
    assert resolver.count == 0


def test_threads_together_stay_within_the_bound() -> None:
    resolver = MessageResolver(ZoneResolver(ZONE), 30, max_questions=50)

    def ask(start: int) -> int:
        admitted = 0
        for i in range(start, start + 40):
            with suppress(DnsTempError):
                resolver.lookup(f"n{i}.org", A)
                admitted += 1
        return admitted

    with ThreadPoolExecutor(4) as threads:
        admitted = sum(threads.map(ask, [0, 20, 40, 60]))
    assert resolver.count == 50
    assert admitted >= 50
