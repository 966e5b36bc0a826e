"""Whether a message says that it is a DMARC aggregate report (RFC 9990 section 3.5.2)."""

import re
from collections.abc import Iterable

from mailnotary.mail.message import HeaderField

_LOOKED_AT = 1000  # octets of the subject; two domain names have at most 506
# The subject of RFC 9990, and of RFC 7489 7.2.1.1, whatever its case: Google writes "Report domain:", and Microsoft
# sends a few with "[Preview] " before it.
_SUBJECT = re.compile(rb"\s*(?:\[Preview\]\s*)?Report\s+Domain:\s*[^\s,]+,?\s+Submitter:\s*\S", re.IGNORECASE)


def is_report(fields: Iterable[HeaderField]) -> bool:
    """Whether the subject is that of a report. Anybody can write such a subject: whoever believes it has to ask who
    the author is."""
    subject = next((field.value for field in fields if field.key == b"subject"), b"")
    return _SUBJECT.match(subject[:_LOOKED_AT]) is not None
