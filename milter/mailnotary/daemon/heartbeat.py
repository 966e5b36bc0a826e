"""The workers' heartbeats, in memory that they share with their supervisor."""

import mmap
import time
from typing import Final

_FIELDS: Final = 3  # of a worker's place: monotonic time in nanoseconds, generation in force, whether it has let go
_OCTETS: Final = 8


class Heartbeats:
    """A place for each of so many workers. Made before they are forked.

    Nothing locks it. Each field is an aligned word and written in one store, so that a reader finds the old value or
    the new one. (struct.pack_into would not do: it fills the place with zeros first, and who reads then takes a
    healthy worker for one that never sent a heartbeat.)"""

    def __init__(self, workers: int) -> None:
        memory = mmap.mmap(-1, workers * _FIELDS * _OCTETS)  # anonymous, shared over fork
        self._fields = memoryview(memory).cast("Q")

    def beat(self, worker: int, generation: int) -> None:
        """A worker says that it is well, and on which generation of the configuration it works."""
        self._write(worker, time.monotonic_ns(), generation)

    def last(self, worker: int) -> tuple[float, int]:
        """The monotonic time of a worker's last heartbeat, and its generation; 0 before the first one."""
        place = worker * _FIELDS
        return self._fields[place] / 1e9, self._fields[place + 1]

    def let_go(self, worker: int) -> None:
        """A worker says that it accepts no more connections, and does not look at the listener any more."""
        self._fields[worker * _FIELDS + 2] = 1

    def has_let_go(self, worker: int) -> bool:
        """Whether it has said so."""
        return bool(self._fields[worker * _FIELDS + 2])

    def clear(self, worker: int) -> None:
        """A new worker takes this place."""
        self._write(worker, 0, 0)
        self._fields[worker * _FIELDS + 2] = 0

    def _write(self, worker: int, nanoseconds: int, generation: int) -> None:
        place = worker * _FIELDS
        self._fields[place] = nanoseconds
        self._fields[place + 1] = generation
