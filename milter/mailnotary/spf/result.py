"""The result of an SPF check."""

from dataclasses import field
from enum import StrEnum

from mailnotary.frozen import frozen
from mailnotary.status import SpfStatus


class SpfIdentity(StrEnum):
    """Whose domain was checked (RFC 7208 sections 2.3 and 2.4)."""

    HELO = "helo"
    MAILFROM = "mailfrom"


@frozen
class SpfResult:
    """One identity's result. `domain` as it was checked, lower-case A-labels; `mechanism` the term that decided, as
    written in its record ("" when none did: the default, an error, no record); `explanation` the domain's own text,
    made safe for an SMTP reply (only ever with fail); `reason` one sentence for an admin; `lookups` and
    `void_lookups` count against RFC 7208 4.6.4; `brief` the reason in our own fixed words, for a header that others
    trust."""

    status: SpfStatus
    identity: SpfIdentity
    domain: str
    mechanism: str = ""
    explanation: str = ""
    reason: str = ""
    lookups: int = 0
    void_lookups: int = 0
    brief: str = field(default="", metadata={"json": False})
