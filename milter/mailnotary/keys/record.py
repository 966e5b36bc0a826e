"""Whether DNS serves the record of one of our keys."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from mailnotary.crypto import PrivateKey
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.dkim.publish import key_record_name
from mailnotary.resolver import DnsTempError, RecordKind, Resolver


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
    name = key_record_name(domain, selector)
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
