"""What a source of keys answers, whichever it is: rows, gathered by domain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mailnotary.config.keystore_file import entry_name
from mailnotary.errors import DkimKeyError
from mailnotary.sources.entry import MAX_KEYS, Row

MAX_DOMAINS = 1_000_000


class SourceError(DkimKeyError):
    """The source did not answer, or not in the form that was asked for. What it said last stays in force."""


@dataclass(frozen=True, slots=True)
class Group:
    """All rows of one domain; none: it has gone. `problem`: why it can be no domain's, "" if it is one."""

    name: str
    rows: list[Row]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`groups` come while the source answers, and may raise SourceError. `whole`: those that are not among them have
    gone; otherwise they are as they were."""

    whole: bool
    groups: Iterator[Group]


class Source(Protocol):
    """Whom keys are asked of."""

    @property
    def tells_changes(self) -> bool:
        """Whether it can be asked for changes at present."""
        ...

    def ask(self, *, changes: bool) -> Answer:
        """Asks for everything, or for what may have changed since the last answer. Raises SourceError."""
        ...

    def close(self) -> None:
        """Gives back what was opened."""
        ...


def grouped(rows: Iterable[Row]) -> Iterator[Group]:
    """Rows by domain. Those of a domain follow one another."""
    name, held = "", list[Row]()
    for row in rows:
        written = row.get("domain")
        try:
            found = _name(written)
        except ValueError as error:
            yield Group("", [], f"a row is left out: {error}")
            continue
        if found != name and held:
            yield Group(name, held)
            held = []
        name = found
        if len(held) <= MAX_KEYS:  # one more than there may be shows that there are too many
            held.append(row)
    if held:
        yield Group(name, held)


def _name(written: object) -> str:
    if not isinstance(written, str) or not written:
        raise ValueError("it has no domain")
    if written == "*":
        raise ValueError("'*' is for the keystore alone: a source names its domains")
    return entry_name(written)
