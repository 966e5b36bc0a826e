"""The answers that a process remembers (RFC 1034 section 4.3.4, RFC 2308)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from mailnotary.resolver.types import Answer, DnsTempError, RecordKind

Key = tuple[str, RecordKind]

MIN_TTL = 5  # seconds. A TTL of 0 allows one transaction (RFC 1035 3.2.1). A message is ours: it prefetches, asks for
#              SPF, DKIM and DMARC, and its neighbours in a burst ask the same
MAX_TTL = 86_400  # seconds: RFC 2308 section 7.1's day; a revoked key must not live on because of its TTL
MAX_NEGATIVE_TTL = 10_800  # seconds: RFC 2308 section 5 recommends one to three hours
FAILURE_TTL = 1.0  # seconds: the least of RFC 9520 section 3.2. It spares a burst of mail the same wait; the recursive
#                    server behind us keeps failures for longer, so that asking again is cheap and recovery quick

_ENTRY_COST = 400  # octets, about: the key, the entry, the answer
_RECORD_COST = 80  # octets, about: an object without its data


class _Entry:
    __slots__ = ("answer", "cost", "expires")

    def __init__(self, answer: Answer | DnsTempError, expires: float, cost: int) -> None:
        self.answer = answer
        self.expires = expires
        self.cost = cost


class AnswerCache:
    """A bounded map from question to answer; the least recently used goes first. Safe to use from several threads.

    While a question stays here, every `get` returns the same Answer object with the same record objects: an
    `lru_cache` over a record's octets costs its user no more than a comparison of pointers."""

    def __init__(self, entries: int, octets: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = entries
        self._max_octets = octets
        self._clock = clock
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._octets = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        """Whether `get` has something to return or to raise. It leaves the order of eviction as it is."""
        entry = self._entries.get(key)
        return entry is not None and entry.expires > self._clock()

    def get(self, key: Key) -> Answer | None:
        """The answer, None if it isn't here or is too old; raises the DnsTempError that was the outcome."""
        entry = self._entries.get(key)
        if entry is None or entry.expires <= self._clock():
            return None
        try:  # noqa: SIM105 - a `with` would cost more than all else here
            self._entries.move_to_end(key)
        except KeyError:
            pass  # another thread has just evicted it
        answer = entry.answer
        if isinstance(answer, DnsTempError):
            raise answer.again()
        return answer

    def put(self, key: Key, answer: Answer, ttl: int | None) -> None:
        """Keeps an answer for its TTL, within bounds; None (RFC 2308 section 5: an NXDOMAIN or NODATA
        without SOA) for the least time there is."""
        most = MAX_TTL if answer.records else MAX_NEGATIVE_TTL
        self._put(key, answer, min(max(ttl or 0, MIN_TTL), most))

    def put_failure(self, key: Key, error: DnsTempError) -> None:
        """Keeps a failure, for a very short time."""
        self._put(key, error.again(), FAILURE_TTL)

    def _put(self, key: Key, answer: Answer | DnsTempError, ttl: float) -> None:
        entry = _Entry(answer, self._clock() + ttl, _cost(key, answer))
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._octets += entry.cost - (replaced.cost if replaced else 0)
            self._entries[key] = entry
            while len(self._entries) > self._max_entries or (self._octets > self._max_octets and self._entries):
                _, evicted = self._entries.popitem(last=False)
                self._octets -= evicted.cost


def _cost(key: Key, answer: Answer | DnsTempError) -> int:
    """About how many octets of memory an entry takes."""
    cost = _ENTRY_COST + len(key[0])
    if isinstance(answer, Answer):
        for record in answer.records:
            cost += _RECORD_COST + (len(record) if isinstance(record, bytes | str) else _RECORD_COST)
    return cost
