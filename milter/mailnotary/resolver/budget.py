"""What one message may cost in DNS."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from mailnotary.escape import printable
from mailnotary.resolver.types import Answer, DnsTempError, RecordKind, Resolver, prefetch

MAX_QUESTIONS = 300  # SPF twice at its limits (RFC 7208 4.6.4: 1 + 10 terms with 10 addresses each), ten DKIM keys,
#                      DMARC's tree walk over two domains, and some to spare


@runtime_checkable
class TimedResolver(Resolver, Protocol):
    """A resolver whose questions can be given less time."""

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        """Like `lookup`, in at most so many seconds."""
        ...


class MessageResolver:
    """The resolver of one message: its questions end with its time, `seconds` from now on, and `max_questions`
    different ones are asked at most. Beyond either, a lookup raises DnsTempError. Safe to call from several threads."""

    def __init__(
        self,
        inner: Resolver,
        seconds: float,
        *,
        max_questions: int = MAX_QUESTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._within = inner.lookup_within if isinstance(inner, TimedResolver) else None
        self._clock = clock
        self._deadline = clock() + seconds
        self._max_questions = max_questions
        self._asked: set[tuple[str, RecordKind]] = set()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many different questions were asked, begun ones (`prefetch`) among them."""
        return len(self._asked)

    @property
    def seconds_left(self) -> float:
        """The rest of the message's time, 0.0 at its end."""
        return max(self._deadline - self._clock(), 0.0)

    def restart(self, seconds: float) -> None:
        """Gives the message so many seconds from now on. Its questions stay counted: a client that sends a body
        slowly uses up no time for DNS, and gains no questions."""
        self._deadline = self._clock() + seconds

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        return self.lookup_within(name, kind, float("inf"))

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        """See `TimedResolver.lookup_within`."""
        if not self._admit(name, kind):
            raise DnsTempError(f"{_shown(name, kind)}: more than {self._max_questions} DNS questions for one message")
        left = self._deadline - self._clock()
        if left <= 0:
            raise DnsTempError(f"{_shown(name, kind)}: the time for DNS questions of this message is over", "TIMEOUT")
        if self._within is None:
            return self._inner.lookup(name, kind)
        return self._within(name, kind, min(left, seconds))

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """See `PrefetchingResolver.prefetch`."""
        if self._deadline > self._clock():
            prefetch(self._inner, [(name, kind) for name, kind in questions if self._admit(name, kind)])

    def _admit(self, name: str, kind: RecordKind) -> bool:
        question = (name, kind)
        with self._lock:
            if question in self._asked:
                return True
            if len(self._asked) >= self._max_questions:
                return False
            self._asked.add(question)
            return True


def _shown(name: str, kind: RecordKind) -> str:
    return f"{kind} {printable(name, limit=255)}"
