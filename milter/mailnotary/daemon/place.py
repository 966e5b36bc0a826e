"""A worker's place: the supervisor fills it again whenever its worker has ended."""

import logging
import os
import signal
from dataclasses import dataclass

from mailnotary.daemon.channel import Channel
from mailnotary.daemon.restarts import Restarts
from mailnotary.daemon.snapshot import Snapshot

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Place:
    """Who is in it, or when it will be filled again."""

    number: int
    restarts: Restarts
    pid: int = 0
    control: Channel | None = None
    suspected: bool = False  # the last look found no heartbeat
    killed: bool = False  # by us, as wedged

    def fork(self) -> Channel | None:
        """Forks a worker, and gives its end of the channel, there alone. Here, where no descriptors, memory or
        processes are left, it is tried again later."""
        self.restarts.begin()
        self.suspected = self.killed = False
        try:
            self.control, theirs = Channel.pair()
        except OSError as error:
            self._not_started(error)
            return None
        try:
            pid = os.fork()
        except OSError as error:
            theirs.close()
            self._not_started(error)
            return None
        if pid == 0:
            return theirs
        theirs.close()
        self.pid = pid
        return None

    def _not_started(self, error: OSError) -> None:
        log.error("can't start a worker", extra={"fields": {"worker": self.number, "error": error.strerror}})
        self._vacate()

    def ended(self, status: int) -> None:
        """Its worker has ended, with this status (wait(2))."""
        code = os.waitstatus_to_exitcode(status)
        pid, lived = self.pid, self._vacate()
        how = {"signal": _signal_name(-code)} if code < 0 else {"status": code}
        delay = round(self.restarts.wait, 1)
        fields = {"worker": self.number, "pid": pid, **how, "lived": int(lived), "next_in": delay}
        log.warning("a worker has ended and will be replaced", extra={"fields": fields})

    def _vacate(self) -> float:
        """Gives the seconds for which the worker lived."""
        if self.control is not None:
            self.control.close()
        self.pid, self.control = 0, None
        return self.restarts.ended()

    def judge(self, silent: float, *, stale: bool) -> None:
        """Its worker has sent no heartbeat for so many seconds, which is too long if `stale`: one look alone kills
        nobody, a second one does."""
        if stale and self.suspected:
            fields = {"worker": self.number, "pid": self.pid, "silent": int(silent)}
            log.error("a worker sends no heartbeat and is killed", extra={"fields": fields})
            self.killed = True
            os.kill(self.pid, signal.SIGKILL)
        self.suspected = stale

    def tell(self, word: bytes, snapshot: Snapshot | None = None) -> None:
        """Tells its worker, if there is one. One that cannot be told is replaced: its successor will know."""
        if self.control is None:
            return
        try:
            self.control.send(word, snapshot)
        except ConnectionError:
            pass  # it has just ended; its successor knows better
        except OSError as error:  # it has not listened for long, or the system has no room
            fields = {"worker": self.number, "pid": self.pid, "error": error.strerror}
            log.error("a worker can't be told what is new and is replaced", extra={"fields": fields})
            os.kill(self.pid, signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)
