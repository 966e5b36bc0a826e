"""Room for new sessions in a worker that may have few files open, each session being one.

Where nearly all are open, the worker accepts no more (other workers still may, and DNS needs files, too), ends the
idlest sessions, as few as that takes, and accepts again. libmilter has no way to end a session, but takes the end of
its socket for the end of the session. It does not tell either which socket is whose. So connections and sockets are
paired by when they appeared: groups of as many new ones of both as there are at a look. Any socket of a group may be
ended while all its connections are idle; sockets over which nobody ever said a word have no connection at all."""

import logging
import math
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mailnotary.daemon import descriptors
from mailnotary.daemon.adapter import Adapter
from mailnotary.daemon.connection import Connection
from mailnotary.daemon.descriptors import Sessions
from mailnotary.daemon.listener import StandIns, wake_up

log = logging.getLogger(__name__)

LEAST_IDLE = 5.0  # seconds between messages after which a session may have to make room for others
LONG_IDLE = 30.0  # seconds after which idle sessions that could not be told from others are ended with their worker
SAY_SECONDS = 60.0  # between two lines of the log about sessions that were ended
_NEAR: Final = 0.9  # of the files that may be open: no session may begin
_STEP: Final = 0.05  # of them: what is made free beyond that


@dataclass(frozen=True, slots=True)
class _Group:
    """Connections, and the sockets that they have: as many, but for `Pairs`' others."""

    connections: set[Connection]
    sockets: set[int]

    def idle(self, now: float) -> float:
        """For how many seconds all of them have been idle; 0 while one is in a message, endless where there is none."""
        since = [now if connection.idle_since is None else connection.idle_since for connection in self.connections]
        return now - max(since) if since else math.inf


class Pairs:
    """Which connection has which socket, as far as that can be known."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._odd: set[int] = set()  # those in which the numbers differed at the last look
        self._others = _Group(set(), set())  # all that is in no group; some of the sockets may have no connection yet
        self._seen: dict[int, float] = {}  # when each socket was first seen

    def look(self, connections: set[Connection], sockets: set[int]) -> None:
        """Takes in what there is: `connections` must have been there before and after `sockets` were looked at."""
        now = time.monotonic()
        self._seen = {number: self._seen.get(number, now) for number in sockets}
        for group in self._groups:
            group.connections.intersection_update(connections)
            group.sockets.intersection_update(sockets)
        # Where the numbers differ, a session may just be ending; where they still do at the next look, one has begun
        # anew over the same socket (SMFIC_QUIT_NC).
        odd = {id(group) for group in self._groups if len(group.connections) != len(group.sockets)}
        self._groups = [
            group for group in self._groups if group.sockets and not (id(group) in odd and id(group) in self._odd)
        ]
        self._odd = odd
        self._others = _Group(
            connections.difference(*(group.connections for group in self._groups)),
            sockets.difference(*(group.sockets for group in self._groups)),
        )
        if self._others.sockets and len(self._others.connections) == len(self._others.sockets):
            self._groups.append(self._others)
            self._others = _Group(set(), set())

    def idlest(self, least: float) -> list[int]:
        """The sockets that may be ended because nothing has happened for at least so many seconds, the idlest first."""
        now = time.monotonic()
        whole = [group for group in self._groups if len(group.connections) == len(group.sockets)]
        by_idle = [(group.idle(now), number) for group in whole for number in group.sockets]
        idle = self._others.idle(now)
        by_idle += [(min(idle, now - self._seen[number]), number) for number in self._others.sockets]
        return [number for idle, number in sorted(by_idle, reverse=True) if idle >= least]

    def longest_unknown(self) -> float:
        """For how many seconds the oldest socket has been there of those that are in no group."""
        now = time.monotonic()
        return max((now - self._seen[number] for number in self._others.sockets), default=0.0)


class Room:
    """What makes room in worker `number`, whose `libmilter` listens on `listener`, or on a stand-in of it."""

    def __init__(
        self, number: int, callbacks: Adapter, stand_ins: StandIns, listener: socket.socket, libmilter: threading.Thread
    ) -> None:
        self.short = False  # no session is accepted
        self.full = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable once there is no room: look
        self._number = number
        self._adapter = callbacks
        self._stand_ins = stand_ins
        self._listener = listener
        self._libmilter = libmilter
        self._sessions = Sessions(listener)
        self._pairs = Pairs()
        self._ending: set[int] = set()
        self._ended = 0
        self._said = -SAY_SECONDS
        self._in_vain_since = 0.0
        self._lock = threading.Lock()
        callbacks.on_full = self._fill
        if descriptors.limit() <= descriptors.ENOUGH:  # those that begin within a second are to be told apart, too
            callbacks.on_open = self._pair

    def look(self) -> bool:
        """Makes room where there is little. False where only another worker could: all that can be ended here is idle
        sessions that cannot be told from others."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.full)
        sockets = self._pair()
        limit, count = descriptors.limit(), self._sessions.open
        near = int(limit * _NEAR)
        self._adapter.most = len(self._adapter.live) + near - count
        self._ending &= set(sockets.values())
        if count < near:
            self._open()
            return True
        self._close()
        self._end_idlest(sockets, count - near + max(1, int(limit * _STEP)) - len(self._ending))
        self._say(count, limit)
        if self._ending:
            self._in_vain_since = time.monotonic()
        return not self._is_in_vain()

    def _pair(self) -> dict[int, int]:
        """Called by libmilter's threads, too."""
        with self._lock:
            before = set(self._adapter.live)
            sockets = self._sessions.look()
            self._pairs.look(before & set(self._adapter.live), set(sockets.values()))
        return sockets

    def _open(self) -> None:
        if self.short:
            self.short = False
            self._stand_ins.put(self._listener)
            wake_up(self._libmilter)

    def _fill(self) -> None:
        """Called by libmilter's threads."""
        self._close()
        os.eventfd_write(self.full, 1)

    def _close(self) -> None:
        if not self.short:
            self._in_vain_since = time.monotonic()
        self.short = True
        self._stand_ins.put(self._stand_ins.idle)

    def _end_idlest(self, sockets: dict[int, int], wanted: int) -> None:
        by_number = {number: descriptor for descriptor, number in sockets.items()}
        with self._lock:
            idlest = self._pairs.idlest(LEAST_IDLE)
        for number in idlest:
            if wanted <= 0:
                return
            # One that is not there was seen by another thread alone, and is too young.
            if number in by_number and number not in self._ending and _end(by_number[number], number):
                self._ending.add(number)
                self._ended += 1
                wanted -= 1

    def _say(self, count: int, limit: int) -> None:
        now = time.monotonic()
        if now - self._said < SAY_SECONDS:
            return
        self._said = now
        fields = {"worker": self._number, "open": count, "limit": limit, "ended": self._ended}
        self._ended = 0
        log.warning("nearly all files are open: the idlest sessions have to end for others", extra={"fields": fields})

    def _is_in_vain(self) -> bool:
        patience = time.monotonic() - self._in_vain_since
        with self._lock:
            unknown = self._pairs.longest_unknown()
        return patience > LONG_IDLE and max(self._adapter.live.longest_idle(), unknown) > LONG_IDLE


def _end(descriptor: int, number: int) -> bool:
    """Ends a session over whose socket nothing has come that is still unread."""
    with suppress(OSError):  # it has ended by itself
        if os.fstat(descriptor).st_ino == number and not descriptors.unread(descriptor):
            with descriptors.borrowed(descriptor) as sock:
                sock.shutdown(socket.SHUT_RDWR)
            return True
    return False
