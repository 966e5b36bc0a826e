"""The hashes over the body of one message, each canonicalization once, whoever asks for them (RFC 6376 section 3.7)."""

from mailnotary.dkim.canon import BodyHash


class BodyHashes:
    """Every hash of one body that is wanted: told what is `want`ed before the body, fed the body, then `finish`ed."""

    __slots__ = ("_hashes", "_wanted")

    def __init__(self) -> None:
        self._wanted: dict[bool, list[int | None]] = {}
        self._hashes: dict[bool, BodyHash] = {}

    def want(self, relaxed: bool, length: int | None) -> None:
        """Asks for the hash of so many octets (None: all) of the canonical body. Nothing can be asked for later."""
        self._wanted.setdefault(relaxed, []).append(length)
        self._hashes[relaxed] = BodyHash(relaxed, self._wanted[relaxed])

    @property
    def open(self) -> bool:
        """Whether further octets of the body can matter to any hash."""
        for body in self._hashes.values():  # noqa: SIM110 - asked for each chunk; `any` takes twice as long
            if body.open:
                return True
        return False

    def update(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        for body in self._hashes.values():
            body.update(chunk)

    def finish(self) -> None:
        """The end of the body."""
        for body in self._hashes.values():
            body.finish()

    def of(self, relaxed: bool) -> BodyHash:
        """What was asked for of one canonicalization, after `finish`."""
        return self._hashes[relaxed]
