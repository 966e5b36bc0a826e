"""The answer cache: how long, how much, and which answers go first."""

import threading

import pytest

from mailnotary.resolver import Answer, DnsTempError, RecordKind
from mailnotary.resolver.cache import FAILURE_TTL, MAX_NEGATIVE_TTL, MAX_TTL, MIN_TTL, AnswerCache

TXT = RecordKind.TXT
FOUND = Answer((b"v=spf1 -all",))
NODATA = Answer(())


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache_of(clock: Clock, entries: int = 100, octets: int = 1_000_000) -> AnswerCache:
    return AnswerCache(entries, octets, clock)


@pytest.mark.parametrize(
    ("answer", "ttl", "kept"),
    [
        (FOUND, 300, 300),
        (FOUND, 0, MIN_TTL),
        (FOUND, 1, MIN_TTL),
        (FOUND, 2**31 - 1, MAX_TTL),
        (NODATA, 60, 60),
        (NODATA, None, MIN_TTL),
        (NODATA, MAX_TTL, MAX_NEGATIVE_TTL),
    ],
)
def test_an_answer_is_kept_for_its_ttl_within_bounds(clock: Clock, answer: Answer, ttl: int | None, kept: int) -> None:
    cache = cache_of(clock)
    cache.put(("a", TXT), answer, ttl)
    clock.now += kept - 0.01
    assert cache.get(("a", TXT)) is answer
    clock.now += 0.02
    assert cache.get(("a", TXT)) is None


def test_the_same_objects_come_back_while_an_answer_is_kept(clock: Clock) -> None:
    cache = cache_of(clock)
    cache.put(("a", TXT), FOUND, 60)
    assert cache.get(("a", TXT)) is cache.get(("a", TXT)) is FOUND


def test_to_look_whether_an_answer_is_there_neither_raises_nor_keeps_it_longer(clock: Clock) -> None:
    cache = cache_of(clock, entries=2)
    cache.put_failure(("a", TXT), DnsTempError("no"))
    cache.put(("b", TXT), FOUND, 60)
    assert ("a", TXT) in cache
    cache.put(("c", TXT), FOUND, 60)
    assert [(name, TXT) in cache for name in "abc"] == [False, True, True]
    clock.now += 60
    assert ("b", TXT) not in cache


def test_a_failure_is_kept_for_a_moment_and_raised_anew(clock: Clock) -> None:
    cache = cache_of(clock)
    cache.put_failure(("a", TXT), DnsTempError("no reply", "TIMEOUT"))
    raised = []
    for _ in range(2):
        with pytest.raises(DnsTempError) as caught:
            cache.get(("a", TXT))
        raised.append(caught.value)
        assert (caught.value.reason, caught.value.word) == ("no reply", "TIMEOUT")
    assert raised[0] is not raised[1]
    clock.now += FAILURE_TTL
    assert cache.get(("a", TXT)) is None


def test_the_kinds_of_one_name_are_different_questions(clock: Clock) -> None:
    cache = cache_of(clock)
    cache.put(("a", TXT), FOUND, 60)
    assert cache.get(("a", RecordKind.A)) is None


def test_the_least_recently_used_answer_goes_first(clock: Clock) -> None:
    cache = cache_of(clock, entries=3)
    for name in "abc":
        cache.put((name, TXT), FOUND, 60)
    cache.get(("a", TXT))
    cache.put(("d", TXT), FOUND, 60)
    assert [cache.get((name, TXT)) is not None for name in "abcd"] == [True, False, True, True]


def test_answers_of_any_size_stay_within_the_octets(clock: Clock) -> None:
    cache = cache_of(clock, octets=100_000)
    for i in range(100):
        cache.put((f"n{i}", TXT), Answer((b"x" * 10_000,)), 60)
    assert 5 <= len(cache) <= 10
    assert cache.get(("n99", TXT)) is not None


def test_an_answer_larger_than_all_octets_is_not_kept(clock: Clock) -> None:
    cache = cache_of(clock, octets=1000)
    cache.put(("a", TXT), Answer((b"x" * 10_000,)), 60)
    assert len(cache) == 0
    cache.put(("a", TXT), FOUND, 60)
    assert cache.get(("a", TXT)) is FOUND


def test_an_answer_that_replaces_another_is_counted_once(clock: Clock) -> None:
    cache = cache_of(clock, octets=5000)
    cache.put(("b", TXT), FOUND, 60)
    for _ in range(100):
        cache.put(("a", TXT), FOUND, 60)
    assert cache.get(("b", TXT)) is FOUND


def test_no_entries_means_no_cache(clock: Clock) -> None:
    cache = cache_of(clock, entries=0)
    cache.put(("a", TXT), FOUND, 60)
    assert cache.get(("a", TXT)) is None


def test_threads_may_read_and_write_at_once(clock: Clock) -> None:
    cache = cache_of(clock, entries=20)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(3000):
                key = (f"n{(i * seed) % 40}", TXT)
                if cache.get(key) is None:
                    cache.put(key, FOUND, 60)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(cache) == 20
