"""The keys of a source: a table with all of them, and above it a small one with what has changed since.

So a change of one domain is a few octets for each process, whatever else there is. Once the small table has grown, both
become one (`sources.taking`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailnotary.config.keystore import KeyEntry, KeyStore
from mailnotary.config.settings import Mode, Settings
from mailnotary.sources import entry
from mailnotary.sources.table import GONE, Record, Table, digest_of


@dataclass(frozen=True, slots=True)
class Layers:
    """`base` has all entries, `changes` those that are new, other or gone; its `value` names the base it belongs to."""

    base: Table
    changes: Table | None = None

    @classmethod
    def of(cls, base: Table | None, changes: Table | None) -> "Layers | None":
        """The layers of two tables that came separately; changes of another base are left out."""
        if base is None:
            return None
        belongs = changes is not None and changes.value["base"] == base.value["id"]
        return cls(base, changes if belongs else None)

    @property
    def value(self) -> dict[str, Any]:
        """What is said of the whole."""
        return (self.changes or self.base).value

    def get(self, digest: bytes) -> Record | None:
        """What is under the name with this digest."""
        if self.changes is not None and (record := self.changes.get(digest)) is not None:
            return None if record.kind & GONE else record
        return self.base.get(digest)

    def __iter__(self) -> Iterator[Record]:
        """All records: those of the base in their order, then those that are new."""
        changes, old = self.changes, set()
        for record in self.base:
            digest = digest_of(record.name)
            newer = changes.get(digest) if changes is not None else None
            if newer is not None:
                old.add(digest)
            if newer is None or not newer.kind & GONE:
                yield newer or record
        for record in changes or ():
            if not record.kind & GONE and digest_of(record.name) not in old:
                yield record


class SourceEntries(Mapping[str, KeyEntry]):
    """The entries of a source; each is a new object each time."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> KeyEntry:
        record = self._layers.get(digest_of(name))
        if record is None:
            raise KeyError(name)
        return entry.read(record, self._layers.value["origin"])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._layers.get(digest_of(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return (record.name for record in self._layers)

    def __len__(self) -> int:
        return int(self._layers.value["domains"])


class Combined(Mapping[str, KeyEntry]):
    """The entries of the keystore, then those of the source that it has not. What the administrator wrote into a file
    goes before what others may write into a database."""

    def __init__(self, files: Mapping[str, KeyEntry], source: Mapping[str, KeyEntry]) -> None:
        self._files = files
        self._source = source
        self._both = sum(name in source for name in files)

    def __getitem__(self, name: str) -> KeyEntry:
        entry = self._files.get(name)
        return self._source[name] if entry is None else entry

    def __contains__(self, name: object) -> bool:
        return name in self._files or name in self._source

    def __iter__(self) -> Iterator[str]:
        yield from self._files
        yield from (name for name in self._source if name not in self._files)

    def __len__(self) -> int:
        return len(self._files) + len(self._source) - self._both


def keystore_of(
    settings: Settings, files: Mapping[str, KeyEntry], layers: Layers | None, *, with_source: bool = True
) -> KeyStore:
    """The keystore of a process: the entries of the files, and what the source has said, where there is one.
    `with_source`: whether it is known which auto keys of the source sign; until then its mail waits."""
    if not settings.source.wanted or settings.mode is Mode.VERIFY:
        return KeyStore(files)
    if layers is None:
        return KeyStore(files, complete=False)
    complete = with_source or not layers.value["auto"]
    return KeyStore(Combined(files, SourceEntries(layers)), complete=complete)
