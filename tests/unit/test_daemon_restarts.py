"""How long a process that dies is waited with."""

import pytest

from mailnotary.daemon import restarts
from mailnotary.daemon.restarts import Restarts


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(restarts, "time", clock)
    return clock


def live(process: Restarts, clock: Clock, seconds: float) -> float:
    """The process lives so long. Gives for how long it then is not started."""
    clock.now += process.wait
    assert process.wait == 0
    process.begin()
    clock.now += seconds
    assert process.ended() == pytest.approx(seconds)
    return process.wait


def test_each_short_life_doubles_the_wait_up_to_the_longest_and_a_long_one_ends_that(clock: Clock) -> None:
    process = Restarts(first=1, longest=5, healthy=10)
    assert process.wait == 0
    waits = [live(process, clock, 0.5) for _ in range(5)]
    assert waits == pytest.approx([1, 2, 4, 5, 5])
    assert process.deaths == 5
    assert live(process, clock, 10) == pytest.approx(1)
    assert process.deaths == 1


def test_days_of_deaths_in_a_row_are_survived(clock: Clock) -> None:
    process = Restarts(first=0.1, longest=5, healthy=10)
    assert [live(process, clock, 0) for _ in range(5000)][-1] == pytest.approx(5)


def test_an_end_that_was_asked_for_costs_no_wait(clock: Clock) -> None:
    process = Restarts(first=1, longest=5, healthy=10)
    live(process, clock, 0)
    process.ended_as_told()
    assert process.wait == 0
    assert live(process, clock, 0) == pytest.approx(1)
