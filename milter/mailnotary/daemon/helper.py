"""The supervisor's side of the key watch: when its process runs, what it is told, what it has found."""

import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from mailnotary.configuration import Configuration
from mailnotary.daemon import keywatch
from mailnotary.daemon.snapshot import Shared
from mailnotary.settings import Mode

log = logging.getLogger(__name__)

FIRST_LOOK = 5.0  # seconds for which a start waits for the first look at keys that were never seen
FIRST_DELAY = 1.0  # seconds before a process that died is replaced; doubled each time
LONGEST_DELAY = 60.0
HEALTHY = 60.0  # seconds of life, after which the delay begins anew


class KeyHelper:
    """Starts the helper process where there are keys to watch, and again where it dies. What it finds is in `signing`
    for the workers to load. No thread, no waiting."""

    def __init__(self, shared: Shared, configuration: Configuration) -> None:
        self.control = -1
        self.pid = 0
        self.signing = Shared(0)
        first = keywatch.initial(configuration.settings, configuration.keystore)
        self.signing.publish(first.signing)
        self._shared = shared
        self._wanted = _is_wanted(configuration)
        self._wait_until = time.monotonic() + FIRST_LOOK if first.unseen else 0.0
        self._told = self.signing.generation
        self._started = 0.0
        self._deaths = 0
        self._due = 0.0

    @property
    def holds_start(self) -> bool:
        """Whether the workers should wait: a daemon without memory of its `auto` keys would let the first mail out
        unsigned."""
        return self.signing.generation == keywatch.FIRST and time.monotonic() < self._wait_until

    def keep(self, descriptors: Iterable[int]) -> None:
        """Starts the process where it is due. `descriptors` are the supervisor's own, which it must not hold open."""
        if not self._wanted or self.pid or time.monotonic() < self._due:
            return
        try:
            reader, self.control = os.pipe()
        except OSError as error:
            self._not_started(error)
            return
        os.set_blocking(self.control, False)  # nothing here may make the supervisor wait
        try:
            self.pid = os.fork()
        except OSError as error:
            os.close(reader)
            self._not_started(error)
            return
        if self.pid == 0:
            try:
                for descriptor in (self.control, *descriptors):
                    if descriptor >= 0:
                        os.close(descriptor)
                keywatch.run(reader, self._shared, self.signing)
            finally:
                os._exit(1)
        os.close(reader)
        self._started = time.monotonic()

    def _not_started(self, error: OSError) -> None:
        """No descriptors, no memory, no processes: perhaps later."""
        log.error("can't start the key watch", extra={"fields": {"error": error.strerror}})
        self._died()

    def ended(self, pid: int, status: int) -> None:
        """A child of the supervisor has ended; perhaps this one."""
        if pid != self.pid:
            return
        if time.monotonic() - self._started >= HEALTHY:
            self._deaths = 0
        self._died()
        if self._wanted:
            fields = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
            log.warning("the key watch has ended and will be replaced", extra={"fields": fields})

    def _died(self) -> None:
        if self.control >= 0:
            os.close(self.control)
        self.pid, self.control = 0, -1
        self._due = time.monotonic() + min(FIRST_DELAY * 2**self._deaths, LONGEST_DELAY)
        self._deaths += 1

    def reload(self, configuration: Configuration) -> None:
        """There is a new configuration in the shared memory."""
        self._wanted = _is_wanted(configuration)
        if not self._wanted:
            self.stop()
        elif self.pid:
            with suppress(OSError):  # it has just ended; its successor knows better
                os.write(self.control, b"R")

    def has_news(self) -> bool:
        """Whether the signing keys have changed since this was last asked."""
        before, self._told = self._told, self.signing.generation
        return before != self._told

    def stop(self) -> None:
        """Ends the process; what it knows is on the disk."""
        self._wanted = False
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


def _is_wanted(configuration: Configuration) -> bool:
    return bool(configuration.keystore.entries) and configuration.settings.mode is not Mode.VERIFY
