"""What the supervisor and its workers share: snapshots, the channel on which they travel, heartbeats."""

import errno
import os
import resource
import select
import threading
import time
from contextlib import suppress

import pytest

from mailnotary.daemon.channel import CONFIGURATION, END, SIGNING, STOP, Channel
from mailnotary.daemon.heartbeat import Heartbeats
from mailnotary.daemon.snapshot import Snapshot
from support.daemon import resident_kib


def test_what_is_written_is_what_is_read() -> None:
    for number in range(5):
        value = {"number": number, "keys": b"x" * 100_000 * number}
        entries = {f"d{n}": (n, b"y" * n) for n in range(number * 100)}
        found, kept = Snapshot.write(value, entries).read()
        assert found == value
        assert kept == entries
        assert list(kept) == list(entries)
        assert len(kept) == len(entries)
        assert "d0" in kept or not entries
        assert "other" not in kept
        assert kept.get("other") is None


def test_entries_stay_when_the_snapshot_is_closed() -> None:
    snapshot = Snapshot.write("value", {"a": "one"})
    _, entries = snapshot.read()
    snapshot.close()
    snapshot.close()
    assert entries["a"] == "one"


def test_nobody_changes_a_snapshot() -> None:
    snapshot = Snapshot.write("value", {"a": "one"})
    with pytest.raises(PermissionError):
        os.pwrite(snapshot.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(snapshot.descriptor, 0)
    value, entries = snapshot.read()
    assert (value, dict(entries)) == ("value", {"a": "one"})


def test_what_can_not_be_written_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises((TypeError, AttributeError)):
        Snapshot.write(threading.Lock())
    with pytest.raises((TypeError, AttributeError)):
        Snapshot.write("value", {"a": threading.Lock()})
    assert os.listdir("/proc/self/fd") == before


def test_a_child_gets_what_its_parent_writes_after_the_fork() -> None:
    ours, theirs = Channel.pair()
    heartbeats = Heartbeats(1)
    pid = os.fork()
    if pid == 0:
        ours.close()
        select.select([theirs], [], [])
        value, entries = taken(theirs.receive(), CONFIGURATION).read()
        ok = (value, dict(entries)) == ((2, "after"), {"a": 1})
        theirs.send(SIGNING, Snapshot.write("from the child"))
        heartbeats.beat(0, 2)
        os._exit(not ok)
    theirs.close()
    ours.send(CONFIGURATION, Snapshot.write((2, "after"), {"a": 1}))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    said = ours.receive()  # what was said is not lost with the one who said it
    assert taken(said, SIGNING).read()[0] == "from the child"
    assert END in said
    with pytest.raises(BrokenPipeError):
        ours.send(STOP)
    ours.close()
    seconds, generation = heartbeats.last(0)
    assert generation == 2
    assert 0 <= time.monotonic() - seconds < 60


def taken(said: dict[bytes, Snapshot | None], word: bytes) -> Snapshot:
    snapshot = said[word]
    assert snapshot is not None
    return snapshot


def test_the_newest_of_each_word_is_taken_and_the_others_leave_nothing_behind() -> None:
    ours, theirs = Channel.pair()
    assert theirs.receive() == {}
    before = os.listdir("/proc/self/fd")
    for number in range(9):
        ours.send(CONFIGURATION, Snapshot.write(number))
        ours.send(SIGNING, Snapshot.write(-number))
    ours.send(STOP)
    said = theirs.receive()
    assert list(said) == [CONFIGURATION, SIGNING, STOP]
    assert taken(said, CONFIGURATION).read()[0] == 8
    assert taken(said, SIGNING).read()[0] == -8
    assert said[STOP] is None
    del said
    assert os.listdir("/proc/self/fd") == before
    ours.close()
    assert theirs.receive() == {END: None}
    theirs.close()


def test_neither_end_waits() -> None:
    for sender, other in (Channel.pair(), tuple(reversed(Channel.pair()))):
        with pytest.raises(BlockingIOError):
            _fill(sender)
        assert other.receive() == {STOP: None}
        sender.close()
        other.close()


def _fill(channel: Channel) -> None:
    for _ in range(1000):
        channel.send(STOP)


def test_who_went_with_words_unread_is_heard_to_the_end() -> None:
    ours, theirs = Channel.pair()
    theirs.send(SIGNING, Snapshot.write("its last word"))
    ours.send(STOP)
    theirs.close()  # with something unread: the kernel says ECONNRESET first
    said = ours.receive()
    assert taken(said, SIGNING).read()[0] == "its last word"
    assert END in said
    with pytest.raises(ConnectionError):
        ours.send(STOP)
    ours.close()


def test_a_snapshot_for_which_there_is_no_descriptor_left_is_an_error() -> None:
    ours, theirs = Channel.pair()
    ours.send(CONFIGURATION, Snapshot.write("value"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    kept = []
    try:
        with suppress(OSError):
            while True:
                kept.append(os.dup(0))
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says which
            theirs.receive()
        assert caught.value.errno == errno.EMFILE
    finally:
        for descriptor in kept:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ours.close()
    theirs.close()


def test_a_worker_maps_a_snapshot_and_holds_no_copy() -> None:
    snapshot = Snapshot.write("value", {f"d{n}": os.urandom(1000) for n in range(20_000)})
    before = resident_kib(os.getpid())
    _, entries = snapshot.read()
    assert len(entries["d19999"]) == 1000
    assert resident_kib(os.getpid()) - before < 8_000  # of 20 MB


def test_signs_of_life_have_a_place_for_each_worker() -> None:
    heartbeats = Heartbeats(3)
    heartbeats.beat(1, 7)
    assert heartbeats.last(0) == (0.0, 0)
    assert heartbeats.last(1)[1] == 7
    heartbeats.clear(1)
    assert heartbeats.last(1) == (0.0, 0)
