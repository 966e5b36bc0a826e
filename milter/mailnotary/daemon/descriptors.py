"""How many files a process may have open, and which of them are sessions of the MTA. Where none is left, libmilter can
accept no more."""

import fcntl
import os
import resource
import socket
import stat
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

ENOUGH: Final = 1024  # for each worker of a busy host: Postfix has 100 processes of a kind, and each has a session
_PROBED: Final = 65_536  # descriptors that are looked at by their number: the limit may be a billion


def raise_limit() -> int:
    """Allows as many open files as the system lets us have, and gives their number. (The soft limit of 1024 is for
    programs that use select().)"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _all_open() -> tuple[Sequence[int], int]:
    """The open descriptors of this process, and how many they are; some may be closed by now. Never raises: where not
    one more file can be opened, these are all numbers that a descriptor may have, and as many are open as may be."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return range(min(limit(), _PROBED)), limit()
    return numbers, len(numbers)


class Sessions:
    """The sessions of the MTA that were accepted at `listener`, as the kernel knows them: libmilter tells nobody."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.open = 0  # descriptors of all kinds, at the last look
        self._known: dict[int, bool] = {}  # sockets by number: whether they are such sessions

    def look(self) -> dict[int, int]:
        """The number of each one's socket (its inode, of which no two are the same), by descriptor."""
        found, known = {}, {}
        numbers, self.open = _all_open()
        for descriptor in numbers:
            with suppress(OSError):  # not open any more
                status = os.fstat(descriptor)
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                number = status.st_ino
                known[number] = self._known.get(number) or _is_accepted(descriptor, self._listener)
                if known[number]:
                    found[descriptor] = number
        self._known = known
        return found


def _is_accepted(descriptor: int, listener: socket.socket) -> bool:
    with borrowed(descriptor) as sock:
        if (sock.family, sock.type) != (listener.family, socket.SOCK_STREAM):
            return False
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        ours, its = listener.getsockname(), sock.getsockname()
        return bool(ours == its if sock.family == socket.AF_UNIX else ours[1] == its[1])  # the same port


def unread(descriptor: int) -> int:
    """How many octets have come over a socket that nobody has read yet. Raises OSError."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


@contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Somebody else's socket, for a moment. Raises OSError if it is not one."""
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()  # it stays open


def close_all_but(*kept: int) -> None:
    """Closes what a process was forked with and has no business with: it must not outlive its parent here."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))
