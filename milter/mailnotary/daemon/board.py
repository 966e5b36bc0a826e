"""Which signatures are known to be replayed: one process writes it, all others read it, and nobody waits.

It is shared memory, with a place for a signature at a number that its own octets give. Two signatures with one place
turn each other out, and who reads while another writes may see neither: a replay goes unnoticed then, no more."""

import mmap
from typing import Final

PLACES: Final = 65_536
WIDTH: Final = 8  # octets of an id
_EMPTY: Final = bytes(WIDTH)


class Board:
    """Made before the processes are forked that share it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * WIDTH)

    def put(self, signature: bytes) -> None:
        """This one is replayed. `signature`: the id, of `WIDTH` octets."""
        at = _place(signature)
        self._memory[at : at + WIDTH] = signature

    def drop(self, signature: bytes) -> None:
        """This one is not, or no longer."""
        if signature in self:
            at = _place(signature)
            self._memory[at : at + WIDTH] = _EMPTY

    def __contains__(self, signature: object) -> bool:
        if not isinstance(signature, bytes):
            return False
        at = _place(signature)
        return self._memory[at : at + WIDTH] == signature


def _place(signature: bytes) -> int:
    return int.from_bytes(signature[:4], "big") % PLACES * WIDTH
