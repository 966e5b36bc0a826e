"""A program that prints keys: one JSON object a line, all those of a domain after one another.

It is run anew for each question. `MAILNOTARY_SINCE` is empty where everything is asked for; otherwise it is the token
that the program gave before, and it may answer with what has changed since alone (`{"since": ..., "changes": true}` as
its first line). An answer counts only if the program ends with status 0: half of one is none.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import IO, Any, Final

from mailnotary.escape import printable
from mailnotary.files import user_name
from mailnotary.sources.asking import Answer, Group, SourceError, grouped
from mailnotary.sources.entry import COLUMNS, Row, Value

MAX_LINE: Final = 262_144  # octets; a key of 8192 bits as PEM in JSON takes 6600
MAX_TOKEN: Final = 1024  # characters
_MAX_COMPLAINT: Final = 4096  # octets of standard error
_CHUNK: Final = 65_536


class Program:
    """Asks a program, given as words. An answer takes at most `timeout` seconds."""

    def __init__(self, words: tuple[str, ...], timeout: float) -> None:
        self._words = words
        self._timeout = timeout
        self._token = ""
        self._run: _Run | None = None
        self.name = printable(words[0])
        self.tells_changes = False

    def ask(self, *, changes: bool) -> Answer:
        """See `Source`."""
        self.close()
        self._run = _Run(self._words, self._token if changes else "", self._timeout, self.name)
        lines = self._run.lines()
        head = next(lines, None)
        if head is None or "since" not in head:
            self._token, self.tells_changes = "", False
            return Answer(True, _groups(chain([] if head is None else [head], lines), self.name))
        return self._with_token(head, lines, changes)

    def _with_token(self, head: Mapping[str, Any], lines: Iterator[Mapping[str, Any]], asked: bool) -> Answer:
        token, partial = head["since"], head.get("changes", False)
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or "\0" in token:
            raise SourceError(f"{self.name}: `since` is not a text of 1 to {MAX_TOKEN} characters")
        if not isinstance(partial, bool) or set(head) - {"since", "changes"}:
            raise SourceError(f'{self.name}: the first line is not {{"since": "...", "changes": true}}')
        if partial and not asked:
            raise SourceError(f"{self.name}: it was asked for everything (MAILNOTARY_SINCE is empty), and gave changes")
        return Answer(not partial, self._then(token, _groups(lines, self.name)))

    def _then(self, token: str, groups: Iterator[Group]) -> Iterator[Group]:
        """The token counts once the answer is whole."""
        yield from groups
        self._token, self.tells_changes = token, True

    def close(self) -> None:
        """See `Source`. Ends a program whose answer was not taken to its end."""
        if self._run is not None:
            self._run.kill()
        self._run = None


def _groups(lines: Iterator[Mapping[str, Any]], name: str) -> Iterator[Group]:
    for group in grouped(_row(line, name) for line in lines):
        gone = [row.get("removed") for row in group.rows]
        if any(gone):
            yield Group(group.name, [] if all(gone) else group.rows, group.problem)
        else:
            yield group


def _row(line: Mapping[str, Any], name: str) -> Row:
    unknown = [field for field in line if field not in COLUMNS and field != "removed"]
    if unknown:
        raise SourceError(f"{name}: unknown field {printable(unknown[0], 80)!r}: possible are {', '.join(COLUMNS)}")
    return {field: _value(value, field, name) for field, value in line.items()}


def _value(value: Any, field: str, name: str) -> Value:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("true" if value else "false") if field != "removed" else ("true" if value else None)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise SourceError(f"{name}: {field} is neither a text nor a list of texts")


class _Run:
    """One run of the program."""

    def __init__(self, words: tuple[str, ...], token: str, timeout: float, name: str) -> None:
        self._name = name
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._complaint = b""
        environment = {
            name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")
        }
        try:
            self._process = subprocess.Popen(  # noqa: S603 - what the administrator names
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment | {"MAILNOTARY_SINCE": token},
                start_new_session=True,  # so that what it starts ends with it
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            who = f" by the user {user_name(os.geteuid())}" if isinstance(error, PermissionError) else ""
            raise SourceError(f"{name}: can't be run{who}: {reason}") from error

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Each line of its output, until it has ended well. Raises SourceError."""
        number, rest = 0, b""
        try:
            for chunk in self._chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE:
                    raise SourceError(f"{self._name}: line {number + 1} is longer than {MAX_LINE} octets")
                for line in lines:
                    number += 1
                    if line.strip():
                        yield self._object(line, number)
            if rest.strip():
                yield self._object(rest, number + 1)
            self._end()
        finally:
            self.kill()

    def _object(self, line: bytes, number: int) -> Mapping[str, Any]:
        try:
            value = json.loads(line) if len(line) <= MAX_LINE else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):  # never quoted: it may hold a key
            raise SourceError(f'{self._name}: line {number} is not a JSON object like {{"domain": "example.org", ...}}')
        return value

    def _chunks(self) -> Iterator[bytes]:
        out, err = self._process.stdout, self._process.stderr
        assert out is not None  # noqa: S101 - for the type checker: both are pipes
        assert err is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            for stream in (out, err):
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(self._left())
                for key, _ in ready:
                    stream: IO[bytes] = key.fileobj  # type: ignore[no-redef]
                    octets = os.read(stream.fileno(), _CHUNK)
                    if not octets:
                        selector.unregister(stream)
                    elif stream is out:
                        yield octets
                    else:
                        self._complaint = (self._complaint + octets)[-_MAX_COMPLAINT:]

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SourceError(f"{self._name}: it took longer than {self._timeout:g} s (source.timeout)")
        return left

    def _end(self) -> None:
        try:
            status = self._process.wait(self._left())
        except subprocess.TimeoutExpired:
            status = None
        if status == 0:
            return
        self._left()
        said = printable(self._complaint.decode("utf-8", "replace").strip().rpartition("\n")[2], 500)
        how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        raise SourceError(f"{self._name}: it {how}" + (f": {said}" if said else ""))

    def kill(self) -> None:
        """Ends the program with all that it has started, where it still runs."""
        if self._process.returncode is not None and self._process.stdout is not None and self._process.stdout.closed:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
