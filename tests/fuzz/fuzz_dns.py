"""Replies of a hostile nameserver: any octets are an answer or an error, in bounds."""

from contextlib import suppress

from mailnotary.resolver import Answer, RecordKind
from mailnotary.resolver.records import MAX_RECORDS, WireError
from mailnotary.resolver.types import MAX_CNAMES
from mailnotary.resolver.wire import (
    answers,
    encode_question,
    name_text,
    parse_any,
    parse_name,
    parse_reply,
    parse_usual,
)
from support.fuzzing import run

KINDS = tuple(RecordKind)
NAME = b"\x01x\x03org\x00"


def one_input(data: bytes) -> None:
    """The first octet picks the kind and how the rest is used: as a whole reply, after a header, as a name."""
    if not data:
        return
    kind = KINDS[data[0] % len(KINDS)]
    way = data[0] // len(KINDS) % 3
    rest = data[1:]
    if way == 0:
        _read(rest, kind)
    elif way == 1:
        question = encode_question(b"\0\0", NAME, kind, edns=False)
        _read(b"\0\0\x81\x80" + question[4:6] + rest[:6].ljust(6, b"\0") + question[12:] + rest[6:], kind)
    else:
        _carry(rest.decode("latin-1"), kind)


def _read(wire: bytes, kind: RecordKind) -> None:
    answers(wire, encode_question(b"\0\0", NAME, kind, edns=True), NAME)
    with suppress(WireError):
        reply = parse_reply(wire, NAME, kind)
        if parse_usual(wire, NAME, kind) is not None:
            assert reply == parse_any(wire, NAME, kind)
        assert len(reply.records) <= MAX_RECORDS
        assert reply.cnames <= MAX_CNAMES
        assert reply.ttl is None or 0 <= reply.ttl < 2**32
        assert len(encode_question(b"\0\0", reply.target or NAME, kind, edns=True)) <= 12 + 255 + 4 + 11
        hash(Answer(reply.records))


def _carry(text: str, kind: RecordKind) -> None:
    name = parse_name(text)
    if name is not None:
        assert parse_name(name_text(name)) == name
        assert name in encode_question(b"\0\0", name, kind, edns=True)


if __name__ == "__main__":
    run(one_input)
