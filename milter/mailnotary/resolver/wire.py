"""DNS messages: the questions that a stub resolver asks, and what it reads in the replies.

Names are in wire form and lower case. Replies are walked with a reader of our own (`records`), which decodes only what
was asked for, and whose work is in proportion to what it reads. dnspython's `dns.message.from_wire` decodes everything:
it takes many times as long, and one odd record anywhere in the message costs it the good answer. Most replies have one
form (`parse_usual`), which takes a third of the reader's time; whatever differs from it is left to the reader."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import dns.rcode
from dns.rdataclass import IN
from dns.rdatatype import CNAME, NS, OPT, SOA, RdataType

from mailnotary.domain import MAX_NAME
from mailnotary.resolver.records import MAX_WIRE_NAME, Reader, ResourceRecord, WireError, labels, labels_text
from mailnotary.resolver.types import MAX_CNAMES, MxRecord, RecordData, RecordKind

UDP_SIZE = 1232  # octets of a UDP reply that we offer: fits an unfragmented IPv6 packet (DNS flag day 2020)

ANSWERED = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)

_HEADER = struct.Struct("!HHHHHH")  # id, flags, numbers of questions and of the records in three sections
_START = struct.Struct("!HHH")  # of the header: id, flags, number of questions
_HEADER_SIZE = 12  # octets (RFC 1035 section 4.1.1)
_QUESTION_SIZE = 4  # octets after the question's name
_OWNED = struct.Struct("!HHHIH")  # a record whose owner is a pointer: that, type, class, TTL, length of its data
_AT_QUESTION = 0xC000 | _HEADER_SIZE  # a pointer to the question's name
_USUAL_RECORDS = 16  # as many as a usual reply has at most
_USUAL_STRINGS = 8  # and as many as one of its texts has: a DKIM key of 8192 bits has six
_QR, _TC = 0x8000, 0x0200  # flags (RFC 1035 section 4.1.1)
_RCODE = 0x000F  # its lower bits; the others are in the OPT record
_OPCODE = 0x7800  # its bits, none of them in QUERY; some releases of dnspython have no words for all the others
_NOERROR = dns.rcode.NOERROR
_MAX_TTL = 0x7FFF_FFFF  # RFC 2181 section 8
_MAX_LABEL = 63  # octets (RFC 1035 section 2.3.4)
_LENGTHS = [bytes([length]) for length in range(_MAX_LABEL + 1)]  # of a label, as an octet
_TYPES = {kind: RdataType[kind] for kind in RecordKind}
_TYPE_OCTETS = {kind: struct.pack("!HH", rdtype, IN) for kind, rdtype in _TYPES.items()}
# What stands before and after a question: the flag RD and one question; with EDNS an OPT record (RFC 6891 section
# 6.1.2), whose class is the size of the replies that we take.
_AD = 0x0020  # "authentic data": asked for in questions, for answers that DNSSEC has validated (RFC 6840 section 5.7)
_ASKED = 0x0100 | _AD  # with "recursion desired"
_PLAIN = struct.pack("!5H", _ASKED, 1, 0, 0, 0), b""
_EDNS = struct.pack("!5H", _ASKED, 1, 0, 0, 1), struct.pack("!BHHIH", 0, OPT, UDP_SIZE, 0, 0)


class Reply(NamedTuple):
    """What one reply says about the name that was asked.

    `ttl` in seconds is the lowest of the records' and CNAMEs', for a negative answer RFC 2308's, None where it is not
    said. `cnames` were followed; `target` is where they led if the reply says nothing about that name. `octets` is what
    was read, see `Reader`. `authentic`: the server says that it has validated it all (RFC 4035 section 3.2.3)."""

    rcode: dns.rcode.Rcode
    truncated: bool = False
    records: tuple[RecordData, ...] = ()
    ttl: int | None = None
    cnames: int = 0
    target: bytes | None = None
    octets: int = 0
    authentic: bool = False


def parse_name(text: str) -> bytes | None:
    """The name in wire form and lower case, None if DNS can't carry it (RFC 1035 section 2.3.4) or it is the root.

    A character is an octet; only A to Z are lowered (RFC 4343 section 3), whatever latin-1 has for the others."""
    if len(text) > MAX_NAME + 1:  # one for the trailing dot
        return None
    try:
        octets = text.encode("latin-1").lower()
    except UnicodeEncodeError:
        return None
    pieces = []
    for label in octets.removesuffix(b".").split(b"."):
        if not 0 < len(label) <= _MAX_LABEL:
            return None
        pieces.append(_LENGTHS[len(label)] + label)
    wire = b"".join(pieces) + b"\0"
    return wire if len(wire) <= MAX_WIRE_NAME else None


def lower(text: str) -> str:
    """How a name that `parse_name` takes is spelled where it is compared: in lower case, without a trailing dot."""
    return text.encode("latin-1").lower().decode("latin-1").removesuffix(".")


def name_text(name: bytes) -> str:
    """A name in wire form as text: a character is an octet, no trailing dot, the root is empty.

    A dot within a label gets a backslash (RFC 1035 section 5.1), so that no label passes for two."""
    return labels_text(labels(name))


def encode_question(identity: bytes, name: bytes, kind: RecordKind, *, edns: bool) -> bytes:
    """The message that asks one question of a recursive server. `identity` is its id, `name` in wire form."""
    head, tail = _EDNS if edns else _PLAIN
    return identity + head + name + _TYPE_OCTETS[kind] + tail


def answers(reply: bytes, query: bytes, name: bytes) -> bool:
    """Whether a datagram is the reply to our query: its id, its kind and its question (RFC 5452 section 4).

    Old servers leave the question out where they report an error."""
    if len(reply) < _HEADER_SIZE or reply[:2] != query[:2]:
        return False
    _, flags, questions = _START.unpack_from(reply)
    if not flags & _QR or flags & _OPCODE:
        return False
    if questions == 0:
        return dns.rcode.from_flags(flags, 0) not in ANSWERED
    end = _HEADER_SIZE + len(name) + _QUESTION_SIZE
    return questions == 1 and reply[_HEADER_SIZE:end].lower() == query[_HEADER_SIZE:end]


def parse_reply(wire: bytes, name: bytes, kind: RecordKind) -> Reply:
    """Reads a reply that `answers`; raises WireError."""
    try:
        return parse_usual(wire, name, kind) or parse_any(wire, name, kind)
    except (IndexError, ValueError, struct.error) as error:
        raise error if isinstance(error, WireError) else WireError(str(error)) from error


def parse_usual(wire: bytes, name: bytes, kind: RecordKind) -> Reply | None:
    """What `parse_any` returns, where the answer has nothing but some records of the kind that was asked for, each with
    a pointer to the question's name for its owner; None for any other reply, whatever is wrong with it."""
    _, flags, questions, count, _, _ = _HEADER.unpack_from(wire)
    read, size = _USUAL_READERS.get(kind), len(wire)
    if read is None or flags & (_TC | _RCODE) or questions != 1 or not 0 < count <= _USUAL_RECORDS:
        return None
    position = _HEADER_SIZE + len(name) + _QUESTION_SIZE
    wanted = _TYPES[kind]
    records: list[RecordData] = []
    lowest = _MAX_TTL
    for _ in range(count):
        if position + _OWNED.size > size:
            return None
        owner, rdtype, rdclass, ttl, length = _OWNED.unpack_from(wire, position)
        start = position + _OWNED.size
        position = start + length
        if owner != _AT_QUESTION or rdtype != wanted or rdclass != IN or ttl > _MAX_TTL or position > size:
            return None
        data = read(wire, start, position)
        if data is None:
            return None
        records.append(data)
        lowest = min(lowest, ttl)
    distinct = tuple(records) if count == 1 else tuple(dict.fromkeys(records))
    octets = size + count * len(name)  # see Reader
    return Reply(_NOERROR, False, distinct, lowest, 0, None, octets, flags & _AD != 0)


def _usual_text(wire: bytes, start: int, end: int) -> bytes | None:
    """A text of one string, or of a few."""
    strings = []
    for _ in range(_USUAL_STRINGS):
        if start >= end:
            break
        begin = start + 1
        start = begin + wire[start]
        strings.append(wire[begin:start])
    if start != end or not strings:
        return None
    return strings[0] if len(strings) == 1 else b"".join(strings)


def _usual_address(wire: bytes, start: int, end: int) -> IPv4Address | None:
    return IPv4Address(wire[start:end]) if end - start == 4 else None


_USUAL_READERS: dict[RecordKind, Callable[[bytes, int, int], RecordData | None]] = {
    RecordKind.A: _usual_address,
    RecordKind.TXT: _usual_text,
}


def parse_any(wire: bytes, name: bytes, kind: RecordKind) -> Reply:
    """Reads a reply of any form; raises WireError, IndexError, ValueError and struct.error."""
    reader = Reader(wire)
    _, flags, questions, answer_count, authority_count, additional_count = _HEADER.unpack_from(reader.wire)
    rcode = dns.rcode.from_flags(flags, 0)
    if flags & _TC:
        return Reply(rcode, truncated=True)
    if rcode not in ANSWERED:
        return Reply(rcode)
    if questions:
        reader.known[_HEADER_SIZE] = name
    reader.position = _HEADER_SIZE + (len(name) + _QUESTION_SIZE) * questions
    rdtype = _TYPES[kind]
    answer = reader.records(answer_count)
    wanted = [record for record in answer if record.rdtype == rdtype] if rcode == dns.rcode.NOERROR else []
    owner, ttls = _follow_cnames(reader, name, answer, {record.owner for record in wanted})
    cnames = len(ttls)
    owned = [record for record in wanted if record.owner == owner]
    if owned:
        ttls += [record.ttl for record in owned]
        read = _READERS[kind]
        records = dict.fromkeys([read(reader, record) for record in owned])  # a set: RFC 2181 section 5
        authentic = flags & _AD != 0
        return Reply(rcode, False, tuple(records), min(ttls), cnames, None, reader.octets, authentic)
    authority = reader.records(authority_count)
    for record in reader.records(additional_count):
        if record.rdtype == OPT:
            rcode = dns.rcode.from_flags(flags, record.ttl)  # RFC 6891 section 6.1.3: the upper eight bits
    octets = reader.octets
    for record in authority:
        if record.rdtype == SOA:  # RFC 2308 section 5: the lower of its TTL and its MINIMUM
            ttl = min([*ttls, record.ttl, reader.soa_minimum(record)])
            return Reply(rcode, ttl=ttl, cnames=cnames, octets=octets)
    if rcode == dns.rcode.NOERROR:
        if cnames:  # RFC 2308 section 2.2: nothing is said about where the CNAMEs lead
            authentic = flags & _AD != 0
            return Reply(rcode, ttl=min(ttls), cnames=cnames, target=owner, octets=octets, authentic=authentic)
        if any(record.rdtype == NS for record in authority):
            raise WireError("it is a referral: the server does not answer for others")
    return Reply(rcode, cnames=cnames, octets=octets)


def _follow_cnames(
    reader: Reader, owner: bytes, answer: list[ResourceRecord], owners: set[bytes]
) -> tuple[bytes, list[int]]:
    """Where the CNAMEs of the answer lead from a name (RFC 1034 section 3.6.2), and the TTL of each. A name that owns
    what was asked for is the end, even if it has a CNAME beside that, which it must not."""
    cnames = {record.owner: record for record in answer if record.rdtype == CNAME}
    ttls: list[int] = []
    while owner not in owners and owner in cnames:
        if len(ttls) == MAX_CNAMES:
            raise WireError(f"it has a loop, or more than {MAX_CNAMES} CNAMEs")
        record = cnames[owner]
        ttls.append(record.ttl)
        owner = reader.data_name(record).lower()
    return owner, ttls


def _read_mx(reader: Reader, record: ResourceRecord) -> RecordData:
    preference = int.from_bytes(reader.wire[record.start : record.start + 2], "big")
    return MxRecord(preference, name_text(reader.data_name(record, 2)))


_READERS: dict[RecordKind, Callable[[Reader, ResourceRecord], RecordData]] = {
    RecordKind.A: lambda reader, record: IPv4Address(reader.data(record, 4)),
    RecordKind.AAAA: lambda reader, record: IPv6Address(reader.data(record, 16)),
    RecordKind.MX: _read_mx,
    RecordKind.PTR: lambda reader, record: name_text(reader.data_name(record)),
    RecordKind.TXT: lambda reader, record: reader.text(record),
}
