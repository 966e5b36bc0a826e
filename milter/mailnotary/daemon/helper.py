"""The supervisor's side of a process that it speaks with over a channel: the key watch, the source of keys."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NoReturn

from mailnotary.daemon.channel import Channel
from mailnotary.daemon.restarts import Restarts
from mailnotary.daemon.snapshot import Snapshot

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0  # seconds before a process that died is replaced; doubled each time
LONGEST_DELAY = 60.0
HEALTHY = 60.0  # seconds of life, after which the delay begins anew


class Helper:
    """Starts the process where it is due, and again where it dies. `name` is what the log calls it. No thread, no
    waiting."""

    def __init__(self, name: str, patience: float) -> None:
        self.control: Channel | None = None
        self.pid = 0
        self._name = name
        self._restarts = Restarts(FIRST_DELAY, LONGEST_DELAY, HEALTHY)
        self._wait_until = time.monotonic() + patience if patience else 0.0

    @property
    def wanted(self) -> bool:
        """Whether there is work for it."""
        raise NotImplementedError

    def _begin(self, not_its: Iterable[Channel | socket.socket], run: Callable[[Channel], NoReturn]) -> None:
        """Starts it where it is due, with `run` as its life. `not_its` are the supervisor's own, which it must not hold
        open."""
        if not self.wanted or self.pid or self._restarts.wait:
            return
        self._restarts.begin()
        try:
            self.control, theirs = Channel.pair()
        except OSError as error:
            self._not_started(error)
            return
        try:
            self.pid = os.fork()
        except OSError as error:
            theirs.close()
            self._not_started(error)
            return
        if self.pid == 0:
            try:
                for other in (self.control, *not_its):
                    other.close()
                run(theirs)
            finally:
                os._exit(1)
        theirs.close()

    def _not_started(self, error: OSError) -> None:
        """No descriptors, no memory, no processes: perhaps later."""
        log.error(f"can't start {self._name}", extra={"fields": {"error": error.strerror}})
        self._died()

    def ended(self, pid: int, status: int) -> None:
        """A child of the supervisor has ended; perhaps this one."""
        if pid != self.pid:
            return
        self.pid = 0
        self._listen()  # for what it said last
        self._died()
        if self.wanted:
            fields = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
            log.warning(f"{self._name} has ended and will be replaced", extra={"fields": fields})

    def _listen(self) -> None:
        """Takes what it has said, where that must not be lost with it."""

    def _died(self) -> None:
        if self.control is not None:
            self.control.close()
        self.pid, self.control = 0, None
        self._restarts.ended()

    def tell(self, word: bytes, snapshot: Snapshot | None) -> None:
        """Hands something to it."""
        if self.control is not None:
            try:
                self.control.send(word, snapshot)
            except ConnectionError:
                pass  # it has just ended; its successor knows better
            except OSError as error:
                self._replace(error)

    def _said(self) -> Mapping[bytes, Snapshot | None]:
        """What it has said since this was last asked."""
        if self.control is None:
            return {}
        try:
            return self.control.receive()
        except OSError as error:
            self._replace(error)
            return {}

    def _replace(self, error: OSError) -> None:
        """It has not listened for long, or a word was lost: a new one begins with all that is known."""
        log.error(f"{self._name} is not responding; restarting it", extra={"fields": {"error": error.strerror}})
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def _end(self) -> None:
        """Ends it; what it knows is on the disk."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
