"""The daemon's log: key=value text or JSON lines, to standard error or to syslog.

A log that can't be written (a full or frozen disk, a closed pipe, a reader that is stuck) costs its lines and nothing
else: no sink here raises, and none waits. What was lost is counted; `say_lost` says it once a line gets through again.
"""

import json
import logging
import os
import re
import socket
import stat
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from functools import cache, lru_cache
from typing import Protocol

from mailnotary.config.settings import LogFormat, LogSettings, LogTarget
from mailnotary.escape import printable
from mailnotary.session.outcome import LoggedList

MAX_LINE = 4000  # octets; a write to a pipe is in one piece up to 4096 (pipe(7)), whoever else writes there
_LIMITS = (1000, 200, 40, 10, 4)  # characters of one value: the first with which the line is short enough
_ITEM = 10  # an array has an item for every so many of these characters, and always two
_FRAMES = 12  # of a traceback
_FACILITY_MAIL = 2 << 3  # RFC 5424 section 6.2.1
_SEVERITY = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_RECURRING = 200  # characters of a value that may well be written again
_QUOTED = re.compile(r'[\s"=]')
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+\Z")  # printable US-ASCII that is written as it is, without quotes: most values

logger = logging.getLogger("mailnotary")


class Sink(Protocol):
    """Where lines go."""

    timestamps: bool  # whether the line has to bring its own time

    def write(self, level: int, line: bytes) -> bool:
        """Writes one line without waiting; False if it could not be written."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


class StderrSink:
    """Standard error. Where that is a pipe, a socket or a terminal whose reader is stuck, lines are dropped.
    `may_wait`: here a write to `descriptor` can wait all the same, so that a `LogPump` has to take its place."""

    def __init__(self, fd: int = 2) -> None:
        self._socket: socket.socket | None = None
        self.descriptor = -1
        self._journal = False
        self.may_wait = False
        try:
            status = os.fstat(fd)
        except OSError:  # closed
            self.timestamps = True
            return
        self._journal = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
        self.timestamps = not self._journal
        if stat.S_ISSOCK(status.st_mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            return
        if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
            self.may_wait = True  # for the disk, whatever O_NONBLOCK says (open(2))
        else:
            # A new open file description: O_NONBLOCK on the old one would hit everybody who shares it.
            with suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self.descriptor = os.open(f"/proc/self/fd/{fd}", flags)
            self.may_wait = self.descriptor < 0  # it belongs to another user
        if self.descriptor < 0:
            self.descriptor = os.dup(fd)

    def fileno(self) -> int:
        """What it writes to; -1 where standard error is closed."""
        return self.descriptor if self._socket is None else self._socket.fileno()

    def write(self, level: int, line: bytes) -> bool:
        """See `Sink.write`."""
        if self._journal:  # sd-daemon(3): the priority as a prefix
            line = b"<%d>%b" % (_SEVERITY.get(level, 6), line)
        try:
            if self._socket is not None:
                return self._socket.send(line + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) > 0
            return self.descriptor >= 0 and os.write(self.descriptor, line + b"\n") > 0
        except OSError:
            return False

    def close(self) -> None:
        """See `Sink.close`. Standard error stays open as long as the process."""


@cache
def standard_error() -> StderrSink:
    """The one sink to standard error of this process and of those that it forks. The supervisor opens it while it is
    still root's: a pipe of root's can't be opened anew by anybody else."""
    return StderrSink()


class SyslogSink:
    """The machine's syslog daemon, facility mail. It may come and go."""

    timestamps = False

    def __init__(self, path: str = "/dev/log") -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._tag = b"mailnotary[%d]" % os.getpid()

    def write(self, level: int, line: bytes) -> bool:
        """See `Sink.write`."""
        data = b"<%d>%b: %b" % (_FACILITY_MAIL | _SEVERITY.get(level, 6), self._tag, line)
        for _ in range(2):  # the second time over a new socket: the daemon may have been restarted
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError:
                self.close()
            else:
                return True
        return False

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """See `Sink.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


Formatter = Callable[[str, str, Mapping[str, object], bool, int], str]
"""Level, event, fields, whether the line brings its own time, the most characters of a value."""


def format_text(level: str, event: str, fields: Mapping[str, object], timestamp: bool, limit: int) -> str:
    """`info ready workers=2`: the event, then key=value; a value with white space, = or quotes is quoted."""
    parts = [_now()] if timestamp else []
    parts += [level, printable(event, limit)]
    is_plain = _PLAIN.match
    for key, value in fields.items():
        text = value if type(value) is str else str(value)
        if len(text) > limit or not is_plain(text):
            text = _quoted_cached(text, limit) if len(text) <= _RECURRING else _quoted(text, limit)
        parts.append(f"{key}={text}")
    return " ".join(parts)


def _quoted(text: str, limit: int) -> str:
    text = printable(text, limit)
    if not text or _QUOTED.search(text):
        text = '"' + text.replace('"', '\\"') + '"'
    return text


_quoted_cached = lru_cache(maxsize=1024)(_quoted)  # what needs quotes is reasons, and most mail has the same ones


def format_json(level: str, event: str, fields: Mapping[str, object], timestamp: bool, limit: int) -> str:
    """One JSON object, in ASCII."""
    record: dict[str, object] = {"time": _now()} if timestamp else {}
    record |= {"level": level, "event": _json_text(event, limit)}
    record |= {key: _json_value(value, limit) for key, value in fields.items()}
    return json.dumps(record)


def _json_value(value: object, limit: int) -> object:
    """Numbers as they are, dataclasses as objects, lists as arrays; everything else as text."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, LoggedList):
        return [_json_value(item, limit) for item in value.items[: max(limit // _ITEM, 2)]]
    if is_dataclass(value):
        return {field.name: _json_value(getattr(value, field.name), limit) for field in dataclass_fields(value)}
    return _json_text(str(value), limit)


def _json_text(text: str, limit: int) -> str:
    r"""Lone surrogates (octets that were not UTF-8) as \xNN: many a reader of JSON refuses them."""
    text = text[:limit]
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that does not represent an octet
        return text.encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    milliseconds = int(time.time() * 1000)
    return f"{_date_and_time(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=1)
def _date_and_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class Log(logging.Handler):
    """All of a process's log lines: those of Python's `logging`, by `extra={"fields": {...}}` with keys and values,
    and those of messages. `lost` lines of an earlier log are still to be told."""

    def __init__(self, settings: LogSettings, sink: Sink | None = None, *, lost: int = 0) -> None:
        super().__init__(_LEVELS[settings.level])
        self._format: Formatter = format_json if settings.format is LogFormat.JSON else format_text
        self._sink: Sink = sink or (SyslogSink() if settings.to is LogTarget.SYSLOG else standard_error())
        self.lost = lost
        self.process = os.getpid()
        self._lost_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record of `logging`."""
        try:
            fields = dict(getattr(record, "fields", {}))
            if record.exc_info and record.exc_info[1] is not None:
                fields |= _of_exception(record.exc_info[1])
            self.line(record.levelno, record.getMessage(), fields)
        except Exception:
            self._lose()

    def line(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        """Writes one line."""
        if level < self.level:
            return
        if not self.say_lost() or not self._write(level, event, fields):
            self._lose()

    def say_lost(self) -> bool:
        """Writes how many lines were lost, where any were; False if not even that gets through."""
        if not self.lost:
            return True
        with self._lost_lock:  # what one thread says, no other one says again
            lost, self.lost = self.lost, 0
        if lost and not self._write(logging.WARNING, "log lines lost", {"count": lost}):
            self._lose(lost)
            return False
        return True

    def _write(self, level: int, event: str, fields: Mapping[str, object]) -> bool:
        name = logging.getLevelName(level).lower()
        line = b""
        for limit in _LIMITS:
            text = self._format(name, event, fields, self._sink.timestamps, limit)
            line = text.encode("utf-8", "backslashreplace")
            if len(line) <= MAX_LINE:
                break
        return self._sink.write(level, line[:MAX_LINE])

    def _lose(self, count: int = 1) -> None:
        with self._lost_lock:
            self.lost += count

    def close(self) -> None:
        """Gives back the sink."""
        self._sink.close()
        super().close()


def _of_exception(error: BaseException) -> dict[str, object]:
    """What was raised and where, the innermost place first: a traceback on one line."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    places = [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": f"{type(error).__name__}: {error}", "at": ", ".join(places)}


def say_lost() -> bool:
    """Has the log of the process say what it has lost, even if no line follows: something to call every few seconds.
    False if there are lines that nobody knows of yet."""
    return all(handler.say_lost() for handler in logging.getLogger().handlers if isinstance(handler, Log))


def set_up(settings: LogSettings) -> Log:
    """Makes this the log of the process, in the place of an earlier one, and returns it."""
    root = logging.getLogger()
    earlier = [old for old in root.handlers if isinstance(old, Log) and old.process == os.getpid()]  # not the parent's
    log = Log(settings, lost=sum([old.lost for old in earlier]))
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    logging.logThreads = False  # libmilter's threads have no names, and asking makes `threading` keep one for each
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(log)
    root.setLevel(logging.WARNING)  # libraries speak where something is wrong
    logger.setLevel(_LEVELS[settings.level])
    return log
