"""Asks the source again and again: when, what follows from an answer, and what from none."""

import logging
import os
import time
from dataclasses import dataclass
from typing import Final

from mailnotary.config.settings import Settings
from mailnotary.config.source import SourceSettings
from mailnotary.sources import kept
from mailnotary.sources.asking import Source, SourceError
from mailnotary.sources.kept import Status
from mailnotary.sources.layers import Layers
from mailnotary.sources.opening import open_sealer, open_source, origin
from mailnotary.sources.taking import Counts, take

log = logging.getLogger(__name__)

FIRST_RETRY: Final = 1.0  # seconds after a question without an answer until the next; doubled each time
LONGEST_RETRY: Final = 60.0
REPEAT: Final = 3600.0  # seconds after which the same error is logged again
TOLD: Final = 5.0  # seconds between two notes of when the source answered last, where nothing else has changed


@dataclass(frozen=True, slots=True)
class News:
    """Tables that are new, as descriptors, which stay the asker's. `changes` None: there are none."""

    base: int | None
    changes: int | None


class Asker:
    """Keeps what the source said last in memory and on the disk. Not for several threads."""

    def __init__(self, settings: Settings) -> None:
        self._directory = settings.state_dir
        self._settings: SourceSettings = settings.source
        self._source: Source | None = None
        self._base: int | None = None
        self._changes: int | None = None
        self._layers: Layers | None = None
        self._unsaved: set[str] = set()
        self._whole = 0.0  # monotonic times of the next questions: for everything
        self._partial = 0.0  # and for changes
        self._retry = 0.0
        self._said: set[str] = set()  # problems of the last whole answer
        self._logged = ("", 0.0)  # the last error that was logged, and when
        self._noted = 0.0
        self.status = Status(origin=origin(self._settings))

    @property
    def due(self) -> float:
        """The monotonic time of the next question."""
        changes = self._source is not None and self._source.tells_changes and not self.status.error
        return min(self._whole, self._partial) if changes else self._whole

    def adopt(self, base: int, changes: int | None, *, is_kept: bool) -> None:
        """Goes on with what was said before: the descriptors of two tables, the asker's from now on; `is_kept`: they
        are on the disk. Raises TableError, OSError."""
        self._base, self._changes = base, changes
        self._unsaved = set() if is_kept else {"base", "changes"}
        self._layers = kept.layers_of(base, changes)

    def reload(self, settings: Settings) -> None:
        """There is a new configuration, and the administrator wants everything to be asked for."""
        self._directory = settings.state_dir
        self._close()
        self._settings = settings.source
        self._said.clear()
        self._logged = ("", 0.0)
        self._retry = 0.0
        self._whole = time.monotonic()

    def look(self) -> News | None:
        """Asks for what is due. Returns what is new; None: everything is as it was, or there was no answer."""
        now = time.monotonic()
        whole = now >= self._whole or self._source is None or not self._source.tells_changes
        self._partial = now + self._settings.changes_seconds
        try:
            news = self._ask(whole)
        except (SourceError, OSError, MemoryError) as error:
            self._failed(str(error) or type(error).__name__)
            return None
        self._retry = 0.0
        if whole:
            self._whole = time.monotonic() + self._settings.check_seconds
        return news

    def _ask(self, whole: bool) -> News | None:
        uid, gids = os.geteuid(), (os.getegid(), *os.getgroups())
        began = time.monotonic()
        if self._source is None:
            self._source = open_source(self._settings, uid, gids)
        sealer = open_sealer(self._settings, uid, gids)
        answer = self._source.ask(changes=not whole)
        named = origin(self._settings)
        taken = take(answer, self._layers, named, sealer, may_shrink=self._settings.may_shrink)
        news = None
        if taken.base is not None or taken.changes is not None:
            news = self._replace(taken.base, taken.changes)
        self._answered(taken.counts, answer.whole, time.monotonic() - began)
        return news

    def _replace(self, base: int | None, changes: int | None) -> News:
        old = [self._changes] + ([self._base] if base is not None else [])
        if base is not None:
            self._base = base
            self._unsaved.add("base")
        self._changes = changes
        self._unsaved.add("changes")
        self._layers = kept.layers_of(self._base, self._changes)
        for descriptor in old:
            if descriptor is not None:
                os.close(descriptor)
        return News(base, changes)

    def keep(self) -> None:
        """Writes what is new to the disk: after it was handed over, for that is no reason to wait."""
        if self._layers is None or not self._unsaved:
            return
        base = self._base if "base" in self._unsaved else None
        try:
            kept.save(self._directory, base, self._changes, layers=self._layers)
            self._unsaved.clear()
        except OSError as error:
            text = "what the source of keys said cannot be kept for the next start"
            log.error(text, extra={"fields": {"error": str(error)}})

    # -- what is said of it

    def _answered(self, counts: Counts, whole: bool, seconds: float) -> None:
        layers, now = self._layers, time.time()
        value = layers.value if layers is not None else {"domains": 0, "waiting": 0}
        if self.status.error:
            log.info("the source of keys answers again", extra={"fields": {"source": self.status.origin}})
        fields = {"domains": value["domains"], "seconds": round(seconds, 3)}
        if counts.any:
            fields |= {"added": counts.added, "changed": counts.changed, "removed": counts.removed}
            log.info("the keys of the source have changed", extra={"fields": fields})
        new = [problem for problem in counts.problems if problem not in self._said]
        for problem in new:
            log.error(
                "the source has keys that can't be used, or should not be", extra={"fields": {"problem": problem}}
            )
        if new and counts.faults > len(counts.problems):
            more = {"problems": counts.faults - len(counts.problems)}
            log.error("the source has more problems than are logged", extra={"fields": more})
        self._said = set(counts.problems) | (set() if whole else self._said)
        problems = tuple(counts.problems) if whole else (*self.status.problems, *new)[:100]
        status = Status(origin(self._settings), now, now, 0.0, "", value["domains"], value["waiting"], problems)
        changed = counts.any or self.status.error or status.problems != self.status.problems
        self.status = status
        if whole or changed or abs(now - self._noted) >= TOLD:
            self._note()

    def _failed(self, error: str) -> None:
        self._close()
        now = time.time()
        self._retry = min(max(self._retry * 2, FIRST_RETRY), LONGEST_RETRY)
        self._whole = time.monotonic() + min(self._retry, max(self._settings.check_seconds, FIRST_RETRY))
        old = self.status
        domains = int(self._layers.value["domains"]) if self._layers is not None else old.domains
        waiting = int(self._layers.value["waiting"]) if self._layers is not None else old.waiting
        answered = old.answered or (float(self._layers.value["time"]) if self._layers is not None else 0.0)
        self.status = Status(
            origin(self._settings), now, answered, old.since or now, error, domains, waiting, old.problems
        )
        if error != self._logged[0] or abs(now - self._logged[1]) >= REPEAT:
            self._logged = error, now
            if self._layers is None:
                text = "the source of keys has not answered yet, and mail that it may have keys for waits"
            else:
                text = "the source of keys does not answer; what it said last stays in force"
            log.error(text, extra={"fields": {"error": error}})
        self._note()

    def _note(self) -> None:
        self._noted = time.time()
        try:
            kept.save_status(self._directory, self.status)
        except OSError as error:
            log.warning("the state of the source can't be saved", extra={"fields": {"error": str(error)}})

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
