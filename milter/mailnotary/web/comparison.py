"""What the configuration of --what-if would have done with the mail of the last days, worked out beside the page.

Millions of messages take minutes. A thread looks at them, and rests as long as it works, so that pages stay fast; the
page shows how far it is. Nothing is written.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mailnotary.config import settings_file
from mailnotary.errors import MailnotaryError
from mailnotary.history.store import DAY, Search, Store
from mailnotary.history.what_if import Change, WhatIf

log = logging.getLogger(__name__)

DAYS: Final = 30
OLD: Final = 3600.0  # seconds after which it is worked out anew when somebody asks
RETRY: Final = 60.0  # the same after a failure
MAX_EXAMPLES: Final = 100
MAX_DOMAINS: Final = 50_000  # counted; messages of further ones are counted together
TOP: Final = 20
_CHUNK: Final = 500  # messages between two rests
_OTHERS: Final = "(other domains)"


@dataclass(slots=True)
class Findings:
    """What was found so far. `kinds` counts (now, then), `domains` the changed messages, `examples` are the first
    ones of those that would not have come through, `why` has a reason for each domain."""

    began: float
    total: int = 0
    seen: int = 0
    changed: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)
    examples: list[Change] = field(default_factory=list)
    legitimate: list[tuple[Change, str]] = field(default_factory=list)
    done: bool = False
    problem: str = ""

    @property
    def top(self) -> list[tuple[str, int, str]]:
        """The domains with most changed messages, how many, and why one of them. None before all is done, since another
        thread counts until then."""
        found = self.domains.most_common(TOP) if self.done else []
        return [(name, count, self.why.get(name, "")) for name, count in found]

    @property
    def changes(self) -> list[tuple[tuple[str, str], int]]:
        """How many messages changed from what to what; none before all is done."""
        return self.kinds.most_common() if self.done else []

    def is_old(self, now: float) -> bool:
        """Whether to begin anew."""
        return now - self.began > OLD if self.done else bool(self.problem) and now - self.began > RETRY

    def add(self, change: Change) -> None:
        """Counts one."""
        author = change.message["author"]
        name = author["domains"][0] if author and author["domains"] else "(no author domain)"
        if name not in self.domains and len(self.domains) >= MAX_DOMAINS:
            name = _OTHERS
        self.changed += 1
        self.kinds[change.now, change.then] += 1
        self.domains[name] += 1
        self.why.setdefault(name, change.why)
        if change.refuses and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(change)


class Comparison:
    """The comparison with one configuration file. `findings` may be asked by any thread."""

    def __init__(self, file: Path, opened: Callable[[], Store], clock: Callable[[], float] = time.time) -> None:
        self.file = file
        self._opened = opened
        self._clock = clock
        self._lock = threading.Lock()
        self._findings: Findings | None = None

    def findings(self) -> Findings:
        """What is known by now. Begins to work where nothing is, or where that is old."""
        with self._lock:
            found = self._findings
            if found is None or found.is_old(self._clock()):
                found = self._findings = Findings(self._clock())
                threading.Thread(target=self._work, args=(found,), name="what-if", daemon=True).start()
            return found

    def _work(self, found: Findings) -> None:
        try:
            self._compare(found)
        except (MailnotaryError, OSError) as error:
            found.problem = str(error)
        except Exception:
            log.exception("what-if has failed")
            found.problem = "mailnotary itself failed: see its log"

    def _compare(self, found: Findings) -> None:
        comparison = WhatIf(settings_file.load(self.file))
        store = self._opened()
        try:
            search = Search(since=found.began - DAYS * DAY, until=found.began)
            found.total = sum(row[-1] for row in store.traffic(found.began - DAYS * DAY, found.began))
            changes = comparison.changes(_resting(store.each(search, _CHUNK), found))
            for change in changes:
                found.add(change)
        finally:
            store.close()
        judged = [(change, comparison.legitimate(change)) for change in found.examples]
        found.legitimate = [(change, why) for change, why in judged if why]
        found.done = True


def _resting(items: Iterator[dict[str, Any]], found: Findings) -> Iterator[dict[str, Any]]:
    while True:
        began = time.monotonic()
        chunk = list(islice(items, _CHUNK))
        if not chunk:
            return
        yield from chunk
        found.seen += len(chunk)
        time.sleep(time.monotonic() - began)
