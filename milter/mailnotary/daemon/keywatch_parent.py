"""The supervisor's side of the key watch: when its process runs, what it is told, what it has found."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from mailnotary.config.load import Configuration
from mailnotary.config.settings import Mode
from mailnotary.daemon import keywatch
from mailnotary.daemon.channel import CONFIGURATION, SIGNING, Channel
from mailnotary.daemon.restarts import Restarts
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.daemon.snapshots import Snapshots
from mailnotary.keys import watch

log = logging.getLogger(__name__)

FIRST_LOOK = 2.0  # seconds for which a start waits for the first look at keys that were never seen
FIRST_DELAY = 1.0  # seconds before a process that died is replaced; doubled each time
LONGEST_DELAY = 60.0
HEALTHY = 60.0  # seconds of life, after which the delay begins anew


class KeyWatchProcess:
    """Starts the process where there are keys to watch, and again where it dies. What it finds is in `signing`
    for the workers to load. No thread, no waiting."""

    def __init__(self, snapshot: Snapshot, configuration: Configuration, tell: keywatch.Tell) -> None:
        self.control: Channel | None = None
        self.pid = 0
        first = watch.initial(configuration.settings, configuration.keystore)
        self.signing = Snapshot.write((first.signing, False))
        self._snapshot = snapshot
        self._tell = tell
        self._wanted = _is_wanted(configuration)
        self._wait_until = time.monotonic() + FIRST_LOOK if first.blank else 0.0
        self._heard = False  # ever anything from the process
        self._news = False  # that was not asked for yet
        self._restarts = Restarts(FIRST_DELAY, LONGEST_DELAY, HEALTHY)

    @property
    def holds_start(self) -> bool:
        """Whether the workers should wait: a daemon without memory of its `auto` keys would let the first mail out
        unsigned."""
        return not self._heard and time.monotonic() < self._wait_until

    def keep(self, not_its: Iterable[Channel | socket.socket], source: tuple[Snapshot | None, Snapshot | None]) -> None:
        """Starts the process where it is due. `not_its` are the supervisor's own, which it must not hold open; `source`
        is what the source of keys has said."""
        if not self._wanted or self.pid or self._restarts.wait:
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
                keywatch.run(theirs, Snapshots(self._snapshot, self.signing, *source), self._tell)
            finally:
                os._exit(1)
        theirs.close()

    def _not_started(self, error: OSError) -> None:
        """No descriptors, no memory, no processes: perhaps later."""
        log.error("can't start the key watch", extra={"fields": {"error": error.strerror}})
        self._died()

    def ended(self, pid: int, status: int) -> None:
        """A child of the supervisor has ended; perhaps this one."""
        if pid != self.pid:
            return
        self.pid = 0
        self._listen()  # for what it said last
        self._died()
        if self._wanted:
            fields = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
            log.warning("the key watch has ended and will be replaced", extra={"fields": fields})

    def _died(self) -> None:
        if self.control is not None:
            self.control.close()
        self.pid, self.control = 0, None
        self._restarts.ended()

    def reload(self, configuration: Configuration, snapshot: Snapshot) -> None:
        """There is a new configuration."""
        self._snapshot = snapshot
        self._wanted = _is_wanted(configuration)
        if not self._wanted:
            self.stop()
        else:
            self.tell(CONFIGURATION, snapshot)

    def tell(self, word: bytes, snapshot: Snapshot | None) -> None:
        """Hands on a new configuration, or what the source of keys has said."""
        if self.control is not None:
            try:
                self.control.send(word, snapshot)
            except ConnectionError:
                pass  # it has just ended; its successor knows better
            except OSError as error:
                self._replace(error)

    def has_news(self) -> bool:
        """Whether `signing` is another one since this was last asked."""
        self._listen()
        news, self._news = self._news, False
        return news

    def _listen(self) -> None:
        if self.control is None:
            return
        try:
            newest = self.control.receive().get(SIGNING)
        except OSError as error:
            self._replace(error)
            return
        if newest is not None:
            self.signing = newest
            self._heard = self._news = True

    def _replace(self, error: OSError) -> None:
        """It has not listened for long, or a word was lost: a new one begins with all that is known."""
        log.error("the key watch is not responding; restarting it", extra={"fields": {"error": error.strerror}})
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends the process; what it knows is on the disk."""
        self._wanted = False
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


def _is_wanted(configuration: Configuration) -> bool:
    signs = bool(configuration.keystore.entries) or configuration.settings.source.wanted
    return signs and configuration.settings.mode is not Mode.VERIFY
