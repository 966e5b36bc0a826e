"""DNS messages as they are on the wire (RFC 1035 section 4): the few that a stub resolver asks, and what it reads.

dnspython's `dns.message` is made for every record type there is and costs half a millisecond a question; these need a
twentieth of that. A name in wire form is `bytes`: length-prefixed labels down to the root, never compressed."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from mailnotary.domain import MAX_LABEL, MAX_NAME
from mailnotary.resolver.types import MxRecord, Record, RecordKind

UDP_SIZE = 1232  # octets of a UDP reply that we offer: fits an unfragmented IPv6 packet (DNS flag day 2020)
MAX_CNAMES = 11  # of one question: Unbound and BIND (max-query-restarts) follow as many
MAX_RECORDS = 1000  # in one answer section; far more than mail needs, far less than 64 KiB can hold

NOERROR, FORMERR, NXDOMAIN, NOTIMP = 0, 1, 3, 4  # RFC 1035 section 4.1.1

_CODES = {RecordKind.A: 1, RecordKind.PTR: 12, RecordKind.MX: 15, RecordKind.TXT: 16, RecordKind.AAAA: 28}
_NS, _CNAME, _SOA, _OPT = 2, 5, 6, 41
_IN = 1

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length: what follows the owner name
_SHORTEST_SOA = 22  # two root names and five numbers of four octets (RFC 1035 section 3.3.13)

_QR, _TC, _RD = 0x8000, 0x0200, 0x0100
_OPCODE, _RCODE = 0x7800, 0x000F
_EDNS = b"\0" + _RECORD.pack(_OPT, UDP_SIZE, 0, 0)  # RFC 6891 section 6.1: version 0, no flags, no options

_MAX_WIRE_NAME = 255  # RFC 1035 section 2.3.4
_MAX_POINTERS = 127  # a name has no more labels than that


class WireError(ValueError):
    """A reply that is not what the RFCs allow, or beyond our bounds; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one reply says about the name that was asked.

    `ttl` in seconds is the lowest of the records' and CNAMEs', for a negative answer RFC 2308's, None where it is not
    said. `cnames` were followed; `target` is where they led if the reply says nothing about that name."""

    rcode: int
    truncated: bool = False
    records: tuple[Record, ...] = ()
    ttl: int | None = None
    cnames: int = 0
    target: bytes | None = None


def encode_name(name: str) -> bytes | None:
    """The name in wire form and lower case, None if DNS can't carry it (RFC 1035 section 2.3.4) or it is the root.

    A character is an octet; only A to Z are lowered (RFC 4343 section 3), whatever latin-1 has for the others."""
    if not 0 < len(name) <= MAX_NAME + 1:  # one for the trailing dot
        return None
    try:
        octets = name.encode("latin-1").lower()
    except UnicodeEncodeError:
        return None
    labels = octets.removesuffix(b".").split(b".")
    if not all(0 < len(label) <= MAX_LABEL for label in labels):
        return None
    wire = b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"
    return wire if len(wire) <= _MAX_WIRE_NAME else None


def decode_name(wire: bytes) -> str:
    """A name in wire form as text: a character is an octet, no trailing dot, the root is empty.

    A dot within a label gets a backslash (RFC 1035 section 5.1), so that no label passes for two."""
    labels = []
    at = 0
    while length := wire[at]:
        labels.append(wire[at + 1 : at + 1 + length].replace(b".", b"\\."))
        at += 1 + length
    return b".".join(labels).decode("latin-1")


def encode_question(identity: int, name: bytes, kind: RecordKind, *, edns: bool) -> bytes:
    """The message that asks one question of a recursive server."""
    header = _HEADER.pack(identity, _RD, 1, 0, 0, int(edns))
    return header + name + _QUESTION.pack(_CODES[kind], _IN) + (_EDNS if edns else b"")


def answers(reply: bytes, query: bytes, name: bytes) -> bool:
    """Whether a datagram is the reply to our query: its id, its kind and its question (RFC 5452 section 4).

    Old servers leave the question out where they report an error."""
    if len(reply) < _HEADER.size or reply[:2] != query[:2]:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(reply)
    if not flags & _QR or flags & _OPCODE:
        return False
    if questions == 0:
        return flags & _RCODE not in (NOERROR, NXDOMAIN)
    end = _HEADER.size + len(name) + _QUESTION.size
    return questions == 1 and reply[_HEADER.size : end].lower() == query[_HEADER.size : end]


def parse_reply(wire: bytes, name: bytes, kind: RecordKind) -> Reply:
    """Reads a reply that `answers`; raises WireError."""
    try:
        return _parse(wire, name, kind)
    except (IndexError, struct.error) as error:
        raise WireError("it ends too early") from error


class _ResourceRecord(NamedTuple):
    """One record as it stands in the message: its data is `wire[start:end]`."""

    owner: bytes  # lower case
    code: int
    ttl: int
    start: int
    end: int


def _parse(wire: bytes, name: bytes, kind: RecordKind) -> Reply:
    _, flags, questions, answer_count, authority_count, additional_count = _HEADER.unpack_from(wire)
    rcode = flags & _RCODE
    if flags & _TC:
        return Reply(rcode, truncated=True)
    if rcode not in (NOERROR, NXDOMAIN):
        return Reply(rcode)
    answer, at = _read_records(wire, _HEADER.size + (len(name) + _QUESTION.size) * questions, answer_count)
    wanted = [record for record in answer if record.code == _CODES[kind]] if rcode == NOERROR else []
    owner, ttls = _follow_cnames(wire, name, answer, {record.owner for record in wanted})
    cnames = len(ttls)
    found = [record for record in wanted if record.owner == owner]
    if found:
        ttls += [_ttl(record) for record in found]
        records = dict.fromkeys(_decode(wire, record, kind) for record in found)  # a set: RFC 2181 section 5
        return Reply(rcode, False, tuple(records), min(ttls), cnames)
    authority, at = _read_records(wire, at, authority_count)
    additional, _ = _read_records(wire, at, additional_count)
    for record in additional:
        if record.code == _OPT:
            rcode |= record.ttl >> 24 << 4  # RFC 6891 section 6.1.3: the upper eight bits
    soa = next((record for record in authority if record.code == _SOA), None)
    if soa is not None:  # RFC 2308 section 5: the lower of its TTL and its MINIMUM, which ends the record
        if soa.end - soa.start < _SHORTEST_SOA:
            raise WireError("an SOA record is too short")
        ttls += [_ttl(soa), int.from_bytes(wire[soa.end - 4 : soa.end], "big")]
        return Reply(rcode, ttl=min(ttls), cnames=cnames)
    if rcode == NOERROR:
        if cnames:  # RFC 2308 section 2.2: nothing is said about where the CNAMEs lead
            return Reply(rcode, ttl=min(ttls), cnames=cnames, target=owner)
        if any(record.code == _NS for record in authority):
            raise WireError("it is a referral: the server does not answer for others")
    return Reply(rcode, cnames=cnames)


def _read_records(wire: bytes, at: int, count: int) -> tuple[list[_ResourceRecord], int]:
    """The records of one section and where the next begins. Of other classes than IN only OPT is kept."""
    if count > MAX_RECORDS:
        raise WireError(f"{count} records are more than {MAX_RECORDS}")
    records = []
    for _ in range(count):
        owner, at = _read_name(wire, at)
        code, rrclass, ttl, length = _RECORD.unpack_from(wire, at)
        start = at + _RECORD.size
        at = start + length
        if at > len(wire):
            raise WireError("it ends too early")
        if rrclass == _IN or code == _OPT:
            records.append(_ResourceRecord(owner.lower(), code, ttl, start, at))
    return records, at


def _read_name(wire: bytes, at: int) -> tuple[bytes, int]:
    """A name without compression (RFC 1035 section 4.1.4), and where what follows it begins.

    Pointers must lead backwards, and there are few: a hostile message costs no more than an honest one."""
    parts = []
    after = size = pointers = 0
    start = at
    while length := wire[at]:
        if length <= MAX_LABEL:
            parts.append(wire[at : at + 1 + length])
            at += 1 + length
            size += 1 + length
            if size >= _MAX_WIRE_NAME:
                raise WireError("a name is too long")
        elif length >= 0xC0:
            after = after or at + 2
            at = (length & 0x3F) << 8 | wire[at + 1]
            pointers += 1
            if at >= start or pointers > _MAX_POINTERS:
                raise WireError("a compressed name does not lead backwards")
            start = at
        else:
            raise WireError("a label has an unknown type")
    parts.append(b"\0")
    return b"".join(parts), after or at + 1


def _follow_cnames(
    wire: bytes, name: bytes, answer: list[_ResourceRecord], owners: set[bytes]
) -> tuple[bytes, list[int]]:
    """Where the CNAMEs of the answer lead from a name (RFC 1034 section 3.6.2), and the TTL of each. A name that owns
    what was asked for is the end, even if it has a CNAME beside that, which it must not."""
    cnames = {record.owner: record for record in answer if record.code == _CNAME}
    ttls: list[int] = []
    while name not in owners and (record := cnames.get(name)):
        if len(ttls) == MAX_CNAMES:
            raise WireError(f"it has a loop, or more than {MAX_CNAMES} CNAMEs")
        ttls.append(_ttl(record))
        name = _name_data(wire, record, record.start).lower()
    return name, ttls


def _ttl(record: _ResourceRecord) -> int:
    return record.ttl if record.ttl < 0x8000_0000 else 0  # RFC 2181 section 8


def _name_data(wire: bytes, record: _ResourceRecord, at: int) -> bytes:
    """The name that is all the rest of a record's data."""
    name, after = _read_name(wire, at)
    if after != record.end:
        raise WireError("a record has the wrong length")
    return name


def _decode(wire: bytes, record: _ResourceRecord, kind: RecordKind) -> Record:
    start, end = record.start, record.end
    match kind:
        case RecordKind.TXT:
            return _join_strings(wire[start:end])
        case RecordKind.A | RecordKind.AAAA:
            if end - start != (4 if kind is RecordKind.A else 16):
                raise WireError("an address has the wrong length")
            return IPv4Address(wire[start:end]) if kind is RecordKind.A else IPv6Address(wire[start:end])
        case RecordKind.MX:
            return MxRecord(int.from_bytes(wire[start : start + 2], "big"), _decode_at(wire, record, start + 2))
        case RecordKind.PTR:
            return _decode_at(wire, record, start)


def _decode_at(wire: bytes, record: _ResourceRecord, at: int) -> str:
    return decode_name(_name_data(wire, record, at))


def _join_strings(data: bytes) -> bytes:
    """The character strings of a TXT record (RFC 1035 section 3.3.14) joined without spaces (RFC 7208 section 3.3)."""
    strings = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        strings.append(data[at + 1 : end])
        at = end
    if at != len(data) or not data:
        raise WireError("a character string has the wrong length")
    return b"".join(strings)
