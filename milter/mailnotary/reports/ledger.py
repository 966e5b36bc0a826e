"""What the store knows of reports: who makes those of a period, what was sent, and what came back."""

from mailnotary.history.database import Database


def unique_id_of(database: Database) -> str:
    """The name of this store in the names of its reports. Raises StoreError."""
    with database.transaction() as cursor:
        database.execute(cursor, "SELECT id FROM report_source", [])
        return str(cursor.fetchone()[0])
