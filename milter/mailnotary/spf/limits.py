"""The questions that a check asks of DNS, and its limits (RFC 7208 section 4.6.4)."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable
from mailnotary.resolver import Answer, DnsTempError, NotingResolver, RecordKind
from mailnotary.spf.trace import Question, TraceStep
from mailnotary.status import SpfStatus

MAX_LOOKUPS = 10  # terms that ask DNS, over all records of a check: "MUST limit"
MAX_MX_HOSTS = 10  # of one "mx"
MAX_PTR_NAMES = 10  # of the client's address

# What 4.6.4 leaves to the receiver.
MAX_VOID_LOOKUPS = 2  # look-ups that find nothing: "a default of two is RECOMMENDED"
MAX_SECONDS = 20.0  # "at least 20 seconds"; Postfix gives up on a milter's answer to MAIL after 30

# Octets of all the records of a check: four of the longest that are read, many times what any real chain has. Without
# this bound, eleven of those would have to be parsed.
MAX_RECORD_OCTETS = 32 * 1024

# Of the time that a check has left, the part that the names of the client's address may take, with "ptr" and "%{p}".
# The client's owner writes these: were there no such bound, a forger could end the check of any domain that has a "ptr"
# with a temperror. When that time is over they do not match, as after any DNS error here (5.5).
NAMES_TIME = 0.25

# Questions that were sent ahead of their turn and that the check has not asked yet. Where a term matches, or a limit is
# reached, so many were sent in vain at most: no more than a record may have terms that ask.
MAX_AHEAD = 10

# The most questions that one check can ask: its own record, 10 "mx" with 10 hosts each, and for the explanation its
# text and the client's name and addresses (the "p" macro); and those that were sent in vain.
MAX_QUESTIONS = 1 + MAX_LOOKUPS * (1 + MAX_MX_HOSTS) + 1 + 1 + MAX_PTR_NAMES + MAX_AHEAD


class Failure(ProtocolOutcome):
    """The whole check ends with permerror or temperror, or with none if there is no record. `reason` and `brief` are
    those of the result."""

    def __init__(self, status: SpfStatus, reason: str, brief: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.brief = brief
        self.noted = False  # in the trace, where it was met


class LimitedResolver:
    """A resolver for one check that counts what the check uses up, and notes its steps where there is a trace."""

    __slots__ = (
        *(
            "_ahead",
            "_clock",
            "_counting",
            "_deadline",
            "_names_deadline",
            "_octets",
            "_resolver",
            "_term_was_void",
            "_trace",
        ),
        "_void_limit",
        *("begins_early", "depth", "lookups", "traced", "void_lookups"),
    )

    def __init__(
        self,
        resolver: NotingResolver,
        *,
        void_limit: int = MAX_VOID_LOOKUPS,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
        trace: list[TraceStep] | None = None,
    ) -> None:
        self.lookups = 0
        self.void_lookups = 0
        self.depth = 0
        self._octets = 0
        self._ahead: set[tuple[str, RecordKind]] = set()
        self._counting = True
        self._term_was_void = False
        self._resolver = resolver
        self.begins_early = resolver.begins_early  # whether `send_ahead` does anything
        self._void_limit = void_limit
        self._clock = clock
        self._deadline = deadline
        self._names_deadline: float | None = None
        self._trace = trace
        self.traced = trace is not None

    def count_term(self, domain: str) -> None:
        """Counts a term (or a %{p}) that asks DNS; Failure where it is one too many."""
        if self.lookups >= MAX_LOOKUPS:
            reason = f"more than {MAX_LOOKUPS} terms ask DNS; the first beyond that is in the record of {shown(domain)}"
            raise Failure(SpfStatus.PERMERROR, reason, f"more than {MAX_LOOKUPS} terms ask DNS")
        self.lookups += 1
        self._term_was_void = False

    def count_record(self, domain: str, text: bytes) -> None:
        """Counts a record's octets; Failure where they are too many."""
        self._octets += len(text)
        if self._octets > MAX_RECORD_OCTETS:
            reason = f"the records have more than {MAX_RECORD_OCTETS} octets, with that of {shown(domain)}"
            raise Failure(SpfStatus.PERMERROR, reason, "the records are too long")

    def send_ahead(self, questions: Sequence[tuple[str, RecordKind]]) -> None:
        """Begins with questions that the check may come to ask, where the resolver can do that; the first ones, where
        they are too many. Nothing is counted."""
        if not self.begins_early:
            return
        new = [question for question in dict.fromkeys(questions) if question not in self._ahead]
        del new[MAX_AHEAD - len(self._ahead) :]
        self._ahead.update(new)
        self._resolver.prefetch(new)

    def ask(self, name: str, kind: RecordKind) -> Answer:
        """Asks a question; raises DnsTempError, and Failure when time is up."""
        if self._clock() >= self._deadline:
            self._time_left(name, kind)
        if self._trace is None and not self._ahead:
            return self._resolver.lookup_within(name, kind, None)
        return self._ask(name, kind, None)

    def ask_of_client(self, name: str, kind: RecordKind) -> Answer:
        """The same in the time for the names of the client's address; raises DnsTempError when that is up."""
        left = self._time_left(name, kind)
        if self._names_deadline is None:
            self._names_deadline = self._deadline - left * (1 - NAMES_TIME)
        left -= self._deadline - self._names_deadline
        if left <= 0:
            self._resolver.complete = False
            raise DnsTempError(f"{kind} {shown(name)}: the time for the names of the client is over", "TIMEOUT")
        return self._ask(name, kind, left)

    def _time_left(self, name: str, kind: RecordKind) -> float:
        left = self._deadline - self._clock()
        if left <= 0:  # "the result of authorization SHOULD be temperror"
            raise Failure(SpfStatus.TEMPERROR, f"no time is left to ask for {kind} {shown(name)}", "DNS takes too long")
        return left

    def _ask(self, name: str, kind: RecordKind, seconds: float | None) -> Answer:
        if self._ahead:
            self._ahead.discard((name, kind))
        if self._trace is None:
            return self._resolver.lookup_within(name, kind, seconds)
        questions = self._trace[-1].questions
        try:
            answer = self._resolver.lookup_within(name, kind, seconds)
        except DnsTempError as error:
            questions.append(Question(name, kind, error))
            raise
        questions.append(Question(name, kind, answer))
        return answer

    def ask_for_term(self, name: str, kind: RecordKind) -> Answer:
        """The same for a term, where finding nothing counts, once at most for each term.

        The limit is on "terms" for which DNS "queries" return nothing (4.6.4). To count each question, as pyspf,
        Mail::SPF and mox do, makes a permerror of an "mx" with three hosts that have no AAAA, for every IPv6 client."""
        answer = self.ask(name, kind)
        self.count_void(answer, name, kind)
        return answer

    def count_void(self, answer: Answer, name: str, kind: RecordKind) -> None:
        """Counts an answer to a term's question if nothing was found; Failure where it is one too many."""
        if not answer.records and self._counting and not self._term_was_void:
            self._term_was_void = True
            self.void_lookups += 1
            if self.void_lookups > self._void_limit:
                reason = (
                    f"the look-ups of more than {self._void_limit} terms found nothing, at last {kind} {shown(name)}"
                )
                raise Failure(SpfStatus.PERMERROR, reason, f"more than {self._void_limit} terms found nothing")

    def stop_counting(self) -> None:
        """The result is found. What is asked for its explanation counts against no limit but that of time (4.6.4: the
        "exp" modifier is "not subject to this limit")."""
        self._counting = False

    def begin(self, domain: str, term: str = "") -> TraceStep | None:
        """A step of the trace, if there is one."""
        if self._trace is None:
            return None
        step = TraceStep(self.depth, domain, term)
        self._trace.append(step)
        return step

    def end(self, step: TraceStep | None, outcome: str, note: str = "") -> None:
        """Notes the outcome of a step."""
        if step is not None:
            step.outcome, step.note = outcome, note
            step.lookups, step.void_lookups = self.lookups, self.void_lookups

    def failed(self, step: TraceStep | None, failure: Failure) -> Failure:
        """A step ends with a failure; only the innermost one has the reason in its note. It is returned, to be raised
        by who has no name for it: a frame that holds what it raises is freed by the garbage collector alone."""
        if step is not None:
            self.end(step, failure.status, "" if failure.noted else failure.reason)
            failure.noted = True
        return failure


@lru_cache(maxsize=1024)
def shown(name: str) -> str:
    """A name from DNS or from a client as a reason may hold it."""
    return ascii_printable(name, 253)
