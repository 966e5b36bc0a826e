"""What one process has counted since it last told of it."""

import json
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from mailnotary.metrics.definitions import BY_NAME
from mailnotary.session.outcome import MessageRecord
from mailnotary.spf import SpfIdentity

_MESSAGE_BUCKETS: Final = BY_NAME["message_seconds"].buckets
_QUERY_BUCKETS: Final = BY_NAME["dns_query_seconds"].buckets

Series = tuple[str, ...]
"""A metric's name and the values of its labels; of a histogram the name, and "sum" or the place of a bucket."""

Tell = Callable[[list[tuple[Series, float]]], object]
"""Takes values for the metrics. Never waits."""


class Kind(NamedTuple):
    """What is counted of a message as words: those with the same ones are counted together."""

    mode: str
    action: str
    spf: tuple[str, ...]
    dkim: tuple[str, ...] | None
    dmarc: str | None
    arc: str | None
    dkim2: str | None
    would: str
    algorithms: tuple[str, ...]
    failed: bool
    bucket: int

    def series(self) -> Iterator[Series]:
        """The series to which one such message adds 1; some of them more than once."""
        yield "messages", self.mode, self.action
        dkim = self.dkim if self.dkim is None else self.dkim or ("none",)
        single = [() if one is None else (one,) for one in (self.dmarc, self.arc, self.dkim2)]
        methods = ("spf", "dkim", "dmarc", "arc", "dkim2")
        for method, words in zip(methods, (self.spf, dkim or (), *single), strict=True):
            for word in words:
                yield "results", method, word
        if self.would:
            yield "would", self.would
        for algorithm in self.algorithms:
            yield "signatures", algorithm
        if self.failed:
            yield ("errors",)
        yield "message_seconds", str(self.bucket)


class Counts:
    """Counted by many threads, taken by one."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = {}
        self._kinds: Counter[Kind] = Counter()
        self._seconds = 0.0
        self._questions = 0
        self._lock = threading.Lock()

    def add(self, *series: str, by: float = 1) -> None:
        """Counts."""
        with self._lock:
            self._values[series] = self._values.get(series, 0) + by

    def messages(self, records: Sequence[MessageRecord]) -> None:
        """Counts what came of messages, all of them or, where it raises, none. Most are like many others: they are
        counted as one kind."""
        kinds = Counter(map(_kind, records))
        seconds = sum([record.milliseconds for record in records]) / 1000
        questions = sum([record.questions for record in records])
        with self._lock:
            self._kinds.update(kinds)
            self._seconds += seconds
            self._questions += questions

    def query(self, outcome: str, seconds: float) -> None:
        """Counts a question to nameservers; `outcome` is answer, timeout or error."""
        bucket = "dns_query_seconds", str(bisect_left(_QUERY_BUCKETS, seconds))
        counted = (("dns_queries", outcome), 1), (bucket, 1), (("dns_query_seconds", "sum"), seconds)
        with self._lock:
            for series, by in counted:
                self._values[series] = self._values.get(series, 0) + by

    def take(self) -> bytes:
        """What was counted since the last time, for `read`; b"" if nothing was."""
        with self._lock:
            values, self._values = self._values, {}
            kinds, self._kinds = self._kinds, Counter()
            sums = {("message_seconds", "sum"): self._seconds, ("dns_lookups",): self._questions}
            self._seconds, self._questions = 0.0, 0
        for kind, count in kinds.items():
            for series in kind.series():
                values[series] = values.get(series, 0) + count
        if kinds:
            values |= sums
        return write(list(values.items())) if values else b""


def _kind(record: MessageRecord) -> Kind:
    results = record.results
    return Kind(
        record.mode,
        record.action,
        tuple([result.status for result in results.spf if result.identity is SpfIdentity.MAILFROM]),
        None if results.dkim is None else tuple([result.status for result in results.dkim]),
        None if results.dmarc is None else results.dmarc.status,
        None if results.arc is None else results.arc.status,
        None if results.dkim2 is None else results.dkim2.status,
        record.verdict.would if record.verdict is not None else "",
        record.algorithms,
        bool(record.error),
        bisect_left(_MESSAGE_BUCKETS, record.milliseconds / 1000),
    )


def write(values: list[tuple[Series, float]]) -> bytes:
    """Series and values in a packet."""
    return json.dumps(values, separators=(",", ":")).encode("ascii")


def read(packet: bytes) -> list[tuple[Series, float]]:
    """What `write` has written. Raises ValueError for anything else."""
    pairs: Any = json.loads(packet)
    try:
        return [(tuple([str(part) for part in series]), float(value)) for series, value in pairs]
    except TypeError as error:
        raise ValueError(str(error)) from error
