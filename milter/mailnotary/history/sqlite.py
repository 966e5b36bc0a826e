"""The store in a file, by SQLite."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

from mailnotary.files import not_written, user_name
from mailnotary.history.database import APPLICATION_ID, CorruptStoreError, SlowStoreError, StoreError, statements

BUSY_SECONDS: Final = 2.0  # for which a writer waits for another one
_STEPS: Final = 2000  # of SQLite's machine between two looks at the clock: less than a millisecond
# Rows of one statement: few such numbers, for each statement has to be compiled once, and then stays so. Every SQLite
# takes 999 values at once (https://sqlite.org/limits.html).
_AT_ONCE: Final = (64, 8, 1)
_FULL_FREE: Final = 64 * 1024 * 1024  # octets that are left free on the file system
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CLOSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # no write-ahead log can be made


class Sqlite:
    """A file with write-ahead log: readers and the one writer do not wait for one another."""

    def __init__(self, path: Path, read_only: bool, seconds: float | None) -> None:
        self.name = str(path)
        self._path = path
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"  # a writer waits for its turn at the start
        self._end = None if seconds is None else time.monotonic() + seconds
        self._still: tuple[int, ...] | None = None  # what identifies a file that nobody writes to
        if read_only:
            self._find()
        with self._errors():
            if not read_only:
                _create(path)
            self._connection = self._connect("ro" if read_only else "rw")
        try:
            self._set_up(read_only)
        except BaseException:
            self._connection.close()
            raise

    def _find(self) -> None:
        try:
            self._path.stat()
        except FileNotFoundError:
            text = "there is no history yet: is history.enabled set, and the daemon running?"
            raise StoreError(f"{self.name}: {text}") from None
        except OSError as error:
            user = user_name(os.geteuid())
            raise StoreError(f"{self.name}: the user {user} cannot reach it: {error.strerror}") from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{_quoted(self._path)}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        if (end := self._end) is not None:
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        return connection

    def _set_up(self, read_only: bool) -> None:
        # In this order: who begins the same file at this moment gives it its id first, and tables then.
        tables, application = self._read(read_only)
        with self._errors():
            run = self._connection.execute
            if application not in (0, APPLICATION_ID) or (tables and not application):
                raise StoreError(f"{self.name} is a database of another program: name another file in history.store")
            if read_only:
                return
            run("PRAGMA page_size = 8192")
            run("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only in a new file
            self._use_wal()
            run("PRAGMA synchronous = NORMAL")  # a power cut costs the last transactions, and never the file
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run("PRAGMA journal_size_limit = 67108864")
            # The pages of a day's part of the indexes are at hand, and one that is written many times is copied once
            # every 32 MiB.
            run("PRAGMA cache_size = -16384")
            run("PRAGMA wal_autocheckpoint = 4000")

    def _read(self, read_only: bool) -> tuple[bool, int]:
        """Whether it has tables, and whose database it is. Where no daemon runs there is no write-ahead log, and a user
        who cannot make one is not let in by SQLite (https://sqlite.org/wal.html#readonly) unless the file is said to be
        immutable."""
        with self._errors():
            try:
                return self._begun()
            except sqlite3.OperationalError as error:
                if not read_only or error.sqlite_errorcode & 0xFF not in _CLOSED or self._is_written():
                    raise
            self._still = self._identity()
            self._connection.close()
            self._connection = self._connect("ro&immutable=1")
            return self._begun()

    def _use_wal(self) -> None:
        """Begins the write-ahead log. For this alone SQLite does not wait where another process does the same."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _begun(self) -> tuple[bool, int]:
        tables, application = [
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("schema_version", "application_id")
        ]
        return tables > 0, application

    def _is_written(self) -> bool:
        return os.path.exists(f"{self.name}-wal")

    def _identity(self) -> tuple[int, ...]:
        status = self._path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _check_still(self) -> None:
        """What was read of an immutable file is right only if nobody has written to it meanwhile."""
        if self._still is not None and (self._is_written() or self._identity() != self._still):
            raise StoreError(f"{self.name}: the daemon has begun to write to it: ask again")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.name}: {not_written(self._path, error)}") from error
        except sqlite3.Error as error:
            self._check_still()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_INTERRUPT:
                raise SlowStoreError(f"{self.name}: the question took too long") from error
            kind = CorruptStoreError if code in _CORRUPT else StoreError
            raise kind(f"{self.name}: {error}") from error

    def version(self) -> int:
        """See `Database`."""
        with self._errors():
            return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def migrate(self, scripts: Sequence[str]) -> None:
        """See `Database`."""
        with self._errors(), self.transaction() as cursor:
            done = cursor.execute("PRAGMA user_version").fetchone()[0]  # by now another process may have done it
            for script in scripts[done:]:
                for statement in statements(
                    script,
                    id="INTEGER PRIMARY KEY",
                    then_id="",
                    key="",
                    without_rowid=" WITHOUT ROWID",
                    random="lower(hex(randomblob(6)))",
                ):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(scripts)}")

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """See `Database`."""
        with self._errors():
            cursor = self._connection.cursor()
            cursor.execute(self._begin)
            try:
                yield cursor
            except BaseException:
                with suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
            self._check_still()

    def execute(self, cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
        """See `Database`."""
        cursor.execute(sql, parameters)

    def executemany(self, cursor: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Database`."""
        cursor.executemany(sql, rows)

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Database`. A statement for 64 rows takes a fifth less time than 64 statements."""
        start = 0
        for at_once in _AT_ONCE:
            while len(rows) - start >= at_once:
                part = rows[start : start + at_once]
                cursor.execute(_insertion(table, len(part[0]), at_once), [*chain.from_iterable(part)])
                start += at_once

    def octets(self) -> int:
        """See `Database`."""
        total = 0
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                total += os.stat(f"{self.name}{suffix}").st_size
        return total

    def give_back(self) -> None:
        """See `Database`."""
        with self._errors():
            self._connection.executescript("PRAGMA incremental_vacuum(20000)")  # execute() would stop after one page
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()


def _create(path: Path) -> None:
    """Makes the file, unless it is there. It is for its user alone, since who wrote to whom is nobody else's business;
    and for the group of a directory that gives its group to files (set-group-ID), in which they may read it. SQLite
    makes the other files with the same mode. Raises OSError."""
    with suppress(FileExistsError):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            if os.stat(path.parent).st_mode & stat.S_ISGID:
                os.fchmod(descriptor, 0o640)  # past the umask
        finally:
            os.close(descriptor)


@lru_cache(maxsize=len(_AT_ONCE))
def _insertion(table: str, columns: int, rows: int) -> str:
    marks = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([marks] * rows)}"  # noqa: S608


def _quoted(path: Path) -> str:
    """A path in a URI (https://sqlite.org/uri.html)."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def room_left(path: Path) -> bool:
    """Whether the file system of a store has room for more. Raises OSError."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize >= _FULL_FREE


def set_aside(location: str, now: int) -> str:
    """Renames a damaged store, so that a new one can take its place; the new name. Raises OSError."""
    aside = f"{location}.damaged-{now}"
    os.rename(location, aside)
    for suffix in ("-wal", "-shm"):  # they belong to the damaged file
        with suppress(FileNotFoundError):
            os.rename(location + suffix, aside + suffix)
    return aside
