"""The result of a DMARC evaluation."""

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from mailnotary.frozen import frozen
from mailnotary.status import DmarcStatus

if TYPE_CHECKING:
    from mailnotary.dmarc.policy_record import PolicyRecord


class Policy(StrEnum):
    """What a domain owner asks of receivers (RFC 9989 section 4.7, tags p, sp, np)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@frozen
class DmarcResult:
    """The author domain's result. `policy` is what the record asks for this domain (p, sp or np; None without a
    record), `disposition` what that means for this message (none when it passed; one step weaker under t=y; where DNS
    gave no answer, a temperror, what it would be if the message failed, as far as that is known),
    `org_domain` the author's organizational domain ("" where there is no record; the author domain itself where it has
    one and the organization makes no difference: RFC 9989 4.10.2), `spf_aligned` and `dkim_aligned` whether an aligned
    identifier passed; `reason` one sentence for an admin; `brief` the same in our own fixed words, for a header that
    others trust; `record` the policy record that was applied and `policy_domain` where it was found (4.10.1)."""

    status: DmarcStatus
    domain: str
    policy: Policy | None = None
    disposition: Policy = Policy.NONE
    org_domain: str = ""
    spf_aligned: bool = False
    dkim_aligned: bool = False
    reason: str = ""
    brief: str = field(default="", metadata={"json": False})
    record: "PolicyRecord | None" = field(default=None, metadata={"json": False})
    policy_domain: str = field(default="", metadata={"json": False})
