"""What DKIM2 hashes and signs (draft-ietf-dkim-dkim2-spec-06 sections 4, 6 and 9.6).

The body streams through: each instance's body is made of ranges of lines of the one that was received, and of lines
that recipes give, so that it is hashed while the octets pass, and nothing of the body is kept."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import accumulate

from mailnotary.dkim.canon import BodyCanonicalizer, relaxed_header
from mailnotary.dkim2.recipe import RECEIVED, Copied, Plan
from mailnotary.mail.message import HeaderField, unfold

INSTANCE, SIGNATURE = b"message-instance", b"dkim2-signature"
# Octets that are hashed of bodies that recipes give; the received one is hashed beside these. Postfix takes messages of
# 10 MB (message_size_limit): four of their bodies, or one of 45 MB.
MAX_RECREATED = 64 * 1024 * 1024
LINE_OCTETS = 32  # what a line counts beside its own octets: an empty one takes as long as 36 of a long one

Header = dict[bytes, tuple[bytes, ...]]
"""The hashed fields of an instance by name, each canonical, the lowest in the header first."""

_UNSIGNED = frozenset(
    (
        b"apparently-to",
        b"arc-authentication-results",
        b"arc-message-signature",
        b"arc-seal",
        b"authentication-results",
        b"auto-submitted",
        b"delivered-to",
        b"dkim-signature",
        b"dl-expansion-history",
        b"original-recipient",
        b"received",
        b"return-path",
        b"sio-label-history",
        b"vbr-info",
        b"x400-received",
        b"x400-trace",
        INSTANCE,  # these two are signed in another way (6.2)
        SIGNATURE,
    )
)
_UNSIGNED_PREFIXES = (b"received-", b"x-")
_PIECE = 65536


def is_hashed(key: bytes) -> bool:
    """Whether fields of this name (in lower case) are in the header hash (section 4)."""
    return key not in _UNSIGNED and not key.startswith(_UNSIGNED_PREFIXES)


def hashed_header(fields: Iterable[HeaderField]) -> Header:
    """The fields of a message that are in its header hash."""
    found: dict[bytes, list[bytes]] = {}
    for field in fields:
        if is_hashed(field.key):
            found.setdefault(field.key, []).append(relaxed_header(field))
    return {key: tuple(reversed(lines)) for key, lines in found.items()}


def header_octets(header: Header) -> int:
    """How many octets of a header are hashed."""
    return sum([len(line) + 2 for lines in header.values() for line in lines])


def header_digest(header: Header, algorithm: str) -> bytes:
    """The header hash (6.2)."""
    lines = [line for key in sorted(header) for line in header[key]]
    return hashlib.new(algorithm, b"".join([line + b"\r\n" for line in lines])).digest()


def signed_line(field: HeaderField) -> bytes:
    """A field as it is signed (9.6): without any white space, its name in lower case."""
    return b"%b:%b\r\n" % (field.key, unfold(field.value).translate(None, b" \t"))


class BodyHashes:
    """The body hashes of all instances (6.1), in one pass. `plans`: how each is made of the received body."""

    def __init__(self, plans: Iterable[Plan], algorithms: Iterable[str]) -> None:
        names = tuple(algorithms)
        self._hashers: Mapping[Plan, _Hasher] = {plan: _Hasher(plan, names) for plan in dict.fromkeys(plans)}
        self._line = 1  # that the next octet belongs to
        self._carry = b""  # a CR at the end of a chunk
        self._ended = True  # the last octets were a line's end, or there were none
        self._left = MAX_RECREATED

    @property
    def too_large(self) -> bool:
        """Whether the recreated bodies are larger than what is hashed; their digests are None then."""
        return self._left < 0

    @property
    def lines(self) -> int:
        """Lines of the body, after `finish`."""
        return self._line - 1

    def update(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        for start in range(0, len(chunk), _PIECE):
            piece = self._carry + chunk[start : start + _PIECE]
            self._carry = b"\r" if piece.endswith(b"\r") else b""
            self._add(piece[:-1] if self._carry else piece)

    def finish(self) -> None:
        """The end of the body. A last line without an end gets one (6.1)."""
        if self._carry or not self._ended:
            self._add(self._carry + b"\r\n")
        self._carry = b""
        for hasher in self._hashers.values():
            hasher.finish()

    def digest(self, plan: Plan, algorithm: str) -> bytes | None:
        """An instance's body hash, after `finish`; None where the received body has too few lines for its plan, or the
        recreated bodies are too large."""
        if self.too_large and plan != RECEIVED:
            return None
        return self._hashers[plan].digest(algorithm)

    def _add(self, piece: bytes) -> None:
        """Octets that don't end within a line's end."""
        if not piece:
            return
        self._ended = piece.endswith(b"\r\n")
        cut = _Piece(piece, self._line)
        for plan, hasher in self._hashers.items():
            if plan == RECEIVED:
                hasher.feed(piece)
            elif self._left >= 0:
                self._left -= hasher.take(cut)
        self._line = cut.last


class _Piece:
    """Some of the body: its octets, the numbers of the lines that they begin in (`first`) and that the octet behind
    them belongs to (`last`)."""

    def __init__(self, octets: bytes, first: int) -> None:
        self.octets = octets
        self.first = first
        self.last = first + octets.count(b"\r\n")
        self._starts: list[int] = []

    def start(self, line: int) -> int:
        """Where the part of a line begins that is in here; the end for a line behind."""
        if line <= self.first:
            return 0
        if line > self.last:
            return len(self.octets)
        if not self._starts:  # for all plans, and only for a piece that one of them cuts
            self._starts = list(accumulate(map(len, self.octets.split(b"\r\n")), initial=0))
        return self._starts[line - self.first] + 2 * (line - self.first)


class _Hasher:
    """Hashes one instance's body."""

    def __init__(self, plan: Plan, algorithms: Iterable[str]) -> None:
        self._plan = plan
        self._place = 0  # of the step under way
        self._canonicalizer = BodyCanonicalizer(relaxed=False)  # "in the same manner as DKIM1's simple scheme"
        self._hashes = {name: hashlib.new(name) for name in algorithms}
        self._short = False

    def feed(self, octets: bytes) -> None:
        """Octets of this instance's body."""
        for part in self._canonicalizer.update(octets):
            for one in self._hashes.values():
                one.update(part)

    def take(self, piece: _Piece) -> int:
        """Feeds what this instance has of a piece; how much that is of `MAX_RECREATED`."""
        fed = self._give()
        while self._place < len(self._plan) and isinstance(step := self._plan[self._place], Copied):
            start, end = piece.start(step.start), piece.start(step.end + 1)
            if start < end:
                self.feed(piece.octets[start:end])
                lines = min(step.end + 1, piece.last) - max(step.start, piece.first)
                fed += end - start + LINE_OCTETS * lines
            if step.end >= piece.last:
                break
            self._place += 1
            fed += self._give()
        return fed

    def _give(self) -> int:
        """Feeds the lines of the recipe that are next; how much they are of `MAX_RECREATED`."""
        fed = 0
        while self._place < len(self._plan) and not isinstance(step := self._plan[self._place], Copied):
            octets = b"".join([text + b"\r\n" for text in step.texts])
            self.feed(octets)
            fed += len(octets) + LINE_OCTETS * step.size
            self._place += 1
        return fed

    def finish(self) -> None:
        self._give()
        # All lines have passed: a range that is still open, other than the whole body, has lines that never came.
        self._short = self._place < len(self._plan) and self._plan != RECEIVED
        for part in self._canonicalizer.finish():
            for one in self._hashes.values():
                one.update(part)

    def digest(self, algorithm: str) -> bytes | None:
        return None if self._short else self._hashes[algorithm].digest()
