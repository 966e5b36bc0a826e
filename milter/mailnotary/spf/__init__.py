"""SPF (RFC 7208; RFC 8616 for internationalized mail): may this client use this domain?"""

from mailnotary.spf.check import Options, check_helo, check_host, check_mail_from
from mailnotary.spf.limits import MAX_LOOKUPS, MAX_QUESTIONS, MAX_SECONDS, MAX_VOID_LOOKUPS
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.spf.trace import Question, TraceStep

__all__ = [
    "MAX_LOOKUPS",
    "MAX_QUESTIONS",
    "MAX_SECONDS",
    "MAX_VOID_LOOKUPS",
    "Options",
    "Question",
    "SpfIdentity",
    "SpfResult",
    "TraceStep",
    "check_helo",
    "check_host",
    "check_mail_from",
]
