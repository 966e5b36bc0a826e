"""The workers' signs of life: whoever looks while one is written sees the one before it, or it."""

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mailnotary.daemon.beats import Beats
from mailnotary.daemon.supervisor import Supervisor
from mailnotary.settings import Settings


def test_a_beat_is_its_time_and_generation_until_its_place_is_cleared() -> None:
    beats = Beats(2)
    before = time.monotonic()
    beats.beat(1, 7)
    seconds, generation = beats.last(1)
    assert before <= seconds <= time.monotonic()
    assert generation == 7
    assert beats.last(0) == (0.0, 0)
    beats.clear(1)
    assert beats.last(1) == (0.0, 0)


def test_who_looks_while_a_worker_beats_never_finds_it_silent() -> None:
    beats = Beats(3)
    beats.beat(1, 5)
    start = beats.last(1)[0]
    child = os.fork()
    if child == 0:
        while True:
            beats.beat(1, 5)
    try:
        looks = 0
        deadline = time.monotonic() + 1.0
        last = start
        while time.monotonic() < deadline:
            seconds, generation = beats.last(1)
            assert generation == 5
            assert seconds >= last
            last = seconds
            looks += 1
        assert last > start  # it did beat meanwhile
        assert looks > 1000
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_one_look_alone_takes_no_worker_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *words: killed.append(words))
    quiet: Any = SimpleNamespace(watchdog_interval=None, has_news=lambda: False)
    supervisor = Supervisor(Settings(), quiet, 1, quiet, quiet, quiet, quiet, quiet, quiet)
    supervisor._looked = time.monotonic()
    (place,) = supervisor._places
    place.pid, place.started = 4711, time.monotonic() - 3600
    supervisor._look()
    supervisor._beats.beat(0, 0)
    supervisor._look()
    supervisor._beats.clear(0)
    supervisor._look()
    assert killed == []
    supervisor._look()
    assert killed == [(4711, signal.SIGKILL)]
