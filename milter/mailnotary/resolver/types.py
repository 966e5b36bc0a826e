"""What an engine asks of DNS and what it gets (no DNS library is needed for these)."""

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol, cast, runtime_checkable

from mailnotary.errors import DnsError
from mailnotary.frozen import frozen

MAX_CNAMES = 11  # of one question: Unbound and BIND (max-query-restarts) follow as many


class RecordKind(StrEnum):
    """The record types that mail authentication asks for."""

    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    PTR = "PTR"
    TXT = "TXT"

    __hash__ = str.__hash__  # Enum's own is Python code; a question is hashed at every look into the cache


class MxRecord(NamedTuple):
    """One MX record (RFC 5321 section 5.1)."""

    preference: int
    host: str


RecordData = bytes | IPv4Address | IPv6Address | MxRecord | str
"""TXT: its character strings joined without spaces, as bytes. A and AAAA: addresses. PTR: a name."""


class _Referable:
    """What weak references may lead to."""

    __slots__ = ("__weakref__",)


@frozen
class Answer(_Referable):
    """The records of one question. No records and `exists` is NODATA, no records and not `exists` is NXDOMAIN
    (RFC 2308 section 2); DMARC's np= and SPF's void look-ups need to tell. Names come without a trailing dot. `octets`
    is what was read for it, as far as the resolver knows: what a message may read is limited. `authentic`: the resolver
    says that DNSSEC has validated the records, which is worth as much as the resolver and the way to it."""

    records: tuple[RecordData, ...]
    exists: bool = True
    octets: int = field(default=0, compare=False)
    authentic: bool = field(default=False, compare=False)

    @property
    def texts(self) -> tuple[bytes, ...]:
        """The records of a TXT question."""
        return tuple(record for record in self.records if isinstance(record, bytes))


class DnsTempError(DnsError):
    """A question that got no answer: time-out, SERVFAIL, a lame or malformed reply. Asking later may help.

    `word` is what the commands show for it: "TIMEOUT" or "SERVFAIL"."""

    def __init__(self, reason: str, word: str = "SERVFAIL") -> None:
        super().__init__(reason)
        self.reason = reason
        self.word = word

    def again(self) -> "DnsTempError":
        """The same error without a traceback, to be kept, or to be raised in place of one that is kept. A traceback has
        all that its callers have, and where they have the error, only the garbage collector frees their message."""
        return DnsTempError(self.reason, self.word)


class Resolver(Protocol):
    """Anything that answers DNS questions. Safe to call from several threads."""

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """Asks one question; raises DnsTempError and nothing else.

        Each character of `name` stands for one octet (U-labels are made A-labels before). A name that DNS can't
        carry (an empty label, a label over 63 octets, over 255 in all) does not exist: that is the answer."""
        ...


@runtime_checkable
class TimedResolver(Resolver, Protocol):
    """A resolver that keeps to a time, and can begin with questions before they are asked, as `DnsResolver`."""

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        """Like `lookup`, in at most so many seconds."""
        ...

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """Begins with questions that will be asked soon and are not in its cache; returns at once and never raises."""
        ...


@lru_cache(maxsize=64)  # to look through a class for methods takes some 10 us
def _is_timed(kind: type) -> bool:
    return issubclass(kind, TimedResolver)


def timed(resolver: Resolver) -> TimedResolver | None:
    """The resolver, if it is a TimedResolver; None for one that only answers."""
    return cast(TimedResolver, resolver) if _is_timed(type(resolver)) else None


def prefetch(resolver: Resolver, questions: Iterable[tuple[str, RecordKind]]) -> None:
    """Lets a resolver begin with questions, if it can: see `TimedResolver.prefetch`."""
    if (able := timed(resolver)) is not None:
        able.prefetch(questions)
