"""Signing keys in DNS: the record to publish for a key (RFC 6376 section 3.6, RFC 8463 section 4.2), and whether DNS
serves it."""

import base64
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from mailnotary.crypto import PrivateKey
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.resolver import DnsTempError, RecordKind, Resolver

MAX_STRING = 255  # octets of one character string of a TXT record (RFC 1035 section 3.3)


def owner(domain: str, selector: str) -> str:
    """The name of a key's record (RFC 6376 section 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record(key: PrivateKey) -> str:
    """The value of a key's record."""
    return f"v=DKIM1; k={key.algorithm}; p={base64.b64encode(key.public).decode()}"


def zone_lines(name: str, value: str) -> str:
    """A TXT record as lines of a zone file, in strings of at most 255 octets."""
    strings = [f'"{value[i : i + MAX_STRING]}"' for i in range(0, len(value), MAX_STRING)]
    if len(strings) == 1:
        return f"{name}. IN TXT {strings[0]}"
    return f"{name}. IN TXT (\n" + "\n".join(f"    {string}" for string in strings) + "\n)"


class Published(StrEnum):
    """What DNS says of a key."""

    MATCH = "match"  # it serves the key's record
    MISMATCH = "mismatch"  # something else stands there
    MISSING = "missing"
    ERROR = "error"  # it did not answer


@dataclass(frozen=True, slots=True)
class Look:
    """One look at DNS; `reason` says more, for an admin, "" where there is nothing to say."""

    result: Published
    reason: str = ""


def look(resolver: Resolver, domain: str, selector: str, key: PrivateKey) -> Look:
    """Asks DNS for a key's record and compares. Never raises."""
    name = owner(domain, selector)
    try:
        answer = resolver.lookup(name, RecordKind.TXT)
    except DnsTempError as error:
        return Look(Published.ERROR, error.reason)
    if not answer.texts:
        return Look(Published.MISSING, f"{name} has no TXT record" if answer.exists else f"{name} does not exist")
    if len(answer.texts) > 1:
        # "If there are multiple records in an RRset, the results are undefined" (RFC 6376 3.6.2.2): some verifiers try
        # each, OpenDKIM takes none.
        return Look(Published.MISMATCH, f"{name} has {len(answer.texts)} TXT records, verifiers expect one")
    return _compare(answer.texts[0], key)


def _compare(text: bytes, key: PrivateKey) -> Look:
    try:
        found = parse_key_record(text)
    except KeyRecordError as error:
        return Look(Published.MISMATCH, str(error))
    if found.hashes is not None and "sha256" not in found.hashes:
        return Look(Published.MISMATCH, "the record is not for sha256 (its h=)")
    if found.services.isdisjoint(("*", "email")):
        return Look(Published.MISMATCH, "the record is not for email (its s=)")
    if found.public.algorithm != key.algorithm:
        return Look(Published.MISMATCH, f"the record has an {found.public.algorithm} key")
    # The proof that verifiers will go by, whichever form the record has the key in.
    digest = sha256(b"mailnotary").digest()
    if not found.public.verify(digest, key.sign(digest)):
        return Look(Published.MISMATCH, f"the record has another {key.algorithm} key")
    return Look(Published.MATCH, "in test mode (t=y): verifiers may ignore it" if found.testing else "")
