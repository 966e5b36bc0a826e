"""The three fields of an ARC Set (RFC 8617 section 4.1), each read for itself."""

import re
from typing import NamedTuple

from mailnotary.arc.result import ArcSet
from mailnotary.dkim.publish import key_record_name
from mailnotary.dkim.signature import (
    Labels,
    Signature,
    check_names,
    read_labels,
    validate,
    without_value,
)
from mailnotary.dkim.tags import TagList
from mailnotary.dkim.values import (
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
from mailnotary.mail import cfws
from mailnotary.mail.message import HeaderField, unfold
from mailnotary.status import ArcStatus

RESULTS, MESSAGE_SIGNATURE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
NAMES = {
    RESULTS: "ARC-Authentication-Results",
    MESSAGE_SIGNATURE: "ARC-Message-Signature",
    SEAL: "ARC-Seal",
}
FIELDS = frozenset(NAMES)
MAX_INSTANCE = 50  # RFC 8617 4.2.1
_POSITION = re.compile(r"[0-9]{1,2}(?![0-9])")
_INSTANCE_END = 1024  # characters within which i= and the ";" after it must be


class Seal(NamedTuple):
    """A valid ARC-Seal field. Domains are lower-case A-labels."""

    labels: Labels
    key_type: str  # "rsa" or "ed25519"
    value: bytes  # b=, decoded
    domain: str
    selector: str
    unsigned_field: HeaderField  # the field without the value of b= (RFC 6376 3.7)

    @property
    def identity_domain(self) -> str:
        """i= is not an identity here (RFC 8617 4.1.3)."""
        return self.domain

    @property
    def key_name(self) -> str:
        """Where DNS has the key (RFC 6376 3.6.2.1)."""
        return key_record_name(self.domain, self.selector)


class Parts(NamedTuple):
    """The fields of one ARC Set, and the tags of two of them."""

    instance: int
    results: HeaderField
    signature: HeaderField
    signature_tags: TagList
    seal: HeaderField
    seal_tags: TagList


def tagged_instance(tags: TagList) -> int:
    """i= of an ARC-Message-Signature or an ARC-Seal; raises SignatureError."""
    value = tags.get("i")
    number = int(value) if value is not None and _POSITION.fullmatch(value.decode("latin-1")) else 0
    if not 1 <= number <= MAX_INSTANCE:
        raise syntax(f"i={shown(value)} is not an instance" if value is not None else "there is no i= tag")
    return number


def chain_value(tags: TagList) -> str:
    """cv= of an ARC-Seal; raises SignatureError."""
    value = word(tags.get("cv"))
    if value not in tuple(ArcStatus):
        raise syntax(f"cv={shown(tags.get('cv'))} is not a chain status" if "cv" in tags else "there is no cv= tag")
    return value


def assessment(field: HeaderField) -> tuple[int, bytes]:
    """The instance of an ARC-Authentication-Results, and the authres-payload after it; raises SignatureError."""
    value = unfold(field.value)
    text = value[:_INSTANCE_END].decode("latin-1")  # an octet is a character, so that places are the same
    try:
        at = cfws.skip(text, 0)
        at = _expect("i", text, at)
        at = _expect("=", text, at)
        number = _POSITION.match(text, at)
        if number is None or not 1 <= int(number[0]) <= MAX_INSTANCE:
            raise syntax(f"i={shown(value[at : at + 20])} is not an instance")
        at = cfws.skip(text, number.end())
        if not text.startswith(";", at):
            raise syntax("there is no semicolon after its i=")
    except cfws.CfwsError as error:
        raise syntax(str(error)) from error
    return int(number[0]), value[at + 1 :]


def _expect(character: str, text: str, at: int) -> int:
    """The place after a character, and the comments and white space behind it."""
    if not text.startswith(character, at):
        raise syntax("it does not begin with i=")
    return cfws.skip(text, at + 1)


def read_seal(parts: Parts) -> Seal:
    """An ARC-Seal (RFC 8617 4.1.3); raises SignatureError."""
    field, tags = parts.seal, parts.seal_tags
    if "h" in tags:  # "NOT allowed and, if found, MUST result in a cv status of 'fail'"
        raise unacceptable("h= is not allowed")
    check_required(tags, ("a", "b", "d", "s"))
    labels = read_labels(tags)
    key_type = read_key_type(tags)
    check_names(tags, labels)
    read_number(tags, "t", 12)
    value = read_base64(tags, "b")
    return Seal(labels, key_type, value, labels.domain, labels.selector, without_value(field, tags))


def read_signature(parts: Parts, now: int) -> Signature:
    """An ARC-Message-Signature (RFC 8617 4.1.2); raises SignatureError."""
    tags = parts.signature_tags
    signature = validate(parts.signature, tags, read_labels(tags), now, arc=True)
    if SEAL in signature.names.often:
        # "ARC-related header fields [...] MUST NOT be included". Only the seal is refused, as the public suite has it.
        raise unacceptable("h= names ARC-Seal")
    return signature


def described(parts: Parts) -> ArcSet:
    """A set as its fields describe it."""
    signature, seal = read_labels(parts.signature_tags), read_labels(parts.seal_tags)
    try:
        timestamp = read_number(parts.seal_tags, "t", 12)
    except SignatureError:
        timestamp = None
    return ArcSet(
        parts.instance,
        seal.domain,
        seal.selector,
        signature.domain,
        signature.selector,
        word(parts.seal_tags.get("cv")),
        timestamp,
        assessment(parts.results)[1],
    )
