"""DKIM2, verifying: EXPERIMENTAL, by the working draft draft-ietf-dkim-dkim2-spec-06, and bound to change with it.

verify     a whole message                Verifier   a message as it arrives
"""

from mailnotary.dkim2.result import DRAFT, Change, Dkim2Result, Hop, SignatureValue
from mailnotary.dkim2.verify import Verifier, verify

__all__ = ["DRAFT", "Change", "Dkim2Result", "Hop", "SignatureValue", "Verifier", "verify"]
