"""SPF (RFC 7208; RFC 8616 for internationalized mail): may this client use this domain?"""

from mailnotary.spf.check import MAX_SECONDS, Options, check_helo, check_host, check_mail_from
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.spf.trace import Step, Trace

__all__ = [
    "MAX_SECONDS",
    "Options",
    "SpfIdentity",
    "SpfResult",
    "Step",
    "Trace",
    "check_helo",
    "check_host",
    "check_mail_from",
]
