"""What a source said last, kept in the state directory: with the keys for the daemon alone, so that it signs after a
restart while the source does not answer; and without them for those who only look."""

import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailnotary.escape import printable
from mailnotary.files import open_regular, read_regular
from mailnotary.sources import entry
from mailnotary.sources.layers import Layers
from mailnotary.sources.table import Table, TableError, TableWriter

_KEYS: Final = ("source.keys", "source.keys.changes")  # mode 0600
_NAMES: Final = ("source.names", "source.names.changes")  # without keys, for everybody
_STATUS: Final = "source.json"
SHOWN: Final = (*_NAMES, _STATUS)  # what those see who only look
_MAX_STATUS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Status:
    """How it went with the source. Times are in seconds since 1970, 0.0 for never. `error`: why the last question got
    no answer, "" if it got one; `since`: of the first one in a row that got none. `problems` are those that the last
    answer had."""

    origin: str = ""
    asked: float = 0.0
    answered: float = 0.0
    since: float = 0.0
    error: str = ""
    domains: int = 0
    waiting: int = 0  # domains whose mail waits because of their rows
    problems: tuple[str, ...] = ()

    def said(self, name: str) -> str:
        """What the source of this name said last, and since when it has not answered."""
        if not self.answered:
            return f"{name} has not answered yet{': ' if self.error else ''}{self.error}"
        text = f"{name}: {self.domains:,} domains, {self.waiting:,} of them wait, as of {_time(self.answered)}"
        return f"{text}; no answer since {_time(self.since)}: {self.error}" if self.error else text


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def load(directory: Path) -> tuple[int | None, int | None]:
    """The descriptors of memory files with both tables, the caller's; None for one that is not there. Raises OSError
    and TableError."""
    return _loaded(directory, _KEYS)


def _loaded(directory: Path, names: tuple[str, str]) -> tuple[int | None, int | None]:
    secret = names is _KEYS
    base = _copied(directory / names[0], secret)
    try:
        return base, None if base is None else _copied(directory / names[1], secret)
    except BaseException:
        if base is not None:
            os.close(base)
        raise


def _copied(path: Path, secret: bool) -> int | None:
    """A table on the disk, copied into memory where nobody can change it."""
    try:
        source = open_regular(path)
    except FileNotFoundError:
        return None
    memory = os.memfd_create("mailnotary-source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if secret and os.fstat(source).st_mode & 0o077:
            raise TableError("others have access to it, and may have changed it: remove it")
        while os.sendfile(memory, source, None, 2**30):
            pass
        Table(memory).check()
        return memory
    except TableError as error:
        os.close(memory)
        raise TableError(f"{path}: {error}") from error
    except BaseException:
        os.close(memory)
        raise
    finally:
        os.close(source)


def save(directory: Path, base: int | None, changes: int | None, *, layers: Layers) -> None:
    """Keeps what is new: a base (its descriptor), the changes since, or both. Raises OSError."""
    if base is not None:
        for name in (_KEYS[1], _NAMES[1]):  # they belong to the old one; a crash leaves the base that is asked about
            with suppress(FileNotFoundError):
                (directory / name).unlink()
    for descriptor, number, table in ((base, 0, layers.base), (changes, 1, layers.changes)):
        if descriptor is not None and table is not None:
            _write(directory / _KEYS[number], descriptor, 0o600)
            names = _without_keys(table)
            try:
                _write(directory / _NAMES[number], names, 0o644)
            finally:
                os.close(names)


def _without_keys(table: Table) -> int:
    writer = TableWriter()
    for record in table:
        writer.add(entry.without_keys(record) if record.body else record)
    return writer.finish(table.value)


def _write(path: Path, descriptor: int, mode: int) -> None:
    target, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.fchmod(target, mode)
        offset, size = 0, os.fstat(descriptor).st_size
        while offset < size:
            offset += os.sendfile(target, descriptor, offset, size - offset)
        os.fsync(target)
        os.rename(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    finally:
        os.close(target)


def forget(directory: Path) -> None:
    """Removes what was kept: there is no source any more. Raises OSError."""
    for name in (*_KEYS, *_NAMES, _STATUS):
        with suppress(FileNotFoundError):
            (directory / name).unlink()


def save_status(directory: Path, status: Status) -> None:
    """Keeps how it went. Raises OSError."""
    values = {name: getattr(status, name) for name in Status.__dataclass_fields__}
    target, name = tempfile.mkstemp(prefix=f".{_STATUS}.", dir=directory)
    try:
        with os.fdopen(target, "w") as file:
            os.fchmod(file.fileno(), 0o644)
            json.dump(values, file)
        os.rename(name, directory / _STATUS)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def load_status(directory: Path) -> Status:
    """How it went last. Raises OSError and TableError."""
    try:
        data = read_regular(directory / _STATUS, _MAX_STATUS)
        values: dict[str, Any] = json.loads(data)
        known = {name: values[name] for name in Status.__dataclass_fields__ if name in values}
        known["problems"] = tuple(printable(str(problem), 500) for problem in known.get("problems", ()))
        for name in ("asked", "answered", "since", "domains", "waiting"):
            known[name] = max(known.get(name, 0) + 0, 0)
        return Status(**known)
    except FileNotFoundError:
        return Status()
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise TableError(f"{directory / _STATUS}: damaged, remove it: {error}") from error


def layers_of(base: int | None, changes: int | None) -> Layers | None:
    """The layers of two descriptors, which stay the caller's. Raises TableError, OSError."""
    return Layers.of(None if base is None else Table(base), None if changes is None else Table(changes))


def read(directory: Path, *, keys: bool) -> Layers | None:
    """What was said last, for a process beside the daemon; None if nothing was. Raises OSError and TableError."""
    if keys:
        base, changes = load(directory)
    else:
        base, changes = _loaded(directory, _NAMES)
    try:
        return layers_of(base, changes)
    finally:
        for descriptor in (base, changes):
            if descriptor is not None:
                os.close(descriptor)
