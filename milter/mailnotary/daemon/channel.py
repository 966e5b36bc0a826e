"""What the supervisor and its children say to each other: words, and with a word a snapshot where there is a new one.

The supervisor's end never blocks, so that a child that stands still does not make it stand still.
"""

import socket
from typing import Self

from mailnotary.daemon.snapshot import Snapshot

CONFIGURATION = b"C"  # to workers and the key watch: a new configuration
SIGNING = b"K"  # to workers, from the key watch: which auto keys sign now
STOP = b"S"  # to workers
END = b""  # the other side has gone


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """The supervisor's end and the child's. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def send(self, word: bytes, snapshot: Snapshot | None = None) -> None:
        """Raises BlockingIOError where the other side listens no more, OSError where it has gone."""
        socket.send_fds(self._socket, [word], [] if snapshot is None else [snapshot.descriptor])

    def receive(self) -> tuple[bytes, Snapshot | None]:
        """The next word. The supervisor's end raises BlockingIOError where there is none."""
        try:
            word, descriptors, _, _ = socket.recv_fds(self._socket, 16, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return END, None
        return word, Snapshot(descriptors[0]) if descriptors else None

    def close(self) -> None:
        """Ends it; the other side sees `END`."""
        self._socket.close()
