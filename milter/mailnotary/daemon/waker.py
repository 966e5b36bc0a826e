"""Makes sure that no session waits for another's DNS.

Debian's libmilter serves all sessions of a process with a pool of threads (worker.c of its source). Its controller
gives each session that has something to read to an idle thread, or starts a new one where none is idle. But a thread
counts as idle until it has woken up: of several sessions that are ready at once, one thread may have to serve all, one
after the other. Those behind the first wait for as long as that one waits for DNS, which took
seconds with ten connections.

So whoever is about to wait wakes another thread: it sends a command without effect over a session of our own. For that,
the controller has to find a thread or to start one, and this one, once done with the command, goes on with the sessions
that are ready. Our session has to be the first of the process, since threads take them in the order of their age: so
none is behind another that may wait. A libmilter without a pool has a thread for each session, ours too, and no harm
is done."""

import logging
import os
import select
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from mailnotary.daemon.listener import StandIns

log = logging.getLogger(__name__)

_ABORT: Final = b"\0\0\0\1A"  # SMFIC_ABORT: outside of a message libmilter passes over it, and asks no callback of ours
_PATIENCE: Final = 5.0  # seconds for libmilter to take our session


class Waker:
    """Our session, one in each worker. It never negotiates, and so never reaches the callbacks."""

    def __init__(self) -> None:
        self._session: socket.socket | None = None

    def begin(self, libmilter: threading.Thread, stand_ins: StandIns, listener: socket.socket) -> None:
        """Starts libmilter's thread, with ours as its first session, and has it listen on `listener` from then on.
        Until this returns, no session must be served. Where ours cannot be set up, the daemon works without, and
        says so."""
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
        # It may be waiting at `private` already, for up to five seconds (MI_CHK_TIME). A signal ends that, if a handler
        # gets it, and libmilter then looks again at what it listens on.
        signal.signal(signal.SIGURG, lambda *_: None)
        signal.pthread_kill(libmilter.ident or 0, signal.SIGURG)
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
                with socket.socket(fileno=os.dup(int(name))) as one:
                    if one.getsockname() == private.getsockname() and one.getpeername() != session.getsockname():
                        one.shutdown(socket.SHUT_RDWR)
