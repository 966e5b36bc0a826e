"""Which process listens at an address, as /proc tells (proc(5)). Only root sees the processes of other users."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mailnotary.config.listen import Listen
from mailnotary.escape import printable

PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN of the kernel's net/tcp_states.h, as /proc/net/tcp shows it
_ACCEPTS = 0x10000  # __SO_ACCEPTCON of /proc/net/unix: the socket listens


@dataclass(frozen=True, slots=True)
class Process:
    """A process; `arguments` are those of its command line."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its program, or of the script that an interpreter runs."""
        names = [os.path.basename(argument) for argument in self.arguments]
        if names and re.fullmatch(r"(python|perl)[\d.]*", names[0]):
            scripts = [name for name in names[1:] if name and not name.startswith("-")]
            return printable(scripts[0] if scripts else names[0], 80)
        return printable(names[0] if names else "", 80) or f"process {self.pid}"

    @property
    def ours(self) -> bool:
        """Whether it runs mailnotary."""
        return any(os.path.basename(argument) == "mailnotary" for argument in self.arguments)


def listening(listen: Listen) -> Process | None:
    """The process that listens there; None if there is none, or if this account cannot see it."""
    inodes = set(_unix(listen.path) if listen.family == "unix" else _internet(listen.port))
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    # The parent of several workers has the lowest number, in all likelihood.
    return next((process(pid) for pid in sorted(_pids()) if _holds(pid, links)), None)


def process(pid: int) -> Process:
    """A process by its number."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        arguments = []
    return Process(pid, tuple(os.fsdecode(argument) for argument in arguments))


def _internet(port: int) -> Iterator[str]:
    for file in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / file).read_text("ascii", "replace").splitlines()[1:]:
                words = line.split()
                if len(words) > 9 and words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                    yield words[9]


def _unix(path: str) -> Iterator[str]:
    wanted = os.path.realpath(path)
    with suppress(OSError):
        for line in (PROC / "net" / "unix").read_text("utf-8", "surrogateescape").splitlines()[1:]:
            words = line.split(maxsplit=7)
            # A name that was renamed after it was bound keeps its old directory there: ".NAME.PID" is mailnotary's.
            if len(words) > 7 and int(words[3], 16) & _ACCEPTS and _same(words[7], wanted):
                yield words[6]


def _same(bound: str, wanted: str) -> bool:
    name = os.path.basename(wanted)
    return os.path.realpath(bound) == wanted or bool(re.search(rf"/\.{re.escape(name)}\.\d+$", bound))


def _pids() -> Iterator[int]:
    with suppress(OSError):
        for name in os.listdir(PROC):
            if name.isdigit():
                yield int(name)


def _holds(pid: int, links: set[str]) -> bool:
    try:
        descriptors = os.listdir(PROC / str(pid) / "fd")
    except OSError:  # another user's, or it has ended
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            if os.readlink(PROC / str(pid) / "fd" / descriptor) in links:
                return True
    return False
