"""Questions that are sent together, before anybody waits for them: one socket, and no thread of their own.

Whoever waits for a reply reads the socket, for all others, too: a reply that is not its own is left with its question.
So a question costs a datagram each way and, where its reply has come before somebody waits, no wait at all."""

import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from mailnotary.resolver import server as limits
from mailnotary.resolver.server import Server
from mailnotary.resolver.types import RecordKind
from mailnotary.resolver.wire import UDP_SIZE, answers, encode_question

MAX_QUESTIONS = 32  # in one burst: replies to those that nobody waits for any more must not look like guesses


class Begun:
    """A question that was sent in a burst: one of the tries of whoever looks it up."""

    __slots__ = ("burst", "edns", "name", "query", "sent", "server", "wire")

    def __init__(self, burst: "Burst", name: bytes, query: bytes, edns: bool) -> None:
        self.burst = burst
        self.server = burst.server
        self.name = name
        self.query = query
        self.edns = edns
        self.sent = time.monotonic()
        self.wire: bytes | None = None  # the reply, as soon as anybody has read it

    @property
    def flooded(self) -> bool:
        """Whether somebody seems to guess the reply."""
        return self.burst.strays > limits.MAX_STRAYS

    def fileno(self) -> int:
        """The descriptor that is readable when a reply may have come."""
        return self.burst.fileno()

    def receive(self) -> bytes | None:
        """The reply if it is there; raises OSError, as the socket does."""
        return self.burst.read(self)

    def over(self) -> bool:
        """Whether there is a reply, or there will never be one."""
        try:
            return self.receive() is not None or self.flooded
        except OSError:
            return True

    def close(self) -> None:
        """Nobody will ask for the reply any more."""
        self.burst.leave(self)


def _untraced(error: OSError) -> OSError:
    """The error without its frames: they lead to the resolver, which would have itself and its sockets in a cycle."""
    return OSError(error.errno, error.strerror)


class Burst:
    """Questions to one server over one socket, whose port the kernel chooses at random for this burst; each has a
    random id of its own (RFC 5452 section 9.2). `sock`: what `Server.connect` returned. Any thread may call it."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._socket = sock
        self.server = server
        self.edns = server.plain_until <= time.monotonic()
        self.strays = 0
        self._begun: dict[bytes, Begun] = {}  # by the id of the question
        self._random = secrets.token_bytes(2 * MAX_QUESTIONS)  # the ids, where none comes twice
        self._left = MAX_QUESTIONS
        self._error: OSError | None = None
        self._lock = threading.Lock()
        self._led = False  # whether a thread waits for the socket, on behalf of the others
        self._followers: dict[Begun, threading.Lock] = {}  # those who wait for that thread, each at a lock of its own

    def add(self, name: bytes, kind: RecordKind) -> Begun | None:
        """One more question, not sent yet; None where it has enough, or the socket has failed or is closed."""
        with self._lock:
            if not self._left or self._error is not None or self._socket.fileno() < 0:
                return None
            self._left -= 1
            identity = self._random[2 * self._left : 2 * self._left + 2]
            while identity in self._begun:
                identity = secrets.token_bytes(2)
            query = encode_question(identity, name, kind, edns=self.edns)
            begun = self._begun[identity] = Begun(self, name, query, self.edns)
            return begun

    def send(self, begun: Begun) -> None:
        """Sends a question. What goes wrong is told to those who wait for the replies."""
        try:
            self._socket.send(begun.query)
        except BlockingIOError:
            return  # as good as lost on its way
        except OSError as error:
            with self._lock:
                self._error = self._error or _untraced(error)
                with suppress(OSError):  # whoever leads is woken: a socket tells of its error once, and here it has
                    self._socket.shutdown(socket.SHUT_RDWR)

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._socket.fileno()

    def wait(self, begun: Begun, until: float, before_wait: Callable[[], object]) -> bytes | None:
        """The reply to a question that `read` has not found, None where there is none until then (by time.monotonic) or
        the burst is flooded; raises OSError, as the socket does. `before_wait` is called first."""
        before_wait()
        with self._lock:
            while begun.wire is None and self._error is None and not begun.flooded:
                left = until - time.monotonic()
                if left <= 0:
                    break
                if self._led:
                    self._follow(begun, left)
                else:
                    self._lead(left)
                    self._drain(begun)
            if self._followers and not self._led:
                self._wake(next(iter(self._followers)))  # to lead, or to find why nobody can
            return self._read(begun)

    def _lead(self, seconds: float) -> None:
        """Waits until the socket is readable."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._led = True
        self._lock.release()
        try:
            poll.poll(seconds * 1000 + 1)
        finally:
            self._lock.acquire()
            self._led = False

    def _follow(self, begun: Begun, seconds: float) -> None:
        """Waits until whoever leads has its reply, or leads no more."""
        turn = self._followers[begun] = threading.Lock()
        turn.acquire()
        self._lock.release()
        try:
            turn.acquire(timeout=seconds)
        finally:
            self._lock.acquire()
            self._followers.pop(begun, None)

    def _wake(self, begun: Begun) -> None:
        turn = self._followers.pop(begun, None)
        if turn is not None:
            turn.release()

    def read(self, begun: Begun) -> bytes | None:
        """The reply to a question if it is there; raises OSError, as the socket does."""
        with self._lock:
            return self._read(begun)

    def _read(self, begun: Begun) -> bytes | None:
        if begun.wire is None and not self._led:  # whoever leads finds what made the socket readable
            self._drain(begun)
        if begun.wire is None and self._error is not None:
            raise OSError(self._error.errno, self._error.strerror)
        return begun.wire

    def _drain(self, wanted: Begun) -> None:
        """Gives each question its reply, until one has it or nothing is left to read."""
        while wanted.wire is None and self.strays <= limits.MAX_STRAYS and self._error is None:
            try:
                wire = self._socket.recv(UDP_SIZE + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._error = _untraced(error)
                return
            begun = self._begun.get(wire[:2])
            if begun is not None and begun.wire is None and answers(wire, begun.query, begun.name):
                begun.wire = wire
                if self._followers:
                    self._wake(begun)
            else:
                self.strays += 1

    def leave(self, begun: Begun) -> None:
        """Ends a question; with the last one the socket is closed."""
        identity = begun.query[:2]
        with self._lock:
            if self._begun.get(identity) is begun:
                del self._begun[identity]
            if not self._begun:
                self._socket.close()
