"""Takes an answer of a source over: compares it with what is in force, and writes what has changed.

A domain whose rows are what they were costs a digest and a search; only others are parsed and checked.
"""

import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from mailnotary.crypto import Sealer
from mailnotary.sources import entry
from mailnotary.sources.asking import MAX_DOMAINS, Answer, Group, SourceError
from mailnotary.sources.layers import Layers
from mailnotary.sources.table import AUTO, FAULTY, GONE, Record, Table, TableWriter, digest_of

MANY: Final = 1000  # changes, or a twentieth of the domains, after which everything is written anew
NAMED: Final = 20  # problems of one answer that are told
SMALL: Final = 10  # domains, of which more than half may go at once
_GONE: Final = bytes(16)


@dataclass(slots=True)
class Counts:
    """What an answer has changed, in domains. `problems` are the first of those that are wrong, of `faults`."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    faults: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything is other than it was."""
        return bool(self.added or self.changed or self.removed)

    def note(self, problem: str) -> None:
        """Adds something that is wrong."""
        self.faults += 1
        if len(self.problems) < NAMED:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Taken:
    """`base` and `changes` are descriptors of new tables, the caller's; None: that table is what it was (`changes`: or
    there is none for a new base)."""

    counts: Counts
    base: int | None = None
    changes: int | None = None


def take(
    answer: Answer, current: Layers | None, origin: str, sealer: Sealer | None, *, may_shrink: bool = False
) -> Taken:
    """Takes an answer over. `origin` is the source, as messages show it. Raises SourceError, and nothing has changed
    then; OSError for lack of memory."""
    return _Taking(current, origin, sealer).take(answer, may_shrink)


class _Taking:
    def __init__(self, current: Layers | None, origin: str, sealer: Sealer | None) -> None:
        self._current = current
        self._origin = origin
        self._same = current is not None and current.value["origin"] == origin
        self._sealer = sealer
        self._writer = TableWriter()
        self._counts = Counts()
        self._met = bytearray(len(current.base) if current is not None else 0)  # places of the base
        self._others: set[bytes] = set()  # digests of names that are not in the base
        self._doubled: set[bytes] = set()
        self._waiting, self._auto = (
            (int(current.value["waiting"]), int(current.value["auto"])) if current is not None else (0, 0)
        )

    def take(self, answer: Answer, may_shrink: bool) -> Taken:
        try:
            for group in answer.groups:
                self._group(group)
            if answer.whole:
                self._without_others(may_shrink)
            else:
                self._keep_others()
            if not self._counts.any and self._current is not None and self._same:
                return Taken(self._counts)
            return self._written()
        finally:
            self._writer.drop()

    # -- domain by domain

    def _group(self, group: Group) -> None:
        if group.problem:
            self._counts.note(group.problem)
            return
        digest, current = digest_of(group.name), self._current
        place = current.base.find(digest) if current is not None else None
        if self._is_met(digest, place):
            self._twice(group)
            return
        old = current.get(digest) if current is not None else None
        if not group.rows:
            self._gone(group.name, old, place)
            return
        if old is not None and self._same and not old.kind & FAULTY and old.digest == entry.digest(group.rows):
            self._unchanged(old, digest)
            return
        made = entry.make(group.name, group.rows, self._sealer)
        for problem in (*filter(None, [made.fault]), *made.warnings):
            self._counts.note(problem)
        if made.record == old and self._same:
            self._unchanged(old, digest)
        else:
            self._add(made.record, old)

    def _is_met(self, digest: bytes, place: int | None) -> bool:
        if place is not None:
            met, self._met[place] = bool(self._met[place]), 1
            return met
        if digest in self._others:
            return True
        self._others.add(digest)
        if len(self._others) > MAX_DOMAINS:
            raise SourceError(f"it has more than {MAX_DOMAINS} domains: is this the right query?")
        return False

    def _twice(self, group: Group) -> None:
        """Rows that are apart: which of them are all there are cannot be told."""
        fault = "its rows do not follow one another, or write its name in different ways: write it in one way"
        self._counts.note(f"{group.name}: {fault}")
        record = entry.record(entry.faulty(group.name, "", fault), group.rows)
        if digest_of(group.name) not in self._writer:  # it was taken for unchanged
            self._counts.changed += 1
        if digest_of(group.name) not in self._doubled:
            self._doubled.add(digest_of(group.name))
            self._waiting += 1
        self._writer.add(record)

    def _add(self, record: Record, old: Record | None) -> None:
        if old is None:
            self._counts.added += 1
        else:
            self._counts.changed += 1
        self._count(record, 1)
        self._count(old, -1)
        self._writer.add(record)

    def _count(self, record: Record | None, by: int) -> None:
        if record is not None:
            self._waiting += by * bool(record.kind & FAULTY)
            self._auto += by * bool(record.kind & AUTO)

    def _unchanged(self, old: Record, digest: bytes) -> None:
        changes = self._current.changes if self._current is not None else None
        if changes is not None and changes.find(digest) is not None:
            self._writer.add(old)

    def _gone(self, name: str, old: Record | None, place: int | None) -> None:
        if place is not None:
            self._writer.add(Record(name, _GONE, GONE, b""))
        if old is not None:
            self._counts.removed += 1
            self._count(old, -1)

    # -- all that the answer does not name

    def _without_others(self, may_shrink: bool) -> None:
        current = self._current
        if current is None:
            return
        for place, met in enumerate(self._met):
            if not met:
                name = current.base.record(place).name
                self._gone(name, current.get(digest_of(name)), place)
        for record in current.changes or ():
            digest = digest_of(record.name)
            if current.base.find(digest) is None and digest not in self._others:
                self._gone(record.name, record, None)
        before, removed = int(current.value["domains"]), self._counts.removed
        left = before - removed + self._counts.added
        if not may_shrink and before and (not left or (before >= SMALL and removed > before / 2)):
            raise SourceError(
                f"it has lost {removed} of {before} domains, whose mail would leave unsigned, so this answer is not "
                "taken over: if it is right, set source.may_shrink to true"
            )

    def _keep_others(self) -> None:
        current = self._current
        for record in (current.changes if current is not None else None) or ():
            digest = digest_of(record.name)
            place = current.base.find(digest) if current is not None else None
            if not (self._met[place] if place is not None else digest in self._others):
                self._writer.add(record)

    # -- the tables

    def _written(self) -> Taken:
        current, counts = self._current, self._counts
        before = int(current.value["domains"]) if current is not None else 0
        value: dict[str, Any] = {
            "origin": self._origin,
            "domains": before + counts.added - counts.removed,
            "waiting": max(self._waiting, 0),
            "auto": max(self._auto, 0),
            "time": time.time(),
        }
        if current is None:
            return Taken(counts, base=self._writer.finish(value | {"id": secrets.token_hex(8)}))
        few = len(self._writer) <= max(MANY, len(current.base) // 20)
        changes = self._writer.finish(value | {"base": current.base.value["id"]})
        if few and self._same:
            return Taken(counts, changes=changes)
        try:
            return Taken(counts, base=_merged(Layers(current.base, Table(changes)), value))
        finally:
            os.close(changes)


def _merged(records: Iterable[Record], value: dict[str, Any]) -> int:
    writer = TableWriter()
    for record in records:
        writer.add(record)
    return writer.finish(value | {"id": secrets.token_hex(8)})
