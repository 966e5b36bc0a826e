"""DNS messages: the questions that a stub resolver asks, and what it reads in the replies. dnspython does both.

Replies are walked with its parser, which decodes only what was asked for. `dns.message.from_wire` decodes everything:
it takes twice as long, and one odd record anywhere in the message costs it the good answer."""

import struct
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.wire
from dns.exception import DNSException
from dns.name import Name
from dns.rdataclass import IN
from dns.rdatatype import CNAME, NS, OPT, SOA, RdataType

from mailnotary.domain import MAX_NAME
from mailnotary.resolver.types import MxRecord, Record, RecordKind

UDP_SIZE = 1232  # octets of a UDP reply that we offer: fits an unfragmented IPv6 packet (DNS flag day 2020)
MAX_CNAMES = 11  # of one question: Unbound and BIND (max-query-restarts) follow as many
MAX_RECORDS = 1000  # in one section; far more than mail needs, far less than 64 KiB can hold
MAX_LABELS = 50_000  # read in the names of one message, compression pointers among them: 25 in each of 2000 names

ANSWERED = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)

_START = struct.Struct("!HHH")  # of the header: id, flags, number of questions
_HEADER_SIZE = 12  # octets (RFC 1035 section 4.1.1)
_QUESTION_SIZE = 4  # octets after the question's name
_QR, _TC = int(dns.flags.QR), int(dns.flags.TC)  # plain numbers: an IntFlag's `&` is Python code
_OPCODE = 0x7800  # its bits, none of them in QUERY; some releases of dnspython have no words for all the others
_TYPES = {kind: RdataType[kind] for kind in RecordKind}


class WireError(ValueError):
    """A reply that is not what the RFCs allow, or beyond our bounds; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one reply says about the name that was asked.

    `ttl` in seconds is the lowest of the records' and CNAMEs', for a negative answer RFC 2308's, None where it is not
    said. `cnames` were followed; `target` is where they led if the reply says nothing about that name."""

    rcode: dns.rcode.Rcode
    truncated: bool = False
    records: tuple[Record, ...] = ()
    ttl: int | None = None
    cnames: int = 0
    target: Name | None = None


def parse_name(text: str) -> Name | None:
    """The name in lower case, None if DNS can't carry it (RFC 1035 section 2.3.4) or it is the root.

    A character is an octet; only A to Z are lowered (RFC 4343 section 3), whatever latin-1 has for the others."""
    if len(text) > MAX_NAME + 1:  # one for the trailing dot
        return None
    try:
        octets = text.encode("latin-1").lower()
        return Name([*octets.removesuffix(b".").split(b"."), b""])
    except (UnicodeEncodeError, DNSException):
        return None


def name_text(name: Name) -> str:
    """A name as text: a character is an octet, no trailing dot, the root is empty.

    A dot within a label gets a backslash (RFC 1035 section 5.1), so that no label passes for two."""
    return b".".join([label.replace(b".", b"\\.") for label in name.labels[:-1]]).decode("latin-1")


def encode_question(identity: int, name: Name, kind: RecordKind, *, edns: bool) -> bytes:
    """The message that asks one question of a recursive server."""
    blank = _blank_question(kind, edns)
    return identity.to_bytes(2, "big") + blank[2:_HEADER_SIZE] + name.to_digestable() + blank[_HEADER_SIZE + 1 :]


@cache
def _blank_question(kind: RecordKind, edns: bool) -> bytes:
    """The question for the root's records: made once, since dnspython takes a quarter of a question's time to make it.

    Another name takes the place of the one octet after the header."""
    query = dns.message.make_query(
        dns.name.root, _TYPES[kind], use_edns=0 if edns else False, payload=UDP_SIZE if edns else 0
    )
    return query.to_wire()


def answers(reply: bytes, query: bytes, name: Name) -> bool:
    """Whether a datagram is the reply to our query: its id, its kind and its question (RFC 5452 section 4).

    Old servers leave the question out where they report an error."""
    if len(reply) < _HEADER_SIZE or reply[:2] != query[:2]:
        return False
    _, flags, questions = _START.unpack_from(reply)
    if not flags & _QR or flags & _OPCODE:
        return False
    if questions == 0:
        return dns.rcode.from_flags(flags, 0) not in ANSWERED
    end = _HEADER_SIZE + len(name.to_digestable()) + _QUESTION_SIZE
    return questions == 1 and reply[_HEADER_SIZE:end].lower() == query[_HEADER_SIZE:end]


def parse_reply(wire: bytes, name: Name, kind: RecordKind) -> Reply:
    """Reads a reply that `answers`; raises WireError."""
    try:
        return _parse(_Parser(wire), name, kind)
    except WireError:
        raise
    except (DNSException, ValueError, struct.error) as error:
        raise WireError(str(error)) from error


class _Parser(dns.wire.Parser):
    """A parser whose work is bounded: with compression (RFC 1035 section 4.1.4) two octets may stand for a name of 127
    labels, in older releases of dnspython for a chain of 8000 pointers."""

    def __init__(self, wire: bytes) -> None:
        super().__init__(wire)
        self._labels = 0

    def get_uint8(self) -> int:
        """What dnspython reads the length of each label with."""
        self._labels += 1
        if self._labels > MAX_LABELS:
            raise WireError(f"its names have more than {MAX_LABELS} labels and pointers")
        return super().get_uint8()


class _ResourceRecord(NamedTuple):
    """One record. `data` is None where nobody asked for it."""

    owner: bytes  # in wire form and lower case, which compares and hashes faster than a Name
    rdtype: int
    ttl: int
    data: dns.rdata.Rdata | None


def _parse(parser: _Parser, name: Name, kind: RecordKind) -> Reply:
    _, flags, questions, answer_count, authority_count, additional_count = parser.get_struct("!HHHHHH")
    rcode = dns.rcode.from_flags(flags, 0)
    if flags & _TC:
        return Reply(rcode, truncated=True)
    if rcode not in ANSWERED:
        return Reply(rcode)
    asked = name.to_digestable()
    parser.get_bytes((len(asked) + _QUESTION_SIZE) * questions)
    rdtype = _TYPES[kind]
    answer = _read_records(parser, answer_count, (rdtype, CNAME))
    wanted = [record for record in answer if record.rdtype == rdtype] if rcode == dns.rcode.NOERROR else []
    owner, end, ttls = _follow_cnames(asked, name, answer, {record.owner for record in wanted})
    cnames = len(ttls)
    found = [record for record in wanted if record.owner == owner]
    if found:
        ttls += [record.ttl for record in found]
        records = dict.fromkeys(_to_python(record.data) for record in found)  # a set: RFC 2181 section 5
        return Reply(rcode, False, tuple(records), min(ttls), cnames)
    authority = _read_records(parser, authority_count, (SOA,))
    for record in _read_records(parser, additional_count, ()):
        if record.rdtype == OPT:
            rcode = dns.rcode.from_flags(flags, record.ttl)  # RFC 6891 section 6.1.3: the upper eight bits
    for record in authority:
        if isinstance(record.data, dns.rdtypes.ANY.SOA.SOA):  # RFC 2308 section 5: the lower of its TTL and its MINIMUM
            return Reply(rcode, ttl=min([*ttls, record.ttl, record.data.minimum]), cnames=cnames)
    if rcode == dns.rcode.NOERROR:
        if cnames:  # RFC 2308 section 2.2: nothing is said about where the CNAMEs lead
            return Reply(rcode, ttl=min(ttls), cnames=cnames, target=end)
        if any(record.rdtype == NS for record in authority):
            raise WireError("it is a referral: the server does not answer for others")
    return Reply(rcode, cnames=cnames)


def _read_records(parser: _Parser, count: int, decoded: Container[int]) -> list[_ResourceRecord]:
    """The records of one section, with the data of some types. Of other classes than IN only OPT is kept."""
    if count > MAX_RECORDS:
        raise WireError(f"{count} records are more than {MAX_RECORDS}")
    records = []
    for _ in range(count):
        owner = dns.name.from_wire_parser(parser)
        rdtype, rdclass, ttl, length = parser.get_struct("!HHIH")
        data = None
        if rdclass == IN and rdtype in decoded:
            with parser.restrict_to(length):
                data = dns.rdata.from_wire_parser(rdclass, rdtype, parser)
        else:
            parser.get_bytes(length)
        if rdtype == OPT:  # what stands for the TTL there is none
            records.append(_ResourceRecord(b"", rdtype, ttl, None))
        elif rdclass == IN:
            records.append(_ResourceRecord(owner.to_digestable(), rdtype, ttl if ttl < 0x8000_0000 else 0, data))
    return records  # a TTL with the top bit is 0: RFC 2181 section 8


def _follow_cnames(
    owner: bytes, name: Name, answer: list[_ResourceRecord], owners: set[bytes]
) -> tuple[bytes, Name, list[int]]:
    """Where the CNAMEs of the answer lead from a name (RFC 1034 section 3.6.2), and the TTL of each. A name that owns
    what was asked for is the end, even if it has a CNAME beside that, which it must not."""
    cnames = {
        record.owner: (record.ttl, record.data.target)
        for record in answer
        if isinstance(record.data, dns.rdtypes.ANY.CNAME.CNAME)
    }
    ttls: list[int] = []
    while owner not in owners and owner in cnames:
        if len(ttls) == MAX_CNAMES:
            raise WireError(f"it has a loop, or more than {MAX_CNAMES} CNAMEs")
        ttl, name = cnames[owner]
        ttls.append(ttl)
        owner = name.to_digestable()
    return owner, name, ttls


def _to_python(data: dns.rdata.Rdata | None) -> Record:
    match data:
        case dns.rdtypes.ANY.TXT.TXT() if data.strings:  # older releases let a record have none
            return b"".join(data.strings)  # without spaces (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2)
        case dns.rdtypes.IN.A.A():
            return IPv4Address(data.address)
        case dns.rdtypes.IN.AAAA.AAAA():
            return IPv6Address(data.address)
        case dns.rdtypes.ANY.MX.MX():
            return MxRecord(data.preference, name_text(data.exchange))
        case dns.rdtypes.ANY.PTR.PTR():
            return name_text(data.target)
    raise WireError("a record has no known form")
