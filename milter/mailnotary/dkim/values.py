"""What the values of a signature's tags may be (RFC 6376 section 3.5), and what is raised where they are not."""

import re
from collections.abc import Iterable

from mailnotary.dkim.tags import TagList, decode_base64
from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable
from mailnotary.status import DkimStatus

ALGORITHM = re.compile(r"[a-z][a-z0-9]{,31}-[a-z][a-z0-9]{,31}\Z")
KEY_TYPES = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
_NUMBER = re.compile(rb"[0-9]+\Z")


class SignatureError(ProtocolOutcome):
    """The signature cannot be verified; `status`, `reason` and `brief` are its result."""

    def __init__(self, status: DkimStatus, reason: str, brief: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.brief = brief


def syntax(reason: str, brief: str = "the signature is malformed") -> SignatureError:
    """What is raised for what can't be read."""
    return SignatureError(DkimStatus.NEUTRAL, reason, brief)


def unacceptable(reason: str, brief: str = "the signature is not valid") -> SignatureError:
    """What is raised for what RFC 6376 6.1.1 does not let pass."""
    return SignatureError(DkimStatus.PERMERROR, reason, brief)


def check_required(tags: TagList, names: Iterable[str]) -> None:
    """Whether these tags are there, and not empty; raises SignatureError."""
    for name in names:
        if not tags.get(name):  # an empty value is a tag without what is required
            raise unacceptable(f"signature has no {name}= tag" if name not in tags else f"{name}= is empty")


def read_base64(tags: TagList, name: str) -> bytes:
    """A tag's value, decoded; raises SignatureError."""
    decoded = decode_base64(tags.get(name) or b"")
    if decoded is None:
        raise syntax(f"{name}= is not base64")
    return decoded


def read_key_type(tags: TagList) -> str:
    """The type of key that a= asks for, "rsa" or "ed25519"; raises SignatureError."""
    # Words of the ABNF in quotes match in any case (RFC 5234 2.3), and OpenDKIM and mox take them so.
    algorithm = word(tags.get("a"))
    if algorithm == "rsa-sha1":
        # "Permanently failed evaluation" (RFC 8301 3.1), in the words that 3.2 has for short keys too: so one result
        # word for both. "policy" tells that the signature may be right and is not accepted all the same.
        raise SignatureError(DkimStatus.POLICY, "rsa-sha1 is not accepted (RFC 8301)", "rsa-sha1 is not accepted")
    if key_type := KEY_TYPES.get(algorithm):
        return key_type
    known = "unknown algorithm" if ALGORITHM.match(algorithm) else "signature syntax:"
    raise syntax(f"{known} a={shown(tags.get('a'))}", "unknown algorithm")


def read_number(tags: TagList, name: str, digits: int) -> int | None:
    """A tag's value as a number, None where there is no such tag; raises SignatureError."""
    value = tags.get(name)
    if value is None:
        return None
    if not _NUMBER.match(value):
        raise syntax(f"{name}={shown(value)} is not a number")
    if len(value) > digits:
        raise syntax(f"{name}= has more than {digits} digits")
    return int(value)


def word(value: bytes | None) -> str:
    """A value in lower case; "" for none."""
    return (value or b"").decode("ascii", "replace").lower()


def shown(value: bytes | None) -> str:
    """A value as a reason can carry it."""
    return ascii_printable(value or b"", limit=80)
