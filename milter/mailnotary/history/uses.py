"""The table of signatures that came from several networks."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from mailnotary.history.database import Database

_AT_ONCE: Final = 500  # ids in one question
_ADD: Final = """INSERT INTO signature_use VALUES (?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (signature, network)
DO UPDATE SET last = excluded.last, messages = signature_use.messages + 1"""


class Use(NamedTuple):
    """A signature that passed, and was accepted. `signature` is its id in hexadecimal digits."""

    signature: str
    network: str
    domain: str
    selector: str


class Replay(NamedTuple):
    """A signature that came from so many networks in so many messages; `first` and `last` are seconds since 1970."""

    signature: str
    domain: str
    selector: str
    networks: int
    messages: int
    first: int
    last: int


class Uses:
    """Reads and writes the table. Raises StoreError wherever the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, uses: Iterable[Use], now: int) -> None:
        """Adds uses, all of them or none."""
        # In one order, whoever writes: two transactions never wait for each other.
        rows = sorted((use.signature, use.network, use.domain, use.selector, now, now) for use in uses)
        with self._database.transaction() as cursor:
            self._database.executemany(cursor, _ADD, rows)

    def networks(self, signatures: Sequence[str]) -> dict[str, int]:
        """From how many networks each of these signatures came."""
        found: dict[str, int] = {}
        for start in range(0, len(signatures), _AT_ONCE):
            part = signatures[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT signature, count(*) FROM signature_use WHERE signature IN ({marks}) GROUP BY signature"  # noqa: S608
            found.update(self._all(sql, part))
        return found

    def replays(self, limit: int, count: int, since: int = 0) -> list[Replay]:
        """At most `count` signatures that came from more than `limit` networks, the last of them at `since` or later;
        the latest first."""
        sql = """SELECT signature, min(domain), min(selector), count(*), sum(messages), min(first), max(last)
        FROM signature_use GROUP BY signature HAVING count(*) > ? AND max(last) >= ?
        ORDER BY max(last) DESC, signature LIMIT ?"""
        return [
            Replay(signature, domain, selector, networks, int(messages), first, last)
            for signature, domain, selector, networks, messages, first, last in self._all(sql, [limit, since, count])
        ]

    def prune(self, before: int, most: int) -> list[str]:
        """Removes what was last used before a time, and the older half of what is left where that is more than `most`;
        gives the signatures."""
        (((count, first, last),)) = self._all("SELECT count(*), min(last), max(last) FROM signature_use", [])
        if count > most:
            before = max(before, (first + last) // 2 + 1)
        sql = "SELECT DISTINCT signature FROM signature_use WHERE last < ?"
        old = [signature for (signature,) in self._all(sql, [before])]
        if old:
            with self._database.transaction() as cursor:
                self._database.execute(cursor, "DELETE FROM signature_use WHERE last < ?", [before])
        return old

    def _all(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        with self._database.transaction() as cursor:
            self._database.execute(cursor, sql, parameters)
            return list(cursor.fetchall())
