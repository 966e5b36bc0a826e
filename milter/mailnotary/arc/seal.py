"""Sealing (RFC 8617 section 5.1): the three fields of one more ARC Set."""

import time
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from mailnotary.arc.chain import ChainError, collect, next_instance
from mailnotary.arc.fields import MESSAGE_SIGNATURE, NAMES, RESULTS, SEAL
from mailnotary.dkim.canon import BodyHash, header_hash, relaxed_header
from mailnotary.dkim.sign import Signer, SigningError, fold_tags, folded_signature, listed, signed_names, usable_names
from mailnotary.mail import cfws
from mailnotary.mail.message import FieldIndex, HeaderField, parse, selection
from mailnotary.status import ArcStatus

_NOT_SIGNED = frozenset((b"authentication-results", *NAMES))  # "MUST NOT be included in AMS signatures" (4.1.2)
_RESULTS, _SIGNATURE, _SEAL = (NAMES[name].encode() for name in (RESULTS, MESSAGE_SIGNATURE, SEAL))


class MessageSealer:
    """Seals one message: made at the end of its header, when all other changes are made (RFC 8617 5.1, step 1), fed the
    body, asked for the fields.

    `signer`: whose seal, with which key; its header fields and DKIM-Signature are what the ARC-Message-Signature
    covers. `domain` is its d=, `instance` the i= of the set (0: none may be added). `now`: seconds since 1970 (UTC).
    Raises SigningError."""

    def __init__(self, fields: Sequence[HeaderField], signer: Signer, *, now: int) -> None:
        self._fields = fields
        self._signer = signer
        self._now = now
        self._index = FieldIndex(fields)
        self.domain, self._selector = usable_names(signer)
        header, _, body = signer.canonicalization.partition("/")
        self._relaxed_header = header == "relaxed"
        self._body = BodyHash(body == "relaxed", [None])
        self.instance = next_instance(fields)
        names = [name for name in signed_names(self._index, signer.headers, signer.oversign) if name not in _NOT_SIGNED]
        # "SHOULD include any DKIM-Signature header fields already present" (4.1.2)
        self._names = [*names, *[b"dkim-signature"] * self._index.count(b"dkim-signature")]

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        self._body.update(chunk)

    def finish(self, assessment: str, status: ArcStatus) -> list[HeaderField]:
        """The fields to put at the top of the message, from the top down; none where no set may be added, as the
        newest seal has cv=fail or there are 50.

        `assessment`: the authres-payload, what was found out about the message when it arrived: the value of an
        Authentication-Results field. `status`: what validating its chain gave (cv=). Raises SigningError for an
        assessment that a header field can't carry."""
        self._body.finish()
        try:
            cfws.unfold(assessment)
        except cfws.CfwsError as error:
            raise SigningError(f"the assessment can't be a field's value: {error}") from error
        if not self.instance:
            return []
        results = HeaderField(_RESULTS, b" i=%d; %b" % (self.instance, assessment.strip().encode()))
        signature = self._message_signature()
        return [self._seal(results, signature, status), signature, results]

    def _message_signature(self) -> HeaderField:
        signer = self._signer
        tags = [
            b"i=%d;" % self.instance,
            b"a=%s-sha256;" % signer.key.algorithm.encode(),
            b"c=%s;" % signer.canonicalization.encode(),
            b"d=%s;" % self.domain.encode(),
            b"s=%s;" % self._selector.encode(),
            b"t=%d;" % self._now,
        ]
        if signer.expire_after is not None:
            tags.append(b"x=%d;" % (self._now + signer.expire_after))
        body_hash = b"bh=%s;" % b64encode(self._body.digest(None) or b"")
        unsigned = fold_tags(_SIGNATURE, tags, listed(self._names), [body_hash])
        covered = [*self._index.select(selection(self._names)), HeaderField(_SIGNATURE, unsigned)]
        digest = header_hash(covered, self._relaxed_header)
        return HeaderField(_SIGNATURE, unsigned + folded_signature(signer.key.sign(digest)))

    def _seal(self, results: HeaderField, signature: HeaderField, status: ArcStatus) -> HeaderField:
        signer = self._signer
        earlier = self._earlier(status)
        cv = status if earlier is not None else ArcStatus.FAIL
        tags = [
            b"i=%d;" % self.instance,
            b"a=%s-sha256;" % signer.key.algorithm.encode(),
            b"d=%s;" % self.domain.encode(),
            b"s=%s;" % self._selector.encode(),
            b"t=%d;" % self._now,
            b"cv=%s;" % cv.encode(),
        ]
        unsigned = fold_tags(_SEAL, tags, [], [])
        covered = [*(earlier or []), results, signature, HeaderField(_SEAL, unsigned)]
        digest = sha256(b"\r\n".join([relaxed_header(field) for field in covered])).digest()
        return HeaderField(_SEAL, unsigned + folded_signature(signer.key.sign(digest)))

    def _earlier(self, status: ArcStatus) -> list[HeaderField] | None:
        """The fields of the chain that the seal covers beside its own set; None where the chain is broken: "the header
        fields included in the signature scope [...] MUST only include the ARC Set header fields created by the MTA that
        detected the malformed chain" (RFC 8617 5.1.2)."""
        try:
            sets = collect(self._fields)
        except ChainError:
            return None
        if status is ArcStatus.FAIL or (status is ArcStatus.NONE) != (not sets):
            return None
        return [field for parts in sets for field in (parts.results, parts.signature, parts.seal)]


def seal(message: bytes, signer: Signer, assessment: str, status: ArcStatus, *, now: int | None = None) -> bytes:
    """The fields of one more ARC Set for a message with CRLF line ends, from the top down, without the final CRLF;
    empty where none may be added. See `MessageSealer.finish`. `now`: seconds since 1970 (UTC), the clock's where None.
    Raises SigningError."""
    parsed = parse(message)
    job = MessageSealer(parsed.fields, signer, now=int(time.time()) if now is None else now)
    job.body(parsed.body)
    return b"\r\n".join([field.raw for field in job.finish(assessment, status)])
