"""The records of a DNS message (RFC 1035 section 4.1), read in time that is in proportion to their octets.

Compression (4.1.4) lets two octets stand for a name of 127 labels, and a chain of pointers for thousands of them. So
a name is read once for each place where it begins, and counts with the octets that it would take uncompressed."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from dns.rdataclass import IN
from dns.rdatatype import OPT

from mailnotary.errors import DnsError

# In one section. A host of many has some ten addresses, a pool fifty; the names at the top of large organizations have
# up to a hundred and some TXT records, one for each service that has had them prove that the domain is theirs.
MAX_RECORDS = 256
MAX_LABELS = 2_000  # read in the names of one message, compression pointers among them: seven for each of 256 records

# Of one TXT record. The longest real ones: DKIM keys of 8192 bits 1.4 KB, SPF 2 KB (RFC 7208 section 3.4 wants 450
# octets), DMARC 1 KB. A longer one is cut one octet beyond, which is how those who parse it know.
MAX_TEXT = 8_192
MAX_STRINGS = 1_000  # of the TXT records of one message that have several: a string may be empty, 64 KiB hold 65,535

MAX_WIRE_NAME = 255  # octets (RFC 1035 section 2.3.4)
_POINTER = 0xC0  # the bits of a compression pointer; one of them alone is not a label (RFC 6891 section 5)
_FIELDS = struct.Struct("!HHIH")  # of a record: type, class, TTL, length of its data
_MINIMUM = struct.Struct("!16xI")  # of a SOA record, after its two names


class WireError(DnsError, ValueError):
    """A reply that is not what the RFCs allow, or beyond our bounds; the text says what is wrong."""


class ResourceRecord(NamedTuple):
    """One record of class IN, or an OPT. Its data is what the message has from `start` to `end`."""

    owner: bytes  # in wire form and lower case
    rdtype: int
    ttl: int
    start: int
    end: int


class Reader:
    """Reads one message. Its methods raise WireError; IndexError and struct.error where the message ends too early.

    `position` is where the next section begins. `known` are names in wire form by their place.
    `octets` is what the message would have without compression: what reading it takes is in proportion."""

    __slots__ = ("_labels", "_strings", "known", "octets", "position", "wire")

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.position = 0
        self.octets = len(wire)
        self.known: dict[int, bytes] = {}
        self._labels = 0
        self._strings = 0

    def records(self, count: int) -> list[ResourceRecord]:
        """The records of one section. Of other classes than IN only OPT is kept."""
        if count > MAX_RECORDS:
            raise WireError(f"{count} records are more than {MAX_RECORDS}")
        records = []
        position = self.position
        for _ in range(count):
            owner, position = self.name(position)
            rdtype, rdclass, ttl, length = _FIELDS.unpack_from(self.wire, position)
            start = position + _FIELDS.size
            position = start + length
            if rdtype == OPT:  # what stands for the TTL there is none
                records.append(ResourceRecord(b"", rdtype, ttl, start, position))
            elif rdclass == IN:  # a TTL with the top bit is 0: RFC 2181 section 8
                ttl = ttl if ttl < 0x8000_0000 else 0
                records.append(ResourceRecord(owner.lower(), rdtype, ttl, start, position))
        if position > len(self.wire):
            raise WireError("a record ends after the message")
        self.position = position
        return records

    def name(self, position: int) -> tuple[bytes, int]:
        """The name at a place, in wire form without compression, and where it ends there."""
        wire = self.wire
        begin = position
        end = 0
        pieces: list[bytes] = []
        pointed = before = 0  # the place that the first pointer leads to, and how many pieces precede it
        limit = position  # pointers lead backwards: "a prior occurrence of the same name"
        while True:
            length = wire[position]
            self._labels += 1
            if self._labels > MAX_LABELS:
                raise WireError(f"its names have more than {MAX_LABELS} labels and pointers")
            if length < 0x40:
                pieces.append(wire[position : position + 1 + length])
                position += 1 + length
                if not length:
                    break
                continue
            if length < _POINTER:
                raise WireError("a label has no known form")
            target = (length - _POINTER) << 8 | wire[position + 1]
            if target >= limit:
                raise WireError("a pointer does not lead backwards")
            if not end:
                end, pointed, before = position + 2, target, len(pieces)
            known = self.known.get(target)
            if known is not None:
                pieces.append(known)
                break
            position = limit = target
        name = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        if len(name) > MAX_WIRE_NAME:
            raise WireError(f"a name has more than {MAX_WIRE_NAME} octets")
        self.octets += len(name)
        if end and pointed not in self.known:
            self.known[pointed] = b"".join(pieces[before:])
        if pieces:
            self.known[begin] = name
        return name, end or position

    def data(self, record: ResourceRecord, length: int) -> bytes:
        """The data of a record, which has so many octets."""
        if record.end - record.start != length:
            raise WireError("a record's data has not the length of its type")
        return self.wire[record.start : record.end]

    def data_name(self, record: ResourceRecord, after: int = 0) -> bytes:
        """The name that is all of a record's data after some octets."""
        name, end = self.name(record.start + after)
        if end != record.end:
            raise WireError("a record's data does not end with its name")
        return name

    def soa_minimum(self, record: ResourceRecord) -> int:
        """The last number of a SOA record (RFC 1035 section 3.3.13)."""
        _, position = self.name(record.start)
        _, position = self.name(position)
        if position + _MINIMUM.size != record.end:
            raise WireError("a SOA record's data has not the length of its type")
        minimum: int = _MINIMUM.unpack_from(self.wire, position)[0]
        return minimum

    def text(self, record: ResourceRecord) -> bytes:
        """A TXT record's strings joined without spaces (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2), at most
        MAX_TEXT + 1 octets of them."""
        wire = self.wire
        position, end = record.start, record.end
        if position == end:
            raise WireError("a TXT record has no string")
        if position + 1 + wire[position] == end:  # nearly all have but one
            return wire[position + 1 : end]
        strings: list[bytes] = []
        left = MAX_TEXT + 1
        while position < end and left > 0:
            self._strings += 1
            if self._strings > MAX_STRINGS:
                raise WireError(f"its texts are in more than {MAX_STRINGS} strings")
            start = position + 1
            position = start + wire[position]
            strings.append(wire[start:position])
            left -= position - start
        if position > end:
            raise WireError("a string ends after its record")
        return b"".join(strings)[: MAX_TEXT + 1]


def labels(name: bytes) -> list[bytes]:
    """The labels of a name in wire form, without the root's."""
    labels = []
    position = 0
    while length := name[position]:
        position += 1
        labels.append(name[position : position + length])
        position += length
    return labels


def labels_text(name: Sequence[bytes]) -> str:
    """Labels as text: a character is an octet, no trailing dot, the root is empty.

    A dot within a label gets a backslash (RFC 1035 section 5.1), so that no label passes for two."""
    return b".".join([label.replace(b".", b"\\.") for label in name]).decode("latin-1")
