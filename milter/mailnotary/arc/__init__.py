"""ARC, the Authenticated Received Chain (RFC 8617).

verify     a whole message         seal           a whole message
Verifier   a message as it arrives MessageSealer  a message as it arrives
FIELDS     the names of its fields, in lower case
"""

from mailnotary.arc.fields import FIELDS
from mailnotary.arc.result import ArcResult, ArcSet
from mailnotary.arc.seal import MessageSealer, seal
from mailnotary.arc.verify import Verifier, verify

__all__ = ["FIELDS", "ArcResult", "ArcSet", "MessageSealer", "Verifier", "seal", "verify"]
