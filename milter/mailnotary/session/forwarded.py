"""Mail that fails DMARC because somebody passed it on, and says so in an ARC chain (RFC 8617 section 7.2.1).

A chain proves who sealed, not that what they say is true, and whoever sealed may have changed everything before. So the
word of a set that the message passed DMARC counts only if every sealer from that set up to the newest is trusted: one
in between that is not could have put another body, or another message, behind an old set that says pass. OpenDMARC
asks for all sealers of the chain, rspamd for any of them. Sets before the pass need no trust, for a trusted sealer saw
the message pass after them.

The names are compared whole: below a sealer's domain there may be its customers. And beside the seal, the same domain
must have signed the message (Microsoft's trusted sealers ask for that too)."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from mailnotary import authres
from mailnotary.arc import ArcResult, ArcSet
from mailnotary.authres import AuthenticationResults, AuthresError, Passage, Results
from mailnotary.dmarc import DmarcResult
from mailnotary.domain import to_ascii
from mailnotary.mail.address import Author
from mailnotary.session.budget import RESULTS_OCTETS
from mailnotary.session.policy import DmarcVerdict
from mailnotary.status import ArcStatus, DmarcStatus

TRUSTED = "in arc.trusted_sealers"  # what the reason of such a verdict has in it


def with_passage(results: Results) -> Results:
    """The results, with what the chain says for a message that fails DMARC."""
    if results.arc is None or results.dmarc is None or results.dmarc.status is not DmarcStatus.FAIL:
        return results
    return replace(results, passage=_passage(results.arc, results.dmarc.domain))


def missing(passage: Passage | None, trusted: Collection[str]) -> tuple[str, ...]:
    """The sealers that would have to be trusted, too, for the message to be accepted; none if all are, or if nothing
    that anybody says would do."""
    return () if passage is None else tuple([sealer for sealer in passage.sealers if sealer not in trusted])


def overridden(
    verdict: DmarcVerdict,
    author: Author | None,
    dmarc: DmarcResult | None,
    passage: Passage | None,
    trusted: Collection[str],
) -> DmarcVerdict:
    """The verdict, or acceptance where trusted sealers say that the message passed DMARC on its way. Only for one
    author domain that fails: what DNS did not answer, and what has no single author, stays as it is."""
    fails = dmarc is not None and dmarc.status is DmarcStatus.FAIL
    if author is None or author.problem is not None or not fails or verdict.action == "accept":
        return verdict
    if passage is None or missing(passage, trusted):
        return verdict
    would = verdict.would or ("" if verdict.action == "tag" else verdict.action)
    why = f"passed DMARC before it was sealed by {', '.join(passage.sealers)}, {TRUSTED}"
    return DmarcVerdict("tag", would, why)


def is_overridden(verdict: DmarcVerdict | None) -> bool:
    """Whether `overridden` made the verdict."""
    return verdict is not None and TRUSTED in verdict.why


def _passage(chain: ArcResult, author: str) -> Passage | None:
    """The sealers from the newest set back to one that says dmarc=pass for the author domain; None if there is none, or
    if the chain can't vouch: it is not intact, a From field may have been changed since, a key is only being tested
    (RFC 6376 3.6.1 t=y), or another domain signed the message than sealed it."""
    if chain.status is not ArcStatus.PASS or not chain.signs_from or not author:
        return None
    left = RESULTS_OCTETS
    sealers: dict[str, None] = {}
    for each in reversed(chain.sets):
        left -= len(each.assessment)
        if left < 0 or each.testing or not each.domain or each.domain != each.signing_domain:
            return None
        sealers[each.domain] = None
        if _says_pass(_read(each), author):
            return Passage(tuple(sealers), _first_client(chain.sets, left))
    return None


def _read(each: ArcSet) -> AuthenticationResults | None:
    with suppress(AuthresError):
        return authres.parse(each.assessment, untyped=True)
    return None


def _says_pass(assessment: AuthenticationResults | None, author: str) -> bool:
    """Whether the only DMARC results that there are say pass for this domain."""
    if assessment is None:
        return False
    verdicts = [result for result in assessment.results if result.method == "dmarc"]
    return bool(verdicts) and all(
        verdict.result == DmarcStatus.PASS and to_ascii(verdict.get("header", "from") or "") == author
        for verdict in verdicts
    )


def _first_client(sets: Sequence[ArcSet], left: int) -> str:
    """The client's address in the oldest set, for DMARC's reports (RFC 8617 7.2.2); "" where it has none."""
    if len(sets[0].assessment) > left or (assessment := _read(sets[0])) is None:
        return ""
    for result in assessment.results:
        for name in ("remote-ip", "client-ip"):
            with suppress(ValueError):
                return str(ip_address(result.get("smtp", name) or ""))
    return ""
