"""What follows from DNS answers, kept for as long as the resolver gives those same answers."""

import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from mailnotary.remember import Remembered
from mailnotary.resolver.types import Answer, DnsTempError, RecordKind, Resolver, timed

_QUESTION_OCTETS = 250  # octets, about: a question that a result rests on, and the reference to its answer
MAX_QUESTIONS = 24  # that a result which is kept may rest on: twice what a long SPF record asks

_Question = tuple[str, RecordKind, weakref.ref[Answer]]
Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class NotingResolver:
    """A resolver that notes the answers of another one. `complete`: each question had an answer; whoever leaves one out
    for lack of time has to say so. For one check."""

    __slots__ = ("_early", "_inner", "_timed", "answers", "complete")

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._timed = timed(inner)
        self._early: dict[tuple[str, RecordKind], Answer | DnsTempError] = {}
        self.answers: list[tuple[str, RecordKind, Answer]] = []
        self.complete = True

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        return self.lookup_within(name, kind, None)

    def lookup_within(self, name: str, kind: RecordKind, seconds: float | None) -> Answer:
        """Like `lookup`, where seconds are given in at most so many, if the other resolver can keep to that."""
        answer = self._early.pop((name, kind), None) if self._early else None
        try:
            if answer is None and seconds is not None and self._timed is not None:
                answer = self._timed.lookup_within(name, kind, seconds)
            elif answer is None:
                answer = self._inner.lookup(name, kind)
            elif isinstance(answer, DnsTempError):
                raise answer.again()
        except DnsTempError:
            self.complete = False
            raise
        self.answers.append((name, kind, answer))
        return answer

    @property
    def begins_early(self) -> bool:
        """Whether the other resolver can begin with questions before they are asked."""
        return self._timed is not None

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """See `TimedResolver.prefetch`; it notes nothing."""
        if self._timed is not None:
            self._timed.prefetch(questions)

    def lookup_early(self, name: str, kind: RecordKind) -> Answer:
        """Asks before the check does: its own lookup will have what comes of it, without asking again."""
        if self._early and (known := self._early.get((name, kind))) is not None:
            if isinstance(known, DnsTempError):
                raise known.again()
            return known
        try:
            answer = self._early[name, kind] = self._inner.lookup(name, kind)
        except DnsTempError as error:
            self._early[name, kind] = error.again()
            raise
        return answer


class Memo(Generic[Key, Result]):
    """Results that follow from a key and from DNS answers, and from nothing else.

    To recall one asks its questions again, in their order. While a resolver's cache holds an answer it gives the same
    Answer object each time (`DnsResolver` does; with others nothing is gained): if all are the same, so is the
    result. So a TTL ends a result as it ends an answer, and questions are counted and limited as ever. Of the
    answers only weak references are kept. About `octets` of memory are
    taken; `cost` says what a key and its result take. Safe to use from several threads."""

    def __init__(self, octets: int, cost: Callable[[Key, Result], int]) -> None:
        self._cost = cost
        self._kept: Remembered[Key, tuple[Result, list[_Question]]] = Remembered(octets)

    def recall(self, key: Key, resolver: NotingResolver) -> Result | None:
        """The result kept for the key, None where there is none or an answer is another one now. Never raises."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        result, questions = entry
        try:
            for name, kind, answer in questions:
                if resolver.lookup_early(name, kind) is not answer():
                    return None
        except DnsTempError:
            return None
        return result

    def keep(self, key: Key, result: Result, resolver: NotingResolver) -> None:
        """Keeps a result with the answers that it rests on, if each question had one; the oldest results make room."""
        if not resolver.complete or len(resolver.answers) > MAX_QUESTIONS:
            return
        questions: list[_Question] = []
        octets = self._cost(key, result)
        for name, kind, answer in resolver.answers:
            questions.append((name, kind, weakref.ref(answer)))
            octets += _QUESTION_OCTETS + len(name)
        self._kept.keep(key, (result, questions), octets)
