"""What is asked of the history: which messages are wanted, and the condition in SQL that finds them by an index."""

from dataclasses import dataclass
from typing import Any, Final

from mailnotary.history.schema import DAY_IDS, METHODS, SHIFT, UNREMARKABLE, remarkable
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

SECOND: Final = 1_000_000  # microseconds
_WORDS: Final = {"spf": SpfStatus, "dkim": DkimStatus, "dmarc": DmarcStatus}
RESULTS: Final = tuple(f"{method}={word}" for method in METHODS for word in _WORDS[method])  # that can be searched for


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which messages are wanted; what is None does not matter. `result` is one of `METHODS` and its result word (""
    where it has none); `evaluated`: DMARC found more than nothing; `differs`: another filter got another result;
    `since` and `until` are seconds since the epoch; `before`: older than that message, by id and host; `day`: of that
    day (UTC) since the epoch, which the indexes of domains and clients begin with."""

    queue_id: str | None = None
    domain: str | None = None
    client: str | None = None
    action: str | None = None
    mode: str | None = None
    result: tuple[str, str] | None = None
    evaluated: bool = False
    differs: bool = False
    since: float | None = None
    until: float | None = None
    before: tuple[int, str] | None = None
    day: int | None = None

    @property
    def is_by_outcome(self) -> bool:
        """Whether it is for what `traffic` counts alone."""
        others = self.queue_id, self.domain, self.client
        return bool(self.result or self.action) and not (any(others) or self.evaluated or self.differs)

    @property
    def is_by_day(self) -> bool:
        """Whether it is best asked for each day: for a domain or a client, and nothing that has an index of its own."""
        if self.day is not None or self.queue_id is not None or (self.domain is None and self.client is None):
            return False
        method, word = self.result or ("", "")
        return self.domain is None or method != "dmarc" or word in UNREMARKABLE

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its parameters."""
        terms: list[str] = []
        parameters: list[Any] = []
        for column in ("queue_id", "domain", "client", "action", "mode"):
            if (value := getattr(self, column)) is not None:
                terms.append(f"{column} = ?")
                parameters.append(value)
        if self.day is not None:
            terms.append(f"id / {DAY_IDS} = ?")
            parameters.append(self.day)
        if self.action not in (None, "accept"):
            terms.append("action <> 'accept'")  # what the partial index asks for
        if self.result is not None:
            method, word = self.result
            if method not in METHODS:
                raise ValueError(f"{method} is not a method that the history has: {', '.join(METHODS)}")
            terms.append(f"{method} = ?")
            parameters.append(word)
            if word not in UNREMARKABLE:
                terms.append(remarkable(method))
        if self.evaluated:
            terms.append("dmarc NOT IN ('', 'none')")
        if self.differs:
            terms.append("differs <> ''")
        for bound, term in ((self.since, "id >= ?"), (self.until, "id < ?")):
            if bound is not None:
                terms.append(term)
                parameters.append(first_id(bound))
        if self.before is not None:
            terms.append("(id, host) < (?, ?)")
            parameters.extend(self.before)
        return " AND ".join(terms) or "1 = 1", parameters


def first_id(seconds: float) -> int:
    """The lowest id that a message of this time can have."""
    return int(seconds * SECOND) << SHIFT


def seconds_of(number: int) -> int:
    """The time of the message of this id, in whole seconds since the epoch."""
    return (number >> SHIFT) // SECOND
