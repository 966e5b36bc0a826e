"""A database that has keys: the administrator's query, and how it is asked for everything and for changes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from mailnotary.config.settings_source import MARIADB, POSTGRESQL, SQLITE, database_of, without_password
from mailnotary.config.source import SourceSettings
from mailnotary.escape import printable
from mailnotary.sources.asking import Answer, Group, SourceError, grouped
from mailnotary.sources.entry import COLUMNS, MAX_VALUE, Row, Value

MANY_CHANGES: Final = 5000  # domains; if more may have changed, everything is asked for
_AT_ONCE: Final = 200  # domains in one question
_SINCE: Final = re.compile(r"(?<!:):since\b")  # not the end of a PostgreSQL cast


class Connection(Protocol):
    """A connection to a database for reading. `mark` is what stands for a parameter in SQL there: ?, or %s, beside
    which % has to be written twice."""

    mark: str

    def rows(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        """Runs SQL: each row with the names of its columns. The first item has the names alone. Raises SourceError."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class Database:
    """Asks a database. It is connected while it is in use, and anew after an error."""

    def __init__(self, settings: SourceSettings, password: str | None) -> None:
        if settings.sql is None or settings.query is None:
            raise SourceError("there is no database")
        self._settings = settings
        self._password = password
        self._url, self._query = settings.sql, settings.query
        self.name = printable(without_password(settings.sql))
        self._connection: Connection | None = None
        self._since: Any = None  # the newest `changed` that was seen
        self._newer = False  # of so many domains with the same `changed` only newer ones are asked for

    @property
    def tells_changes(self) -> bool:
        """See `Source`."""
        return self._since is not None

    def ask(self, *, changes: bool) -> Answer:
        """See `Source`."""
        if database_of(self._url) == SQLITE:
            self.close()  # another file may have taken the place of this one
        if changes and self._since is not None:
            names = self._changed()
            if names is not None:
                return Answer(False, self._of(names))
        self._newer = False
        return Answer(True, grouped(self._rows(f"{self._from('*')} ORDER BY domain", [])))

    def _from(self, what: str, *, marked: bool = False) -> str:
        """A question about what the administrator's query gives. `marked`: it has parameters."""
        return f"SELECT {what} FROM (\n{self._escaped(self._query) if marked else self._query}\n) AS q"  # noqa: S608

    @property
    def _mark(self) -> str:
        return self._connected().mark

    def _escaped(self, sql: str) -> str:
        return sql.replace("%", "%%") if self._mark == "%s" else sql

    def _of(self, names: set[str]) -> Iterator[Group]:
        """All that there is of some domains."""
        listed = sorted(names)
        left = {group.name for group in grouped({"domain": name} for name in listed) if not group.problem}
        for start in range(0, len(listed), _AT_ONCE):
            part = listed[start : start + _AT_ONCE]
            marks = ", ".join([self._mark] * len(part))
            sql = f"{self._from('*', marked=True)} WHERE domain IN ({marks}) ORDER BY domain"
            for group in grouped(self._rows(sql, part)):
                left.discard(group.name)
                yield group
        for name in sorted(left):
            yield Group(name, [])

    def _changed(self) -> set[str] | None:
        """The domains that may have changed; None if there are too many."""
        if self._settings.changes is not None:
            sql = _SINCE.sub(self._mark, self._escaped(self._settings.changes))
            return self._names(sql, [self._since] * len(_SINCE.findall(self._settings.changes)))
        names = None if self._newer else self._names(self._changed_sql(">="), [self._since])
        if names is None:
            self._newer = True
            names = self._names(self._changed_sql(">"), [self._since])
        return names

    def _changed_sql(self, operator: str) -> str:
        return f"{self._from('DISTINCT domain, changed', marked=True)} WHERE changed {operator} {self._mark}"

    def _names(self, sql: str, parameters: list[Any]) -> set[str] | None:
        found: set[str] = set()
        newest = self._since
        for names, values in self._run(sql, parameters):
            if "domain" not in names or "changed" not in names:
                raise SourceError(f"{self.name}: source.changes gives no column domain, or none changed")
            if not values:
                continue
            row = dict(zip(names, values, strict=True))
            newest = self._newest(newest, row["changed"])
            if isinstance(name := self._value(row["domain"], "domain"), str):
                found.add(name)
            if len(found) > MANY_CHANGES:
                return None
        if newest != self._since:
            self._since, self._newer = newest, False
        return found

    def _newest(self, newest: Any, changed: Any) -> Any:
        if changed is None:
            return newest
        try:
            return changed if newest is None or changed > newest else newest
        except TypeError as error:
            raise SourceError(f"{self.name}: the values of `changed` cannot be compared: {error}") from error

    def _rows(self, sql: str, parameters: list[Any]) -> Iterator[Row]:
        columns: list[str] = []
        newest = self._since
        for names, values in self._run(sql, parameters):
            if not values:
                columns = self._columns(names)
                continue
            row = dict(zip(columns, values, strict=True))
            newest = self._newest(newest, row.pop("changed", None))
            yield {name: self._value(value, name) for name, value in row.items()}
        if newest is not None and newest != self._since:
            self._since, self._newer = newest, False

    def _columns(self, names: list[str]) -> list[str]:
        for name in ("domain", "selector", "key"):
            if name not in names:
                raise SourceError(f"{self.name}: source.query gives no column {name}: write `... AS {name}`")
        for name in names:
            if name not in COLUMNS and name != "changed":
                known = ", ".join((*COLUMNS, "changed"))
                raise SourceError(f"{self.name}: unknown column {printable(name, 80)!r}: possible are {known}")
        return names

    def _value(self, value: Any, column: str) -> Value:
        if isinstance(value, memoryview | bytearray):
            value = bytes(value)
        if value is None or value == "":  # what a table has where nothing was entered
            return None
        if column == "include_subdomains" and value in (0, 1, "0", "1", b"\0", b"\1"):
            return "true" if value in (1, "1", b"\1") else "false"
        if isinstance(value, list):
            return tuple(str(item) for item in value)
        if isinstance(value, bytes):
            return value[: MAX_VALUE + 1] if column == "key" else value[:MAX_VALUE].decode("utf-8", "backslashreplace")
        return str(value)[: MAX_VALUE + 1]

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _run(self, sql: str, parameters: Sequence[Any]) -> Iterable[tuple[list[str], tuple[Any, ...]]]:
        try:
            yield from self._connected().rows(sql, parameters)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Connection:
        kind = database_of(self._url)
        if kind == POSTGRESQL:
            from mailnotary.sources import postgresql

            return postgresql.connect(self._url, self._password, self._settings.timeout, self.name)
        if kind == MARIADB:
            from mailnotary.sources import mariadb

            return mariadb.connect(self._url, self._password, self._settings.timeout, self.name)
        from mailnotary.sources import sqlite

        return sqlite.connect(self._url, self._settings.timeout, self.name)

    def close(self) -> None:
        """See `Source`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
