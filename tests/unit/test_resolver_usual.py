"""The short way of reading replies of the usual form: what it reads is what the reader of all forms, and dnspython,
read."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import dns.exception
import dns.message
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.resolver import RecordKind
from mailnotary.resolver.records import WireError
from mailnotary.resolver.wire import Reply, parse_any, parse_name, parse_reply, parse_usual

NAME = parse_name("x.example")
assert NAME is not None
CODES = {RecordKind.A: 1, RecordKind.TXT: 16, RecordKind.MX: 15, RecordKind.AAAA: 28}
POINTER = b"\xc0\x0c"


def text(*strings: bytes) -> bytes:
    return b"".join([bytes([len(string)]) + string for string in strings])


def record(kind: int, data: bytes, owner: bytes = POINTER, rdclass: int = 1, ttl: int = 300) -> bytes:
    return owner + struct.pack("!HHIH", kind, rdclass, ttl, len(data)) + data


def reply(
    kind: RecordKind, *records: bytes, count: int | None = None, flags: int = 0x8180, after: bytes = b""
) -> bytes:
    assert NAME is not None
    count = len(records) if count is None else count
    head = struct.pack("!6H", 7, flags, 1, count, 0, bool(after))
    return head + NAME + struct.pack("!HH", CODES[kind], 1) + b"".join(records) + after


OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)

USUAL = [
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"v=spf1 -all")))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"v=spf1 -all")), after=OPT, flags=0x81A0)),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"v=DKIM1; p=" + b"A" * 244, b"B" * 137)), after=OPT)),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a"), ttl=9), record(16, text(b"b"), ttl=8))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a")), record(16, text(b"", b"a")))),  # the same twice
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"")))),
    (RecordKind.A, reply(RecordKind.A, *[record(1, bytes([192, 0, 2, n])) for n in range(16)])),
]
OTHERS = [
    (RecordKind.TXT, reply(RecordKind.TXT)),
    (RecordKind.TXT, reply(RecordKind.TXT, flags=0x8183)),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a")), flags=0x8380)),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a")), flags=0x8183)),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a"), owner=b"\1y\xc0\x0e"))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a"), owner=b"\1X\xc0\x0e"))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a"), rdclass=3))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a"), ttl=0x8000_0000))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(*[b"a"] * 9)))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, b""))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, b"\5four"))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(5, b"\1y\0"), record(16, text(b"a"), owner=b"\1y\0"))),
    (RecordKind.TXT, reply(RecordKind.TXT, record(16, text(b"a")))[:-1]),
    (RecordKind.TXT, reply(RecordKind.TXT, b"\0" + struct.pack("!HHIH", 16, 1, 9, 0))),  # as long as it can be
    (RecordKind.A, reply(RecordKind.A, record(1, b"abc"))),
    (RecordKind.A, reply(RecordKind.A, *[record(1, bytes([192, 0, 2, n])) for n in range(17)])),
    (RecordKind.AAAA, reply(RecordKind.AAAA, record(28, b"a" * 16))),
    (RecordKind.MX, reply(RecordKind.MX, record(15, b"\0\1\1m\xc0\x0c"))),
]


def outcome(parse: Callable[[bytes, bytes, RecordKind], Reply | None], wire: bytes, kind: RecordKind) -> Reply | None:
    """What a reader makes of a reply; None for an error."""
    assert NAME is not None
    try:
        return parse(wire, NAME, kind)
    except (WireError, IndexError, ValueError, struct.error):
        return None


@pytest.mark.parametrize(("kind", "wire"), USUAL)
def test_the_usual_replies_are_read_the_short_way(kind: RecordKind, wire: bytes) -> None:
    found = outcome(parse_usual, wire, kind)
    assert found is not None
    assert found == outcome(parse_any, wire, kind) == outcome(parse_reply, wire, kind)


@pytest.mark.parametrize(("kind", "wire"), OTHERS)
def test_all_others_are_left_to_the_reader(kind: RecordKind, wire: bytes) -> None:
    assert outcome(parse_usual, wire, kind) is None
    assert outcome(parse_reply, wire, kind) == outcome(parse_any, wire, kind)


def read_by_dnspython(wire: bytes, kind: RecordKind) -> set[bytes | IPv4Address] | None:
    """The records of the question's own name, None where dnspython finds something wrong with the message."""
    try:
        message = dns.message.from_wire(wire, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError):
        return None
    found: set[bytes | IPv4Address] = set()
    for rrset in message.answer:
        if (
            rrset.rdtype == CODES[kind]
            and rrset.rdclass == dns.rdataclass.IN
            and rrset.name == message.question[0].name
        ):
            data = rrset[0].to_wire()
            assert data is not None
            found.add(IPv4Address(data) if kind is RecordKind.A else b"".join(rrset[0].strings))
    return found


_DATA = st.one_of(
    st.lists(st.binary(max_size=255), max_size=10).map(lambda strings: text(*strings)),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=20),
)
_RECORD = st.builds(
    record,
    st.sampled_from([16, 16, 16, 16, 1, 1, 5, 41]),
    _DATA,
    owner=st.sampled_from([POINTER] * 6 + [NAME, b"\1X\xc0\x0e", b"\1y\0", b"\0"]),
    rdclass=st.sampled_from([1] * 8 + [3]),
    ttl=st.sampled_from([0, 1, 300, 0x7FFF_FFFF, 0x8000_0000]),
)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_whatever_is_read_the_short_way_is_what_others_read(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([RecordKind.TXT, RecordKind.TXT, RecordKind.A]))
    if data.draw(st.booleans()):  # of the usual form, with a few octets that are not
        short = st.lists(st.binary(max_size=255), min_size=1, max_size=8).map(lambda strings: text(*strings))
        right = short if kind is RecordKind.TXT else st.binary(min_size=4, max_size=4)
        records = [record(CODES[kind], each) for each in data.draw(st.lists(right, min_size=1, max_size=16))]
    else:
        records = data.draw(st.lists(_RECORD, max_size=18))
    wire = bytearray(reply(kind, *records, after=OPT * data.draw(st.booleans())))
    start = 12 + len(NAME or b"") + 4
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(2, len(wire) - 1))
        if not 4 <= place < start - 4 and len(wire) > start:  # the question is right: `answers` has seen to that
            wire[place] = data.draw(st.integers(0, 255))
    wire = wire[: data.draw(st.sampled_from([len(wire)] * 4 + [len(wire) - 1, len(wire) - 7]))]
    octets = bytes(wire)
    short_way = outcome(parse_usual, octets, kind)
    if short_way is not None:
        assert short_way == outcome(parse_any, octets, kind)
        theirs = read_by_dnspython(octets, kind)
        assert theirs is None or theirs == set(short_way.records)
    assert outcome(parse_reply, octets, kind) == outcome(parse_any, octets, kind)
