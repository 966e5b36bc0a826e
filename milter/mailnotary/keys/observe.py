"""Whether DNS serves the record of one of our keys."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from mailnotary.crypto import PrivateKey
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.dkim.misprint import misplaced, misprint, served
from mailnotary.dkim.publish import key_record_name
from mailnotary.resolver import Answer, DnsTempError, RecordKind, Resolver


class KeyRecordStatus(StrEnum):
    """What DNS says about a key."""

    MATCH = "match"  # it serves the key's record
    MISMATCH = "mismatch"  # it serves something else
    MISSING = "missing"
    EXPOSED = "exposed"  # it serves a private key
    ERROR = "error"  # it did not answer
    UNKNOWN = "unknown"  # not compared, because the key can't be used


@dataclass(frozen=True, slots=True)
class KeyObservation:
    """The result of one look at DNS; `reason` has details for the administrator, or ""."""

    result: KeyRecordStatus
    reason: str = ""


def observe(resolver: Resolver, domain: str, selector: str, key: PrivateKey) -> KeyObservation:
    """Asks DNS for a key's record and compares. Never raises."""
    name = key_record_name(domain, selector)
    try:
        answer = resolver.lookup(name, RecordKind.TXT)
    except DnsTempError as error:
        return KeyObservation(KeyRecordStatus.ERROR, error.reason)
    if not answer.texts:
        reason = f"{name} has no TXT record" if answer.exists else f"{name} does not exist"
        elsewhere = misplaced(resolver, domain, selector)
        return KeyObservation(KeyRecordStatus.MISSING, f"{reason}; {elsewhere}" if elsewhere else reason)
    for text in answer.texts:
        if (mistake := misprint(text)) and mistake.exposed:
            return KeyObservation(KeyRecordStatus.EXPOSED, f"{mistake.text}; DNS serves {served(text)}")
    if len(answer.texts) > 1:
        # "If there are multiple records in an RRset, the results are undefined" (RFC 6376 3.6.2.2): some verifiers try
        # each, OpenDKIM uses none.
        return KeyObservation(
            KeyRecordStatus.MISMATCH, f"{name} has {len(answer.texts)} TXT records, verifiers expect one"
        )
    return _compare(answer.texts[0], key)


def judge(name: str, answer: Answer, key: PrivateKey) -> KeyObservation:
    """Compares what one server serves at the name of a key's record."""
    if not answer.texts:
        return KeyObservation(KeyRecordStatus.MISSING, f"{name} has no TXT record")
    if len(answer.texts) > 1:
        return KeyObservation(KeyRecordStatus.MISMATCH, f"{name} has {len(answer.texts)} TXT records")
    return _compare(answer.texts[0], key)


def _compare(text: bytes, key: PrivateKey) -> KeyObservation:
    try:
        record = parse_key_record(text)
    except KeyRecordError as error:
        mistake = misprint(text)
        reason = mistake.text if mistake else str(error)
        return KeyObservation(KeyRecordStatus.MISMATCH, f"{reason}; DNS serves {served(text)}")
    if record.hashes is not None and "sha256" not in record.hashes:
        return KeyObservation(KeyRecordStatus.MISMATCH, "the record is not for sha256 (its h=)")
    if record.services.isdisjoint(("*", "email")):
        return KeyObservation(KeyRecordStatus.MISMATCH, "the record is not for email (its s=)")
    if record.public.algorithm != key.algorithm:
        return KeyObservation(KeyRecordStatus.MISMATCH, f"the record has an {record.public.algorithm} key")
    # The proof that verifiers rely on, in whichever format the record has the key.
    digest = sha256(b"mailnotary").digest()
    if not record.public.verify(digest, key.sign(digest)):
        return KeyObservation(KeyRecordStatus.MISMATCH, f"the record has another {key.algorithm} key")
    return KeyObservation(
        KeyRecordStatus.MATCH, "in test mode (t=y): verifiers may ignore it" if record.testing else ""
    )
