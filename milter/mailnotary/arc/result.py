"""The result of validating an Authenticated Received Chain (RFC 8617 section 4.4)."""

from dataclasses import field

from mailnotary.frozen import frozen
from mailnotary.status import ArcStatus


@frozen
class ArcSet:
    """One ARC Set, as its fields say and as it was found.

    `instance` is i=. `domain` and `selector` are d= and s= of its ARC-Seal, which name the sealer, `signing_domain` and
    `signing_selector` those of its ARC-Message-Signature: lower-case A-labels, "" where they can't be read. `cv` is the
    chain status that the sealer found, `timestamp` t= of the seal, in seconds since 1970 (None: no such tag).
    `assessment` is the authres-payload of its ARC-Authentication-Results, as it is in the message: the sealer's words,
    worth what the sealer is worth. `testing`: DNS says of one of its keys that it is in test mode. `signature` says why
    its ARC-Message-Signature does not hold ("" where it does, "not checked" where nobody looked)."""

    instance: int
    domain: str = ""
    selector: str = ""
    signing_domain: str = ""
    signing_selector: str = ""
    cv: str = ""
    timestamp: int | None = None
    assessment: bytes = field(default=b"", metadata={"json": False})
    testing: bool = False
    signature: str = "not checked"


@frozen
class ArcResult:
    """The chain of one message. `sets` are its ARC Sets, the oldest first, as far as they could be told apart.

    `status` is the Chain Validation Status. `oldest_pass` is the instance of the oldest ARC-Message-Signature that
    still holds with all that are newer, 0 if all hold, None where the chain is not intact (RFC 8617 5.2, step 5).
    `signs_from`: the newest ARC-Message-Signature covers every From field. `reason` is one sentence for an admin (""
    if the status says it all), `brief` the same in fixed words of ours, for a header that others trust."""

    status: ArcStatus
    sets: tuple[ArcSet, ...] = ()
    oldest_pass: int | None = None
    signs_from: bool = False
    reason: str = ""
    brief: str = field(default="", metadata={"json": False})
