"""Mail that came back: which report it was, and why it could not be delivered (RFC 3464)."""

import re
from typing import Final

from mailnotary.escape import printable

MAX_LOOKED_AT: Final = 1024 * 1024  # octets; mail servers return the header, or the first 50 KB
_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t\r\n]*<([!-;=?-~]{1,300})>", re.IGNORECASE | re.MULTILINE)
_FAILED = re.compile(rb"^Action:[ \t]*failed", re.IGNORECASE | re.MULTILINE)
_DIAGNOSTIC = re.compile(rb"^Diagnostic-Code:[ \t]*([^\r\n]{1,300})", re.IGNORECASE | re.MULTILINE)
_MAX_IDS: Final = 20


def returned(octets: bytes) -> list[str]:
    """The Message-IDs in a message that says that a delivery failed; none in any other, like one that tells of a delay.
    Anybody can write such a message: only one who has seen a report knows its Message-ID."""
    octets = octets[:MAX_LOOKED_AT]
    if not _FAILED.search(octets):
        return []
    found = (match[1].decode("ascii") for match in _MESSAGE_ID.finditer(octets))
    return list(dict.fromkeys(found))[:_MAX_IDS]


def reason(octets: bytes) -> str:
    """What the other side said."""
    match = _DIAGNOSTIC.search(octets[:MAX_LOOKED_AT])
    return printable(match[1], 200) if match else "its mail came back"
