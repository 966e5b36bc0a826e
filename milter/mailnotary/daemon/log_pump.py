"""A process between the log and a standard error on which a write can wait.

On a file, a write waits for a disk that is slow, frozen or out of reach, and no flag changes that. Of a pipe or
terminal that belongs to another user we get no open file description of our own, O_NONBLOCK on the one we have would
hit everybody who shares it, and a look with poll() is worth nothing while others write there, too. So nobody who has
other work writes there: they write into a pipe of our own, which never makes them wait, and this process alone waits
for the disk or for whoever reads the log. It loses nothing; what does not fit into the pipe is lost where it is
written, and counted there (`daemon.log`).
"""

import fcntl
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from mailnotary.daemon.descriptors import close_all_but
from mailnotary.daemon.restarts import Restarts

log = logging.getLogger(__name__)

NAME: Final = "mailnotary-log"  # of the process, as `ps -c` and `top` show it
_PIPE: Final = 1 << 20  # octets that wait in the pipe for a slow disk: the lines of some seconds
_READ: Final = 65_536  # octets that are taken out of it at once
_PIECE: Final = 4096  # octets that are written to a pipe in one piece (PIPE_BUF, pipe(7))
_GATHER: Final = 0.01  # seconds between two writes: woken up for each line, this process costs a twelfth of the mail
_RETRY: Final = 0.2  # seconds after a write that failed: the reader has gone
_PATIENCE: Final = 5.0  # seconds for which a stuck log is waited for when the daemon has gone
_FIRST_DELAY: Final = 0.1  # seconds: see `Restarts`
_LONGEST_DELAY: Final = 1.0
_HEALTHY: Final = 10.0
_LAST_WORDS: Final = 1.0  # seconds for which the end of the daemon waits for them to be written


class LogPump:
    """Keeps the process that writes to `target` what is written into `writer`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.writer, False)
        with suppress(OSError):  # the user has many pipes, or a sandbox forbids it: 64 KiB then (pipe(7))
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _PIPE)
        self.pid = 0
        self._restarts = Restarts(_FIRST_DELAY, _LONGEST_DELAY, _HEALTHY)
        self.keep()

    def keep(self) -> None:
        """Starts the process where it does not run. What was written meanwhile waits in the pipe."""
        if self.pid or self._restarts.wait:
            return
        self._restarts.begin()
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError as error:
            self._restarts.ended()
            log.error("can't start the log's writer", extra={"fields": {"error": error.strerror}})
            return
        if self.pid == 0:
            try:
                _run(self._reader, self._target, parent)
            finally:
                os._exit(1)

    def ended(self, pid: int) -> None:
        """A child has ended; perhaps this one."""
        if pid == self.pid:
            self.pid = 0
            self._restarts.ended()

    def finish(self) -> None:
        """The daemon has ended. Waits a little for its last words to get through; what comes now goes to `target`, or
        nowhere if a write there still waits."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._redirect(nowhere)  # for the process ends with the last who could write
        os.close(nowhere)
        os.close(self._reader)
        deadline = time.monotonic() + _LAST_WORDS
        while not self._has_ended():
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        self._redirect(self._target)

    def _redirect(self, target: int) -> None:
        for descriptor in (self.writer, 2):
            os.dup2(target, descriptor)

    def _has_ended(self) -> bool:
        try:
            return not self.pid or os.waitpid(self.pid, os.WNOHANG) != (0, 0)
        except ChildProcessError:
            return True


def _run(reader: int, target: int, parent: int) -> NoReturn:
    """Until the last of those who write has gone."""
    # A ^C is for the whole group of processes: what the others say last must get through.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGTERM, signal.SIGINT))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    close_all_but(reader, target)
    with suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
    since: float | None = None  # which a write waits

    def leave_if_alone(*_: object) -> None:
        if os.getppid() != parent and since is not None and time.monotonic() - since > _PATIENCE:
            os._exit(1)

    signal.signal(signal.SIGALRM, leave_if_alone)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    while data := os.read(reader, _READ):
        since = time.monotonic()
        while data:
            piece = data[: data.rfind(b"\n", 0, _PIECE) + 1] or data[:_PIECE]  # whole lines, whoever else writes there
            try:
                data = data[os.write(target, piece) :]
            except OSError:
                time.sleep(_RETRY)
        since = None
        time.sleep(_GATHER)
    os._exit(0)
