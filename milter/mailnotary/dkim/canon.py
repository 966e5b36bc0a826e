"""Canonicalization (RFC 6376 section 3.4) and the hashes over it (section 3.7).

Nothing here is per octet: a chunk goes through a handful of whole-buffer operations, each of which does something
only where there is something to do. Memory does not grow with the message.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from mailnotary.message import HeaderField

_PIECE = 65536  # octets canonicalized at a time: a larger chunk is cut, so that its copies stay in the cache
_BLANK_LINES = b"\r\n" * 4096


def _single_spaces(text: bytes) -> bytes:
    """Every run of WSP as one space. Each turn of the loop cuts the runs to a third, so that all turns together are
    linear; thirds and a last turn for pairs are faster than halves over every kind of text that was measured."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    if b"  " in text:
        while b"   " in text:
            text = text.replace(b"   ", b" ")
        text = text.replace(b"  ", b" ")
    return text


def relaxed_header(field: HeaderField) -> bytes:
    """A field under "relaxed" (RFC 6376 3.4.2), without its final CRLF."""
    return field.key + b":" + _single_spaces(field.value.replace(b"\r\n", b"")).strip(b" ")


def simple_header(field: HeaderField) -> bytes:
    """A field under "simple" (RFC 6376 3.4.1), without its final CRLF: as it stands."""
    return field.raw


class BodyCanonicalizer:
    """Streams a body through "simple" (RFC 6376 3.4.3) or "relaxed" (3.4.4). However it is cut into chunks, what comes
    out is the same; the pieces that come out are of bounded size."""

    __slots__ = ("_carry", "_empty", "_pending", "_relaxed")

    def __init__(self, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._carry = b""  # " ", "\r" or " \r" from a chunk's end, whose meaning the next octet decides
        self._pending = 0  # CRLFs seen since the last octet of content: the end of the body drops all but one
        self._empty = True  # no content so far

    def update(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk adds to the canonical body."""
        if len(chunk) <= _PIECE:
            yield from self._update(chunk)
            return
        for start in range(0, len(chunk), _PIECE):
            yield from self._update(chunk[start : start + _PIECE])

    def finish(self) -> Iterator[bytes]:
        """What the end of the body adds: the last line's CRLF, which is all that is left of empty lines there."""
        if self._carry.endswith(b"\r"):  # a CR that no LF followed is content; a space is white space at a line's end
            yield from self._content(self._carry, 0)
        if not self._relaxed or not self._empty:
            yield b"\r\n"  # under "simple" an empty body is one CRLF, under "relaxed" it is nothing (3.4.3, 3.4.4)

    def _update(self, piece: bytes) -> Iterator[bytes]:
        data = self._carry + piece if self._carry else piece
        if self._relaxed:
            data = _single_spaces(data)
            if b" \r\n" in data:
                data = data.replace(b" \r\n", b"\r\n")
        self._carry = self._undecided(data)
        if self._carry:
            data = data[: -len(self._carry)]
        if data.endswith(b"\r\n"):
            # Bare CRs and LFs are content: only whole CRLFs at the end are counted and held back.
            content = data.rstrip(b"\r\n")
            ends = data[len(content) :].replace(b"\r\n", b"\0")
            kept = ends.rstrip(b"\0")
            content += kept.replace(b"\0", b"\r\n")
            yield from self._content(content, len(ends) - len(kept))
        else:
            yield from self._content(data, 0)

    def _undecided(self, data: bytes) -> bytes:
        if data.endswith(b"\r"):
            return b" \r" if self._relaxed and data.endswith(b" \r") else b"\r"
        return b" " if self._relaxed and data.endswith(b" ") else b""

    def _content(self, content: bytes, line_ends: int) -> Iterator[bytes]:
        """Content, and the number of CRLFs after it."""
        if content:
            self._empty = False
            while self._pending:
                count = min(self._pending, len(_BLANK_LINES) // 2)
                self._pending -= count
                yield _BLANK_LINES[: 2 * count]
            yield content
        self._pending += line_ends


class BodyHash:
    """The SHA-256 of a canonical body, whole and cut at any number of lengths (l=), all in one pass."""

    __slots__ = ("_canonicalizer", "_digests", "_hash", "_last", "_limits", "_whole", "length")

    def __init__(self, relaxed: bool, lengths: Iterable[int | None]) -> None:
        wanted = set(lengths)
        self._canonicalizer = BodyCanonicalizer(relaxed)
        self._hash = sha256()
        self._whole = None in wanted
        self._limits = sorted((length for length in wanted if length is not None), reverse=True)  # the least last
        self._last = max(self._limits, default=0)
        self._digests: dict[int, bytes] = {}
        self.length = 0  # canonical octets so far

    @property
    def open(self) -> bool:
        """Whether further octets of the body matter: none do once there is content beyond every cut."""
        return self._whole or self.length <= self._last

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        if self.open:
            for piece in self._canonicalizer.update(chunk):
                self._add(piece)

    def finish(self) -> None:
        """The end of the body."""
        for piece in self._canonicalizer.finish():
            self._add(piece)
        if self._limits and self._limits[-1] == self.length:  # l=0 and no canonical body at all
            self._digests[self._limits.pop()] = self._hash.digest()

    def digest(self, length: int | None) -> bytes | None:
        """The hash of so many octets, after `finish`; None where the canonical body is shorter than that."""
        return self._hash.digest() if length is None else self._digests.get(length)

    def _add(self, piece: bytes) -> None:
        start = 0
        while self._limits and self._limits[-1] <= self.length + len(piece) - start:
            limit = self._limits.pop()
            end = start + limit - self.length
            self._hash.update(piece[start:end])
            self._digests[limit] = self._hash.digest()
            self.length, start = limit, end
        if self._whole or self._limits:
            self._hash.update(piece[start:] if start else piece)
        self.length += len(piece) - start
