"""The process that writes the log where a write can wait: nobody else ever does."""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mailnotary.daemon import log_pump
from mailnotary.daemon.log import StderrSink
from mailnotary.daemon.log_pump import LogPump


@pytest.fixture(autouse=True)
def own_standard_error() -> Iterator[None]:
    """`finish` puts it back, as the daemon wants."""
    saved = os.dup(2)
    yield
    os.dup2(saved, 2)
    os.close(saved)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_all(reader: int, seconds: float = 0.5) -> bytes:
    text = b""
    while select.select([reader], [], [], seconds)[0] and (data := os.read(reader, 1 << 16)):
        text += data
    return text


def lines(pump: LogPump, count: int) -> int:
    """Writes so many lines; how many were taken."""
    taken = 0
    for number in range(count):
        with suppress(BlockingIOError):
            taken += os.write(pump.writer, b"%06d %s\n" % (number, b"x" * 100)) > 0
    return taken


def end(pump: LogPump) -> None:
    os.kill(pump.pid, signal.SIGKILL)
    pump.finish()
    os.close(pump.writer)


def test_where_a_write_may_wait_is_known(
    pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("wb") as file:
        sink = StderrSink(file.fileno())
    assert sink.may_wait  # for the disk
    os.close(sink.descriptor)
    _, writer = pipe
    sink = StderrSink(writer)
    assert not sink.may_wait
    os.close(sink.descriptor)

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # as it is with a pipe of another user
    sink = StderrSink(writer)
    assert sink.may_wait
    os.close(sink.descriptor)


def test_a_reader_that_stands_still_holds_nobody_up_and_whole_lines_come_through(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    pump = LogPump(writer)
    taken = lines(pump, 20_000)  # this would wait for ever
    assert 100 < taken < 20_000
    text = read_all(reader)
    assert text.count(b"\n") == taken
    assert all(len(line) == 107 for line in text.splitlines())
    assert lines(pump, 1) == 1
    assert read_all(reader) == b"000000 " + b"x" * 100 + b"\n"
    assert os.get_blocking(writer)  # for whoever else writes there
    end(pump)


def test_many_threads_write_without_waiting_for_each_other(pipe: tuple[int, int]) -> None:
    pump = LogPump(pipe[1])
    threads = [threading.Thread(target=lines, args=(pump, 2000), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    end(pump)


def test_it_goes_on_once_somebody_reads_again(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    pump = LogPump(writer)
    os.close(reader)
    assert lines(pump, 3) == 3  # EPIPE, as a full disk would be ENOSPC
    time.sleep(0.1)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert read_all(reader, 2.0).count(b"\n") == 3
    end(pump)
    os.close(reader)
    os.close(writer)


def test_one_that_died_is_replaced_and_what_was_written_meanwhile_is_not_lost(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pump, "_FIRST_DELAY", 0.0)
    reader, writer = pipe
    pump = LogPump(writer)
    first = pump.pid
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    pump.ended(first)
    assert lines(pump, 3) == 3
    pump.keep()
    assert pump.pid not in (0, first)
    assert read_all(reader).count(b"\n") == 3
    end(pump)


def test_last_words_get_through_and_it_ends_with_the_last_writer(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    pump = LogPump(writer)
    assert lines(pump, 100) == 100
    pump.finish()
    assert len(read_all(reader, 0.0).splitlines()) == 100
    with pytest.raises(ChildProcessError):
        os.waitpid(pump.pid, 0)
    os.write(pump.writer, b"directly\n")
    assert read_all(reader, 0.0) == b"directly\n"
    os.close(pump.writer)


def test_where_a_write_still_waits_the_end_does_not_wait_for_it(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    pump = LogPump(writer)
    lines(pump, 20_000)
    pump.finish()
    os.write(pump.writer, b"said to nobody\n")
    assert b"nobody" not in read_all(reader)
    os.waitpid(pump.pid, 0)
    os.close(pump.writer)


def test_it_holds_nothing_but_its_two_ends(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    pump = LogPump(writer)
    assert lines(pump, 1) == 1
    assert read_all(reader)
    assert len(os.listdir(f"/proc/{pump.pid}/fd")) == 2
    assert Path(f"/proc/{pump.pid}/comm").read_text().strip() == log_pump.NAME
    end(pump)


def test_no_process_stays_behind_with_a_log_that_nobody_reads(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pump, "_PATIENCE", 0.1)
    said, tell = os.pipe()
    daemon = os.fork()
    if daemon == 0:
        try:
            pump = LogPump(pipe[1])
            lines(pump, 20_000)
            os.write(tell, b"%d" % pump.pid)
            time.sleep(0.1)
        finally:
            os._exit(0)
    pump_pid = int(os.read(said, 20))
    os.waitpid(daemon, 0)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pump_pid}").exists() and state(pump_pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(said)
    os.close(tell)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_a_sink_through_it_loses_lines_and_does_not_wait(pipe: tuple[int, int]) -> None:
    pump = LogPump(pipe[1])
    sink = StderrSink(pump.writer)
    written = sum(sink.write(logging.INFO, b"x" * 1000) for _ in range(3000))
    assert 10 < written < 3000
    os.close(sink.descriptor)
    end(pump)
