"""Makes sure that no session waits for another's DNS.

Debian's libmilter serves all sessions of a process with a pool of threads (worker.c of its source). Its controller
gives each session that has something to read to an idle thread, or starts a new one where none is idle. But a thread
counts as idle until it has woken up: of several sessions that are ready at once, one thread may have to serve all, one
after the other. Those behind the first wait for as long as that one waits for DNS, which took
seconds with ten connections.

So whoever is about to wait wakes another thread: it sends a command without effect over a session of our own. For
that, the controller has to find a thread or to start one, and this one, once done with the command, goes on with the
sessions that are ready. A thread that finds half a packet waits in the same way until the rest comes, without a
callback of ours that could wake another: so whoever has the time looks now and then for what nobody reads, and wakes
as many threads as that takes (`wake_for_unread`). Our session has to be the first of the process, since threads take
them in the order of their age: so none is behind another that may wait. A libmilter without a pool has a thread for
each session, ours too, and no harm is done."""

import logging
import os
import select
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from mailnotary.daemon.descriptors import Sessions, unread
from mailnotary.daemon.listener import StandIns, wake_up

log = logging.getLogger(__name__)

_ABORT: Final = b"\0\0\0\1A"  # SMFIC_ABORT: outside of a message libmilter passes over it, and asks no callback of ours
_PATIENCE: Final = 5.0  # seconds for libmilter to take our session
_WAKES: Final = 300  # threads that are woken one after the other at most
_STEP: Final = 0.002  # seconds for one of them to begin to read
_IN_VAIN: Final = 10  # steps in which nobody reads anything more: what is unread now is of sessions under way


class Waker:
    """Our session, one in each worker. It never negotiates, and so never reaches the callbacks."""

    def __init__(self) -> None:
        self._session: socket.socket | None = None
        self._sessions: Sessions | None = None
        self._last: dict[int, int] = {}  # what was unread at the last look

    def begin(self, libmilter: threading.Thread, stand_ins: StandIns, listener: socket.socket) -> None:
        """Starts libmilter's thread, with ours as its first session, and has it listen on `listener` from then on.
        Until this returns, no session must be served. Where ours cannot be set up, the daemon works without, and
        says so."""
        self._sessions = Sessions(listener)
        try:
            self._begin(libmilter, stand_ins, listener)
        except OSError as error:
            log.warning("mail may have to wait for the DNS of other mail", extra={"fields": {"error": str(error)}})
            stand_ins.put(listener)
            if libmilter.ident is None:
                libmilter.start()

    def _begin(self, libmilter: threading.Thread, stand_ins: StandIns, listener: socket.socket) -> None:
        session = socket.socket(listener.family, socket.SOCK_STREAM)
        with _private_listener(session.family) as private:
            session.connect(private.getsockname())
            stand_ins.put(private)
            libmilter.start()
            _wait_until_taken(private)
            stand_ins.put(listener)
            _shut_out_strangers(private, session)
        wake_up(libmilter)  # it may be waiting at `private` already
        session.setblocking(False)
        if session.family != socket.AF_UNIX:
            session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session = session

    def wake(self) -> None:
        """Has a thread look for sessions that are ready. Never waits. Any thread may call it."""
        session = self._session
        if session is None:
            return
        try:
            session.send(_ABORT)
        except BlockingIOError:
            return  # many commands are waiting there unread already
        except OSError as error:
            self._session = None
            log.warning("mail may have to wait for the DNS of other mail", extra={"fields": {"error": str(error)}})

    def wake_for_unread(self) -> None:
        """Has threads look for sessions that are ready until nothing is left of what was unread at the last call, too,
        or nobody reads any more of it. Waits for them, some tenths of a second at most."""
        self.wake()
        last, self._last = self._last, self._unread()
        left, in_vain = last.items() & self._last.items(), 0
        for _ in range(_WAKES):
            if not left or in_vain > _IN_VAIN or self._session is None:
                return
            time.sleep(_STEP)
            self.wake()
            still = left & self._unread().items()
            in_vain = in_vain + 1 if still == left else 0
            left = still

    def _unread(self) -> dict[int, int]:
        """How many octets nobody has read yet of each of the MTA's sessions, by descriptor; no zeros."""
        waiting = {}
        for descriptor in self._sessions.look() if self._sessions is not None else ():
            with suppress(OSError):  # closed meanwhile
                if octets := unread(descriptor):
                    waiting[descriptor] = octets
        return waiting


@contextmanager
def _private_listener(family: int) -> Iterator[socket.socket]:
    """A listening socket of which nobody else knows. It is of the real one's family: libmilter closes a connection that
    is not of the family of the socket that it has opened by itself."""
    with ExitStack() as stack:
        private = stack.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        if family == socket.AF_UNIX:
            private.bind(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailnotary-")) + "/private")
        else:
            private.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        private.listen(1)
        yield private


def _wait_until_taken(private: socket.socket) -> None:
    deadline = time.monotonic() + _PATIENCE
    while select.select([private], [], [], 0)[0]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"libmilter took no session within {_PATIENCE:g} seconds")
        time.sleep(0.001)


def _shut_out_strangers(private: socket.socket, session: socket.socket) -> None:
    """Closes what other accounts of this host may have connected to the private listener over TCP, where `socket.peers`
    does not hold: they get no answer. (A unix socket's directory is ours alone.)"""
    if private.family == socket.AF_UNIX:
        return
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself; what is not connected
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if (
                        connection.getsockname() == private.getsockname()
                        and connection.getpeername() != session.getsockname()
                    ):
                        connection.shutdown(socket.SHUT_RDWR)
