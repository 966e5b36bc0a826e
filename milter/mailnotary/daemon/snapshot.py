"""What the supervisor shares with its workers: the configuration in force, and the workers' signs of life.

The configuration travels as one piece, keys included, through a memory file opened before the fork; a header in shared
memory says which generation lies there. The workers never read the admin's files: what they load was checked as a
whole, and all of them load the same.
"""

import mmap
import os
import pickle
import struct
import time
import zlib
from typing import Any

_HEADER = struct.Struct("=QQL")  # generation, length, CRC-32
_BEATS_AT = 64  # octets: where the signs of life begin
_BEAT = struct.Struct("=dQ")  # monotonic time, generation in force
_TRIES = 50
_PAUSE = 0.1  # seconds


class SnapshotError(Exception):
    """The snapshot could not be read whole."""


class Shared:
    """The shared memory of one supervisor with `workers` workers. Only the supervisor publishes."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, _BEATS_AT + workers * _BEAT.size)  # anonymous, shared over fork
        # Two files in turn: a snapshot that can't be written leaves the one in force as it is.
        self._files = tuple(os.memfd_create("mailnotary-snapshot", os.MFD_CLOEXEC) for _ in range(2))

    @property
    def generation(self) -> int:
        """Counts the published snapshots from 1."""
        return int(_HEADER.unpack_from(self._memory)[0])

    def publish(self, value: Any) -> int:
        """Puts a new snapshot in the place of the old one; returns its generation. Raises OSError for want of memory;
        the old one then stays in force."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        generation = self.generation + 1
        file = self._files[generation % 2]
        os.ftruncate(file, 0)
        written = 0
        while written < len(data):
            written += os.pwrite(file, data[written:], written)
        _HEADER.pack_into(self._memory, 0, generation, len(data), zlib.crc32(data))
        return generation

    def load(self) -> tuple[int, Any]:
        """The snapshot in force and its generation."""
        for _ in range(_TRIES):
            generation, length, checksum = _HEADER.unpack_from(self._memory)
            data = os.pread(self._files[generation % 2], length, 0)
            if len(data) == length and zlib.crc32(data) == checksum:  # else the next one came while we read
                # The octets are the supervisor's own, in memory that none but its workers have.
                return generation, pickle.loads(data)  # noqa: S301
            time.sleep(_PAUSE)
        raise SnapshotError("no snapshot could be read whole")

    def beat(self, worker: int, generation: int) -> None:
        """A worker says that it is well, and on which generation it works."""
        _BEAT.pack_into(self._memory, _BEATS_AT + worker * _BEAT.size, time.monotonic(), generation)

    def last_beat(self, worker: int) -> tuple[float, int]:
        """The monotonic time of a worker's last sign of life, and its generation; 0 before the first one."""
        seconds, generation = _BEAT.unpack_from(self._memory, _BEATS_AT + worker * _BEAT.size)
        return seconds, generation

    def clear_beat(self, worker: int) -> None:
        """A new worker takes this place."""
        _BEAT.pack_into(self._memory, _BEATS_AT + worker * _BEAT.size, 0.0, 0)
