"""The history goes on whatever happens to its store, and says what it lost."""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailnotary.config.history import HistorySettings
from mailnotary.history import keeper as keeper_module
from mailnotary.history.database import APPLICATION_ID
from mailnotary.history.keeper import FILE, Keeper, Waiting
from mailnotary.history.rows import pack, packet
from mailnotary.history.store import DAY, Search, Store
from mailnotary.history.story import row_of, story_of
from support.messages import verified


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "RETRY", 0.0)
    monkeypatch.setattr("mailnotary.history.sqlite.BUSY_SECONDS", 0.05)


def wait(waiting: Waiting, *queue_ids: str, now: float | None = None) -> None:
    for queue_id in queue_ids:
        record = verified(queue_id)
        waiting.add(packet([pack(row_of(record, now), story_of(record, str))]))


def keeper(directory: Path, waiting: Waiting, clock: Callable[[], float] = time.time, **settings: object) -> Keeper:
    return Keeper(HistorySettings(enabled=True, **settings), directory, waiting, clock)  # type: ignore[arg-type]


def stored(path: Path) -> list[str]:
    store = Store.open(str(path), read_only=True)
    try:
        return [found["queue_id"] for found in store.each(Search())]
    finally:
        store.close()


def test_what_waits_is_stored(tmp_path: Path) -> None:
    waiting = Waiting()
    kept = keeper(tmp_path, waiting)
    wait(waiting, "A", "B")
    kept.step()
    wait(waiting, "C")
    kept.finish(5)
    assert stored(tmp_path / FILE) == ["A", "B", "C"]
    assert kept.stored == 3


def test_a_store_that_fails_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    waiting = Waiting()
    kept = keeper(tmp_path / "later", waiting)
    wait(waiting, "A")
    for _ in range(3):
        kept.step()
    wait(waiting, "B")
    assert "No such file" in kept.failing
    (tmp_path / "later").mkdir()
    kept.step()
    kept.finish(5)
    assert stored(tmp_path / "later" / FILE) == ["A", "B"]
    assert kept.failing == ""
    assert [record.message for record in caplog.records] == [
        "the history cannot be written; mail is not affected",
        "the history is kept again",
    ]


def test_a_store_that_another_process_has_locked_is_tried_again(tmp_path: Path) -> None:
    waiting = Waiting()
    kept = keeper(tmp_path, waiting)
    wait(waiting, "A")
    kept.step()
    lock = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    wait(waiting, "B")
    kept.step()
    assert "locked" in kept.failing
    lock.execute("ROLLBACK")
    lock.close()
    kept.step()
    assert kept.failing == ""
    kept.finish(5)
    assert stored(tmp_path / FILE) == ["A", "B"]


def test_a_damaged_store_is_set_aside_and_a_new_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    waiting = Waiting()
    kept = keeper(tmp_path, waiting, lambda: 1_700_000_000.0)
    wait(waiting, "A")
    kept.step()
    kept.step()
    kept.finish(5)
    assert stored(path) == ["A"]
    assert (tmp_path / "history/history.db.damaged-1700000000").read_bytes().startswith(b"not a database")
    assert "the history is damaged: it was set aside, and a new one is begun" in caplog.messages


def test_a_store_that_is_damaged_while_it_is_used_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    waiting = Waiting()
    kept = keeper(tmp_path, waiting)
    wait(waiting, *(f"A{number}" for number in range(500)))
    kept.step()
    kept._close()
    with open(path, "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    wait(waiting, "B")
    for _ in range(3):
        kept.step()
    kept.finish(5)
    assert stored(path) == ["B"]
    assert list(tmp_path.glob("history/history.db.damaged-*"))


def test_a_store_of_another_program_is_never_set_aside(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cookies (name TEXT)")
    other.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
    other.commit()
    other.close()
    before = path.read_bytes()
    waiting = Waiting()
    kept = keeper(tmp_path, waiting)
    wait(waiting, "A")
    kept.step()
    assert "a database of another program" in kept.failing
    kept.finish(0.1)
    assert path.read_bytes() == before


def test_what_waits_is_bounded_and_the_oldest_goes_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting(octets=10_000)
    wait(waiting, *(f"Q{number}" for number in range(100)))
    left = len(waiting)
    assert 5 < left < 20
    assert waiting.lost == 100 - left
    kept = keeper(tmp_path, waiting)
    kept.finish(5)
    assert stored(tmp_path / FILE) == [f"Q{number}" for number in range(100 - left, 100)]
    [line] = [record for record in caplog.records if record.message == "messages are missing in the history"]
    assert line.__dict__["fields"] == {"count": 100 - left}


def test_old_messages_go_while_new_ones_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_TIDY", 0.0)
    now = 1_700_000_000.0
    waiting = Waiting()
    kept = keeper(tmp_path, waiting, lambda: now, days=7)
    wait(waiting, "old", now=now - 8 * DAY)
    wait(waiting, "young", now=now - 6 * DAY)
    kept.step()
    wait(waiting, "new", now=now)
    kept.step()
    kept.finish(5)
    assert stored(tmp_path / FILE) == ["young", "new"]


def test_the_oldest_messages_make_room_where_the_size_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_TIDY", 0.0)
    size = 2**20
    waiting = Waiting()
    kept = keeper(tmp_path, waiting, size=size)
    now = time.time()
    for start in range(0, 6000, 1000):
        wait(waiting, *(f"Q{start + number}" for number in range(1000)), now=now + start)
        for _ in range(60):
            kept.step()
    kept.finish(5)
    assert (tmp_path / FILE).stat().st_size <= size * 1.5
    left = stored(tmp_path / FILE)
    assert left[-1] == "Q5999"
    assert "Q0" not in left


def test_a_clock_that_jumps_back_loses_nothing(tmp_path: Path) -> None:
    waiting = Waiting()
    kept = keeper(tmp_path, waiting)
    now = time.time()
    wait(waiting, "A", now=now)
    wait(waiting, "B", now=now - 7200)
    wait(waiting, "C", now=now)
    kept.finish(5)
    assert sorted(stored(tmp_path / FILE)) == ["A", "B", "C"]
