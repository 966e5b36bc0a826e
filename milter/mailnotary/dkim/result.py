"""The result of verifying a DKIM signature."""

from dataclasses import field
from functools import lru_cache
from hashlib import sha256

from mailnotary.dkim.evidence import Evidence
from mailnotary.dkim.tags import decode_base64
from mailnotary.frozen import frozen
from mailnotary.status import DkimStatus


@frozen
class DkimResult:
    """One signature's result. `domain` is d= as lower-case A-labels and `selector` s= ("" where the signature could
    not be parsed that far), `identity` is i= (as written, or "@" + d=), `algorithm` a= ("rsa-sha256"), `key_bits` the
    key's size (0 if there was none), `reason` one sentence for an admin ("" where the status says it all),
    `signature` the b= value without white space, `brief` the reason in our own fixed words, for a header that others
    trust. `replayed`: it has come from more networks than an honest message does (RFC 6376 section 8.6).
    `evidence` is what a signature that passes leaves open."""

    status: DkimStatus
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    key_bits: int = 0
    reason: str = ""
    signature: str = ""
    brief: str = field(default="", metadata={"json": False})
    evidence: Evidence | None = field(default=None, metadata={"json": False})
    replayed: bool = field(default=False, metadata={"json": False})

    @property
    def signature_id(self) -> bytes:
        """Eight octets that tell it from all others. They are of the signature's octets, not of its text: b= is not
        signed itself (RFC 6376 3.7), and base64 has other spellings of the same octets (RFC 4648 3.5), by which a
        replay could pass for many signatures."""
        return _signature_id(self.domain, self.selector, self.signature)


@lru_cache(maxsize=256)  # it is asked for at a message's end, and once more when that is recorded
def _signature_id(domain: str, selector: str, signature: str) -> bytes:
    octets = decode_base64(signature.encode("ascii", "replace")) or b""
    return sha256(f"{domain} {selector} ".encode("ascii", "replace") + octets).digest()[:8]
