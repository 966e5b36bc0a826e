"""What came of all mail in some time: sums, and how they went."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mailnotary.history.schema import METHODS
from mailnotary.history.store import DAY, HOUR, Search, Store
from mailnotary.session.outcome import MessageMode
from mailnotary.web.charts import Chart, stacked
from mailnotary.web.display import moment

TOP: Final = 15  # domains
ACTIONS: Final = {"accept": "came through", "reject": "refused", "tempfail": "put off", "hold": "held"}
KINDS: Final = {"good": "passed", "none": "neither", "bad": "failed"}
# What says neither that a message is from whom it claims to be, nor that it is not.
_NEITHER: Final = frozenset(("none", "neutral", "temperror"))
_NAMES: Final = {"spf": "SPF", "dkim": "DKIM", "dmarc": "DMARC"}


@dataclass(frozen=True, slots=True)
class Period:
    """A time up to now: how long it is, and how much of it a bar shows, in seconds."""

    name: str
    text: str
    seconds: int
    bar: int


PERIODS: Final = {
    period.name: period
    for period in (
        Period("day", "24 hours", DAY, HOUR),
        Period("week", "7 days", 7 * DAY, 6 * HOUR),
        Period("month", "30 days", 30 * DAY, DAY),
    )
}


@dataclass(frozen=True, slots=True)
class Failing:
    """A domain with messages that failed DMARC; `why` and `action` are of the newest of them, if it is still kept."""

    domain: str
    messages: int
    why: str
    client: str


@dataclass(slots=True)
class Method:
    """The results of one method. `words` counts each; `chart` shows KINDS over time."""

    name: str
    title: str
    words: Counter[str] = field(default_factory=Counter)
    chart: Chart | None = None

    @property
    def checked(self) -> int:
        """How many messages have a result."""
        return self.words.total()

    @property
    def good(self) -> int:
        """How many passed."""
        return self.words["pass"]


@dataclass(slots=True)
class Overview:
    """`times` are the bars' beginnings in words, `rows` their counts by action."""

    period: Period
    actions: Counter[str]
    modes: Counter[str]
    methods: list[Method]
    chart: Chart
    times: list[str]
    rows: list[Mapping[str, int]]
    failing: list[Failing]

    @property
    def messages(self) -> int:
        """How many there were."""
        return self.actions.total()


def kind_of(word: str) -> str:
    """Which of KINDS a result is."""
    return "good" if word == "pass" else "none" if word in _NEITHER else "bad"


def overview(store: Store, period: Period, now: float) -> Overview:
    """The overview of a period that ends with the bar that has `now`."""
    end = int(now) - int(now) % period.bar + period.bar
    starts = range(end - period.seconds, end, period.bar)
    counts: dict[str, list[Counter[str]]] = {name: [Counter() for _ in starts] for name in ("action", *METHODS)}
    methods = [Method(name, _NAMES[name]) for name in METHODS]
    actions: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for hour, mode, action, *words, messages in store.traffic(starts.start, end):
        place = min(max((hour - starts.start) // period.bar, 0), len(starts) - 1)
        actions[action] += messages
        modes[mode] += messages
        counts["action"][place][action] += messages
        for method, word in zip(methods, words, strict=True):
            if said := _word(method.name, mode, word):
                method.words[said] += messages
                counts[method.name][place][kind_of(said)] += messages
    times = [moment(start) for start in starts]
    for method in methods:
        method.chart = stacked(times, counts[method.name], KINDS)
    chart = stacked(times, counts["action"], ACTIONS)
    failing = _failing(store, starts.start, end)
    return Overview(period, actions, modes, methods, chart, times, list(counts["action"]), failing)


def _word(method: str, mode: str, word: str) -> str:
    """The result of a method; "" where it was not checked. A message without a signature has none in the store."""
    if mode != MessageMode.VERIFY:
        return ""
    return word or ("none" if method == "dkim" else "")


def _failing(store: Store, start: float, end: float) -> list[Failing]:
    found = []
    for domain, messages in store.domains(start, end, "fail", TOP):
        search = Search(domain=domain, result=("dmarc", "fail"))
        newest = next(store.newest(search, 1), None)
        dmarc = newest["dmarc"] if newest else None
        found.append(Failing(domain, messages, dmarc["reason"] if dmarc else "", newest["client"] if newest else ""))
    return found
