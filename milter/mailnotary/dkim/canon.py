"""Canonicalization (RFC 6376 section 3.4) and the hashes over it (section 3.7).

Nothing here is per octet: a chunk goes through a handful of whole-buffer operations, each of which does something
only where there is something to do. Memory does not grow with the message.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256

from mailnotary.mail.message import HeaderField

_PIECE = 65536  # octets canonicalized at a time: a larger chunk is cut, so that its copies stay in the cache
_BLANK_LINES = b"\r\n" * 4096
_TAB, _LF, _SPACE = b"\t\n "  # numbers: bytes tell six times as fast whether one is in them as an octet of type bytes


def _single_spaces(text: bytes) -> bytes:
    """Every run of WSP as one space. Each turn of the loop cuts the runs to a third, so that all turns together are
    linear; thirds and a last turn for pairs are faster than halves over every kind of text that was measured."""
    if _TAB in text:
        text = text.replace(b"\t", b" ")
    if b"  " in text:
        while b"   " in text:
            text = text.replace(b"   ", b" ")
        text = text.replace(b"  ", b" ")
    return text


def relaxed_header(field: HeaderField) -> bytes:
    """A field under "relaxed" (RFC 6376 3.4.2), without its final CRLF."""
    value = field.value
    if _LF in value:
        value = value.replace(b"\r\n", b"")
    if _TAB in value or value.find(b"  ") >= 0:
        value = _single_spaces(value)
    return field.key + b":" + value.strip(b" ")


def simple_header(field: HeaderField) -> bytes:
    """A field under "simple" (RFC 6376 3.4.1), without its final CRLF: unchanged."""
    return field.raw


def header_hash(fields: Iterable[HeaderField], relaxed: bool) -> bytes:
    """Hash step 2 of RFC 6376 3.7: over the signed fields, the last of which is the signature itself, with an empty
    b=. It alone has no CRLF."""
    canonical = relaxed_header if relaxed else simple_header
    return sha256(b"\r\n".join([canonical(field) for field in fields])).digest()


class BodyCanonicalizer:
    """Streams a body through "simple" (RFC 6376 3.4.3) or "relaxed" (3.4.4). However it is cut into chunks, what comes
    out is the same; the pieces that come out are of bounded size."""

    __slots__ = ("_carry", "_empty", "_pending", "_relaxed")

    def __init__(self, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._carry = b""  # " ", "\r" or " \r" from a chunk's end, whose meaning the next octet decides
        self._pending = 0  # CRLFs seen since the last octet of content: the end of the body drops all but one
        self._empty = True  # no content so far

    def update(self, chunk: bytes) -> Iterable[bytes]:
        """What the chunk adds to the canonical body; to be taken before the next chunk is given."""
        if len(chunk) <= _PIECE:
            return self._update(chunk)
        starts = range(0, len(chunk), _PIECE)
        return (part for start in starts for part in self._update(chunk[start : start + _PIECE]))

    def finish(self) -> Iterable[bytes]:
        """What the end of the body adds: the last line's CRLF, which is all that is left of empty lines there."""
        parts: list[bytes] = []
        if self._carry.endswith(b"\r"):  # a CR that no LF followed is content; a space is white space at a line's end
            parts = self._content(self._carry, 0)
        if not self._relaxed or not self._empty:
            # An empty body is one CRLF under "simple" (3.4.3), and nothing under "relaxed" (3.4.4).
            parts.append(b"\r\n")
        return parts

    def _update(self, piece: bytes) -> list[bytes]:
        data = self._carry + piece if self._carry else piece
        if self._relaxed and (_SPACE in data or _TAB in data):  # an attachment in base64 has neither
            data = _single_spaces(data)
            if b" \r\n" in data:
                data = data.replace(b" \r\n", b"\r\n")
        self._carry = b"" if data.endswith(b"\n") else self._undecided(data)
        if self._carry:
            data = data[: -len(self._carry)]
        if not data.endswith(b"\r\n"):
            return self._content(data, 0)
        # Bare CRs and LFs are content: only whole CRLFs at the end are counted and held back.
        content = data.rstrip(b"\r\n")
        ends = data[len(content) :].replace(b"\r\n", b"\0")
        kept = ends.rstrip(b"\0")
        if kept:
            content += kept.replace(b"\0", b"\r\n")
        return self._content(content, len(ends) - len(kept))

    def _undecided(self, data: bytes) -> bytes:
        if data.endswith(b"\r"):
            return b" \r" if self._relaxed and data.endswith(b" \r") else b"\r"
        return b" " if self._relaxed and data.endswith(b" ") else b""

    def _content(self, content: bytes, line_ends: int) -> list[bytes]:
        """Content, and the number of CRLFs after it."""
        parts: list[bytes] = []
        if content:
            self._empty = False
            while self._pending:
                count = min(self._pending, len(_BLANK_LINES) // 2)
                self._pending -= count
                parts.append(_BLANK_LINES[: 2 * count])
            parts.append(content)
        self._pending += line_ends
        return parts


class BodyHash:
    """The SHA-256 of a canonical body, whole and cut at any number of lengths (l=), all in one pass."""

    __slots__ = ("_canonicalizer", "_digests", "_hash", "_last", "_limits", "_whole", "length")

    def __init__(self, relaxed: bool, lengths: Collection[int | None]) -> None:
        self._canonicalizer = BodyCanonicalizer(relaxed)
        self._hash = sha256()
        self._whole = None in lengths
        self._limits = sorted({length for length in lengths if length is not None}, reverse=True)  # the least last
        self._last = self._limits[0] if self._limits else 0
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
        if not self._limits:  # nearly always
            if self._whole:
                self._hash.update(piece)
            self.length += len(piece)
            return
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
