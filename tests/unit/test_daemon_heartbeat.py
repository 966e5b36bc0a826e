"""The supervisor's looks at its workers, and its signals. Whoever looks at a heartbeat while it is written sees the
one before it, or it."""

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mailnotary.config.settings import Settings
from mailnotary.daemon.heartbeat import Heartbeats
from mailnotary.daemon.supervisor import Supervisor


def test_a_beat_is_its_time_and_generation_until_its_place_is_cleared() -> None:
    heartbeats = Heartbeats(2)
    before = time.monotonic()
    heartbeats.beat(1, 7)
    seconds, generation = heartbeats.last(1)
    assert before <= seconds <= time.monotonic()
    assert generation == 7
    assert heartbeats.last(0) == (0.0, 0)
    heartbeats.let_go(1)
    assert (heartbeats.has_let_go(1), heartbeats.has_let_go(0)) == (True, False)
    assert heartbeats.last(1) == (seconds, generation)
    heartbeats.clear(1)
    assert heartbeats.last(1) == (0.0, 0)
    assert not heartbeats.has_let_go(1)


def test_who_looks_while_a_worker_beats_never_finds_it_silent() -> None:
    heartbeats = Heartbeats(3)
    heartbeats.beat(1, 5)
    start = heartbeats.last(1)[0]
    child = os.fork()
    if child == 0:
        while True:
            heartbeats.beat(1, 5)
    try:
        looks = 0
        deadline = time.monotonic() + 1.0
        last = start
        while time.monotonic() < deadline:
            seconds, generation = heartbeats.last(1)
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
    quiet: Any = SimpleNamespace(watchdog_interval=None, has_news=lambda: False, news=list)
    supervisor = Supervisor(Settings(), quiet, 1, quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet)
    supervisor._looked = time.monotonic()
    (place,) = supervisor._places
    place.pid, place.restarts.started = 4711, time.monotonic() - 3600
    supervisor._look()
    supervisor._heartbeats.beat(0, 0)
    supervisor._look()
    supervisor._heartbeats.clear(0)
    supervisor._look()
    assert killed == []
    supervisor._look()
    assert killed == [(4711, signal.SIGKILL)]


def test_a_reload_after_the_other_does_not_keep_the_end_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def stop(_: Supervisor, why: str) -> int:
        done.append(why)
        return 0

    for method in ("_fill_places", "_reap", "_look"):
        monkeypatch.setattr(Supervisor, method, lambda _: None)
    monkeypatch.setattr(Supervisor, "_reload", lambda _: done.append("reload"))
    monkeypatch.setattr(Supervisor, "_stop", stop)
    quiet: Any = SimpleNamespace(watchdog_interval=None)
    supervisor = Supervisor(Settings(), quiet, 1, quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGTERM))
    try:
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.pthread_kill(threading.get_ident(), number)
        assert supervisor.run() == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert done == ["SIGTERM"]
