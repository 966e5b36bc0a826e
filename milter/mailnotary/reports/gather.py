"""Counts the messages of a period by policy domain, however many there are: memory is bounded, the rest is on disk.

What messages have in common is counted in memory, up to so many records, which go into a file of their own; SQLite
sorts that by domain, on disk as well. A day of a million messages takes some hundred megabytes, for a few minutes.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mailnotary.reports.facts import Fact, Published, Record, Signature, Spf, fact_of

MAX_KEPT: Final = 20_000  # records in memory at a time: some 20 MB
MAX_OCTETS: Final = 8 * 1024 * 1024  # of one report's records, as they are kept: some 20,000; a few MB as a mail
_CACHE: Final = -16_384  # KiB of SQLite's own memory

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE counted (domain TEXT, record TEXT, policy INTEGER, messages INTEGER);
CREATE TABLE policy (domain TEXT, published TEXT, last INTEGER);
"""
# SQLite takes the other columns from the row that has the maximum (https://sqlite.org/lang_select.html#bareagg).
_SORTED: Final = """
CREATE TABLE record AS SELECT domain, record, policy, sum(messages) AS messages FROM counted
    GROUP BY domain, record, policy;
DROP TABLE counted;
CREATE INDEX record_domain ON record (domain);
CREATE TABLE report AS SELECT domain, published, max(last) AS last FROM policy GROUP BY domain;
DROP TABLE policy;
"""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Gathered:
    """The report of one policy domain: the last of its policies that was seen ("SHOULD note only the final
    configuration observed", RFC 9990 3.1), how many messages there were, and how many of them are in the records. The
    records can be asked for again and again, as long as what they were gathered in is there."""

    published: Published
    messages: int
    told: int
    _records: Callable[[], Iterator[tuple[Record, int]]]

    @property
    def domain(self) -> str:
        """The policy domain."""
        return self.published.domain

    def records(self) -> Iterator[tuple[Record, int]]:
        """Each record with the number of its messages."""
        return self._records()


class Gatherer:
    """Takes messages, and gives reports. One for one period."""

    def __init__(self, connection: sqlite3.Connection, wanted: Callable[[str], bool]) -> None:
        self._connection = connection
        self._wanted = wanted
        self._counts: dict[tuple[str, str, int], int] = {}
        self._policies: dict[tuple[str, str], int] = {}
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA cache_size = {_CACHE}")
        connection.execute("BEGIN")

    def add(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Counts messages, in the order of their time, as `Store.each` gives them. To be called once."""
        for place, message in enumerate(messages):
            fact = fact_of(message)
            if fact is not None and self._wanted(fact.published.domain):
                self._count(fact, place)
        self._spill()

    def _count(self, fact: Fact, place: int) -> None:
        domain, published = fact.published.domain, _encode(fact.published)
        key = domain, _encode(fact.record), zlib.crc32(published.encode())
        self._counts[key] = self._counts.get(key, 0) + 1
        self._policies[domain, published] = place
        if len(self._counts) >= MAX_KEPT:
            self._spill()

    def _spill(self) -> None:
        counted = ((*key, number) for key, number in self._counts.items())
        self._connection.executemany("INSERT INTO counted VALUES (?, ?, ?, ?)", counted)
        policies = ((*key, place) for key, place in self._policies.items())
        self._connection.executemany("INSERT INTO policy VALUES (?, ?, ?)", policies)
        self._counts.clear()
        self._policies.clear()

    def finish(self) -> int:
        """Sorts all that was added; how many policy domains there are."""
        self._connection.executescript(_SORTED)
        return int(self._connection.execute("SELECT count(*) FROM report").fetchone()[0])

    def reports(self) -> Iterator[Gathered]:
        """The reports, by domain. To be asked for once `finish` was called."""
        for domain, text in self._connection.execute("SELECT domain, published FROM report ORDER BY domain"):
            yield self._gathered(domain, text)

    def _gathered(self, domain: str, text: str) -> Gathered:
        *values, rua, problems = json.loads(text)
        published = Published._make((*values, tuple(rua), tuple(problems)))
        policy = zlib.crc32(text.encode())
        sql = "SELECT sum(messages), sum(length(record)) FROM record WHERE domain = ?"
        messages, octets = self._connection.execute(sql, [domain]).fetchone()
        rows, told = -1, messages
        if octets > MAX_OCTETS:
            rows, told = self._within(domain)
        return Gathered(published, messages, told, lambda: self._records(domain, published, policy, rows))

    def _within(self, domain: str) -> tuple[int, int]:
        """How many of the most common records there is room for, and how many messages these are of."""
        rows = told = octets = 0
        sql = "SELECT length(record), messages FROM record WHERE domain = ? ORDER BY messages DESC, record"
        for length, messages in self._connection.execute(sql, [domain]):
            octets += length
            if octets > MAX_OCTETS:
                break
            rows, told = rows + 1, told + messages
        return rows, told

    def _records(self, domain: str, published: Published, policy: int, rows: int) -> Iterator[tuple[Record, int]]:
        """Records that differ only in the policy of their time are one, unless its consequences differ."""
        order = "record, policy LIMIT -1" if rows < 0 else f"messages DESC, record LIMIT {rows}"
        sql = f"SELECT record, policy, messages FROM record WHERE domain = ? ORDER BY {order}"  # noqa: S608
        last: Record | None = None
        count = 0
        for text, its_policy, messages in self._connection.execute(sql, [domain]):
            record = _record(text)
            if its_policy != policy:
                record = _under_an_earlier(record, published)
            if last is not None and record != last:
                yield last, count
                count = 0
            last = record
            count += messages
        if last is not None:
            yield last, count


def _record(text: str) -> Record:
    *head, reasons, header_from, envelope_from, signatures, spf = json.loads(text)
    told = tuple((kind, comment) for kind, comment in reasons)
    signed = tuple(Signature(*one) for one in signatures)
    return Record._make((*head, told, header_from, envelope_from, signed, None if spf is None else Spf(*spf)))


def _under_an_earlier(record: Record, published: Published) -> Record:
    """The report has one policy, the final one; where this record does not follow from that, it says why (RFC 9990
    3.1.1.9 and 3.3)."""
    policies = {published.p} if record.header_from == published.domain else {published.sp, published.np}
    if "pass" in (record.dkim, record.spf) or record.disposition in policies or record.reasons:
        return record
    return record._replace(reasons=(("other", "evaluated under an earlier policy record"),))


@contextmanager
def gathering(wanted: Callable[[str], bool]) -> Iterator[Gatherer]:
    """A gatherer with a file for what it counts. `wanted`: of which policy domains."""
    # A nameless file of SQLite's, in $TMPDIR or /var/tmp: it is gone with this process, however that ends.
    connection = sqlite3.connect("", isolation_level=None)
    try:
        yield Gatherer(connection, wanted)
    finally:
        connection.close()
