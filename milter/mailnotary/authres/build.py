"""Our own results as an Authentication-Results field (RFC 8601 section 2.7)."""

from collections.abc import Sequence

from mailnotary.authres.types import AuthenticationResults, MethodResult, Property
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.result import DmarcResult
from mailnotary.escape import ascii_printable
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import AuthStatus, DkimStatus

MAX_REASON = 200  # characters
MIN_SIGNATURE = 8  # characters of header.b (RFC 6008 section 4)
MAX_SIGNATURE = 64  # as many tell any two real signatures apart
MAX_DKIM = 20  # results of signatures; a message may have tens of thousands, an MTA takes no header field of that size


def from_results(
    authserv_id: str,
    *,
    auth: str | None = None,
    spf: Sequence[SpfResult] = (),
    dkim: Sequence[DkimResult] | None = None,
    dmarc: DmarcResult | None = None,
    mail_from: str = "",
    helo: str = "",
) -> AuthenticationResults:
    """The field for what was checked: `auth` the login name of an authenticated client, `dkim` None where signatures
    were not looked at (no signature there is `dkim=none`), `mail_from` and `helo` as the client gave them."""
    results: list[MethodResult] = []
    if auth is not None:
        results.append(MethodResult("auth", AuthStatus.PASS, _properties("smtp", auth=auth)))
    for result in spf:
        shown = _spf(result, mail_from, helo)
        if shown not in results:  # with a null sender both are of the HELO name
            results.append(shown)
    if dkim is not None:
        results += _dkim(dkim)
    if dmarc is not None:
        results.append(_dmarc(dmarc))
    return AuthenticationResults(authserv_id, tuple(results))


def _spf(result: SpfResult, mail_from: str, helo: str) -> MethodResult:
    """SPF vouches for a domain: the local part, which it did not check, SHOULD be left out (RFC 8601 2.7.2). So MAIL
    FROM is shown by its domain, though rspamd and others write the address. A null sender has none; its check was of
    the HELO name (RFC 7208 2.4), and that is what it shows."""
    if result.identity == SpfIdentity.HELO or not mail_from.strip("<> "):
        properties = _properties("smtp", helo=result.domain or helo)
    else:
        properties = _properties("smtp", mailfrom=result.domain or mail_from.strip("<> ").rpartition("@")[2])
    return MethodResult("spf", result.status, properties, _reason(result.reason))


def _dkim(results: Sequence[DkimResult]) -> list[MethodResult]:
    """The signatures' results, the topmost first. Of too many, those that pass and then the topmost are told of."""
    if not results:
        return [MethodResult("dkim", DkimStatus.NONE, comment="no signature")]
    prefixes = _prefixes([result.signature for result in results])
    passed_first = sorted(range(len(results)), key=lambda number: results[number].status != DkimStatus.PASS)
    return [_signature(results[number], prefixes[number]) for number in sorted(passed_first[:MAX_DKIM])]


def _signature(result: DkimResult, prefix: str) -> MethodResult:
    return MethodResult(
        "dkim",
        result.status,
        _properties("header", d=result.domain, i=result.identity, s=result.selector, a=result.algorithm, b=prefix),
        _reason(result.reason),
        comment=f"{result.key_bits}-bit key" if result.key_bits else "",
    )


def _prefixes(signatures: Sequence[str]) -> list[str]:
    """The first characters of each b=, as many as tell all apart, at least eight (RFC 6008 section 4). Signatures
    that are the same altogether can't be told apart and don't lengthen the others."""
    distinct = set(signatures)
    length = MIN_SIGNATURE
    longest = min(max(map(len, distinct)), MAX_SIGNATURE)
    while length < longest and len({text[:length] for text in distinct}) < len(distinct):
        length += 1
    return [text[:length] for text in signatures]


def _dmarc(result: DmarcResult) -> MethodResult:
    """policy.dmarc is the policy to be applied "after policy options have been processed" (RFC 9989 section 9.1):
    sp=, np= and t=y. On a pass nothing is applied; there it says what the domain asks for."""
    properties = _properties("header", **{"from": result.domain})
    if result.policy is not None:
        applied = result.disposition if result.status == "fail" else result.policy
        properties += (Property("policy", "dmarc", applied),)
    return MethodResult("dmarc", result.status, properties, _reason(result.reason))


def _properties(ptype: str, **values: str) -> tuple[Property, ...]:
    return tuple([Property(ptype, name, value) for name, value in values.items() if value])


def _reason(text: str) -> str:
    return ascii_printable(text, MAX_REASON)
