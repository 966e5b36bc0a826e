"""Canonicalization (RFC 6376 section 3.4)."""

import tracemalloc
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.dkim.canon import BodyCanonicalizer, BodyHash, relaxed_header, simple_header
from mailnotary.mail.message import HeaderField, parse
from support.dkim import canonical_body, canonical_header

BODIES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"\0", b"  \t ", b"\r\n\r\n\r\n", b" \r\n", b"xy z"]),
    max_size=40,
).map(b"".join)


def canonical(body: bytes, relaxed: bool, cuts: list[int] | None = None) -> bytes:
    canonicalizer = BodyCanonicalizer(relaxed)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts or []), len(body)]
    pieces: list[bytes] = []
    for start, end in pairwise(edges):
        pieces += canonicalizer.update(body[start:end])
    pieces += canonicalizer.finish()
    return b"".join(pieces)


# RFC 6376 3.4.5
EXAMPLE = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"


def test_the_example_of_the_rfc() -> None:
    message = parse(EXAMPLE)
    assert [relaxed_header(field) for field in message.fields] == [b"a:X", b"b:Y Z"]
    assert [simple_header(field) for field in message.fields] == [b"A: X", b"B : Y\t\r\n\tZ  "]
    assert canonical(message.body, relaxed=True) == b" C\r\nD E\r\n"
    assert canonical(message.body, relaxed=False) == b" C \r\nD \t E\r\n"


def test_the_empty_body() -> None:
    """RFC 6376 3.4.3 and 3.4.4 give these hashes."""
    digests = []
    for relaxed in (False, True):
        body = BodyHash(relaxed, [None])
        body.finish()
        digests.append(b64encode(body.digest(None) or b""))
    assert digests == [
        b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=",
        b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ]


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"\r\n", b"\r\n", b""),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b" \r\n\t\r\n", b" \r\n\t\r\n", b""),
        (b"x", b"x\r\n", b"x\r\n"),
        (b"x ", b"x \r\n", b"x\r\n"),
        (b" ", b" \r\n", b""),
        (b"\r\nx", b"\r\nx\r\n", b"\r\nx\r\n"),
        (b"x\r", b"x\r\r\n", b"x\r\r\n"),  # a bare CR is content
        (b"x\n", b"x\n\r\n", b"x\n\r\n"),
        (b"x \r", b"x \r\r\n", b"x \r\r\n"),
        (b"x\n\r\n\r\n", b"x\n\r\n", b"x\n\r\n"),
        (b"x\r\n\n\r\n", b"x\r\n\n\r\n", b"x\r\n\n\r\n"),
        (b"x\r\n\r\r\n", b"x\r\n\r\r\n", b"x\r\n\r\r\n"),
        (b"a\0b\r\n", b"a\0b\r\n", b"a\0b\r\n"),
        (b"a \x0b b\r\n", b"a \x0b b\r\n", b"a \x0b b\r\n"),  # WSP is space and tab, nothing else
        (b"a\xa0 \r\n", b"a\xa0 \r\n", b"a\xa0\r\n"),
    ],
)
def test_edges_of_a_body(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert canonical(body, relaxed=False) == simple
    assert canonical(body, relaxed=True) == relaxed


@given(BODIES, st.lists(st.integers(0, 10_000), max_size=6), st.booleans())
def test_chunked_equals_whole_equals_the_rfc(body: bytes, cuts: list[int], relaxed: bool) -> None:
    expected = canonical_body(body, relaxed)
    assert canonical(body, relaxed) == expected
    assert canonical(body, relaxed, cuts) == expected
    assert canonical(body, relaxed, list(range(len(body)))) == expected


@given(BODIES, st.lists(st.integers(0, 60), max_size=4), st.booleans(), st.booleans(), st.integers(1, 9))
def test_all_lengths_come_out_of_one_pass(
    body: bytes, lengths: list[int], relaxed: bool, whole: bool, step: int
) -> None:
    hashes = BodyHash(relaxed, [*lengths, *([None] if whole or not lengths else [])])
    for start in range(0, len(body), step):
        hashes.update(body[start : start + step])
    hashes.finish()
    expected = canonical_body(body, relaxed)
    for length in lengths:
        cut = sha256(expected[:length]).digest() if length <= len(expected) else None
        assert hashes.digest(length) == cut
    if whole or not lengths:
        assert hashes.digest(None) == sha256(expected).digest()
        assert hashes.length == len(expected)
    else:
        assert (hashes.length > max(lengths)) == (len(expected) > max(lengths))


def test_a_body_beyond_every_length_is_not_wanted() -> None:
    hashes = BodyHash(True, [0, 4])
    assert hashes.open
    hashes.update(b"abc")
    assert hashes.open
    hashes.update(b"d")
    assert hashes.open  # whether anything is left unsigned is not known yet
    hashes.update(b"e")
    assert not hashes.open


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b":", b"\xc3\xa4", b"\rx", b"\n"])).map(b"".join)
)
def test_headers_are_canonical_as_the_rfc_words_it(value: bytes) -> None:
    field = HeaderField(b"SubJect \t", value)
    assert relaxed_header(field) == canonical_header(field, relaxed=True)
    assert simple_header(field) == b"SubJect \t:" + value


@pytest.mark.parametrize("block", [b"\r\n", b" ", b"\t\t\r\n", b"x" * 64, b" \r"])
@pytest.mark.parametrize("relaxed", [False, True])
def test_memory_does_not_grow_with_the_body(block: bytes, relaxed: bool) -> None:
    chunk = block * (65536 // len(block))
    hashes = BodyHash(relaxed, [None])
    hashes.update(chunk)
    tracemalloc.start()
    for _ in range(40):
        hashes.update(chunk)
    hashes.update(b"x")
    hashes.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600_000


@settings(max_examples=5)
@given(st.binary(min_size=1, max_size=200_000))
def test_a_large_chunk_is_cut_without_a_trace(body: bytes) -> None:
    assert canonical(body, relaxed=True) == canonical(body, True, [1, 65536, 65537]) == canonical_body(body, True)


@pytest.mark.parametrize("relaxed", [False, True])
def test_a_chunk_of_several_pieces_gives_what_its_lines_give(relaxed: bool) -> None:
    body = b"a \t b \r\n\r\n" * 20_000
    assert canonical(body, relaxed) == canonical(body, relaxed, [*range(1000, len(body), 1000)])
