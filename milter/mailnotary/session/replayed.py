"""Signatures that are known to be replayed (RFC 6376 section 8.6): they pass, and the results say what is known."""

from collections.abc import Container
from dataclasses import replace

from mailnotary.authres import Results
from mailnotary.dkim import DkimResult
from mailnotary.status import DkimStatus

REASON = "replayed: this signature has come from many networks"


def marked(results: Results, replayed: Container[bytes]) -> Results:
    """The results, with a mark at each signature that passes and whose id is in `replayed`."""
    if not results.dkim or replayed == ():  # nothing is counted, which spares the digest of each signature
        return results
    dkim = tuple([_marked(result, replayed) for result in results.dkim])
    return results if dkim == results.dkim else replace(results, dkim=dkim)


def _marked(result: DkimResult, replayed: Container[bytes]) -> DkimResult:
    if result.status is not DkimStatus.PASS or result.signature_id not in replayed:
        return result
    return replace(result, replayed=True, reason=REASON)
