"""The result of verifying a DKIM signature."""

from dataclasses import dataclass, field

from mailnotary.status import DkimStatus


@dataclass(frozen=True, slots=True)
class DkimResult:
    """One signature's result. `domain` is d= as lower-case A-labels and `selector` s= ("" where the signature could
    not be parsed that far), `identity` is i= (as written, or "@" + d=), `algorithm` a= ("rsa-sha256"), `key_bits` the
    key's size (0 if there was none), `reason` one sentence for an admin ("" where the status says it all),
    `signature` the b= value without white space, `brief` the reason in our own fixed words, for a header that others
    trust."""

    status: DkimStatus
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    key_bits: int = 0
    reason: str = ""
    signature: str = ""
    brief: str = field(default="", metadata={"json": False})
