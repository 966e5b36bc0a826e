"""DMARC (RFC 9989): policy records, the tree walk, the verdict."""

from mailnotary.dmarc.evaluate import Compared, Trace, evaluate, questions
from mailnotary.dmarc.result import DmarcResult, Policy

__all__ = ["Compared", "DmarcResult", "Policy", "Trace", "evaluate", "questions"]
