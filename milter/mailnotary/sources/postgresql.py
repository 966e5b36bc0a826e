"""Keys in a PostgreSQL database; psycopg speaks to it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mailnotary.sources.asking import SourceError

_CONNECT_SECONDS: Final = 10
_ROWS: Final = 500  # that are fetched at once, 1 MB


class Postgresql:
    """A connection that only reads."""

    mark = "%s"

    def __init__(self, url: str, password: str | None, timeout: float, name: str) -> None:
        try:
            import psycopg
            import psycopg.conninfo
        except ImportError as error:
            raise SourceError(
                f"{name}: Python's psycopg is missing: install mailnotary[postgresql], or Debian's python3-psycopg"
            ) from error
        self._name = name
        self._error: type[Exception] = psycopg.Error
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # which quotes what it could not read, perhaps the password
            text = (
                "libpq can't read this URL: write reserved characters in percent-encoding, and the password into a file"
            )
            raise SourceError(f"{name}: {text}") from None
        more: dict[str, Any] = {} if password is None else {"password": password}
        try:
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="mailnotary", **more
            )
            self._connection.read_only = True
            self._connection.execute(f"SET statement_timeout = {int(timeout * 1000)}")
        except psycopg.Error as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> SourceError:
        return SourceError(f"{self._name}: {' '.join(str(error).split()) or type(error).__name__}")

    def rows(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        """See `Connection`."""
        try:
            with self._connection.transaction(), self._connection.cursor(name="mailnotary") as cursor:
                cursor.itersize = _ROWS
                cursor.execute(sql, parameters or None)
                names = [column.name for column in cursor.description or ()]
                yield names, ()
                for row in cursor:
                    yield names, row
        except self._error as error:
            raise self._told(error) from error

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()


def connect(url: str, password: str | None, timeout: float, name: str) -> Postgresql:
    """Raises SourceError."""
    return Postgresql(url, password, timeout, name)
