"""ARC, the Authenticated Received Chain (RFC 8617).

verify     a whole message         seal           a whole message
Verifier   a message as it arrives MessageSealer  a message as it arrives
"""

from mailnotary.arc.result import ArcResult, ArcSet
from mailnotary.arc.seal import MessageSealer, seal
from mailnotary.arc.verify import Verifier, verify

__all__ = ["ArcResult", "ArcSet", "MessageSealer", "Verifier", "seal", "verify"]
