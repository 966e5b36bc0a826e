"""What brings messages into the store, whatever happens to it: a full disk, a lock, a damaged file, a dead server.

Nothing here raises, and nobody waits for it. What cannot be stored yet is kept in memory, up to so many octets; beyond
that the oldest is lost, counted, and reported in the log. While a PostgreSQL server is down, a file on this host takes
its place.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailnotary.config.history import HistorySettings
from mailnotary.history import rows
from mailnotary.history.database import CorruptStoreError, is_postgresql, shown
from mailnotary.history.sqlite import room_left, set_aside
from mailnotary.history.store import DAY, Message, Numbering, Store, StoreError
from mailnotary.history.story import Row

log = logging.getLogger(__name__)

FILE: Final = "history/history.db"  # in state_dir; the group of its directory may be one that reads it
SPOOL: Final = "history-spool.db"  # in state_dir, while PostgreSQL is away
BATCH: Final = 4000  # messages of one transaction
MAX_WAITING: Final = 32 * 1024 * 1024  # octets of messages that wait in memory
RETRY: Final = 5.0  # seconds after which a store that failed is tried again
_SPOOL_SIZE: Final = 2**30  # octets at most
_OBJECT: Final = 64  # octets, about: what a packet takes in memory beside its text
_TIDY: Final = 60.0  # seconds between two looks at age and size
_SAY: Final = 60.0  # seconds between two log lines about the same trouble


def location_of(settings: HistorySettings, state_dir: Path) -> str:
    """Where the store is."""
    return settings.store or str(state_dir / FILE)


class Waiting:
    """The messages that wait to be stored, the oldest first, in the packets in which they came. Filled by one thread
    and emptied by another."""

    def __init__(self, octets: int = MAX_WAITING) -> None:
        self._packets: deque[bytes] = deque()
        self._messages = 0
        self._left = octets
        self._lock = threading.Lock()
        self.lost = 0  # messages in all

    def add(self, packet: bytes) -> None:
        """One more, as `rows.packet` makes them; where there is no room, in place of the oldest."""
        with self._lock:
            self._packets.append(packet)
            self._messages += rows.count(packet)
            self._left -= len(packet) + _OBJECT
            while self._left < 0:
                self.lost += rows.count(self._oldest())

    def _oldest(self) -> bytes:
        packet = self._packets.popleft()
        self._messages -= rows.count(packet)
        self._left += len(packet) + _OBJECT
        return packet

    def lose(self, count: int) -> None:
        """So many messages were lost elsewhere."""
        with self._lock:
            self.lost += count

    def take(self, count: int) -> list[tuple[Row, str]]:
        """Removes the oldest ones: so many, and the rest of their packet; all where there are fewer."""
        taken = []
        with self._lock:
            left = self._messages - count
            while self._packets and self._messages > left:
                taken.append(self._oldest())
        return [message for packet in taken for message in rows.unpack(packet)]

    def __len__(self) -> int:
        return self._messages


@dataclass(slots=True)
class _Said:
    """The trouble that the log was last told of."""

    text: str = ""
    at: float = float("-inf")


class Keeper:
    """One thread calls `step` again and again. `clock` gives the time of day; `besides` brings more into the store, and
    is called at each step in which that works."""

    def __init__(
        self,
        settings: HistorySettings,
        state_dir: Path,
        waiting: Waiting,
        clock: Callable[[], float] = time.time,
        *,
        besides: Callable[[Store], object] | None = None,
    ) -> None:
        self._settings = settings
        self._location = location_of(settings, state_dir)
        self._spool_path = str(state_dir / SPOOL)
        self._waiting = waiting
        self._clock = clock
        self._besides = besides
        self._number = Numbering()
        self._batch: list[Message] = []
        self._again = False  # some of the batch may be in the store already
        self._store: Store | None = None
        self._spool: Store | None = None
        self._due = 0.0
        self._tidy_due = 0.0
        self._prune_before: float | None = None
        self._said = _Said()
        self._told_lost = 0
        self._told_at = float("-inf")
        self._news = (0, 0)
        self.stored = 0
        self.failing = ""  # what is wrong with the store, "" where nothing is

    def step(self) -> bool:
        """Stores what waits, and removes what is too old. Whether there is more to do at once."""
        if not self._batch:
            self._batch = [(self._number(row), row, story) for row, story in self._waiting.take(BATCH)]
        if time.monotonic() >= self._due or (self._batch and self._store is not None):
            self._try()
        elif self._batch and self._is_shared:
            self._to_spool()
        self._tell_lost()
        return (self._store is not None and not self.failing) and (len(self._waiting) >= BATCH or self._tidies)

    def finish(self, seconds: float) -> None:
        """Stores what waits as far as it can be done in so much time, and closes."""
        end = time.monotonic() + seconds
        while (self._batch or len(self._waiting)) and time.monotonic() < end:
            self.step()
            if self.failing and not self._is_shared:
                break
        self._close()

    @property
    def _is_shared(self) -> bool:
        return is_postgresql(self._location)

    @property
    def _tidies(self) -> bool:
        return self._prune_before is not None

    def _try(self) -> None:
        try:
            store = self._opened()
            if self._batch:
                if not self._is_shared and not room_left(Path(self._location).parent):
                    raise StoreError(f"{self._location}: the file system is full")
                store.add(self._batch, again=self._again)
                self.stored += len(self._batch)
                self._batch, self._again = [], False
            self._unspool(store)
            if self._besides is not None:
                self._besides(store)
            self._tidy(store)
            self._well()
        except CorruptStoreError as error:
            self._damaged(error)
        except (StoreError, OSError) as error:
            self._trouble(str(error))
            self._to_spool()

    def _opened(self) -> Store:
        if self._store is None:
            if not self._settings.store:
                Path(self._location).parent.mkdir(mode=0o700, exist_ok=True)
            self._store = Store.open(self._location)
        return self._store

    def _well(self) -> None:
        self._due = time.monotonic() + RETRY
        if self.failing:
            log.info("the history is kept again", extra={"fields": {"store": self._name}})
        self.failing = ""
        self._said = _Said()

    @property
    def _name(self) -> str:
        return shown(self._location)

    def _trouble(self, text: str) -> None:
        self.failing = text
        self._due = time.monotonic() + RETRY
        self._again = bool(self._batch)  # whether the transaction was kept is not always known
        self._close()
        if text != self._said.text or time.monotonic() - self._said.at > _SAY:
            self._said = _Said(text, time.monotonic())
            fields = {"error": text, "waiting": len(self._waiting) + len(self._batch)}
            log.error("the history cannot be written; mail is not affected", extra={"fields": fields})

    def _damaged(self, error: StoreError) -> None:
        self._close()
        try:
            aside = set_aside(self._location, int(self._clock()))
        except OSError as second:
            self._trouble(f"{error}; and it cannot be renamed: {second.strerror}")
            return
        fields = {"error": str(error), "renamed_to": aside}
        log.error("the history is damaged: it was set aside, and a new one is begun", extra={"fields": fields})
        self._due = 0.0

    def _tell_lost(self) -> None:
        lost = self._waiting.lost
        if lost > self._told_lost and time.monotonic() - self._told_at > _SAY:
            fields = {"count": lost - self._told_lost}
            self._told_lost, self._told_at = lost, time.monotonic()
            log.error("messages are missing in the history", extra={"fields": fields})

    def news(self) -> list[tuple[tuple[str, ...], float]]:
        """For the metrics: what was stored and lost since this was last asked, and whether storing fails."""
        stored, lost = self.stored, self._waiting.lost
        before, self._news = self._news, (stored, lost)
        counted = [(("history_messages",), stored - before[0]), (("history_lost",), lost - before[1])]
        return [*counted, (("history_failing",), 1 if self.failing else 0)]

    # --- age and size

    def _tidy(self, store: Store) -> None:
        if self._prune_before is None and time.monotonic() >= self._tidy_due:
            self._tidy_due = time.monotonic() + _TIDY
            self._prune_before = self._clock() - self._settings.days * DAY
        if self._prune_before is None:
            return
        if not store.prune(self._prune_before):
            self._prune_before = None
            if store.octets() > self._settings.size:
                store.give_back()
                if store.octets() > self._settings.size:
                    self._prune_before = store.shrink()

    # --- while PostgreSQL is away

    def _to_spool(self) -> None:
        if not self._is_shared or not self._batch:
            return
        try:
            if self._spool is None:
                self._spool = Store.open(self._spool_path)
            if self._spool.octets() > _SPOOL_SIZE:
                before = self._spool.shrink()
                lost = self._spool.prune(before) if before is not None else 0
                self._waiting.lose(lost)
            self._spool.add(self._batch)
            self._batch = []
        except CorruptStoreError:
            self._spool = None
            with suppress(OSError):
                set_aside(self._spool_path, int(self._clock()))
        except StoreError as error:
            self._said = _Said()
            self._trouble(f"{self.failing}; and {error}")

    def _unspool(self, store: Store) -> None:
        """Brings over what was kept in the file, a piece at each step."""
        if not self._is_shared or (self._spool is None and not Path(self._spool_path).exists()):
            return
        if self._spool is None:
            self._spool = Store.open(self._spool_path)
        messages = self._spool.oldest(BATCH)
        if messages:
            store.add(messages, again=True)
            self._spool.remove([number for number, _, _ in messages])
            self._due = 0.0
        else:
            self._spool.close()
            self._spool = None
            for suffix in ("", "-wal", "-shm"):
                Path(self._spool_path + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        for store in (self._store, self._spool):
            if store is not None:
                with suppress(Exception):
                    store.close()
        self._store = self._spool = None
