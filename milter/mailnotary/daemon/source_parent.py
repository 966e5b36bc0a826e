"""The supervisor's side of the source of keys: when its process runs, and what it has said last."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from mailnotary.config.settings import Mode, Settings
from mailnotary.daemon import source
from mailnotary.daemon.channel import CHANGES, CONFIGURATION, SOURCE, Channel
from mailnotary.daemon.restarts import Restarts
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.sources import kept

log = logging.getLogger(__name__)

FIRST_ANSWER: Final = 5.0  # seconds for which a start waits for the source, or for what it said before
FIRST_DELAY: Final = 1.0  # seconds before a process that died is replaced; doubled each time
LONGEST_DELAY: Final = 60.0
HEALTHY: Final = 60.0  # seconds of life, after which the delay begins anew


class SourceProcess:
    """Starts the process where there is a source of keys, and again where it dies. `base` and `changes` are what the
    source has said, for workers to load (see `sources.layers`). No thread, no waiting."""

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self.control: Channel | None = None
        self.pid = 0
        self.base: Snapshot | None = None
        self.changes: Snapshot | None = None
        self._snapshot = snapshot
        self._settings = settings
        self._stopped = False
        self._wait_until = time.monotonic() + FIRST_ANSWER if self.wanted else 0.0
        self._restarts = Restarts(FIRST_DELAY, LONGEST_DELAY, HEALTHY)
        if not self.wanted:
            self._forget()

    @property
    def wanted(self) -> bool:
        """Whether there is a source, and anything to sign."""
        return not self._stopped and self._settings.source.wanted and self._settings.mode is not Mode.VERIFY

    @property
    def holds_start(self) -> bool:
        """Whether the workers should wait: without the keys of a source they can only let mail wait."""
        return self.base is None and time.monotonic() < self._wait_until

    def keep(self, not_its: Iterable[Channel | socket.socket]) -> None:
        """Starts the process where it is due. `not_its` are the supervisor's own, which it must not hold open."""
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
                source.run(theirs, self._snapshot, self.base, self.changes)
            finally:
                os._exit(1)
        theirs.close()

    def _not_started(self, error: OSError) -> None:
        log.error("can't start the process of the source", extra={"fields": {"error": error.strerror}})
        self._died()

    def ended(self, pid: int, status: int) -> None:
        """A child of the supervisor has ended; perhaps this one."""
        if pid != self.pid:
            return
        self.pid = 0
        fields = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
        if self.wanted:
            log.warning("the process of the source has ended and will be replaced", extra={"fields": fields})
        self._died()

    def _died(self) -> None:
        if self.control is not None:
            self.control.close()
        self.pid, self.control = 0, None
        self._restarts.ended()

    def reload(self, settings: Settings, snapshot: Snapshot) -> None:
        """There is a new configuration, and everything is to be asked for."""
        self._snapshot, self._settings, self._stopped = snapshot, settings, False
        if not self.wanted:
            self.stop()
            self.base = self.changes = None
            self._forget()
        elif self.control is not None:
            try:
                self.control.send(CONFIGURATION, snapshot)
            except ConnectionError:
                pass  # it has just ended; its successor knows better
            except OSError as error:
                self._replace(error)

    def _forget(self) -> None:
        with suppress(OSError):
            kept.forget(self._settings.state_dir)

    def news(self) -> list[tuple[bytes, Snapshot | None]]:
        """What the workers are to be told since this was last asked, in order."""
        if self.control is None:
            return []
        try:
            said = self.control.receive()
        except OSError as error:
            self._replace(error)
            return []
        news: list[tuple[bytes, Snapshot | None]] = []
        if (base := said.get(SOURCE)) is not None:
            self.base, self.changes = base, None
            news.append((SOURCE, base))
        if CHANGES in said:
            self.changes = said[CHANGES]
            if self.changes is not None or not news:
                news.append((CHANGES, self.changes))
        return news

    def _replace(self, error: OSError) -> None:
        """It has not listened for long, or a word was lost: a new one begins with all that is known."""
        log.error(
            "the process of the source is not responding; restarting it", extra={"fields": {"error": error.strerror}}
        )
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends the process; what it knows is on the disk."""
        self._stopped = True
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
