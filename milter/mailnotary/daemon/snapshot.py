"""What the supervisor hands to its workers: the configuration in force, keys included, as one piece in a sealed memory
file.

The workers never read the admin's files: what they load was checked as a whole, and all of them load the same. Nobody
can change the file, and whoever has it open keeps it, however many newer ones there are. Thousands of keys lie in it
once for all workers, and each makes objects of those alone that it signs with.
"""

import fcntl
import mmap
import os
import pickle
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Self

_FOOTER: Final = struct.Struct("=Q")  # where the entries end and their index begins
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_BUFFER: Final = 262_144  # octets; an entry has some 2,000 for each RSA key
_NO_ENTRIES: Final[Mapping[str, Any]] = MappingProxyType({})


class Snapshot:
    """A memory file by its `descriptor`, which is closed with `close` or with the last reference."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def write(cls, value: Any, entries: Mapping[str, Any] = _NO_ENTRIES) -> Self:
        """A new one of a value that is read as a whole, and of entries that are read one by one. Raises OSError for
        lack of memory or descriptors."""
        snapshot = cls(os.memfd_create("mailnotary-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        with open(snapshot.descriptor, "wb", _BUFFER, closefd=False) as file:
            index, end = {}, 0
            for name, entry in entries.items():
                index[name] = end
                end += file.write(pickle.dumps(entry, pickle.HIGHEST_PROTOCOL))
            file.write(pickle.dumps((value, index), pickle.HIGHEST_PROTOCOL))
            file.write(_FOOTER.pack(end))
        fcntl.fcntl(snapshot.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return snapshot

    def read(self) -> tuple[Any, "Entries"]:
        """The value and the entries, which need the descriptor no more. Raises OSError or MemoryError."""
        # Private, for kernels before 6.7 treat a shared mapping of a sealed file as one that may be written to later.
        # What nobody writes to is shared all the same.
        memory = memoryview(mmap.mmap(self.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
        (end,) = _FOOTER.unpack_from(memory, len(memory) - _FOOTER.size)
        value, index = pickle.loads(memory[end:])  # noqa: S301 - our own octets, which nobody can have changed
        return value, Entries(memory, index)

    def close(self) -> None:
        """Gives the descriptor back. Those that others have of the file stay."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    __del__ = close


class Entries(Mapping[str, Any]):
    """The entries of a snapshot; each is a new object each time."""

    def __init__(self, memory: memoryview, index: dict[str, int]) -> None:
        self._memory = memory
        self._index = index

    def __getitem__(self, name: str) -> Any:
        return pickle.loads(self._memory[self._index[name] :])  # noqa: S301 - as above

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)
