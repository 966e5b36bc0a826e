"""What an engine asks of DNS and what it gets (no DNS library is needed for these)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

from mailnotary.errors import DnsError


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


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Answer:
    """The records of one question. No records and `exists` is NODATA, no records and not `exists` is NXDOMAIN
    (RFC 2308 section 2); DMARC's np= and SPF's void look-ups need to tell. Names come without a trailing dot. `octets`
    is what was read for it, as far as the resolver knows: what a message may read is limited."""

    records: tuple[RecordData, ...]
    exists: bool = True
    octets: int = field(default=0, compare=False)

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


class Resolver(Protocol):
    """Anything that answers DNS questions. Safe to call from several threads."""

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """Asks one question; raises DnsTempError and nothing else.

        Each character of `name` stands for one octet (U-labels are made A-labels before). A name that DNS can't
        carry (an empty label, a label over 63 octets, over 255 in all) does not exist: that is the answer."""
        ...


def prefetch(resolver: Resolver, questions: Iterable[tuple[str, RecordKind]]) -> None:
    """Lets the resolver begin with questions that will be asked soon, if it has a method `prefetch` for that: it starts
    those that are not in its cache, returns at once and never raises."""
    begin = getattr(resolver, "prefetch", None)
    if begin is not None:
        begin(questions)
