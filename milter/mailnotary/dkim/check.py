"""The mathematics of a signature over a body (RFC 6376 section 6.1.3), and what it is checked with: the records of its
key, the hash over its header fields. ARC-Message-Signature, which is nearly a DKIM-Signature, is checked in this way
too (RFC 8617 section 4.1.2)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from mailnotary.dkim.bodies import BodyHashes
from mailnotary.dkim.canon import header_hash
from mailnotary.dkim.key import KeyRecord, KeyRecordError, Signed, check_key, parse_key_record
from mailnotary.dkim.signature import Signature
from mailnotary.mail.message import FieldIndex, HeaderField
from mailnotary.resolver import DnsTempError, RecordKind, Resolver
from mailnotary.status import DkimStatus

MAX_HASHED_OCTETS = 2 * 1024 * 1024  # of header fields, by all signatures together: ten of a header of 200 KiB
MAX_RECORDS = 20  # looked at where DNS has several records at a key's name


class Located(Signed, Protocol):
    """A signature that says where DNS has its key."""

    @property
    def key_name(self) -> str:
        """The name of the record."""


class KeyRecords:
    """The key records of one message's signatures; each name is asked for once."""

    __slots__ = ("_answers", "_authentic", "_resolver")

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, tuple[bytes, ...] | DnsTempError] = {}
        self._authentic: set[str] = set()

    def of(self, signature: Located) -> list[KeyRecord]:
        """The records that are good for the signature, at least one; raises KeyRecordError and DnsTempError."""
        name = signature.key_name
        answer = self._answer(name)
        if not answer:  # RFC 6376 6.1.2, step 3
            raise KeyRecordError(f"no key: {name} has no TXT record", "no key in DNS")
        good: list[KeyRecord] = []
        first: KeyRecordError | None = None
        for text in answer[:MAX_RECORDS]:
            try:
                record = parse_key_record(text)
                check_key(record, signature)
                good.append(record)
            except KeyRecordError as error:
                first = first or error.again()
        if first is not None and not good:
            raise first.again()  # not the one that this frame has: see `DnsTempError.again`
        return good

    def are_authentic(self, signature: Located) -> bool:
        """Whether the resolver says that DNSSEC has validated the records that `of` gave."""
        return signature.key_name in self._authentic

    def _answer(self, name: str) -> tuple[bytes, ...]:
        if name not in self._answers:
            try:
                answered = self._resolver.lookup(name, RecordKind.TXT)
                self._answers[name] = answered.texts
                if answered.authentic:
                    self._authentic.add(name)
            except DnsTempError as error:
                self._answers[name] = error.again()
        answer = self._answers[name]
        if isinstance(answer, DnsTempError):
            raise answer.again()
        return answer


class HeaderHashes:
    """The hashes over the header fields that signatures cover, of at most MAX_HASHED_OCTETS for one message."""

    def __init__(self, fields: Sequence[HeaderField]) -> None:
        self._fields = fields
        self._left = MAX_HASHED_OCTETS
        self._last: tuple[Signature, bytes | None] | None = None

    def of(self, signature: Signature) -> bytes | None:
        """Computed once for all keys of a signature that are tried; None beyond what is hashed for one message."""
        if self._last is None or self._last[0] is not signature:
            fields = signature.signed_fields(self.index)
            self._left -= sum([len(field.value) for field in fields])
            self._last = signature, header_hash(fields, signature.relaxed_header) if self._left >= 0 else None
        return self._last[1]

    @cached_property
    def index(self) -> FieldIndex:
        """The fields by name."""
        return FieldIndex(self._fields)


def check_signature(
    signature: Signature, record: KeyRecord, bodies: BodyHashes, headers: HeaderHashes, min_rsa_bits: int
) -> tuple[DkimStatus, str, str]:
    """A signature with one key: the status, the reason, and the brief one."""
    public = record.public
    if public.algorithm == "rsa" and public.bits < min_rsa_bits:  # RFC 8301 3.2
        reason = f"RSA key of {public.bits} bits is too short, {min_rsa_bits} are needed"
        return DkimStatus.POLICY, reason, "RSA key is too short"
    body = bodies.of(signature.relaxed_body)
    digest = body.digest(signature.length)
    if digest is None:
        # "This value MUST NOT be larger than the actual number of octets" (RFC 6376 3.5 l=)
        reason = f"l={signature.length} is longer than the body ({body.length} octets)"
        return DkimStatus.PERMERROR, reason, "the body is shorter than what was signed"
    if digest != signature.body_hash:  # step 3
        return DkimStatus.FAIL, "body hash differs: the body was changed after signing", "body changed"
    header = headers.of(signature)
    if header is None:
        reason = f"not verified: the signatures cover more than {MAX_HASHED_OCTETS} octets of header fields"
        return DkimStatus.POLICY, reason, "too many signed fields"
    if not public.verify(header, signature.value):  # step 4
        reason = "signature does not match: a signed header field was changed, or the key is a different one"
        return DkimStatus.FAIL, reason, "header changed, or another key"
    if signature.length is not None and body.length > signature.length:
        # "Verifiers might treat a message that contains bytes beyond with suspicion" (6.1.3, 8.2): anything
        # may be appended to such a message, an attachment that covers the signed part among it.
        unsigned = body.length - signature.length if not body.open else "some"
        reason = f"l={signature.length} leaves {unsigned} octets of the body unsigned"
        return DkimStatus.POLICY, reason, "part of the body is not signed"
    return DkimStatus.PASS, "", ""
