"""Verifying (RFC 6376 section 6): signatures are parsed at the end of the header, the body streams through its hashes,
the keys and the mathematics come at the end."""

import time
from collections.abc import Sequence
from functools import cached_property

from mailnotary.dkim.canon import BodyHash, header_hash
from mailnotary.dkim.key import KeyRecord, KeyRecordError, check_key, parse_key_record
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim.signature import Labels, Signature, SignatureError, read_labels, read_tags, validate
from mailnotary.domain import is_subdomain
from mailnotary.mail.address import author
from mailnotary.mail.message import FieldIndex, HeaderField, parse
from mailnotary.resolver import DnsTempError, RecordKind, Resolver, prefetch
from mailnotary.status import DkimStatus

MAX_SIGNATURES = 10  # verified in one message
MAX_PARSED = 100  # DKIM-Signature fields read at all, to find those of the author's domain among them
MAX_INTERNATIONAL = 20  # of those, fields that are not in US-ASCII: IDNA takes 0.5 ms for the names in one
MAX_HEADER_OCTETS = 4 * 1024 * 1024  # of the header; MTAs take less (Postfix: header_size_limit, 100 KiB)
MAX_HASHED_OCTETS = 2 * 1024 * 1024  # of header fields, by all signatures together: ten of a header of 200 KiB
MAX_KEYS = 3  # tried where DNS has several records at a key's name
MAX_RECORDS = 20  # looked at there
MIN_RSA_BITS = 1024  # RFC 8301 3.2

_SIGNATURE = b"dkim-signature"
_PIECE = 65536


class Verifier:
    """Verifies the signatures of one message: made at the end of its header, fed the body, asked for the results.

    `fields`: the header from the top down, values as in the message (RFC 6376 wants every octet). `now`: seconds since
    1970 (UTC). At most `max_signatures` signatures are verified, those of `author_domains` first (A-labels, lower case;
    a parent or a child counts as one of them), then from the top; the others come back as `policy`. The questions
    for the keys begin at once where the resolver can do that; nothing waits for them before `finish`. Never raises on
    anything that a message or DNS holds."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        resolver: Resolver,
        *,
        now: int,
        author_domains: Sequence[str] = (),
        max_signatures: int = MAX_SIGNATURES,
        min_rsa_bits: int = MIN_RSA_BITS,
    ) -> None:
        self._fields = fields
        self._resolver = resolver
        self._now = now
        self._min_rsa_bits = max(min_rsa_bits, MIN_RSA_BITS)  # "MUST NOT" below (RFC 8301 3.2)
        self._author_domains = author_domains
        self._hashed: tuple[Signature, bytes | None] | None = None
        self._hash_left = MAX_HASHED_OCTETS
        self._items = self._read(author_domains, max_signatures)
        self._bodies = self._body_hashes()
        names = dict.fromkeys([item.key_name for item in self._items if isinstance(item, Signature)])
        prefetch(resolver, [(name, RecordKind.TXT) for name in names])

    @property
    def wants_body(self) -> bool:
        """Whether further octets of the body can matter to any result."""
        for body in self._bodies.values():  # noqa: SIM110 - asked for each chunk; `any` takes twice as long
            if body.open:
                return True
        return False

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        for body in self._bodies.values():
            body.update(chunk)

    def finish(self) -> list[DkimResult]:
        """One result for each signature, the topmost first; none for a message without any."""
        for body in self._bodies.values():
            body.finish()
        keys: dict[str, tuple[bytes, ...] | DnsTempError] = {}
        items = self._items
        places: Sequence[int] = range(len(items))
        if len(items) > 1:
            # The author's first, as they decide DMARC: the keys of others can't use up their time.
            places = sorted(places, key=self._is_foreign)
        results: dict[int, DkimResult] = {}
        for place in places:
            item = items[place]
            results[place] = self._verify(item, keys) if isinstance(item, Signature) else item
        return [results[place] for place in range(len(items))]

    def _is_foreign(self, place: int) -> bool:
        item = self._items[place]
        return not (isinstance(item, Signature) and _is_aligned(item.domain, self._author_domains))

    # --- at the end of the header ---

    def _read(self, author_domains: Sequence[str], max_signatures: int) -> list[Signature | DkimResult]:
        fields = [field for field in self._fields if field.key == _SIGNATURE]
        if not fields:
            return []
        if sum([len(field.name) + len(field.value) + 3 for field in self._fields]) > MAX_HEADER_OCTETS:
            return [_refused(Labels(), f"header is larger than {MAX_HEADER_OCTETS} octets")] * len(fields)
        items = self._parse_each(fields[:MAX_PARSED])
        _cap(items, author_domains, max_signatures)
        if len(fields) > MAX_PARSED:
            unread = _refused(Labels(), f"not read: message has more than {MAX_PARSED} signatures")
            items += [unread] * (len(fields) - MAX_PARSED)
        return items

    def _parse_each(self, fields: Sequence[HeaderField]) -> list[Signature | DkimResult]:
        items: list[Signature | DkimResult] = []
        left = MAX_INTERNATIONAL
        for field in fields:
            left -= not field.value.isascii()
            if left >= 0 or field.value.isascii():
                items.append(self._parse(field))
            else:
                reason = f"not read: message has more than {MAX_INTERNATIONAL} signatures with U-labels"
                items.append(_refused(Labels(), reason))
        return items

    def _parse(self, field: HeaderField) -> Signature | DkimResult:
        labels = Labels()
        try:
            tags = read_tags(field)
            labels = read_labels(tags)
            return validate(field, tags, labels, self._now)
        except SignatureError as error:
            return _result(labels, error.status, error.reason, error.brief)

    def _body_hashes(self) -> dict[bool, BodyHash]:
        """One hash for each body canonicalization, which makes every l= in one pass."""
        lengths: dict[bool, list[int | None]] = {}
        for item in self._items:
            if isinstance(item, Signature):
                lengths.setdefault(item.relaxed_body, []).append(item.length)
        return {relaxed: BodyHash(relaxed, wanted) for relaxed, wanted in lengths.items()}

    # --- at the end of the message ---

    def _verify(self, signature: Signature, answers: dict[str, tuple[bytes, ...] | DnsTempError]) -> DkimResult:
        """RFC 6376 6.1.2 and 6.1.3."""
        labels = signature.labels
        try:
            records = self._key_records(signature, answers)
        except DnsTempError as error:  # step 2
            return _result(labels, DkimStatus.TEMPERROR, f"key unavailable: {error.reason}", "DNS gives no key")
        except KeyRecordError as error:
            return _result(labels, DkimStatus.PERMERROR, str(error), error.brief)
        # Several records: the verifier "may cycle through the key records" (step 4). OpenDKIM gives up on them, others
        # take the first, and both fail good mail where a key is changed in place or has other records beside it.
        results = []
        for record in records[:MAX_KEYS]:
            status, reason, brief = self._check(signature, record)
            if record.testing:  # reported alone (RFC 6376 3.6.1 t=y): no result of DKIM rejects mail by itself here
                reason = f"{reason}; key is in test mode (t=y)" if reason else "key is in test mode (t=y)"
                brief = f"{brief}, key is in test mode" if brief else "key is in test mode"
            results.append(_result(labels, status, reason, brief, record.public.bits))
            if status is DkimStatus.PASS:
                return results[-1]
        return results[0]

    def _key_records(
        self, signature: Signature, answers: dict[str, tuple[bytes, ...] | DnsTempError]
    ) -> list[KeyRecord]:
        """The records that are good for the signature, at least one; raises KeyRecordError."""
        name = signature.key_name
        if name not in answers:
            try:
                records = self._resolver.lookup(name, RecordKind.TXT).records
                answers[name] = tuple(record for record in records if isinstance(record, bytes))
            except DnsTempError as error:
                answers[name] = error
        answer = answers[name]
        if isinstance(answer, DnsTempError):
            raise answer
        if not answer:  # step 3
            raise KeyRecordError(f"no key: {name} has no TXT record", "no key in DNS")
        good, errors = [], []
        for text in answer[:MAX_RECORDS]:
            try:
                record = parse_key_record(text)
                check_key(record, signature)
                good.append(record)
            except KeyRecordError as error:
                errors.append(error)
        if not good:
            raise errors[0]
        return good

    def _check(self, signature: Signature, record: KeyRecord) -> tuple[DkimStatus, str, str]:
        """RFC 6376 6.1.3 with one key: the status, the reason, and the brief one."""
        public = record.public
        if public.algorithm == "rsa" and public.bits < self._min_rsa_bits:  # RFC 8301 3.2
            reason = f"RSA key of {public.bits} bits is too short, {self._min_rsa_bits} are needed"
            return DkimStatus.POLICY, reason, "RSA key is too short"
        body = self._bodies[signature.relaxed_body]
        digest = body.digest(signature.length)
        if digest is None:
            # "This value MUST NOT be larger than the actual number of octets" (RFC 6376 3.5 l=)
            reason = f"l={signature.length} is longer than the body ({body.length} octets)"
            return DkimStatus.PERMERROR, reason, "the body is shorter than what was signed"
        if digest != signature.body_hash:  # step 3
            return DkimStatus.FAIL, "body hash differs: the body was changed after signing", "body changed"
        header = self._header_hash(signature)
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

    def _header_hash(self, signature: Signature) -> bytes | None:
        """Computed once for all keys of a signature that are tried; None beyond what is hashed for one message."""
        if self._hashed is None or self._hashed[0] is not signature:
            fields = signature.signed_fields(self._index)
            self._hash_left -= sum([len(field.value) for field in fields])
            hashed = header_hash(fields, signature.relaxed_header) if self._hash_left >= 0 else None
            self._hashed = signature, hashed
        return self._hashed[1]

    @cached_property
    def _index(self) -> FieldIndex:
        return FieldIndex(self._fields)


def _cap(items: list[Signature | DkimResult], author_domains: Sequence[str], limit: int) -> None:
    """Leaves so many signatures to be verified: the author's first (they decide DMARC), then from the top."""
    if len(items) <= limit:
        return
    signatures = [(number, item) for number, item in enumerate(items) if isinstance(item, Signature)]
    if len(signatures) > limit:
        signatures.sort(key=lambda pair: not _is_aligned(pair[1].domain, author_domains))  # a stable sort
        for number, signature in signatures[limit:]:
            items[number] = _refused(signature.labels, f"not verified: message has more than {limit} signatures")


def _is_aligned(domain: str, author_domains: Sequence[str]) -> bool:
    return any(is_subdomain(domain, author) or is_subdomain(author, domain) for author in author_domains)


def _refused(labels: Labels, reason: str) -> DkimResult:
    return _result(labels, DkimStatus.POLICY, reason, reason)


def _result(labels: Labels, status: DkimStatus, reason: str, brief: str, key_bits: int = 0) -> DkimResult:
    return DkimResult(
        status=status,
        domain=labels.domain,
        selector=labels.selector,
        identity=labels.identity,
        algorithm=labels.algorithm,
        key_bits=key_bits,
        reason=reason,
        signature=labels.signature,
        brief=brief,
    )


def verify(
    message: bytes,
    resolver: Resolver,
    *,
    now: int | None = None,
    max_signatures: int = MAX_SIGNATURES,
    min_rsa_bits: int = MIN_RSA_BITS,
) -> list[DkimResult]:
    """Verifies the signatures of a whole message with CRLF line ends, the topmost first; [] for an unsigned message.

    `now`: seconds since 1970 (UTC), the clock's where None. For the rest see `Verifier`."""
    parsed = parse(message)
    verifier = Verifier(
        parsed.fields,
        resolver,
        now=int(time.time()) if now is None else now,
        author_domains=author(parsed.fields).domains,
        max_signatures=max_signatures,
        min_rsa_bits=min_rsa_bits,
    )
    for start in range(0, len(parsed.body), _PIECE):
        if not verifier.wants_body:
            break
        verifier.body(parsed.body[start : start + _PIECE])
    return verifier.finish()
