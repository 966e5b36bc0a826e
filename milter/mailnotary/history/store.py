"""The store of the history: SQLite in a file of its own, or PostgreSQL where several hosts share one.

Both are spoken to by Python's DB-API (PEP 249) in the SQL that they have in common; `database` has what differs.
One `Store` is one connection, for one thread.
"""

import math
import operator
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from mailnotary.history.database import Database, StoreError, is_postgresql
from mailnotary.history.postgresql import Postgresql
from mailnotary.history.schema import METHODS, MIGRATIONS, SHIFT, UNREMARKABLE, VERSION
from mailnotary.history.search import SECOND, Search, first_id, seconds_of
from mailnotary.history.sqlite import Sqlite
from mailnotary.history.story import Row, complete

__all__ = ["Search", "Store", "StoreError"]

HOUR: Final = 3600
DAY: Final = 86_400
_PRUNED_AT_ONCE: Final = 5000  # rows of one transaction: others get their turn between two
_COLUMNS: Final = "id, host, queue_id, client, domain, mode, action, spf, dkim, dmarc, compared, differs, story"
_TRAFFIC: Final = """INSERT INTO traffic VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hour, host, mode, action, spf, dkim, dmarc)
DO UPDATE SET messages = traffic.messages + excluded.messages"""
_DOMAIN_DAY: Final = """INSERT INTO domain_day VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (day, host, domain, dmarc, action) DO UPDATE SET messages = domain_day.messages + excluded.messages"""
_AGREEMENT: Final = """INSERT INTO agreement VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, host, other, method, theirs, ours) DO UPDATE SET messages = agreement.messages + excluded.messages"""
_outcome = operator.attrgetter("mode", "action", *METHODS)  # in the order of the columns of `traffic`
_PRUNE_AGREEMENT: Final = "DELETE FROM agreement WHERE day < ? AND host = ?"

Message = tuple[int, Row, str]
"""A message with its id."""


class Numbering:
    """Gives the messages of this host their ids."""

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def __call__(self, row: Row) -> int:
        """An id for a message, like that of no other: 4096 in one microsecond would be needed for that."""
        self._next = (self._next + 1) % (1 << SHIFT)
        return (row.time << SHIFT) | self._next


def connect(location: str, *, read_only: bool = False, seconds: float | None = None) -> Database:
    """Connects to the database at a path or a postgresql:// URL. `seconds`: how long questions may take from now on
    (SQLite: together), after which SlowStoreError is raised. Raises StoreError."""
    if is_postgresql(location):
        return Postgresql(location, read_only, seconds)
    return Sqlite(Path(location), read_only, seconds)


class Store:
    """An open store. Raises StoreError wherever the database fails."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    @classmethod
    def open(
        cls, location: str, *, host: str | None = None, read_only: bool = False, seconds: float | None = None
    ) -> Self:
        """The store at a path or a postgresql:// URL, made or brought to this version where need be (unless
        `read_only`). `seconds`: how long questions may take, see `database.connect`. Raises StoreError."""
        database = connect(location, read_only=read_only, seconds=seconds)
        try:
            version = database.version()
            if version > VERSION:
                raise StoreError(
                    f"{database.name} has schema version {version}, and this mailnotary knows none above {VERSION}: "
                    "upgrade mailnotary on this host, or name another store in history.store"
                )
            if version < VERSION:
                if read_only:
                    raise StoreError(
                        f"{database.name} has schema version {version}, and this mailnotary reads {VERSION}: restart "
                        "the daemon, which brings it to that"
                        if version
                        else f"{database.name} has no history yet: is history.enabled set, and the daemon running?"
                    )
                database.migrate(MIGRATIONS)
        except BaseException:
            database.close()
            raise
        return cls(database, host or socket.gethostname())

    @property
    def host(self) -> str:
        """The host whose messages are added here."""
        return self._host

    @property
    def database(self) -> Database:
        """Its connection."""
        return self._database

    def close(self) -> None:
        """Ends the connection."""
        self._database.close()

    # --- writing ---

    def add(self, messages: Sequence[Message], *, again: bool = False) -> None:
        """Adds messages, all of them or none. With `again` some may be there already, and are left as they are."""
        with self._database.transaction() as cursor:
            if again:
                known = set(self._known(cursor, [number for number, _, _ in messages]))
                messages = [message for message in messages if message[0] not in known]
            self._insert(cursor, messages)

    def _known(self, cursor: Any, numbers: list[int]) -> Iterator[int]:
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT id FROM message WHERE host = ? AND id IN ({marks})"  # noqa: S608
            self._database.execute(cursor, sql, [self._host, *part])
            yield from (number for (number,) in cursor.fetchall())

    def _insert(self, cursor: Any, messages: Sequence[Message]) -> None:
        host = self._host
        rows = [(number, host, *row[1:], story) for number, row, story in messages]
        self._database.insert(cursor, "message", rows)
        traffic: Counter[tuple[Any, ...]] = Counter(
            [(_began(row, HOUR), host, *_outcome(row)) for _, row, _ in messages]
        )
        domains = Counter(
            [
                (_began(row, DAY), host, row.domain, row.dmarc, row.action)
                for _, row, _ in messages
                if row.dmarc not in UNREMARKABLE and row.domain
            ]
        )
        agreement = Counter(
            [
                (_began(row, DAY), host, *compared.split("/"))
                for _, row, _ in messages
                if row.compared
                for compared in row.compared.split()
            ]
        )
        # In one order, whoever writes: two transactions never wait for each other.
        self._database.executemany(cursor, _TRAFFIC, [(*key, count) for key, count in sorted(traffic.items())])
        self._database.executemany(cursor, _DOMAIN_DAY, [(*key, count) for key, count in sorted(domains.items())])
        self._database.executemany(cursor, _AGREEMENT, [(*key, count) for key, count in sorted(agreement.items())])

    def prune(self, before: float) -> int:
        """Removes some of this host's messages that are older than `before` (seconds); how many. To be called again
        as long as it removes any. The sums go with their hours and days."""
        with self._database.transaction() as cursor:
            self._database.execute(
                cursor,
                "SELECT id FROM message WHERE id < ? AND host = ? ORDER BY id LIMIT 1 OFFSET ?",
                [first_id(before), self._host, _PRUNED_AT_ONCE],
            )
            row = cursor.fetchone()
            end = row[0] if row is not None else first_id(before)
            self._database.execute(cursor, "DELETE FROM message WHERE id < ? AND host = ?", [end, self._host])
            removed = int(cursor.rowcount)
            self._database.execute(
                cursor, "DELETE FROM traffic WHERE hour < ? AND host = ?", [int(before) - HOUR, self._host]
            )
            for sql in ("DELETE FROM domain_day WHERE day < ? AND host = ?", _PRUNE_AGREEMENT):
                self._database.execute(cursor, sql, [int(before) - DAY, self._host])
        return removed

    def shrink(self) -> float | None:
        """The time before which a twentieth of this host's messages were recorded, for `prune`; None without any."""
        with self._database.transaction() as cursor:
            self._database.execute(cursor, "SELECT min(id), max(id) FROM message WHERE host = ?", [self._host])
            first, last = cursor.fetchone()
        return None if first is None else (first + (last - first) // 20 + (1 << SHIFT)) / (1 << SHIFT) / SECOND

    def oldest(self, limit: int) -> list[Message]:
        """The first messages of this host."""
        sql = f"SELECT {_COLUMNS} FROM message WHERE host = ? ORDER BY id LIMIT ?"  # noqa: S608
        return [(columns[0], _row(columns), columns[-1]) for columns in self._all(sql, [self._host, limit])]

    def remove(self, numbers: Sequence[int]) -> None:
        """Removes messages of this host."""
        with self._database.transaction() as cursor:
            rows = [(number, self._host) for number in numbers]
            self._database.executemany(cursor, "DELETE FROM message WHERE id = ? AND host = ?", rows)

    def give_back(self) -> None:
        """Gives the space of removed messages back to the file system, where the database does not by itself."""
        self._database.give_back()

    def octets(self) -> int:
        """How much room the store takes."""
        return self._database.octets()

    # --- asking ---

    def newest(self, search: Search, limit: int) -> Iterator[dict[str, Any]]:
        """At most `limit` messages, the newest first, as `story.complete` makes them."""
        for part in self._hours(search) if search.is_by_outcome else self._days(search):
            for number, host, row, story in self._rows(part, f"ORDER BY id DESC, host DESC LIMIT {int(limit)}"):
                yield complete(row, host, story) | {"id": f"{number}@{host}"}
                limit -= 1
            if limit <= 0:
                return

    def _hours(self, search: Search) -> Iterator[Search]:
        """A search for outcomes alone, hour by hour: only the hours that have any, by the sums. Otherwise one for what
        is rare, and in no index, would look at millions of messages."""
        condition, parameters = replace(search, since=None, until=None, before=None).where()
        sql = f"SELECT DISTINCT hour FROM traffic WHERE {condition} ORDER BY hour DESC"  # noqa: S608
        for (hour,) in self._all(sql, parameters):
            since, until = max(hour, search.since or 0), min(hour + HOUR, search.until or math.inf)
            if since < until and (search.before is None or first_id(hour) <= search.before[0]):
                yield replace(search, since=since, until=until)

    def _days(self, search: Search) -> Iterator[Search]:
        """A search for a domain or client, day by day, the newest first: only the days that have messages, by the sums.
        Any other one as it is."""
        if not search.is_by_day:
            yield search
            return
        end = math.ceil(search.until) if search.until is not None else 1 << 62
        if search.before is not None:
            end = min(end, seconds_of(search.before[0]) + 1)
        while True:
            ((hour,),) = self._all("SELECT max(hour) FROM traffic WHERE hour < ?", [end])
            if hour is None or hour + HOUR <= (search.since or 0):
                return
            yield replace(search, day=hour // DAY)
            end = hour - hour % DAY

    def one(self, number: int, host: str) -> dict[str, Any] | None:
        """The message of this id, or None."""
        sql = f"SELECT {_COLUMNS} FROM message WHERE id = ? AND host = ?"  # noqa: S608
        for columns in self._all(sql, [number, host]):
            return complete(_row(columns), columns[1], columns[-1]) | {"id": f"{number}@{host}"}
        return None

    def each(self, search: Search, chunk: int = 2000) -> Iterator[dict[str, Any]]:
        """All messages of a search, the oldest first, read in pieces: no lock is held meanwhile."""
        for part in reversed([*self._days(search)]):
            yield from self._each(part, chunk)

    def _each(self, search: Search, chunk: int) -> Iterator[dict[str, Any]]:
        last: tuple[int, str] = (-1, "")
        while True:
            rows = self._after(search, last, chunk)
            for number, host, row, story in rows:
                last = number, host
                yield complete(row, host, story) | {"id": f"{number}@{host}"}
            if len(rows) < chunk:
                return
            search = replace(search, since=None)  # else SQLite may begin at that each time, and not at the last id

    def count(self, search: Search) -> int:
        """How many messages a search has."""
        total = 0
        for part in self._days(search):
            condition, parameters = part.where()
            ((count,),) = self._all(f"SELECT count(*) FROM message WHERE {condition}", parameters)  # noqa: S608
            total += count
        return total

    def traffic(self, since: float, until: float) -> list[tuple[int, str, str, str, str, str, int]]:
        """(hour, mode, action, spf, dkim, dmarc, messages) over all hosts, the oldest hour first."""
        sql = """SELECT hour, mode, action, spf, dkim, dmarc, sum(messages) FROM traffic WHERE hour >= ? AND hour < ?
        GROUP BY hour, mode, action, spf, dkim, dmarc ORDER BY hour"""
        return [(*row[:6], int(row[6])) for row in self._all(sql, [int(since) - int(since) % HOUR, int(until)])]

    def agreement(self, since: float, until: float) -> list[tuple[str, str, str, str, int]]:
        """(authserv-id of another filter, method, its result, ours, messages): whole days, all hosts."""
        sql = """SELECT other, method, theirs, ours, sum(messages) FROM agreement WHERE day >= ? AND day < ?
        GROUP BY other, method, theirs, ours ORDER BY other, method, 5 DESC"""
        start = int(since) - int(since) % DAY
        return [(*row[:4], int(row[4])) for row in self._all(sql, [start, int(until)])]

    def domains(self, since: float, until: float, dmarc: str, limit: int) -> list[tuple[str, int]]:
        """The author domains with most messages of a DMARC result other than pass and none, and how many: whole days,
        all hosts."""
        sql = """SELECT domain, sum(messages) AS total FROM domain_day WHERE day >= ? AND day < ? AND dmarc = ?
        GROUP BY domain ORDER BY total DESC, domain LIMIT ?"""
        start = int(since) - int(since) % DAY
        return [(name, int(count)) for name, count in self._all(sql, [start, int(until), dmarc, limit])]

    def _all(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._database.transaction() as cursor:
            self._database.execute(cursor, sql, parameters)
            return list(cursor.fetchall())

    def _after(self, search: Search, last: tuple[int, str], chunk: int) -> list[tuple[int, str, Row, str]]:
        return list(self._rows(search, f"ORDER BY id, host LIMIT {int(chunk)}", "(id, host) > (?, ?)", last))

    def _rows(
        self, search: Search, order: str, beyond: str = "", more: Iterable[Any] = ()
    ) -> Iterator[tuple[int, str, Row, str]]:
        condition, parameters = search.where()
        if beyond:
            condition, parameters = f"{condition} AND {beyond}", [*parameters, *more]
        for columns in self._all(f"SELECT {_COLUMNS} FROM message WHERE {condition} {order}", parameters):  # noqa: S608
            yield columns[0], columns[1], _row(columns), columns[-1]


def _began(row: Row, span: int) -> int:
    """The second with which the message's hour or day (UTC) began."""
    return row.time // (span * SECOND) * span


def _row(columns: Sequence[Any]) -> Row:
    return Row(columns[0] >> SHIFT, *columns[2:-1])
