"""Verifying (RFC 6376 section 6): signatures are parsed at the end of the header, the body streams through its hashes,
the keys and the mathematics come at the end."""

import time
from collections.abc import Sequence

from mailnotary.dkim import evidence
from mailnotary.dkim.bodies import BodyHashes
from mailnotary.dkim.check import HeaderHashes, KeyRecords, check_signature
from mailnotary.dkim.key import KeyRecordError
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim.signature import Labels, Signature, read_labels, read_tags, validate
from mailnotary.dkim.values import SignatureError
from mailnotary.domain import is_subdomain
from mailnotary.mail.address import author
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import DnsTempError, RecordKind, Resolver, prefetch
from mailnotary.status import DkimStatus

MAX_SIGNATURES = 10  # verified in one message
MAX_PARSED = 100  # DKIM-Signature fields read at all, to find those of the author's domain among them
MAX_INTERNATIONAL = 20  # of those, fields that are not in US-ASCII: IDNA takes 0.5 ms for the names in one
MAX_HEADER_OCTETS = 4 * 1024 * 1024  # of the header; MTAs take less (Postfix: header_size_limit, 100 KiB)
MAX_KEYS = 3  # tried where DNS has several records at a key's name
MIN_RSA_BITS = 1024  # RFC 8301 3.2

_SIGNATURE = b"dkim-signature"
_PIECE = 65536


class Verifier:
    """Verifies the signatures of one message: made at the end of its header, fed the body, asked for the results.

    `fields`: the header from the top down, values as in the message (RFC 6376 wants every octet). `now`: seconds since
    1970 (UTC). At most `max_signatures` signatures are verified, those of `author_domains` first (A-labels, lower case;
    a parent or a child counts as one of them), then from the top; the others come back as `policy`. The questions
    for the keys begin at once where the resolver can do that; nothing waits for them before `finish`. `bodies`: the
    hashes of the body where others want some too, who then feed and finish them. Never raises on anything that a
    message or DNS holds."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        resolver: Resolver,
        *,
        now: int,
        author_domains: Sequence[str] = (),
        max_signatures: int = MAX_SIGNATURES,
        min_rsa_bits: int = MIN_RSA_BITS,
        bodies: BodyHashes | None = None,
    ) -> None:
        self._fields = fields
        self._keys = KeyRecords(resolver)
        self._headers = HeaderHashes(fields)
        self._now = now
        self._min_rsa_bits = max(min_rsa_bits, MIN_RSA_BITS)  # "MUST NOT" below (RFC 8301 3.2)
        self._author_domains = author_domains
        self._items = self._read(author_domains, max_signatures)
        self._owns_bodies = bodies is None
        self._bodies = BodyHashes() if bodies is None else bodies
        for item in self._items:
            if isinstance(item, Signature):
                self._bodies.want(item.relaxed_body, item.length)
        names = dict.fromkeys([item.key_name for item in self._items if isinstance(item, Signature)])
        prefetch(resolver, [(name, RecordKind.TXT) for name in names])

    @property
    def wants_body(self) -> bool:
        """Whether further octets of the body can matter to any result."""
        return self._bodies.open

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        self._bodies.update(chunk)

    def finish(self) -> list[DkimResult]:
        """One result for each signature, the topmost first; none for a message without any."""
        if self._owns_bodies:
            self._bodies.finish()
        items = self._items
        places: Sequence[int] = range(len(items))
        if len(items) > 1:
            # The author's first, as they decide DMARC: the keys of others can't use up their time.
            places = sorted(places, key=self._is_foreign)
        results: dict[int, DkimResult] = {}
        for place in places:
            item = items[place]
            results[place] = self._verify(item) if isinstance(item, Signature) else item
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

    # --- at the end of the message ---

    def _verify(self, signature: Signature) -> DkimResult:
        """RFC 6376 6.1.2 and 6.1.3."""
        labels = signature.labels
        try:
            records = self._keys.of(signature)
        except DnsTempError as error:  # step 2
            return _result(labels, DkimStatus.TEMPERROR, f"key unavailable: {error.reason}", "DNS gives no key")
        except KeyRecordError as error:
            return _result(labels, DkimStatus.PERMERROR, str(error), error.brief)
        # Several records: the verifier "may cycle through the key records" (step 4). OpenDKIM gives up on them, others
        # take the first, and both fail good mail where a key is changed in place or has other records beside it.
        results = []
        for record in records[:MAX_KEYS]:
            status, reason, brief = check_signature(signature, record, self._bodies, self._headers, self._min_rsa_bits)
            if record.testing:  # reported alone (RFC 6376 3.6.1 t=y): no result of DKIM rejects mail by itself here
                reason = f"{reason}; key is in test mode (t=y)" if reason else "key is in test mode (t=y)"
                brief = f"{brief}, key is in test mode" if brief else "key is in test mode"
            if status is DkimStatus.PASS:
                secure = self._keys.are_authentic(signature)
                found = evidence.of(signature, self._headers.index, self._now, secure=secure)
                return _result(labels, status, reason, brief, record.public.bits, found)
            results.append(_result(labels, status, reason, brief, record.public.bits))
        return results[0]


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


def _result(
    labels: Labels,
    status: DkimStatus,
    reason: str,
    brief: str,
    key_bits: int = 0,
    found: evidence.Evidence | None = None,
) -> DkimResult:
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
        evidence=found,
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
