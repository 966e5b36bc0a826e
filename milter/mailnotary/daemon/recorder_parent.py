"""The supervisor's side of the recorder: when its process runs, and with which settings."""

import logging
import os
import signal
import time
from contextlib import suppress
from typing import Final

from mailnotary.config.settings import Settings
from mailnotary.daemon import recorder
from mailnotary.daemon.board import Board
from mailnotary.daemon.descriptors import close_all_but
from mailnotary.daemon.log import set_up, standard_error
from mailnotary.daemon.recording import COUNTS, hand_over, pair
from mailnotary.daemon.restarts import Restarts
from mailnotary.metrics import counts
from mailnotary.metrics.counts import Series

log = logging.getLogger(__name__)

_FIRST_DELAY: Final = 1.0  # seconds before a process that died is replaced; doubled each time
_LONGEST_DELAY: Final = 60.0
_HEALTHY: Final = 60.0  # seconds of life, after which the delay begins anew
_LAST: Final = 5.0  # seconds for which the end of the daemon waits for it


class RecorderProcess:
    """Starts the process where the settings ask for it, and again where it dies. What the workers hand over meanwhile
    waits in the socket; what it knows of replays is on `board`. No thread, no waiting."""

    def __init__(self, settings: Settings) -> None:
        self._reader, self.writer = pair()
        self.board = Board()
        self._settings = settings
        self.pid = 0
        self._restarts = Restarts(_FIRST_DELAY, _LONGEST_DELAY, _HEALTHY)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to record."""
        return self._settings.history.enabled or self._settings.metrics.listen is not None

    def keep(self) -> None:
        """Starts the process where it is due."""
        if not self.is_wanted or self.pid or self._restarts.wait:
            return
        self._restarts.begin()
        try:
            self.pid = os.fork()
        except OSError as error:
            log.error("cannot start the recorder", extra={"fields": {"error": error.strerror}})
            self._restarts.ended()
            return
        if self.pid == 0:
            try:
                # The socket of the service and the keys are none of its business, and its own writer's end would keep
                # it from seeing that the others have gone.
                set_up(self._settings.log)
                close_all_but(0, 1, 2, standard_error().fileno(), self._reader.fileno())
                recorder.run(self._reader, self._settings, self.board)
            finally:
                os._exit(1)

    def ended(self, pid: int, status: int) -> None:
        """A child of the supervisor has ended; perhaps this one."""
        if pid != self.pid:
            return
        code = os.waitstatus_to_exitcode(status)
        self.pid = 0
        if code == 0:
            self._restarts.ended_as_told()
            return
        self._restarts.ended()
        if self.is_wanted:
            log.warning("the recorder has ended; restarting it", extra={"fields": {"pid": pid, "status": code}})

    def reload(self, settings: Settings) -> None:
        """There is a new configuration: a new process takes the place of one that was started with another."""
        old, self._settings = self._settings, settings
        if self.pid and _uses(old) != _uses(settings):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def tell(self, values: list[tuple[Series, float]]) -> None:
        """Hands over what another process of the daemon has to say for the metrics. Never waits."""
        hand_over(self.writer, COUNTS + counts.write(values))

    def finish(self) -> None:
        """The workers have ended: the process stores what it has, and ends."""
        self.writer.close()
        deadline = time.monotonic() + _LAST
        with suppress(ChildProcessError):
            while self.pid and os.waitpid(self.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.02)


def _uses(settings: Settings) -> tuple[object, ...]:
    """What the process is started with."""
    return settings.history, settings.metrics, settings.log, settings.state_dir
