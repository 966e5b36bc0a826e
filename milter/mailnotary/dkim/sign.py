"""Signing (RFC 6376 section 5)."""

import re
import time
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache

from mailnotary.crypto import PrivateKey
from mailnotary.dkim.canon import BodyHash, header_hash
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.dkim.signature import read_labels, read_tags
from mailnotary.dkim.values import SignatureError
from mailnotary.dkim.verify import Verifier
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.errors import DkimKeyError
from mailnotary.frozen import frozen
from mailnotary.mail.defaults import DEFAULT_HEADERS, DEFAULT_OVERSIGN
from mailnotary.mail.message import FieldIndex, HeaderField, parse, selection
from mailnotary.resolver import Answer, RecordKind
from mailnotary.status import DkimStatus

"""Named once more than the message has them, so that none can be added (RFC 6376 5.4, 8.15): what a reader sees
and what decides how the body is shown. OpenDKIM of Debian does this for From, Gmail for what it signs, rspamd for about
these. Not Sender and List-*, which mailing lists add to mail that they leave whole."""

ADDED_BY_MTAS = frozenset((b"date", b"message-id", b"to", b"cc"))
"""Never oversigned where absent: Sendmail and others complete a message after its milters have seen it."""

CANONICALIZATIONS = frozenset(
    ("simple", "relaxed", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
)

_NAME = b"DKIM-Signature"
_KEY = b"dkim-signature"
_LINE = 76  # octets of a folded line; RFC 5322 2.1.1 wants at most 78
_FOLD = b"\r\n\t"
_HEADER_NAME = re.compile(r"[!-9;-~]+\Z")
_IDENTITY = re.compile(r"[!-:<>-~]*@[!-:<>-~]+\Z")  # what needs no dkim-quoted-printable (RFC 6376 2.11)


class SigningError(DkimKeyError):
    """A message can't be signed; the text says why, for a log."""


@frozen
class Signer:
    """Whose signature, with which key, over what.

    `headers` are signed where present, all of a name; `oversign` are named once more than the message has them
    (absent ones of ADDED_BY_MTAS excepted). `expire_after`: seconds until x=, None for no x=. `identity`: i=, None
    for no i=."""

    domain: str
    selector: str
    key: PrivateKey
    headers: Sequence[str] = DEFAULT_HEADERS
    canonicalization: str = "relaxed/simple"
    expire_after: int | None = None
    oversign: Sequence[str] = DEFAULT_OVERSIGN
    identity: str | None = None


def _claim(field: HeaderField) -> tuple[str, str]:
    """The d= and s= of a signature, "" where they can't be read."""
    try:
        labels = read_labels(read_tags(field))
    except SignatureError:
        return "", ""
    return labels.domain, labels.selector


class MessageSigner:
    """Signs one message with any number of keys: made at the end of its header, fed the body, asked for the fields.

    Mail that we signed before is not signed twice: a key whose valid signature the message still carries is left out
    (`again` signs all the same). A signature that no longer holds counts for nothing, so mail that was changed on
    its way back to us is signed anew. `signed`: the domain and selector of each field that `finish` gave. Raises
    SigningError for a message or a signer that can't be."""

    def __init__(
        self, fields: Sequence[HeaderField], signers: Sequence[Signer], *, now: int, again: bool = False
    ) -> None:
        self._index = FieldIndex(fields)
        self._now = now
        self.signed: tuple[tuple[str, str], ...] = ()
        authors = self._index.count(b"from")
        if authors != 1:
            # From MUST be signed (RFC 6376 5.4) and occurs once (RFC 5322 3.6); of several, readers show any (8.15).
            raise SigningError("message has no From field" if not authors else f"message has {authors} From fields")
        self._jobs = [_Job(signer, self._index) for signer in signers]
        self._bodies = {relaxed: BodyHash(relaxed, [None]) for relaxed in {job.relaxed_body for job in self._jobs}}
        self._earlier = None if again else _earlier_signatures(fields, self._jobs, now)

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        for body in self._bodies.values():
            body.update(chunk)
        if self._earlier is not None:
            self._earlier.body(chunk)

    def finish(self) -> list[HeaderField]:
        """The DKIM-Signature fields to put at the top of the message, in the order of the signers."""
        for body in self._bodies.values():
            body.finish()
        valid = set()
        if self._earlier is not None:
            passed = (result for result in self._earlier.finish() if result.status is DkimStatus.PASS)
            valid = {(result.domain, result.selector) for result in passed}
        jobs = [job for job in self._jobs if (job.domain, job.selector) not in valid]
        self.signed = tuple([(job.signer.domain, job.signer.selector) for job in jobs])
        return [job.sign(self._bodies[job.relaxed_body].digest(None) or b"", self._now) for job in jobs]


class _Job:
    """The work of one signer on one message."""

    def __init__(self, signer: Signer, index: FieldIndex) -> None:
        self.signer = signer
        self.key = signer.key
        self.domain, self.selector = usable_names(signer)
        if signer.identity is not None:
            _check_identity(signer.identity, self.domain)
        header, _, body = signer.canonicalization.partition("/")
        self._relaxed_header, self.relaxed_body = header == "relaxed", body == "relaxed"
        self._names = signed_names(index, signer.headers, signer.oversign)
        self._fields = index.select(selection(self._names))

    def sign(self, body_hash: bytes, now: int) -> HeaderField:
        signer = self.signer
        tags = [
            b"v=1;",
            b"a=%s-sha256;" % self.key.algorithm.encode(),
            b"c=%s;" % signer.canonicalization.encode(),
            b"d=%s;" % self.domain.encode(),
            b"s=%s;" % self.selector.encode(),
            b"t=%d;" % now,
        ]
        if signer.expire_after is not None:
            tags.append(b"x=%d;" % (now + signer.expire_after))
        if signer.identity is not None:
            tags.append(b"i=%s;" % signer.identity.encode())
        unsigned = fold_tags(_NAME, tags, listed(self._names), [b"bh=%s;" % b64encode(body_hash)])
        digest = header_hash([*self._fields, HeaderField(_NAME, unsigned)], self._relaxed_header)
        return HeaderField(_NAME, unsigned + folded_signature(self.key.sign(digest)))


def listed(names: Sequence[bytes]) -> list[bytes]:
    """h= with these names, in the pieces between which it may be folded."""
    pieces = [name + b":" for name in names]
    pieces[0], pieces[-1] = b"h=" + pieces[0], pieces[-1][:-1] + b";"
    return pieces


def folded_signature(octets: bytes) -> bytes:
    """The value of b=."""
    value = b64encode(octets)
    return _FOLD.join([value[start : start + _LINE - 4] for start in range(0, len(value), _LINE - 4)])


def signed_names(index: FieldIndex, headers: Iterable[str], oversign: Iterable[str]) -> list[bytes]:
    """The names of h=, in lower case: a name as often as the message has it, oversigned ones once more. From is always
    among them (RFC 6376 5.4), DKIM-Signature never (3.5 h=: it must not be covered by its own h=)."""
    names: list[bytes] = []
    for name, oversigned in _names(tuple(headers), tuple(oversign)):
        count = index.count(name)
        if oversigned and (count or name not in ADDED_BY_MTAS):
            count += 1
        names += [name] * count
    return names


@lru_cache(maxsize=64)
def _names(headers: tuple[str, ...], oversign: tuple[str, ...]) -> list[tuple[bytes, bool]]:
    """Each name, and whether it is to be oversigned."""
    extra = {name.lower() for name in oversign}
    wanted = dict.fromkeys(name.lower() for name in ("from", *headers, *oversign))
    for name in wanted:
        if not _HEADER_NAME.match(name) or name == _KEY.decode():
            raise SigningError(f"header field {name!r} can't be signed")
    return [(name.encode("ascii"), name in extra) for name in wanted]


def usable_names(signer: Signer) -> tuple[str, str]:
    """The d= and s= of a signer as A-labels; raises SigningError for a signer that can't be."""
    domain, selector = _usable_name(signer.domain, "domain"), _usable_name(signer.selector, "selector")
    if "." not in domain:
        raise SigningError(f"domain {signer.domain!r} can't be used as d=: it needs two labels")
    if signer.canonicalization not in CANONICALIZATIONS:
        raise SigningError(f"canonicalization {signer.canonicalization!r} is unknown")
    return domain, selector


def _usable_name(text: str, what: str) -> str:
    name = to_ascii(text)
    if name is None or not is_domain_name(name):
        raise SigningError(f"{what} {text!r} is not a usable name")
    return name


def _check_identity(identity: str, domain: str) -> None:
    part = to_ascii(identity.rpartition("@")[2])
    if not _IDENTITY.match(identity) or part is None or not is_subdomain(part, domain):
        raise SigningError(f"identity {identity!r} is not an address in {domain}")  # RFC 6376 3.5 i=


def fold_tags(name: bytes, tags: Iterable[bytes], names: Iterable[bytes], last: Iterable[bytes]) -> bytes:
    """The value of a field of this name up to "b=", folded between tags and between names (RFC 6376 allows FWS at these
    places), with the first line's space (MTAs add one that is missing). `last` are tags between the names and b=."""
    lines = [b""]
    room = _LINE - len(name) - 1
    for number, word in enumerate((*tags, *names, *last, b"b=")):
        starts_tag = number == 0 or not lines[-1].endswith(b":")
        piece = b" " + word if starts_tag else word
        fresh = word.startswith((b"h=", b"bh=", b"b="))
        if number and (fresh or len(lines[-1]) + len(piece) > room):
            lines.append(word)
            room = _LINE
        else:
            lines[-1] += piece
    return _FOLD.join(lines)


class _OwnKeys:
    """A resolver that knows the signers' own key records and nothing else: whether our earlier signature still holds is
    found out without DNS."""

    def __init__(self, jobs: Iterable[_Job]) -> None:
        self._records = {key_record_name(job.domain, job.selector): key_record_text(job.key).encode() for job in jobs}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        record = self._records.get(name) if kind is RecordKind.TXT else None
        return Answer((record,) if record is not None else (), exists=record is not None)


def _earlier_signatures(fields: Sequence[HeaderField], jobs: Sequence[_Job], now: int) -> Verifier | None:
    """The verifier of the signatures that claim to be of these signers, if there are any."""
    claims = {(job.domain, job.selector) for job in jobs}
    ours = [field for field in fields if field.key == _KEY and _claim(field) in claims]
    if not ours:
        return None
    others = [field for field in fields if field.key != _KEY]
    return Verifier([*ours, *others], _OwnKeys(jobs), now=now)


def sign(message: bytes, signer: Signer, *, now: int | None = None) -> bytes:
    """The DKIM-Signature field of a message with CRLF line ends, from its name to its value, without the final CRLF.

    `now`: seconds since 1970 (UTC), the clock's where None. Signs whether or not the message was signed before. Raises
    SigningError."""
    parsed = parse(message)
    job = MessageSigner(parsed.fields, [signer], now=int(time.time()) if now is None else now, again=True)
    job.body(parsed.body)
    return job.finish()[0].raw
