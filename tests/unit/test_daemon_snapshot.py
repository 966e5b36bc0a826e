"""The snapshot in shared memory: whole or not at all, in every process."""

import os
import threading
import time

import pytest

from mailnotary.daemon.snapshot import Shared, SnapshotError


def test_what_is_published_is_what_is_loaded() -> None:
    shared = Shared(2)
    for number in range(1, 5):
        value = {"number": number, "keys": b"x" * 100_000 * number}
        assert shared.publish(value) == number
        assert shared.load() == (number, value)


def test_a_child_sees_what_its_parent_publishes_after_the_fork() -> None:
    shared = Shared(1)
    shared.publish("before")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        generation, value = shared.load()
        shared.beat(0, generation)
        os._exit(0 if (generation, value) == (2, "after") else 1)
    shared.publish("after")
    os.write(writer, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    seconds, generation = shared.last_beat(0)
    assert generation == 2
    assert 0 <= time.monotonic() - seconds < 60
    os.close(reader)
    os.close(writer)


def test_a_reader_among_many_writes_gets_a_whole_snapshot_each_time() -> None:
    shared = Shared(1)
    shared.publish([0] * 1000)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            shared.publish([number] * (1000 + number % 7 * 10_000))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        newest = 0
        for _ in range(100):
            generation, value = shared.load()
            assert len(set(value)) == 1
            assert generation >= newest
            newest = generation
    finally:
        done.set()
        writer.join()


def test_a_snapshot_that_can_not_be_written_leaves_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared(1)
    shared.publish("old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        shared.publish("new")
    monkeypatch.undo()
    assert shared.load() == (1, "old")
    assert shared.publish("newer") == 2
    assert shared.load() == (2, "newer")


def test_what_can_not_be_pickled_leaves_the_old_one() -> None:
    shared = Shared(1)
    shared.publish("old")
    with pytest.raises((TypeError, AttributeError)):
        shared.publish(threading.Lock())
    assert shared.load() == (1, "old")


def test_a_snapshot_that_stays_torn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared(1)
    shared.publish("old")
    monkeypatch.setattr("mailnotary.daemon.snapshot._PAUSE", 0)
    monkeypatch.setattr(os, "pread", lambda *_: b"torn")
    with pytest.raises(SnapshotError):
        shared.load()


def test_signs_of_life_have_a_place_for_each_worker() -> None:
    shared = Shared(3)
    shared.beat(1, 7)
    assert shared.last_beat(0) == (0.0, 0)
    assert shared.last_beat(1)[1] == 7
    shared.clear_beat(1)
    assert shared.last_beat(1) == (0.0, 0)
