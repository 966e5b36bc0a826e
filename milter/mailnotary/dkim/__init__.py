"""DKIM (RFC 6376, RFC 8301, RFC 8463, RFC 8616).

verify     a whole message                sign           a whole message
Verifier   a message as it arrives        MessageSigner  a message as it arrives, with any number of keys
"""

from mailnotary.dkim.result import DkimResult
from mailnotary.dkim.sign import (
    CANONICALIZATIONS,
    MessageSigner,
    Signer,
    SigningError,
    sign,
)
from mailnotary.dkim.verify import Verifier, verify
from mailnotary.mail.defaults import DEFAULT_HEADERS, DEFAULT_OVERSIGN

__all__ = [
    "CANONICALIZATIONS",
    "DEFAULT_HEADERS",
    "DEFAULT_OVERSIGN",
    "DkimResult",
    "MessageSigner",
    "Signer",
    "SigningError",
    "Verifier",
    "sign",
    "verify",
]
