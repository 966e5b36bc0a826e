"""What one message may cost in DNS."""

import threading
import time
from collections.abc import Callable, Iterable

from mailnotary.escape import printable
from mailnotary.resolver.types import Answer, DnsTempError, RecordKind, Resolver

MAX_QUESTIONS = 350  # SPF twice at its limits (RFC 7208 4.6.4: 1 + 10 terms with 10 addresses each), ten DKIM keys,
#                      DMARC's tree walk over two domains, and some to spare


class MessageResolver:
    """The resolver of one message: its questions end with its time, `seconds` from now on, and `max_questions`
    different ones are asked at most. Beyond either, a lookup raises DnsTempError. Safe to call from several threads.

    An inner resolver with `lookup_within(name, kind, seconds)` gives each question no more time than is left, one with
    `prefetch(questions)` begins early; `DnsResolver` has both."""

    def __init__(
        self,
        inner: Resolver,
        seconds: float,
        *,
        max_questions: int = MAX_QUESTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._within: Callable[[str, RecordKind, float], Answer] | None = getattr(inner, "lookup_within", None)
        self._prefetch: Callable[[list[tuple[str, RecordKind]]], None] | None = getattr(inner, "prefetch", None)
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
        """Like `lookup`, in at most so many seconds."""
        question = name, kind
        if question not in self._asked and not self._admit(question):
            raise DnsTempError(f"{_shown(name, kind)}: more than {self._max_questions} DNS questions for one message")
        left = self._deadline - self._clock()
        if left <= 0:
            raise DnsTempError(f"{_shown(name, kind)}: the time for DNS questions of this message is over", "TIMEOUT")
        if self._within is None:
            return self._inner.lookup(name, kind)
        return self._within(name, kind, left if left < seconds else seconds)

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """See `types.prefetch`."""
        if self._prefetch is not None and self._deadline > self._clock():
            self._prefetch([one for one in questions if one in self._asked or self._admit(one)])

    def _admit(self, question: tuple[str, RecordKind]) -> bool:
        """Counts a question that was not asked before (to know that needs no lock: none is ever taken out)."""
        with self._lock:
            if len(self._asked) >= self._max_questions:
                return question in self._asked
            self._asked.add(question)
            return True


def _shown(name: str, kind: RecordKind) -> str:
    return f"{kind} {printable(name, limit=255)}"
