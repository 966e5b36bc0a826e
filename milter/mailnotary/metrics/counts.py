"""What one process has counted since it last told of it."""

import json
import threading
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

from mailnotary.metrics.definitions import BY_NAME
from mailnotary.session.outcome import MessageRecord
from mailnotary.spf import SpfIdentity

_MESSAGE_BUCKETS: Final = BY_NAME["message_seconds"].buckets
_QUERY_BUCKETS: Final = BY_NAME["dns_query_seconds"].buckets

Series = tuple[str, ...]
"""A metric's name and the values of its labels; of a histogram the name, and "sum" or the place of a bucket."""

Tell = Callable[[list[tuple[Series, float]]], object]
"""Takes values for the metrics. Never waits."""


class Counts:
    """Counted by many threads, taken by one."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = {}
        self._lock = threading.Lock()

    def add(self, *series: str, by: float = 1) -> None:
        """Counts."""
        with self._lock:
            self._values[series] = self._values.get(series, 0) + by

    def message(self, record: MessageRecord) -> None:
        """Counts what came of one message."""
        seconds = record.milliseconds / 1000
        counted: list[Series] = [("messages", record.mode, record.action)]
        results = record.results
        counted += [
            ("results", "spf", result.status) for result in results.spf if result.identity is SpfIdentity.MAILFROM
        ]
        counted += [("results", "dkim", result.status) for result in results.signatures]
        if results.dkim is not None and not results.dkim:
            counted.append(("results", "dkim", "none"))
        if results.dmarc is not None:
            counted.append(("results", "dmarc", results.dmarc.status))
        if results.arc is not None:
            counted.append(("results", "arc", results.arc.status))
        if results.dkim2 is not None:
            counted.append(("results", "dkim2", results.dkim2.status))
        if record.verdict is not None and record.verdict.would:
            counted.append(("would", record.verdict.would))
        counted += [("signatures", algorithm) for algorithm in record.algorithms]
        if record.error:
            counted.append(("errors",))
        counted.append(("message_seconds", str(bisect_left(_MESSAGE_BUCKETS, seconds))))
        with self._lock:
            values = self._values
            for series in counted:
                values[series] = values.get(series, 0) + 1
            for series, by in ((("message_seconds", "sum"), seconds), (("dns_lookups",), record.questions)):
                values[series] = values.get(series, 0) + by

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
        return write([(series, value) for series, value in values.items()]) if values else b""


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
