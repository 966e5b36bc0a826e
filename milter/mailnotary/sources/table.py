"""A table of entries by name, as octets in a memory file that all processes share and nobody changes.

The records come first, each with its name; then an index, sorted by a digest of the name, in which a search finds one
of 100,000 in 17 steps without an object for any other; then what is to be said of the table as a whole, as JSON. On
disk (`sources.cache`) it is the same octets: nothing in them is executed, and a digest says whether they are whole.
"""

import fcntl
import json
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any, Final

from mailnotary.errors import DkimKeyError

_MAGIC: Final = b"mnkeys1\n"
_RECORD: Final = struct.Struct("=16sHBI")  # the row's digest, octets of the name, what it is, octets of the body
_END: Final = struct.Struct("=QQ32s8s")  # where the index and the JSON begin, a digest of all before
_PLACE: Final = 24  # octets of a place in the index: a name's digest, and where its record begins
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_BLOCK: Final = 1_048_576  # octets that are hashed at once

# What a record is, as bits: 0 is an entry that can be used.
FAULTY: Final = 1  # the entry can't be used
GONE: Final = 2  # there is no entry of this name any more
AUTO: Final = 4  # keys of the entry sign once DNS serves their records


class TableError(DkimKeyError):
    """The octets are not a table."""


def digest_of(name: str) -> bytes:
    """By which a name is found."""
    return blake2b(name.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Record:
    """What a table has under a name: the digest of what it was made of, what it is (FAULTY, GONE, AUTO), its body."""

    name: str
    digest: bytes
    kind: int
    body: bytes


class TableWriter:
    """Writes a table into a memory file. A name that is written again replaces what was written before. Raises OSError
    for lack of memory or descriptors."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("mailnotary-source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._file = open(self._descriptor, "wb", closefd=False)  # noqa: SIM115 - until `finish` or `drop`
        self._index: dict[bytes, int] = {}
        self._sum = sha256()
        self._at = 0

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, digest: bytes) -> bool:
        """Whether a name with this digest was written."""
        return digest in self._index

    def add(self, record: Record) -> None:
        """Writes a record."""
        name = record.name.encode()
        self._index[digest_of(record.name)] = self._at
        self._write(_RECORD.pack(record.digest, len(name), record.kind, len(record.body)) + name + record.body)

    def _write(self, octets: bytes) -> None:
        self._file.write(octets)
        self._sum.update(octets)
        self._at += len(octets)

    def finish(self, value: dict[str, Any]) -> int:
        """Ends the table with what is to be said of it. Gives its descriptor, which is the caller's from now on."""
        index, places = self._at, sorted(self._index.items())
        self._index = {}
        for start in range(0, len(places), 10_000):
            part = places[start : start + 10_000]
            self._write(b"".join(digest + offset.to_bytes(8, "little") for digest, offset in part))
        end = self._at
        self._write(json.dumps(value).encode())
        self._file.write(_END.pack(index, end, self._sum.digest(), _MAGIC))
        self._file.close()
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def drop(self) -> None:
        """Gives the memory back."""
        self._index = {}
        if self._descriptor >= 0:
            self._file.close()
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = drop


class Table:
    """A table for reading; it needs the descriptor no more. Raises TableError if it is none, OSError or MemoryError."""

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < _END.size:
            raise TableError("it is too short")
        # Private, for kernels before 6.7 treat a shared mapping of a sealed file as one that may be written to later.
        self._memory = memoryview(mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
        self._index: int
        self._index, end, self._sum, magic = _END.unpack_from(self._memory, size - _END.size)
        if magic != _MAGIC or not self._index <= end <= size - _END.size or (end - self._index) % _PLACE:
            raise TableError("it is not a table of keys of this version")
        self._count: int = (end - self._index) // _PLACE
        try:
            self.value: dict[str, Any] = json.loads(bytes(self._memory[end : size - _END.size]))
        except ValueError as error:
            raise TableError("its end is damaged") from error
        self._whole = size - _END.size
        self.octets = size

    def check(self) -> None:
        """Compares the octets with their digest. Raises TableError."""
        found = sha256()
        for start in range(0, self._whole, _BLOCK):
            found.update(self._memory[start : min(start + _BLOCK, self._whole)])
        if found.digest() != self._sum:
            raise TableError("it is damaged")

    def __len__(self) -> int:
        return self._count

    def find(self, digest: bytes) -> int | None:
        """The place of a name with this digest, from 0 to len() - 1."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            start = self._index + middle * _PLACE
            found = bytes(self._memory[start : start + 16])
            if found == digest:
                return middle
            low, high = (middle + 1, high) if found < digest else (low, middle)
        return None

    def record(self, place: int) -> Record:
        """What is at a place."""
        start = self._index + place * _PLACE + 16
        return self._record_at(int.from_bytes(self._memory[start : start + 8], "little"))

    def get(self, digest: bytes) -> Record | None:
        """What is under the name with this digest."""
        place = self.find(digest)
        return None if place is None else self.record(place)

    def _record_at(self, offset: int) -> Record:
        digest, name, kind, body = _RECORD.unpack_from(self._memory, offset)
        start = offset + _RECORD.size
        octets = bytes(self._memory[start : start + name + body])
        return Record(octets[:name].decode(), digest, kind, octets[name:])

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order in which they were written."""
        offset = 0
        while offset < self._index:
            record = self._record_at(offset)
            place = self.find(digest_of(record.name))
            start = self._index + (place or 0) * _PLACE + 16
            if place is not None and int.from_bytes(self._memory[start : start + 8], "little") == offset:
                yield record  # otherwise it was replaced later
            offset += _RECORD.size + len(record.name.encode()) + len(record.body)
