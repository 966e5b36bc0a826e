"""Validating a chain (RFC 8617 section 5.2): its fields are read at the end of the header, the body streams through the
hashes that DKIM uses too, the keys and the mathematics come at the end.

Every seal covers all fields of the sets before it. They are hashed once, from the oldest set on, and the hash as it is
before each seal is kept: so the work grows with the header, not with its square."""

import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from mailnotary.arc.chain import ChainError, collect
from mailnotary.arc.fields import Parts, Seal, described, read_seal, read_signature
from mailnotary.arc.result import ArcResult, ArcSet
from mailnotary.dkim.bodies import BodyHashes
from mailnotary.dkim.canon import relaxed_header
from mailnotary.dkim.check import HeaderHashes, KeyRecords, check_signature
from mailnotary.dkim.key import KeyRecord, KeyRecordError
from mailnotary.dkim.signature import Signature
from mailnotary.dkim.values import SignatureError
from mailnotary.errors import ProtocolOutcome
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import DnsTempError, RecordKind, Resolver, prefetch
from mailnotary.status import ArcStatus, DkimStatus

# A chain of 50 has 50 seals and 50 signatures of messages. What they take is billed by the size of their keys (a
# verification with 8192 bits takes sixteen times that with 2048), so that the longest chain with keys of 4096 bits can
# pass, and what is told beyond its status is told for ordinary ones.
MAX_KEY_BITS = 262_144
_LEAST_BITS = 2048  # what a small key is billed, or one for ed25519
MIN_RSA_BITS = 1024  # RFC 8301 3.2
MAX_INTERNATIONAL = 20  # ARC fields that are not in US-ASCII: IDNA takes 0.5 ms for the names in one
MAX_KEYS = 2  # tried where DNS has several records at a key's name
_PIECE = 65536


class _Broken(ProtocolOutcome):
    """A signature of the chain does not hold."""

    def __init__(self, reason: str, brief: str) -> None:
        super().__init__(reason)
        self.brief = brief


class Verifier:
    """Validates the chain of one message: made at the end of its header, fed the body, asked for the result.

    `fields`: the header from the top down, values as in the message. `now`: seconds since 1970 (UTC). `bodies`: the
    hashes of the body where others want some too, who then feed and finish them. The questions for the keys begin at
    once, side by side, where the resolver can do that. Never raises on anything that a message or DNS holds."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        resolver: Resolver,
        *,
        now: int,
        min_rsa_bits: int = MIN_RSA_BITS,
        bodies: BodyHashes | None = None,
    ) -> None:
        self._fields = fields
        self._min_rsa_bits = max(min_rsa_bits, MIN_RSA_BITS)  # "MUST NOT" below (RFC 8301 3.2)
        self._owns_bodies = bodies is None
        self._bodies = BodyHashes() if bodies is None else bodies
        self._keys = KeyRecords(resolver)
        self._headers = HeaderHashes(fields)
        self._bits_left = MAX_KEY_BITS
        self._sets: list[ArcSet] = []
        self._seals: list[Seal] = []
        self._signatures: list[Signature | SignatureError] = []
        self._digests: list[bytes] = []
        self._failure: ChainError | _Broken | None = None
        try:
            self._read(now)
        except (ChainError, _Broken) as error:
            self._failure = error
            return
        prefetch(resolver, [(name, RecordKind.TXT) for name in self._key_names()])

    @property
    def wants_body(self) -> bool:
        """Whether further octets of the body can matter to the result."""
        return self._bodies.open

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        self._bodies.update(chunk)

    def finish(self) -> ArcResult:
        """The result."""
        if self._owns_bodies:
            self._bodies.finish()
        if not self._sets and self._failure is None:
            return ArcResult(ArcStatus.NONE)
        try:
            if self._failure is not None:
                raise self._failure
            self._check_message(len(self._sets))  # step 4
            for instance in range(len(self._sets), 0, -1):  # step 6, which decides; step 5 is told beyond that
                self._check_seal(instance)
        except (ChainError, _Broken) as error:
            return ArcResult(ArcStatus.FAIL, tuple(self._sets), reason=str(error), brief=error.brief)
        oldest = self._oldest_pass()
        return ArcResult(ArcStatus.PASS, tuple(self._sets), oldest, self._signs_from())

    # --- at the end of the header ---

    def _read(self, now: int) -> None:
        sets = collect(self._fields)
        fields = [field for parts in sets for field in (parts.results, parts.signature, parts.seal)]
        if sum([not field.value.isascii() for field in fields]) > MAX_INTERNATIONAL:
            raise _Broken(f"more than {MAX_INTERNATIONAL} ARC fields are not in US-ASCII", "too many U-labels")
        self._sets = [described(parts) for parts in sets]
        for parts in sets:
            try:
                self._signatures.append(read_signature(parts, now))
            except SignatureError as error:
                self._signatures.append(error)
        if sets and isinstance(newest := self._signatures[-1], SignatureError):
            self._note(len(sets), newest.reason)
            raise _Broken(f"ARC-Message-Signature with i={len(sets)}: {newest.reason}", newest.brief)
        for parts in sets:
            try:
                self._seals.append(read_seal(parts))
            except SignatureError as error:
                raise _Broken(f"ARC-Seal with i={parts.instance}: {error.reason}", error.brief) from error
        for signature in self._signatures:
            if isinstance(signature, Signature):
                self._bodies.want(signature.relaxed_body, signature.length)
        self._digests = _sealed_digests(sets, self._seals)

    def _key_names(self) -> list[str]:
        """The names of the keys, those that decide first: a resolver may take only so many."""
        messages = [signature for signature in reversed(self._signatures) if isinstance(signature, Signature)]
        names = [messages[0].key_name] if messages else []
        names += [seal.key_name for seal in reversed(self._seals)]
        return list(dict.fromkeys([*names, *[signature.key_name for signature in messages]]))

    # --- at the end of the message ---

    def _check_message(self, instance: int) -> None:
        """The ARC-Message-Signature of a set; raises _Broken."""
        signature = self._signatures[instance - 1]
        where = f"ARC-Message-Signature with i={instance}"
        try:
            if isinstance(signature, SignatureError):
                raise _Broken(signature.reason, signature.brief)
            first: _Broken | None = None
            for record in self._records(signature):
                status, reason, brief = check_signature(
                    signature, record, self._bodies, self._headers, self._min_rsa_bits
                )
                if status is DkimStatus.PASS:
                    self._note(instance, "", testing=record.testing)
                    return
                first = first or _Broken(reason, brief)
            raise first or _Broken("there is no key", "no key in DNS")
        except _Broken as error:
            self._note(instance, str(error))
            raise _Broken(f"{where}: {error}", error.brief) from error

    def _check_seal(self, instance: int) -> None:
        """The ARC-Seal of a set; raises _Broken."""
        seal = self._seals[instance - 1]
        where = f"ARC-Seal with i={instance}"
        try:
            records = self._records(seal)
        except _Broken as error:
            raise _Broken(f"{where}: {error}", error.brief) from error
        for record in records:
            bits = record.public.bits
            if record.public.algorithm == "rsa" and bits < self._min_rsa_bits:  # RFC 8301 3.2
                reason = f"RSA key of {bits} bits is too short, {self._min_rsa_bits} are needed"
                raise _Broken(f"{where}: {reason}", "RSA key is too short")
            if record.public.verify(self._digests[instance - 1], seal.value):
                self._note(instance, self._sets[instance - 1].signature, testing=record.testing)
                return
        reason = "the seal does not match: an ARC field was changed, or the key is a different one"
        raise _Broken(f"{where}: {reason}", "an ARC field was changed, or another key")

    def _records(self, signature: Seal | Signature) -> list[KeyRecord]:
        """The records to try, paid for; raises _Broken. "All errors, including DNS failures, become unrecoverable"
        (RFC 8617 5.2.1)."""
        try:
            records = self._keys.of(signature)[:MAX_KEYS]
        except DnsTempError as error:
            raise _Broken(f"key unavailable: {error.reason}", "DNS gives no key") from error
        except KeyRecordError as error:
            raise _Broken(str(error), error.brief) from error
        self._bits_left -= sum([max(record.public.bits, _LEAST_BITS) for record in records])
        if self._bits_left < 0:
            reason = f"not checked: the chain's keys have more than {MAX_KEY_BITS} bits together"
            raise _Broken(reason, "too many or too long keys")
        return records

    def _oldest_pass(self) -> int:
        """Step 5, with the newest known to pass."""
        for instance in range(len(self._sets) - 1, 0, -1):
            try:
                self._check_message(instance)
            except _Broken:
                return instance + 1
        return 0

    def _signs_from(self) -> bool:
        """Whether no From field could have been changed or added since the newest set. (A message that has none more
        than were signed has each of them signed.)"""
        newest = self._signatures[-1]
        named = 0
        if isinstance(newest, Signature):
            named = newest.names.often.get(b"from", 0)
        return 0 < sum([field.key == b"from" for field in self._fields]) <= named

    def _note(self, instance: int, signature: str, *, testing: bool = False) -> None:
        found = self._sets[instance - 1]
        self._sets[instance - 1] = replace(found, signature=signature, testing=found.testing or testing)


def _sealed_digests(sets: Sequence[Parts], seals: Sequence[Seal]) -> list[bytes]:
    """What each seal signs (RFC 8617 5.1.1): the fields of all sets up to its own, in the order of their instances, the
    last of which is the seal itself, with an empty b= and without its CRLF."""
    running = sha256()
    digests = []
    for parts, seal in zip(sets, seals, strict=True):
        running.update(relaxed_header(parts.results) + b"\r\n" + relaxed_header(parts.signature) + b"\r\n")
        own = running.copy()
        own.update(relaxed_header(seal.unsigned_field))
        digests.append(own.digest())
        running.update(relaxed_header(parts.seal) + b"\r\n")
    return digests


def verify(message: bytes, resolver: Resolver, *, now: int | None = None) -> ArcResult:
    """Validates the chain of a whole message with CRLF line ends. `now`: seconds since 1970 (UTC), the clock's where
    None. For the rest see `Verifier`."""
    parsed = parse(message)
    verifier = Verifier(parsed.fields, resolver, now=int(time.time()) if now is None else now)
    for start in range(0, len(parsed.body), _PIECE):
        if not verifier.wants_body:
            break
        verifier.body(parsed.body[start : start + _PIECE])
    return verifier.finish()
