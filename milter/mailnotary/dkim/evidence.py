"""What a signature that passes leaves open: how old it is, and what can be added to the message without breaking it."""

from typing import NamedTuple

from mailnotary.dkim.signature import Signature
from mailnotary.mail.message import FieldIndex

# What people see or programs go by, but for Cc, which some MTAs add. RFC 6376 section 8.15: a field that is not signed
# once more than it is there can be added, and mail programs show the first of several, or the last.
GUARDED = ("From", "To", "Subject", "Date", "Reply-To", "Content-Type", "Content-Transfer-Encoding")
_KEYS = tuple((name, name.lower().encode("ascii")) for name in GUARDED)
# Of a body that is signed up to l=, the rest can be anything (section 8.2).
BODY = "body"


class Evidence(NamedTuple):
    """`age`: seconds since the signature was made (t=), `left`: seconds until it expires (x=), None where it does not
    say. `addable`: the fields of `GUARDED` of which one more would not be noticed, and "body" where more of that would
    not; `secure`: the resolver says that DNSSEC has validated the key's record."""

    age: int | None
    left: int | None
    addable: tuple[str, ...]
    secure: bool = False


def of(signature: Signature, index: FieldIndex, now: int, *, secure: bool) -> Evidence:
    """The evidence of a signature over the fields of `index`; `now` is in seconds since 1970 (UTC)."""
    often = signature.names.often
    addable = tuple([name for name, key in _KEYS if often.get(key, 0) <= index.count(key)])
    return Evidence(
        None if signature.timestamp is None else now - signature.timestamp,
        None if signature.expiration is None else signature.expiration - now,
        addable if signature.length is None else (*addable, BODY),
        secure,
    )


def text(evidence: Evidence) -> str:
    """The evidence in words, on one line; "" where there is nothing to say."""
    parts = []
    if evidence.age is not None:
        parts.append(f"signed {_span(abs(evidence.age))} {'ago' if evidence.age >= 0 else 'from now'}")
    if evidence.left is not None and evidence.left >= 0:
        parts.append(f"expires in {_span(evidence.left)}")
    if evidence.addable:
        parts.append(f"does not protect from one more {', '.join(evidence.addable)}")
    if evidence.secure:
        parts.append("the resolver has validated the key's record (DNSSEC)")
    return "; ".join(parts)


def _span(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return "1 second" if seconds == 1 else f"{seconds} seconds"
