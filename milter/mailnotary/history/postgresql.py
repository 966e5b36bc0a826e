"""The store in a PostgreSQL server that several hosts share; psycopg speaks to it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mailnotary.history.database import APPLICATION_ID, SlowStoreError, StoreError, shown, statements


class Postgresql:
    """A server that several hosts share; psycopg speaks to it."""

    def __init__(self, url: str, read_only: bool, seconds: float | None) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise StoreError(
                "history.store is a PostgreSQL database, for which Python's psycopg is missing: install "
                "mailnotary[postgresql], or Debian's python3-psycopg"
            ) from error
        self.name = shown(url)
        self._error: type[Exception] = psycopg.Error
        self._slow: type[Exception] = psycopg.errors.QueryCanceled
        with self._errors():
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="mailnotary")
            self._connection.read_only = read_only
            if seconds is not None:
                self._connection.execute(f"SET statement_timeout = {int(seconds * 1000)}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._slow as error:
            raise SlowStoreError(f"{self.name}: the question took too long") from error
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
                for statement in statements(
                    script,
                    id="BIGINT NOT NULL",
                    then_id=", id",
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

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Database`."""
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self.executemany(cursor, f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

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
