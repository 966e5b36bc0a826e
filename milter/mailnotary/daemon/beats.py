"""The workers' signs of life, in memory that they share with their supervisor."""

import mmap
import struct
import time
from typing import Final

_BEAT: Final = struct.Struct("=dQ")  # monotonic time, generation in force


class Beats:
    """A place for each of so many workers. Made before they are forked."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * _BEAT.size)  # anonymous, shared over fork

    def beat(self, worker: int, generation: int) -> None:
        """A worker says that it is well, and on which generation of the configuration it works."""
        _BEAT.pack_into(self._memory, worker * _BEAT.size, time.monotonic(), generation)

    def last(self, worker: int) -> tuple[float, int]:
        """The monotonic time of a worker's last sign of life, and its generation; 0 before the first one."""
        seconds, generation = _BEAT.unpack_from(self._memory, worker * _BEAT.size)
        return seconds, generation

    def clear(self, worker: int) -> None:
        """A new worker takes this place."""
        _BEAT.pack_into(self._memory, worker * _BEAT.size, 0.0, 0)
