"""The DKIM-Signature field (RFC 6376 section 3.5) and its validation (section 6.1.1).

How a failure here is reported (RFC 8601 section 2.7.1 names the words, RFC 6376 knows only PERMFAIL):

neutral    "contained syntax errors or [was] not otherwise able to be processed": not a tag list, a value that is not in
           its tag's syntax, an algorithm, canonicalization or query method that we don't know (RFC 6376 3.3.4, 3.4
           and 3.5 tell us to ignore those)
permerror  "some error that is unrecoverable, such as a required header field being absent": a signature that is
           understood and that RFC 6376 6.1.1 does not let pass: required tags missing, another version, i= outside
           of d=, From not signed, expired
policy     "some aspect [was] not acceptable to the ADMD": what local policy or RFC 8301 refuses

viadkim maps in this way; OpenDKIM and mox say permerror for both of the first two, mail-auth neutral for both.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from mailnotary.dkim.publish import key_record_name
from mailnotary.dkim.tags import BASE64, TagError, TagList, parse_tags
from mailnotary.dkim.values import (
    ALGORITHM,
    KEY_TYPES,
    SignatureError,
    check_required,
    read_base64,
    read_key_type,
    read_number,
    shown,
    syntax,
    unacceptable,
    word,
)
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.mail.message import FieldIndex, HeaderField, Selection, selection
from mailnotary.remember import Remembering
from mailnotary.remember import size as memory
from mailnotary.status import DkimStatus

MAX_SIGNATURE_OCTETS = 65536  # of one DKIM-Signature field; Postfix cuts a field at 60,000
# Of what a result says about a signature, valid or not; that is kept in caches and written to the log. 16,384 bits take
# 2732 characters of base64; an address has 64 octets before the "@" and 255 after it (RFC 5321 4.5.3.1).
MAX_SIGNATURE_TEXT = 4096
MAX_IDENTITY = 320
MAX_SIGNED_NAMES = 1000  # in h=; the longest in real mail have some 60
CLOCK_DRIFT = 300  # seconds that a signature outlives its x= (the "fudge factor" of RFC 6376 3.5); OpenDKIM's default
MAX_FUTURE = 86400  # seconds that t= may be in the future: clocks in a wrong time zone are common and harmless

REQUIRED_TAGS = ("v", "a", "b", "bh", "d", "h", "s")  # RFC 6376 6.1.1
ARC_REQUIRED_TAGS = ("a", "b", "bh", "d", "s")  # of an ARC-Message-Signature (RFC 8617 4.1.2); h= may be empty there

_WSP = b" \t\r\n"
_HEADER_NAME = re.compile(rb"[!-9;-~]+\Z")  # ftext (RFC 5322 3.6.8); a ";" cannot occur in a tag's value
_ENCODED = re.compile(rb"=([0-9A-Fa-f]{2})")  # hex-octet (RFC 6376 2.11)
_HYPHENATED = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?\Z")  # hyphenated-word (RFC 6376 2.10)

# What most signatures of one sender, or of one signing program, have in common is parsed once.
_CACHED = 1024  # octets of such a value, and the number of them: together they bound the memory


_CANONICALIZATIONS = {
    "simple/simple": (False, False),
    "simple/relaxed": (False, True),
    "relaxed/simple": (True, False),
    "relaxed/relaxed": (True, True),
}


class Labels(NamedTuple):
    """What a result says about a signature, as far as it could be read ("" where not)."""

    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    signature: str = ""


class Signature(NamedTuple):
    """A valid DKIM-Signature field. Domains are lower-case A-labels."""

    field: HeaderField
    labels: Labels
    key_type: str  # "rsa" or "ed25519"
    value: bytes  # b=, decoded
    body_hash: bytes  # bh=, decoded
    relaxed_header: bool
    relaxed_body: bool
    domain: str
    selector: str
    identity_domain: str
    names: Selection  # h=
    length: int | None
    timestamp: int | None
    expiration: int | None
    unsigned_field: HeaderField  # the field without the value of b= (RFC 6376 3.7)

    def signed_fields(self, index: FieldIndex) -> list[HeaderField]:
        """What `header_hash` goes over. A field is never part of its own h= (RFC 6376 3.5 h=); it comes last."""
        return [*index.select(self.names, but=self.field), self.unsigned_field]

    @property
    def key_name(self) -> str:
        """Where DNS has the key (RFC 6376 3.6.2.1)."""
        return key_record_name(self.domain, self.selector)


def read_tags(field: HeaderField) -> TagList:
    """The field's tags; raises SignatureError."""
    if len(field.value) > MAX_SIGNATURE_OCTETS:
        reason = f"signature field is larger than {MAX_SIGNATURE_OCTETS} octets"
        raise SignatureError(DkimStatus.POLICY, reason, reason)
    try:
        return parse_tags(field.value)
    except TagError as error:
        raise syntax(f"signature syntax: {error}") from error


def read_labels(tags: TagList) -> Labels:
    """What a result says about a signature, valid or not."""
    domain = _domain(tags.get("d"))
    selector = _domain(tags.get("s"))
    identity = (tags.get("i") or b"").translate(None, _WSP)
    if len(identity) > MAX_IDENTITY:
        identity = b""
    algorithm = word(tags.get("a"))
    signature = (tags.get("b") or b"").translate(None, _WSP)
    return Labels(
        domain=domain or "",
        selector=selector or "",
        identity=_text(identity) if identity else f"@{domain}" if domain else "",
        algorithm=algorithm if algorithm in KEY_TYPES or ALGORITHM.match(algorithm) else "",
        signature=signature[:MAX_SIGNATURE_TEXT].decode("ascii") if BASE64.match(signature) else "",
    )


def validate(field: HeaderField, tags: TagList, labels: Labels, now: int, *, arc: bool = False) -> Signature:
    """The steps of RFC 6376 6.1.1; raises SignatureError. `now`: seconds since 1970 (UTC). `arc`: the field is an
    ARC-Message-Signature, which has no version and whose i= is not an identity (RFC 8617 4.1.2)."""
    check_required(tags, ARC_REQUIRED_TAGS if arc else REQUIRED_TAGS)
    if not arc and tags.get("v") != b"1":
        raise unacceptable(f"signature version {shown(tags.get('v'))} is not 1")
    key_type = read_key_type(tags)
    header_canon, body_canon = _canonicalization(tags, arc)
    _check_query(tags)
    check_names(tags, labels)
    identity_domain = labels.domain if arc else _identity_domain(tags, labels.domain)
    names = _arc_signed_names(tags) if arc else _names_remembering(tags.get("h") or b"")
    length = read_number(tags, "l", 76)
    timestamp, expiration = _life(tags, now)
    return Signature(
        field=field,
        labels=labels,
        key_type=key_type,
        value=read_base64(tags, "b"),
        body_hash=read_base64(tags, "bh"),
        relaxed_header=header_canon,
        relaxed_body=body_canon,
        domain=labels.domain,
        selector=labels.selector,
        identity_domain=identity_domain,
        names=names,
        length=length,
        timestamp=timestamp,
        expiration=expiration,
        unsigned_field=without_value(field, tags),
    )


def without_value(field: HeaderField, tags: TagList) -> HeaderField:
    """The field without the value of its b=: everything between "b=" and the next ";" goes, white space included;
    nothing else does (RFC 6376 3.7)."""
    start, end = tags.spans["b"]
    return HeaderField(field.name, field.value[:start] + field.value[end:])


def check_names(tags: TagList, labels: Labels) -> None:
    """Whether d= and s= could be read; raises SignatureError."""
    if not labels.domain or "." not in labels.domain:
        # domain-name is two labels or more; "." in d=, or "a(.b", would ask for somebody else's name.
        raise syntax(f"d={shown(tags.get('d'))} is not a domain name")
    if not labels.selector:
        raise syntax(f"s={shown(tags.get('s'))} is not a selector")


def _canonicalization(tags: TagList, arc: bool) -> tuple[bool, bool]:
    """Whether the header and the body are "relaxed". Without a second name the body is "simple". Without c= both are
    (RFC 6376 3.5), but in ARC both are "relaxed": RFC 8617 is silent, the public suite and dkimpy have it so, and
    nobody was seen to leave it out."""
    value = tags.get("c")
    if value is None:
        return arc, arc
    names = word(value)
    if "/" not in names:
        names += "/simple"
    relaxed = _CANONICALIZATIONS.get(names)
    if relaxed is None:
        known = all(map(_HYPHENATED.match, names.split("/", 1)))
        raise syntax(
            f"{'unknown canonicalization' if known else 'signature syntax:'} c={shown(value)}",
            "unknown canonicalization",
        )
    return relaxed


def _check_query(tags: TagList) -> None:
    value = tags.get("q")
    if value is None or value == b"dns/txt":
        return
    if b"dns/txt" not in [method.strip(_WSP).lower() for method in value.split(b":")]:
        raise syntax(f"unknown query method q={shown(value)}", "unknown query method")


def _domain(value: bytes | None) -> str | None:
    """A domain or selector as A-labels. U-labels are allowed in internationalized mail (RFC 8616 section 5), which
    can't be told from other mail here."""
    return _read_domain(value) if value and len(value) <= _CACHED else None  # no name is that long


@lru_cache(maxsize=_CACHED)
def _read_domain(value: bytes) -> str | None:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text.endswith("."):  # RFC 5321's Domain has no final dot
        return None
    name = to_ascii(text)
    return name if name is not None and is_domain_name(name) else None


def _identity_domain(tags: TagList, domain: str) -> str:
    value = tags.get("i")
    if value is None:
        return domain
    # dkim-quoted-printable: white space is not part of it (RFC 6376 2.11)
    decoded = value.translate(None, _WSP)
    if b"=" in decoded:
        decoded = _ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), decoded)
    _, at, part = decoded.rpartition(b"@")
    # domain-name has no hex-octets (RFC 6376 3.5 i=): whoever uses U-labels writes them in UTF-8 (RFC 8616 section 5).
    identity = _domain(part) if at and (part.isascii() or not value.isascii()) else None
    if identity is None:
        raise syntax(f"i={shown(value)} is not an identity")
    if not is_subdomain(identity, domain):
        raise unacceptable(f"i={shown(value)} is not within d={domain}")
    return identity


def _arc_signed_names(tags: TagList) -> Selection:
    """h= of an ARC-Message-Signature. Empty names are passed over, and From need not be among the others: RFC 8617 is
    silent, and the public suite has both pass."""
    if "h" not in tags:
        raise unacceptable("signature has no h= tag")
    return selection([name for name in _split_names(tags["h"]) if name])


def _read_names(value: bytes) -> Selection:
    names = _split_names(value)
    if b"" in names:
        raise syntax("h= has an empty name")
    if b"from" not in names:
        raise unacceptable("From is not signed (not in h=)", "From is not signed")
    return selection(names)


def _split_names(value: bytes) -> list[bytes]:
    """The names, in lower case."""
    names = [name.strip(_WSP) for name in value.split(b":", MAX_SIGNED_NAMES)]
    if len(names) > MAX_SIGNED_NAMES:
        reason = f"h= has more than {MAX_SIGNED_NAMES} names"
        raise SignatureError(DkimStatus.POLICY, reason, "too many signed fields")
    for name in names:
        if name and not _HEADER_NAME.match(name):
            raise syntax(f"h= has {shown(name)}, which is not a header field name")
    return [name.lower() for name in names]


_names_remembering = Remembering(_read_names, 4 * 1024 * 1024, lambda names: 2 * memory(names.picks))


def _life(tags: TagList, now: int) -> tuple[int | None, int | None]:
    """t= and x=, once they are found acceptable."""
    timestamp, expiration = read_number(tags, "t", 12), read_number(tags, "x", 12)
    if timestamp is not None and expiration is not None and expiration <= timestamp:
        raise unacceptable("expiration x= is not after timestamp t=")  # RFC 6376 3.5 x=
    if expiration is not None and now > expiration + CLOCK_DRIFT:
        # Verifiers MAY do so (RFC 6376 6.1.1); OpenDKIM and mox do too, with the same word.
        reason = f"signature expired {_duration(now - expiration)} ago"
        raise unacceptable(reason, reason)
    if timestamp is not None and timestamp > now + MAX_FUTURE:
        # "Implementations MAY ignore signatures that have a timestamp in the future" (RFC 6376 3.5 t=).
        reason = f"signature is dated {_duration(timestamp - now)} in the future"
        raise unacceptable(reason, reason)
    return timestamp, expiration


def _duration(seconds: int) -> str:
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
