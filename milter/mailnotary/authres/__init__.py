"""Authentication-Results fields (RFC 8601): read, written, built from our results, and found where forged.

authres-header = "Authentication-Results:" [CFWS] authserv-id [ CFWS authres-version ]
                 ( no-result / 1*resinfo ) [CFWS] CRLF
no-result      = [CFWS] ";" [CFWS] "none"
resinfo        = [CFWS] ";" methodspec [ CFWS reasonspec ] *( CFWS propspec )
methodspec     = [CFWS] method [CFWS] "=" [CFWS] result
reasonspec     = "reason" [CFWS] "=" [CFWS] value
propspec       = ptype [CFWS] "." [CFWS] property [CFWS] "=" pvalue
method         = Keyword [ [CFWS] "/" [CFWS] method-version ]
pvalue         = [CFWS] ( value / [ [ local-part ] "@" ] domain-name ) [CFWS]
"""

from mailnotary.authres.build import field_value
from mailnotary.authres.forged import claims
from mailnotary.authres.parse import parse
from mailnotary.authres.results import Passage, Results
from mailnotary.authres.types import AuthenticationResults, AuthresError, MethodResult, Property
from mailnotary.authres.write import format

__all__ = [
    "AuthenticationResults",
    "AuthresError",
    "MethodResult",
    "Passage",
    "Property",
    "Results",
    "claims",
    "field_value",
    "format",
    "parse",
]
