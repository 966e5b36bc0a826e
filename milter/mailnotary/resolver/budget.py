"""What one part of a message's checks may cost in DNS."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from mailnotary.escape import printable
from mailnotary.resolver.types import Answer, DnsTempError, RecordKind, Resolver, timed

_lock = threading.Lock()  # of all of them: each holds it for less than making one of its own takes
FAILURE_OCTETS = 4096  # what a question without an answer is billed: its reply may have been read, and be unusable


class Share(NamedTuple):
    """How many different questions may be asked, and how many octets their replies may have (`Answer.octets`)."""

    questions: int
    octets: int


class MessageResolver:
    """The resolver of one part of a message's checks: its questions end with its time, `seconds` from now on, and with
    its share. Beyond either, a lookup raises DnsTempError. Safe to call from several threads.

    An inner resolver that is a `TimedResolver` gives each question no more time than is left, and begins early. `asked`
    are the different questions, begun ones (`prefetch`) among them."""

    __slots__ = (
        *("_begun", "_clock", "_deadline", "_inner", "_octets", "_share", "_timed"),
        "asked",
    )

    def __init__(
        self,
        inner: Resolver,
        share: Share,
        seconds: float = math.inf,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._timed = timed(inner)
        self._clock = clock
        self._deadline = clock() + seconds if seconds < math.inf else seconds
        self._share = share
        self._octets = share.octets  # that are left
        self.asked: set[tuple[str, RecordKind]] = set()
        self._begun: set[tuple[str, RecordKind]] = set()  # of those, the ones that nobody has waited for yet

    def restart(self, seconds: float) -> None:
        """Gives it so many seconds from now on. Its questions stay counted: a client that sends a body slowly uses up
        no time for DNS, and gains no questions."""
        self._deadline = self._clock() + seconds

    def lookup_within(self, name: str, kind: RecordKind, seconds: float = math.inf) -> Answer:
        """See `TimedResolver.lookup_within`."""
        question = name, kind
        new = question not in self.asked
        if new and not self._admit(question):
            raise DnsTempError(f"{_shown(name, kind)}: more than {self._share.questions} DNS questions for one message")
        left = self._deadline - self._clock()
        if left <= 0:
            raise DnsTempError(f"{_shown(name, kind)}: the time for DNS questions of this message is over", "TIMEOUT")
        if not new and question in self._begun:
            self._begun.discard(question)
            new = True
        if new and self._octets <= 0:
            self._begun.add(question)
            raise DnsTempError(f"{_shown(name, kind)}: more than {self._share.octets} octets of DNS for one message")
        try:
            if self._timed is None:
                answer = self._inner.lookup(name, kind)
            else:
                answer = self._timed.lookup_within(name, kind, left if left < seconds else seconds)
        except DnsTempError:
            if new:
                self._octets -= FAILURE_OCTETS
            raise
        if new:  # without a lock: what two threads do at the same time costs the bill one of their replies
            self._octets -= answer.octets
        return answer

    lookup = lookup_within
    """See `Resolver.lookup`. (A method around the other would be a tenth of what an answer from the cache takes.)"""

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """See `TimedResolver.prefetch`."""
        if self._timed is not None and self._deadline > self._clock() and self._octets > 0:
            with _lock:
                new = [question for question in questions if question not in self.asked]
                del new[self._share.questions - len(self.asked) :]
                self.asked.update(new)
            self._begun.update(new)
            self._timed.prefetch(new)

    def _admit(self, question: tuple[str, RecordKind]) -> bool:
        """Counts a question that was not asked before (to know that needs no lock: none is ever taken out)."""
        with _lock:
            if len(self.asked) >= self._share.questions:
                return question in self.asked
            self.asked.add(question)
            return True


def _shown(name: str, kind: RecordKind) -> str:
    return f"{kind} {printable(name, limit=255)}"
