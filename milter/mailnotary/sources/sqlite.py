"""Keys in a SQLite file of another program."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from mailnotary.files import open_regular, user_name
from mailnotary.sources.asking import SourceError

_BUSY_SECONDS: Final = 5.0  # for which it waits for a writer
_STEPS: Final = 2000  # of SQLite's machine between two looks at the clock


class Sqlite:
    """A connection that only reads."""

    mark = "?"

    def __init__(self, path: str, timeout: float, name: str) -> None:
        self._name = name
        self._timeout = timeout
        self._deadline = 0.0
        try:
            os.close(open_regular(path))
            self._connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        except OSError as error:
            who = user_name(os.geteuid())
            raise SourceError(f"{name}: the user {who} can't open it: {error.strerror}") from error
        except sqlite3.Error as error:
            raise SourceError(f"{name}: {error}") from error
        self._connection.text_factory = lambda octets: octets.decode("utf-8", "backslashreplace")
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS)

    def rows(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        """See `Connection`."""
        self._deadline = time.monotonic() + self._timeout
        try:
            cursor = self._connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            yield names, ()
            for row in cursor:
                yield names, row
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise SourceError(f"{self._name}: it took longer than {self._timeout:g} s (source.timeout)") from error
            raise SourceError(f"{self._name}: {error}{_help(error, self._name)}") from error
        except sqlite3.Error as error:
            raise SourceError(f"{self._name}: {error}") from error

    def close(self) -> None:
        """See `Connection`."""
        with suppress(sqlite3.Error):
            self._connection.close()


def _help(error: sqlite3.Error, name: str) -> str:
    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN:
        return ""
    # A reader needs the files -wal and -shm, or must be able to make them (https://sqlite.org/wal.html#readonly).
    who = user_name(os.geteuid())
    return f": in WAL mode the user {who} also needs access to the files {name}-wal and {name}-shm"


def connect(url: str, timeout: float, name: str) -> Sqlite:
    """Opens the file of a URL like sqlite:///PATH. Raises SourceError."""
    return Sqlite(unquote(urlsplit(url).path), timeout, name)
