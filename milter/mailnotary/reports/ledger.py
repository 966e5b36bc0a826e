"""What the store knows of reports: who makes those of a period, which were sent, and which came back.

Every report is sent once, by whatever host: one host at a time has the lease of a period, and each mail is noted before
and after it is handed over. A host that dies in between leaves a mail of which nobody knows whether it went out. It is
sent again, with the same names, by which the reader recognizes it (RFC 9990 section 3.5.4).
"""

import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

from mailnotary.history.database import Database, StoreError
from mailnotary.reports.period import DAY, HOUR

LEASE: Final = HOUR  # seconds; renewed with each mail
TRIED: Final = 3 * DAY  # for so long after its end the reports of a period are tried
KEPT: Final = 60 * DAY  # what is known of a period
FIRST_PAUSE: Final = 900  # seconds before a mail is tried again; twice as many each time
LONGEST_PAUSE: Final = 6 * HOUR
SUPPRESSED: Final = 7 * DAY  # for which a destination gets nothing after its mail came back


class LeaseError(StoreError):
    """Another host makes the reports of this period."""


class State(StrEnum):
    """What became of a mail."""

    SENDING = "sending"  # or its host died meanwhile
    SENT = "sent"
    LATER = "later"
    FAILED = "failed"
    SETTLED = "settled"  # of a URI whose domain had not answered: now it has


class Progress(StrEnum):
    """How far the reports of a period are."""

    OPEN = "0"
    TRYING = "1"  # all were begun; some are to be tried again
    DONE = "2"


def unique_id_of(database: Database) -> str:
    """The name of this store in the names of its reports. Raises StoreError."""
    with database.transaction() as cursor:
        database.execute(cursor, "SELECT id FROM report_source", [])
        return str(cursor.fetchone()[0])


class Ledger:
    """The notes of one run; `owner` names it among others, `clock` gives the time of day. Everything raises StoreError
    where the database fails."""

    def __init__(self, database: Database, owner: str, clock: Callable[[], float]) -> None:
        self._database = database
        self._owner = f"{owner}/{secrets.token_hex(8)}"
        self._clock = clock

    # --- periods

    def claim(self, period: int) -> Progress | None:
        """Takes the lease of the period that begins then, and says how far it is; None where it is done or another host
        has it."""
        now = int(self._clock())
        with self._database.transaction() as cursor:
            self._run(cursor, "INSERT INTO report_period VALUES (?, '', 0, 0) ON CONFLICT DO NOTHING", period)
            sql = "UPDATE report_period SET owner = ?, lease = ? WHERE period = ? AND done < 2 AND lease <= ?"
            self._run(cursor, sql, self._owner, now + LEASE, period, now)
            if cursor.rowcount != 1:
                return None
            self._run(cursor, "SELECT done FROM report_period WHERE period = ?", period)
            return Progress(str(cursor.fetchone()[0]))

    def owner_of(self, period: int) -> str:
        """The host that has the lease of a period, "" where none has."""
        with self._database.transaction() as cursor:
            self._run(cursor, "SELECT owner, lease FROM report_period WHERE period = ?", period)
            row = cursor.fetchone()
        return row[0].partition("/")[0] if row is not None and row[1] > self._clock() else ""

    def release(self, period: int, *, begun: bool) -> None:
        """Gives the lease back. `begun`: all reports were gone through, so that what is left is what is noted."""
        with self._database.transaction() as cursor:
            self._run(cursor, "SELECT count(*) FROM report WHERE period = ? AND state IN ('later', 'sending')", period)
            progress = 0 if not begun else (1 if cursor.fetchone()[0] else 2)
            sql = "UPDATE report_period SET lease = 0, done = CASE WHEN done > ? THEN done ELSE ? END"
            self._run(cursor, f"{sql} WHERE period = ? AND owner = ?", progress, progress, period, self._owner)

    def due(self, period: int) -> list[str]:
        """The policy domains of which something is to be tried now."""
        sql = """SELECT DISTINCT domain FROM report WHERE period = ?
        AND (state = 'sending' OR (state = 'later' AND due <= ?)) ORDER BY domain"""
        with self._database.transaction() as cursor:
            self._run(cursor, sql, period, int(self._clock()))
            return [domain for (domain,) in cursor.fetchall()]

    def tidy(self) -> list[tuple[str, str, str]]:
        """Gives up what has been tried for too long, and forgets what is old. What was given up: (policy domain,
        destination, reason)."""
        now = int(self._clock())
        late = now - TRIED - DAY  # the day that is over for so long began a day before
        with self._database.transaction() as cursor:
            sql = "SELECT domain, destination, reason FROM report WHERE state IN ('later', 'sending') AND period < ?"
            self._run(cursor, sql, late)
            given_up = [(domain, destination, reason) for domain, destination, reason in cursor.fetchall()]
            sql = "UPDATE report SET state = 'failed' WHERE state IN ('later', 'sending') AND period < ?"
            self._run(cursor, sql, late)
            self._run(cursor, "DELETE FROM report WHERE period < ?", now - KEPT)
            self._run(cursor, "DELETE FROM report_period WHERE period < ?", now - KEPT)
            self._run(cursor, "DELETE FROM report_refused WHERE until < ?", now)
        return given_up

    # --- mails

    def begin(self, period: int, domain: str, destination: str, message_id: str) -> str | None:
        """Notes that a mail is about to be sent, and renews the lease. Its Message-ID, which is the one that it had
        before if it is sent again; None where it is not to be sent (again, or not yet). Raises LeaseError."""
        now = int(self._clock())
        with self._database.transaction() as cursor:
            self._renew(cursor, period, now)
            row = self._found(cursor, period, domain, destination)
            if row is None:
                values = (period, domain, destination, State.SENDING, 1, 0, message_id, "")
                self._run(cursor, "INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)
                return message_id
            state, due, known = row
            if state not in (State.SENDING, State.LATER) or (state == State.LATER and due > now):
                return None
            sql = "UPDATE report SET state = 'sending', attempts = attempts + 1 WHERE period = ? AND domain = ?"
            self._run(cursor, f"{sql} AND destination = ?", period, domain, destination)
            return str(known)

    def note(self, period: int, domain: str, destination: str, state: State, reason: str = "") -> None:
        """Notes what became of a mail that was begun. LATER: it is tried again after a while."""
        now = int(self._clock())
        with self._database.transaction() as cursor:
            sql = "SELECT attempts FROM report WHERE period = ? AND domain = ? AND destination = ?"
            self._run(cursor, sql, period, domain, destination)
            (attempts,) = cursor.fetchone()
            due = now + min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)
            sql = "UPDATE report SET state = ?, due = ?, reason = ? WHERE period = ? AND domain = ? AND destination = ?"
            self._run(cursor, sql, state, due, reason, period, domain, destination)

    def settle(self, period: int, domain: str, uri: str) -> None:
        """The domain of a URI has answered: there is no need to ask it again for this report."""
        sql = "UPDATE report SET state = 'settled' WHERE period = ? AND domain = ? AND destination = ?"
        with self._database.transaction() as cursor:
            self._run(cursor, f"{sql} AND state IN ('later', 'sending')", period, domain, uri)

    def _renew(self, cursor: Any, period: int, now: int) -> None:
        sql = "UPDATE report_period SET lease = ? WHERE period = ? AND owner = ?"
        self._run(cursor, sql, now + LEASE, period, self._owner)
        if cursor.rowcount != 1:
            raise LeaseError("another host has taken over the reports of this period")

    def _found(self, cursor: Any, period: int, domain: str, destination: str) -> Sequence[Any] | None:
        sql = "SELECT state, due, message_id FROM report WHERE period = ? AND domain = ? AND destination = ?"
        self._run(cursor, sql, period, domain, destination)
        row: Sequence[Any] | None = cursor.fetchone()
        return row

    # --- what came back

    def refused(self, destination: str) -> str:
        """Why a destination gets nothing for now, "" where it does."""
        with self._database.transaction() as cursor:
            sql = "SELECT reason FROM report_refused WHERE destination = ? AND until > ?"
            self._run(cursor, sql, destination, int(self._clock()))
            row = cursor.fetchone()
        return "" if row is None else str(row[0])

    def refuse(self, destination: str, reason: str) -> None:
        """A destination gets nothing for a while."""
        sql = """INSERT INTO report_refused VALUES (?, ?, ?)
        ON CONFLICT (destination) DO UPDATE SET until = excluded.until, reason = excluded.reason"""
        with self._database.transaction() as cursor:
            self._run(cursor, sql, destination, int(self._clock()) + SUPPRESSED, reason)

    def destination_of(self, message_id: str) -> str | None:
        """Where the mail with this Message-ID was sent; None if there was none."""
        with self._database.transaction() as cursor:
            self._run(cursor, "SELECT destination FROM report WHERE message_id = ?", message_id)
            row = cursor.fetchone()
        return None if row is None else str(row[0])

    def _run(self, cursor: Any, sql: str, *values: Any) -> None:
        self._database.execute(cursor, sql, values)
