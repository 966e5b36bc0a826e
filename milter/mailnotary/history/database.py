"""What a database has to do for the store, whichever it is: `sqlite` and `postgresql` do it."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from mailnotary.errors import MailnotaryError

APPLICATION_ID: Final = 0x6D6E6F74  # "mnot", by which file(1) and we know a store
# After the user's name (RFC 3986 section 3.2.1), or as a parameter.
_PASSWORD: Final = re.compile(r"(?<=://)(?P<user>[^/:@]*:)[^/]*(?=@)|(?<=[?&]password=)[^&]*")


class StoreError(MailnotaryError):
    """The store cannot be used, now or at all."""


class CorruptStoreError(StoreError):
    """The file is damaged, or is not a store of the history."""


class SlowStoreError(StoreError):
    """A question took longer than it was given."""


class Database(Protocol):
    """One connection."""

    name: str  # for errors: never with a password

    def version(self) -> int:
        """The version of the schema; 0 without one."""
        ...

    def migrate(self, scripts: Sequence[str]) -> None:
        """Runs the scripts that this store has not seen, all of them or none."""
        ...

    def transaction(self) -> Any:
        """A context with a cursor: at its end all is kept, after an exception nothing."""
        ...

    def execute(self, cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
        """Runs SQL that has ? for its parameters."""
        ...

    def executemany(self, cursor: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Runs it once for each row."""
        ...

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Adds many rows to a table, with all columns in their order."""
        ...

    def octets(self) -> int:
        """How much room it takes."""
        ...

    def give_back(self) -> None:
        """Gives free room back to the file system."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


def is_postgresql(location: str) -> bool:
    """Whether this names a PostgreSQL database rather than a file."""
    return location.startswith(("postgresql://", "postgres://"))


def shown(location: str) -> str:
    """The location without a password."""
    return _PASSWORD.sub(lambda match: f"{match['user'] or ''}***", location) if is_postgresql(location) else location


def statements(script: str, **words: str) -> Iterable[str]:
    """The statements of a script, with the words of one database in the places that it leaves for them."""
    return (part for part in script.format_map(words).split(";") if part.strip())
