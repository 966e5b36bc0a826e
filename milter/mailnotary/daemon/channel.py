"""What the supervisor and its children say to each other: words, and with a word a snapshot where there is a new one.

Neither end ever blocks: a child that hangs does not make the supervisor hang.
"""

import errno
import os
import socket
from typing import Final, Self

from mailnotary.daemon.snapshot import Snapshot

CONFIGURATION = b"C"  # to workers and the key watch: a new configuration
SIGNING = b"K"  # to workers, from the key watch: which auto keys sign now
SOURCE = b"B"  # to workers and the key watch, from the source's process: all keys of the source
CHANGES = b"D"  # the same: what has changed since; without a snapshot: nothing
STOP = b"S"  # to workers
END = b""  # the other side has gone
_QUEUE: Final = 16_384  # octets for words that wait, with what the kernel adds: some forty. Each may keep a keystore


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """The supervisor's end and the child's. Raises OSError."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)
        ours, theirs = ends
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def send(self, word: bytes, snapshot: Snapshot | None = None) -> None:
        """Raises ConnectionError where the other side has gone, another OSError where it does not listen."""
        socket.send_fds(self._socket, [word], [] if snapshot is None else [snapshot.descriptor])

    def receive(self) -> dict[bytes, Snapshot | None]:
        """What was said since this was last asked: each word with its newest snapshot. Raises OSError where we have no
        descriptor left to take one; it is lost then."""
        said: dict[bytes, Snapshot | None] = {}
        while END not in said:
            try:
                word, descriptors, flags, _ = socket.recv_fds(self._socket, 16, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                break
            except ConnectionResetError:  # it went with words of ours unread; what it said itself comes after this
                continue
            if flags & socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            said[word] = Snapshot(descriptors[0]) if descriptors else None
        return said

    def close(self) -> None:
        """Ends it; the other side sees `END`."""
        self._socket.close()
