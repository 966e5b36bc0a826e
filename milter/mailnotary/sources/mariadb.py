"""Keys in a MariaDB or MySQL database; PyMySQL speaks to it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from mailnotary.sources.asking import SourceError

_CONNECT_SECONDS: Final = 10
_OPTIONS: Final = ("unix_socket", "ssl_ca")  # of the URL, as PyMySQL has them


class MariaDb:
    """A connection that only reads."""

    mark = "%s"

    def __init__(self, url: str, password: str | None, timeout: float, name: str) -> None:
        try:
            import pymysql
            import pymysql.cursors
        except ImportError as error:
            raise SourceError(
                f"{name}: Python's PyMySQL is missing: install mailnotary[mariadb], or Debian's python3-pymysql"
            ) from error
        self._name = name
        self._errors: tuple[type[Exception], ...] = (pymysql.MySQLError, OSError, ValueError)
        self._cursor = pymysql.cursors.SSCursor  # gives the rows as they come
        try:
            self._connection = pymysql.connect(
                **_arguments(url, password, name),
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=timeout,
                write_timeout=timeout,
            )
            with self._connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
        except (*self._errors, RuntimeError) as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> SourceError:
        """PyMySQL's errors are a number and a text."""
        text = str(error.args[-1]) if error.args else type(error).__name__
        return SourceError(f"{self._name}: {' '.join(text.split())}")

    def rows(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        """See `Connection`."""
        try:
            with self._connection.cursor(self._cursor) as cursor:
                cursor.execute(sql, parameters or None)
                names = [column[0] for column in cursor.description or ()]
                yield names, ()
                for row in cursor:
                    yield names, row
        except self._errors as error:
            raise self._told(error) from error

    def close(self) -> None:
        """See `Connection`."""
        with suppress(*self._errors):
            self._connection.close()


def _arguments(url: str, password: str | None, name: str) -> dict[str, Any]:
    parts = urlsplit(url)
    written = None if parts.password is None else unquote(parts.password)
    given: dict[str, Any] = {"database": unquote(parts.path.strip("/")), "password": password or written or ""}
    if parts.username:
        given["user"] = unquote(parts.username)
    if parts.hostname:
        given["host"] = parts.hostname
    if parts.port is not None:
        given["port"] = parts.port
    for option, value in parse_qsl(parts.query):
        if option not in _OPTIONS:
            raise SourceError(f"{name}: unknown option of the URL: possible are {' and '.join(_OPTIONS)}")
        given[option] = value
    return given


def connect(url: str, password: str | None, timeout: float, name: str) -> MariaDb:
    """Raises SourceError."""
    return MariaDb(url, password, timeout, name)
