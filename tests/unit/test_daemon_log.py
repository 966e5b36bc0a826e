"""The log: one line, whatever is in it; and never a reason for mail to wait."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import LogFormat, LogSettings
from mailnotary.daemon import log as daemon_log
from mailnotary.daemon.log import (
    MAX_LINE,
    Log,
    StderrSink,
    SyslogSink,
    format_json,
    format_text,
    set_up,
    standard_error,
)

FIELDS = st.dictionaries(st.from_regex(r"[a-z_]{1,10}", fullmatch=True), st.text() | st.integers() | st.floats())
ANY_TEXT = st.text(st.characters(codec=None))  # lone surrogates too


class ListSink:
    """Keeps the lines; refuses them while `full`."""

    timestamps = False

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False

    def write(self, _level: int, line: bytes) -> bool:
        if self.full:
            return False
        self.lines.append(line)
        return True

    def close(self) -> None:
        pass


@given(ANY_TEXT, FIELDS, ANY_TEXT)
def test_text_is_one_printable_line(event: str, fields: dict[str, object], value: str) -> None:
    line = format_text("info", event, fields | {"last": value}, False, 1000)
    assert not set(line) & set("\n\r\x1b\x00\x85\u2028\u202e")


@given(ANY_TEXT, FIELDS, ANY_TEXT)
def test_json_is_one_ascii_line_that_reads_back(event: str, fields: dict[str, object], value: str) -> None:
    line = format_json("info", event, fields | {"last": value}, True, 1000)
    assert line.isascii()
    assert "\n" not in line
    record = json.loads(line)
    assert record["level"] == "info"
    assert set(fields) <= set(record)
    assert not any("\ud800" <= c <= "\udfff" for c in record["last"])


@given(st.text())
def test_a_value_can_not_pose_as_another_field(value: str) -> None:
    line = format_text("info", "message", {"helo": value, "action": "reject"}, False, 10_000)
    unquoted = line.split('"')[::2]  # what stands outside of quotes
    if '"' not in value:
        assert sum(part.count("action=") for part in unquoted) == 1


def test_a_text_line_reads_as_documented() -> None:
    fields = {"workers": 2, "why": "two words", "empty": "", "quote": 'say "x"', "path": "a\\b"}
    line = format_text("info", "ready", fields, False, 100)
    assert line == 'info ready workers=2 why="two words" empty="" quote="say \\"x\\"" path=a\\x5cb'


def test_numbers_stay_numbers_in_json() -> None:
    record = json.loads(format_json("info", "x", {"ms": 1.5, "dns": 3, "text": "3"}, False, 100))
    assert (record["ms"], record["dns"], record["text"]) == (1.5, 3, "3")


@pytest.mark.parametrize("form", LogFormat)
def test_a_line_is_never_longer_than_a_pipe_takes_at_once(form: LogFormat) -> None:
    sink = ListSink()
    log = Log(LogSettings(format=form), sink)
    log.line(logging.INFO, "x" * 10_000, {f"field{number}": "\x1b\U0001f600" * 5_000 for number in range(20)})
    (line,) = sink.lines
    assert len(line) <= MAX_LINE
    if form is LogFormat.JSON:
        json.loads(line)


def test_levels_are_respected() -> None:
    sink = ListSink()
    log = Log(LogSettings(level="warning"), sink)
    log.line(logging.INFO, "quiet", {})
    log.line(logging.WARNING, "loud", {})
    assert sink.lines == [b"warning loud"]


def test_lost_lines_are_counted_and_said_when_the_sink_takes_lines_again() -> None:
    sink = ListSink()
    log = Log(LogSettings(), sink)
    sink.full = True
    for _ in range(3):
        log.line(logging.INFO, "lost", {})
    sink.full = False
    log.line(logging.INFO, "found", {})
    assert sink.lines == [b"warning log lines lost count=3", b"info found"]


def test_lost_lines_are_said_once_even_if_no_line_follows() -> None:
    sink = ListSink()
    log = Log(LogSettings(), sink)
    assert log.say_lost()
    sink.full = True
    for _ in range(3):
        log.line(logging.INFO, "lost", {})
    assert not log.say_lost()
    sink.full = False
    assert log.say_lost()
    assert log.say_lost()
    assert sink.lines == [b"warning log lines lost count=3"]


def test_a_defect_in_a_record_is_a_lost_line_and_no_exception() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    sink = ListSink()
    log = Log(LogSettings(), sink)
    record = logging.LogRecord("x", logging.INFO, "file", 1, "event", (), None)
    record.fields = {"a": Hostile()}
    log.emit(record)
    log.line(logging.INFO, "after", {})
    assert sink.lines == [b"warning log lines lost count=1", b"info after"]


def test_an_exception_is_told_on_one_line_with_its_place() -> None:
    sink = ListSink()
    log = Log(LogSettings(), sink)
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "defect", (), (ValueError, error, error.__traceback__))
    log.emit(record)
    (line,) = sink.lines
    assert b'error="ValueError: two\\x0alines"' in line
    assert b"test_daemon_log.py:" in line


# --- sinks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_full_pipe_loses_lines_and_does_not_wait(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = StderrSink(writer)
    written = sum(sink.write(logging.INFO, b"x" * 1000) for _ in range(200))
    assert 10 < written < 200
    os.read(reader, 1 << 16)
    assert sink.write(logging.INFO, b"x")
    assert os.get_blocking(writer)  # for whoever else writes there


def test_a_socket_that_nobody_reads_loses_lines_and_does_not_wait() -> None:
    left, right = socket.socketpair()
    with left, right:
        sink = StderrSink(left.fileno())
        written = sum(sink.write(logging.INFO, b"x" * 1000) for _ in range(2000))
        assert 10 < written < 2000
        right.recv(1 << 16)
        while not sink.write(logging.INFO, b"x"):
            right.recv(1 << 16)
        assert sink._socket is not None
        sink._socket.close()


def test_a_full_disk_and_a_closed_descriptor_lose_lines() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    assert not StderrSink(full).write(logging.INFO, b"x")
    os.close(full)
    assert not StderrSink(full).write(logging.INFO, b"x")


def test_the_journal_gets_priorities_and_no_second_time(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pipe
    status = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    sink = StderrSink(writer)
    assert not sink.timestamps
    sink.write(logging.ERROR, b"x")
    assert os.read(reader, 100) == b"<3>x\n"


def test_syslog_gets_facility_severity_and_tag_and_may_be_restarted(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    sink = SyslogSink(path)
    assert not sink.write(logging.INFO, b"nobody is there")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)
            assert sink.write(logging.WARNING, b"hello")
            assert server.recv(1000) == f"<20>mailnotary[{os.getpid()}]: hello".encode()
        assert not sink.write(logging.INFO, b"it has gone")
        os.unlink(path)
    sink.close()


def test_a_syslog_daemon_that_stands_still_costs_lines_and_no_time(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        sink = SyslogSink(path)
        assert not all(sink.write(logging.INFO, b"x" * 1000) for _ in range(5000))
        sink.close()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Python's root logger without a handler; it is put back as it was."""
    root = logging.getLogger()
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    root.handlers.clear()
    standard_error.cache_clear()
    try:
        yield root
    finally:
        standard_error.cache_clear()
        root.handlers[:] = before
        root.setLevel(level)
        logging.raiseExceptions, logging.logThreads = raising, True
        logging.captureWarnings(False)
        daemon_log.logger.setLevel(logging.NOTSET)


def test_setting_up_again_replaces_the_log(root_logger: logging.Logger) -> None:
    first, second = set_up(LogSettings()), set_up(LogSettings(level="debug"))
    assert root_logger.handlers == [second]
    assert first is not second
    assert daemon_log.logger.level == logging.DEBUG


def log_that_lost_a_line() -> Log:
    sink = ListSink()
    sink.full = True
    log = Log(LogSettings(), sink)
    log.line(logging.INFO, "lost", {})
    return log


def test_a_log_that_takes_the_place_of_another_tells_what_that_lost(
    root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    root_logger.addHandler(log_that_lost_a_line())
    set_up(LogSettings())
    assert daemon_log.say_lost()
    assert "log lines lost count=1" in capfd.readouterr().err


def test_a_child_does_not_tell_what_its_parent_lost(root_logger: logging.Logger) -> None:
    of_parent = log_that_lost_a_line()
    of_parent.process -= 1
    root_logger.addHandler(of_parent)
    assert set_up(LogSettings()).lost == 0
