"""The supervisor's side of the source of keys: when its process runs, and what it has said last."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from mailnotary.config.settings import Mode, Settings
from mailnotary.daemon import source
from mailnotary.daemon.channel import CHANGES, CONFIGURATION, SOURCE, Channel
from mailnotary.daemon.helper import Helper
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.metrics.counts import Tell
from mailnotary.sources import kept

FIRST_ANSWER: Final = 5.0  # seconds for which a start waits for the source, or for what it said before


class SourceProcess(Helper):
    """Starts the process where there is a source of keys, and again where it dies. `base` and `changes` are what the
    source has said, for workers to load (see `sources.layers`). No thread, no waiting."""

    def __init__(self, snapshot: Snapshot, settings: Settings, tell: Tell) -> None:
        self.base: Snapshot | None = None
        self.changes: Snapshot | None = None
        self._snapshot = snapshot
        self._settings = settings
        self._tell = tell
        self._stopped = False
        super().__init__("the process of the source", FIRST_ANSWER if self.wanted else 0.0)
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
        self._begin(not_its, lambda theirs: source.run(theirs, self._snapshot, self.base, self.changes, self._tell))

    def reload(self, settings: Settings, snapshot: Snapshot) -> None:
        """There is a new configuration, and everything is to be asked for."""
        self._snapshot, self._settings, self._stopped = snapshot, settings, False
        if not self.wanted:
            self.stop()
            self.base = self.changes = None
            self._forget()
            self._tell(source.values(kept.Status()))
        else:
            self.tell(CONFIGURATION, snapshot)

    def _forget(self) -> None:
        with suppress(OSError):
            kept.forget(self._settings.state_dir)

    def news(self) -> list[tuple[bytes, Snapshot | None]]:
        """What the workers are to be told since this was last asked, in order."""
        said = self._said()
        news: list[tuple[bytes, Snapshot | None]] = []
        if (base := said.get(SOURCE)) is not None:
            self.base, self.changes = base, None
            news.append((SOURCE, base))
        if CHANGES in said:
            self.changes = said[CHANGES]
            if self.changes is not None or not news:
                news.append((CHANGES, self.changes))
        return news

    def stop(self) -> None:
        """Ends the process; what it knows is on the disk."""
        self._stopped = True
        self._end()
