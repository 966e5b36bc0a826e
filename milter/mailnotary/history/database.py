"""What differs between the databases: how one connects, and how the same SQL is written."""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from mailnotary.errors import MailnotaryError

APPLICATION_ID: Final = 0x6D6E6F74  # "mnot", by which file(1) and we know a store
BUSY_SECONDS: Final = 2.0  # for which a writer waits for another one
_FULL_FREE: Final = 64 * 1024 * 1024  # octets that are left free on the file system
# After the user's name (RFC 3986 section 3.2.1), or as a parameter.
_PASSWORD: Final = re.compile(r"(?<=://)(?P<user>[^/:@]*:)[^/]*(?=@)|(?<=[?&]password=)[^&]*")


class StoreError(MailnotaryError):
    """The store cannot be used, now or at all."""


class CorruptStoreError(StoreError):
    """The file is damaged, or is not a store of the history."""


class Database(Protocol):
    """One connection."""

    name: str  # for errors: never with a password

    def version(self) -> int:
        """The version of the schema; 0 without one."""
        ...

    def migrate(self, scripts: Sequence[str]) -> None:
        """Runs the scripts that this store has not seen, all of them or none."""
        ...

    def transaction(self) -> Any:
        """A context with a cursor: at its end all is kept, after an exception nothing."""
        ...

    def execute(self, cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
        """Runs SQL that has ? for its parameters."""
        ...

    def executemany(self, cursor: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Runs it once for each row."""
        ...

    def octets(self) -> int:
        """How much room it takes."""
        ...

    def give_back(self) -> None:
        """Gives free room back to the file system."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


def connect(location: str, *, read_only: bool = False) -> Database:
    """Connects to the database at a path or a postgresql:// URL. Raises StoreError."""
    if is_postgresql(location):
        return _Postgresql(location, read_only)
    return _Sqlite(Path(location), read_only)


def is_postgresql(location: str) -> bool:
    """Whether this names a PostgreSQL database rather than a file."""
    return location.startswith(("postgresql://", "postgres://"))


def shown(location: str) -> str:
    """The location without a password."""
    return _PASSWORD.sub(lambda match: f"{match['user'] or ''}***", location) if is_postgresql(location) else location


# --- SQLite ---------------------------------------------------------------------------------------------------------

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _Sqlite:
    """A file with write-ahead log: readers and the one writer do not wait for one another."""

    def __init__(self, path: Path, read_only: bool) -> None:
        self.name = str(path)
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"  # a writer waits for its turn at the start
        if read_only and not path.exists():
            raise StoreError(f"{path}: there is no history yet: is history.enabled set, and the daemon running?")
        with self._errors():
            if not read_only:
                # 0600 from the first moment on: who wrote to whom is nobody else's business.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            uri = f"file:{_quoted(path)}?mode={'ro' if read_only else 'rw'}"
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._set_up(read_only)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, read_only: bool) -> None:
        run = self._connection.execute
        application = run("PRAGMA application_id").fetchone()[0]
        if application not in (0, APPLICATION_ID) or (application == 0 and run("PRAGMA schema_version").fetchone()[0]):
            raise StoreError(f"{self.name} is a database of another program: name another file in history.store")
        if read_only:
            return
        run("PRAGMA page_size = 8192")
        run("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only in a new file
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")  # a power cut costs the last transactions, and never the file
        run(f"PRAGMA application_id = {APPLICATION_ID}")
        run("PRAGMA journal_size_limit = 67108864")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.name}: {error.strerror or error}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
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
                for statement in _statements(
                    script,
                    id="INTEGER PRIMARY KEY",
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

    def execute(self, cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
        """See `Database`."""
        cursor.execute(sql, parameters)

    def executemany(self, cursor: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Database`."""
        cursor.executemany(sql, rows)

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


def _statements(script: str, **words: str) -> Iterable[str]:
    return (part for part in script.format_map(words).split(";") if part.strip())


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


class _Postgresql:
    """A server that several hosts share; psycopg speaks to it."""

    def __init__(self, url: str, read_only: bool) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise StoreError(
                "history.store is a PostgreSQL database, for which Python's psycopg is missing: install "
                "mailnotary[postgresql], or Debian's python3-psycopg"
            ) from error
        self.name = shown(url)
        self._error: type[Exception] = psycopg.Error
        with self._errors():
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="mailnotary")
            self._connection.read_only = read_only

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{self.name}: {text}") from error

    def version(self) -> int:
        """See `Database`."""
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('mailnotary_schema') IS NOT NULL")
            row = cursor.fetchone()
            if row is None or not row[0]:
                return 0
            cursor.execute("SELECT version FROM mailnotary_schema")
            row = cursor.fetchone()
            return 0 if row is None else int(row[0])

    def migrate(self, scripts: Sequence[str]) -> None:
        """See `Database`."""
        with self.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [APPLICATION_ID])  # ten hosts may start at once
            cursor.execute("CREATE TABLE IF NOT EXISTS mailnotary_schema (version INTEGER NOT NULL)")
            cursor.execute("SELECT version FROM mailnotary_schema")
            row = cursor.fetchone()
            for script in scripts[0 if row is None else row[0] :]:
                for statement in _statements(
                    script,
                    id="BIGINT NOT NULL",
                    key=", PRIMARY KEY (id, host)",
                    without_rowid="",
                    random="substr(md5(random()::text || clock_timestamp()::text), 1, 12)",
                ):
                    cursor.execute(statement)
            cursor.execute("DELETE FROM mailnotary_schema")
            cursor.execute("INSERT INTO mailnotary_schema VALUES (%s)", [len(scripts)])

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """See `Database`."""
        with self._errors(), self._connection.transaction(), self._connection.cursor() as cursor:
            yield cursor

    def execute(self, cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
        """See `Database`."""
        cursor.execute(sql.replace("?", "%s"), parameters)

    def executemany(self, cursor: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Database`."""
        if rows:
            cursor.executemany(sql.replace("?", "%s"), rows)

    def octets(self) -> int:
        """See `Database`."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0) "
                "FROM unnest(ARRAY['message', 'traffic', 'domain_day', 'agreement', 'report']) AS name"
            )
            return int(cursor.fetchone()[0])

    def give_back(self) -> None:
        """See `Database`. Autovacuum lets new rows take the room."""

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()
