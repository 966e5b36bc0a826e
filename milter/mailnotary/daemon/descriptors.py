"""How many files a process may have open. Each session of the MTA is one of them, and where none is left, libmilter can
accept no more."""

import errno
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

ENOUGH: Final = 1024  # for each worker of a busy host: Postfix has 100 processes of a kind, and each has a session
_NEAR: Final = 0.9


@dataclass(frozen=True, slots=True)
class Shortage:
    """So many files are open, and so many may be."""

    open: int
    limit: int


def raise_limit() -> int:
    """Allows as many open files as the system lets us have, and gives their number. (The soft limit of 1024 is for
    programs that use select().)"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _limit()


def shortage(sessions: int) -> Shortage | None:
    """What is left, if that is little. With few sessions it is not looked at."""
    limit = _limit()
    if sessions < limit // 2:
        return None
    try:
        count = len(os.listdir("/proc/self/fd"))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        count = limit
    return Shortage(count, limit) if count >= limit * _NEAR else None


def close_all_but(*kept: int) -> None:
    """Closes what a process was forked with and has no business with: it must not outlive its parent here."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
