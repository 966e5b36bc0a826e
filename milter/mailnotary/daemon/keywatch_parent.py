"""The supervisor's side of the key watch: when its process runs, what it is told, what it has found."""

import socket
import time
from collections.abc import Iterable

from mailnotary.config.load import Configuration
from mailnotary.config.settings import Mode
from mailnotary.daemon import keywatch
from mailnotary.daemon.channel import CONFIGURATION, SIGNING, Channel
from mailnotary.daemon.helper import Helper
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.daemon.snapshots import Snapshots
from mailnotary.keys import watch
from mailnotary.metrics.counts import Tell

FIRST_LOOK = 2.0  # seconds for which a start waits for the first look at keys that were never seen


class KeyWatchProcess(Helper):
    """Starts the process where there are keys to watch, and again where it dies. What it finds is in `signing`
    for the workers to load. No thread, no waiting."""

    def __init__(self, snapshot: Snapshot, configuration: Configuration, tell: Tell) -> None:
        first = watch.initial(configuration.settings, configuration.keystore)
        self.signing = Snapshot.write((first.signing, False))
        self._snapshot = snapshot
        self._tell = tell
        self._wanted = _is_wanted(configuration)
        self._heard = False  # ever anything from the process
        self._news = False  # that was not asked for yet
        super().__init__("the key watch", FIRST_LOOK if first.blank else 0.0)

    @property
    def wanted(self) -> bool:
        """Whether there are keys to watch."""
        return self._wanted

    @property
    def holds_start(self) -> bool:
        """Whether the workers should wait: a daemon without memory of its `auto` keys would let the first mail out
        unsigned."""
        return not self._heard and time.monotonic() < self._wait_until

    def keep(self, not_its: Iterable[Channel | socket.socket], source: tuple[Snapshot | None, Snapshot | None]) -> None:
        """Starts the process where it is due. `not_its` are the supervisor's own, which it must not hold open; `source`
        is what the source of keys has said."""
        self._begin(
            not_its,
            lambda theirs: keywatch.run(theirs, Snapshots(self._snapshot, self.signing, *source), self._tell),
        )

    def reload(self, configuration: Configuration, snapshot: Snapshot) -> None:
        """There is a new configuration."""
        self._snapshot = snapshot
        self._wanted = _is_wanted(configuration)
        if not self._wanted:
            self.stop()
        else:
            self.tell(CONFIGURATION, snapshot)

    def has_news(self) -> bool:
        """Whether `signing` is another one since this was last asked."""
        self._listen()
        news, self._news = self._news, False
        return news

    def _listen(self) -> None:
        if (newest := self._said().get(SIGNING)) is not None:
            self.signing = newest
            self._heard = self._news = True

    def stop(self) -> None:
        """Ends the process; what it knows is on the disk."""
        self._wanted = False
        self._end()


def _is_wanted(configuration: Configuration) -> bool:
    signs = bool(configuration.keystore.entries) or configuration.settings.source.wanted
    return signs and configuration.settings.mode is not Mode.VERIFY
