"""From results to a verdict: what the MTA is told to do, and what the sender's admin gets to read."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from mailnotary.config.settings import (
    DmarcAction,
    DmarcMode,
    DmarcSettings,
    Mode,
    Network,
    OnAuthor,
    OnTemperror,
    Settings,
    SpfAction,
    SpfSettings,
)
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.domain import is_subdomain, to_ascii
from mailnotary.escape import ascii_printable, shortened
from mailnotary.frozen import frozen
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

Address = IPv4Address | IPv6Address

MAX_CLAIMED = 5  # domains evaluated of a message without one author domain (RFC 9989 11.5: "Limiting the number")
MAX_REPLY_TEXT = 400  # octets; RFC 5321 4.5.3.1.5 gives a reply line 512 in all


@frozen
class InsertHeader:
    """Put a field at a place counted from the top (0: above all others). The value comes without the space after
    the colon; its folds are CRLF and white space."""

    index: int
    name: str
    value: str


@frozen
class DeleteHeader:
    """Delete the index-th field of this name, counted from 1 at the top among those of the name alone."""

    name: str
    index: int


@frozen
class Quarantine:
    """Accept the message and hold it in the MTA's queue until its admin looks at it."""

    reason: str


@frozen
class Reply:
    """Refuse the message for good (5xx) or for now (4xx). The text is printable US-ASCII."""

    code: int
    enhanced_code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced_code} {self.text}"


Action = InsertHeader | DeleteHeader | Quarantine | Reply


def reply(code: int, detail: str, text: str) -> Reply:
    """A reply with the enhanced code of its class (RFC 3463 section 2): `detail` "7.1" under 550 is 5.7.1."""
    return Reply(code, f"{code // 100}.{detail}", shortened(ascii_printable(text, MAX_REPLY_TEXT), MAX_REPLY_TEXT))


def containing(networks: Sequence[Network], address: Address | None) -> Network | None:
    """The first network that an address is in."""
    if address is None:
        return None
    for network in networks:
        if network.version == address.version and address in network:
            return network
    return None


def must_be_reached(settings: Settings, recipient: str) -> bool:
    """Whether no policy may refuse a message to this recipient alone, as RFC 5321 4.5.1 demands for postmaster."""
    address = recipient.lower()
    local_part, at, name = address.rpartition("@")
    reachable = settings.reachable_recipients
    return (local_part if at else address) in reachable or f"{local_part}@{to_ascii(name)}" in reachable


# --- SPF (RFC 7208 section 8) ---


def wants_mail_reply(settings: Settings) -> bool:
    """Whether MAIL FROM may have to be answered. Where the recipients matter, the answer waits for them."""
    return spf_may_refuse(settings) and not settings.reachable_recipients


def spf_may_refuse(settings: Settings) -> bool:
    """Whether SPF may lead to a reply."""
    if settings.mode is Mode.OBSERVE:
        return False
    spf = settings.spf
    accept = SpfAction.ACCEPT
    return not (spf.helo_fail is spf.fail is spf.softfail is spf.permerror is spf.temperror is accept)


def spf_reply(settings: SpfSettings, results: Sequence[SpfResult], client: Address | None) -> Reply | None:
    """What the configured actions make of the SPF results. `helo_fail` is HELO's; all the others MAIL FROM's."""
    for result in results:
        action = _spf_action(settings, result)
        if action is not SpfAction.ACCEPT:
            return _spf_refusal(result, action, client)
    return None


def _spf_action(settings: SpfSettings, result: SpfResult) -> SpfAction:
    if result.identity == SpfIdentity.HELO:
        return settings.helo_fail if result.status is SpfStatus.FAIL else SpfAction.ACCEPT
    match result.status:
        case SpfStatus.FAIL:
            return settings.fail
        case SpfStatus.SOFTFAIL:
            return settings.softfail
        case SpfStatus.PERMERROR:
            return settings.permerror
        case SpfStatus.TEMPERROR:
            return settings.temperror
        case _:
            return SpfAction.ACCEPT


def _spf_refusal(result: SpfResult, action: SpfAction, client: Address | None) -> Reply:
    # RFC 7372 section 3.2: X.7.23 for a fail, X.7.24 for an error, in place of the 5.7.1 of RFC 7208 8.4.
    failed = result.status in (SpfStatus.FAIL, SpfStatus.SOFTFAIL)
    code = 550 if action is SpfAction.REJECT else 451
    identity = "MAIL FROM" if result.identity == SpfIdentity.MAILFROM else "HELO"
    if failed:
        text = f"SPF {identity} check failed: {client} is not a permitted sender of {result.domain}"
        if result.explanation:  # RFC 7208 6.2: say whose words these are
            text += f"; the domain {result.domain} explains: {result.explanation}"
    else:
        text = f"SPF {identity} check of {result.domain} ended in {result.status}"
        if result.reason:
            text += f": {result.reason}"
    return reply(code, "7.23" if failed else "7.24", text)


# --- DMARC (RFC 9989 sections 5.4 and 7.2) ---


@frozen
class DmarcVerdict:
    """`action` is what is done; `would` is what enforcing would have done, "" where that is the same; `why` says
    what made the difference; `reply` and `hold` are the action's form."""

    action: str = "accept"
    would: str = ""
    why: str = ""
    reply: Reply | None = None
    hold: Quarantine | None = None


def dmarc_verdict(
    settings: DmarcSettings,
    result: DmarcResult,
    dkim: Sequence[DkimResult],
    client: Address | None,
    *,
    several: bool = False,
) -> DmarcVerdict:
    """What a DMARC result means under the admin's settings. p=none, a pass and a permerror change nothing. `several`:
    the message has other author domains, whose DNS may have used up what this one's needed."""
    rule = _rule(settings, result.domain)
    if result.status is DmarcStatus.TEMPERROR:
        # Where the policy is known, and none, the answer makes no difference. Where it would refuse or hold a message
        # that fails, the sender tries again: the sender chooses which domain's key or SPF record does not answer, and
        # to accept would leave it to the sender whether the policy holds. With no policy known, to accept is what RFC
        # 9989 4.10.1 calls "fail open": whoever can keep the DNS of a whole domain from answering gets around its
        # policy. An author domain of the sender's own beside it can do that, so several never get that far.
        holds = result.disposition is not Policy.NONE and _action(rule, result.disposition) is not DmarcAction.TAG
        accepts = rule.temperror is OnTemperror.ACCEPT and not several
        if not holds and (accepts or result.policy is Policy.NONE):
            return DmarcVerdict()
        return _in_mode(settings, rule, DmarcVerdict("tempfail", reply=_deferral(result)), dkim, client)
    if result.status is not DmarcStatus.FAIL or result.disposition is Policy.NONE:
        return DmarcVerdict()
    action = _action(rule, result.disposition)
    reason = f"DMARC fail for {result.domain}, p={result.disposition}"
    return _in_mode(settings, rule, _enforced(action, _dmarc_refusal(result), reason), dkim, client)


def _action(rule: DmarcSettings, disposition: Policy) -> DmarcAction:
    return rule.reject if disposition is Policy.REJECT else rule.quarantine


def _enforced(action: DmarcAction, refusal: Reply, reason: str) -> DmarcVerdict:
    match action:
        case DmarcAction.REJECT:
            return DmarcVerdict(action, reply=refusal)
        case DmarcAction.HOLD:
            return DmarcVerdict(action, hold=Quarantine(reason))
        case DmarcAction.TAG:
            return DmarcVerdict(action)


def _in_mode(
    settings: DmarcSettings,
    rule: DmarcSettings,
    enforced: DmarcVerdict,
    dkim: Sequence[DkimResult],
    client: Address | None,
) -> DmarcVerdict:
    """The verdict as it is enforced, or the header alone where the rule's mode or an exemption says so."""
    why = _exemption(settings, dkim, client)
    if not why and rule.mode is not DmarcMode.ENFORCE:
        why = "dmarc.mode is monitor"
    if why:
        return DmarcVerdict("tag", "" if enforced.action == DmarcAction.TAG else enforced.action, why)
    return enforced


def _rule(settings: DmarcSettings, domain: str) -> DmarcSettings:
    """The settings in force for an author domain: the nearest override of it or a parent."""
    name = domain
    while name:
        if (override := settings.domains.get(name)) is not None:
            return override
        name = name.partition(".")[2]
    return settings


def _exemption(settings: DmarcSettings, dkim: Sequence[DkimResult], client: Address | None) -> str:
    exempt = settings.exempt
    if network := containing(exempt.networks, client):
        return f"{client} is in dmarc.exempt.networks ({network})"
    for result in dkim:
        if result.status is DkimStatus.PASS:
            for domain in exempt.dkim_domains:
                if is_subdomain(result.domain, domain):
                    return f"signed by {result.domain}, in dmarc.exempt.dkim_domains"
    return ""


def _dmarc_refusal(result: DmarcResult) -> Reply:
    # 5.7.1 and the first words are RFC 9989 section 7.2's: programs look for "DMARC policy" in them.
    return reply(550, "7.1", f"Email rejected per DMARC policy for {result.domain}: {result.reason}")


def _deferral(result: DmarcResult) -> Reply:
    # RFC 9989 4.10.1: "temporarily rejected (i.e., an SMTP 4yx reply)". RFC 3463 3.5, X.4.3: a directory server failed.
    return reply(451, "4.3", f"DMARC check of {result.domain} could not be completed: {result.reason}")


def observed(verdict: DmarcVerdict, refusal: Reply | None) -> DmarcVerdict:
    """The verdict where nothing may be changed: what it would have been. `refusal` is SPF's, which comes first."""
    if refusal is not None:
        return DmarcVerdict("tag", "reject" if refusal.code >= 500 else "tempfail", f"mode is observe; {refusal.text}")
    if verdict.action in ("accept", DmarcAction.TAG):
        return verdict
    return DmarcVerdict("tag", verdict.action, "mode is observe")


# --- the author (RFC 9989 sections 5.3.1 and 11.5) ---


def strictest(
    settings: DmarcSettings, results: Sequence[DmarcResult], dkim: Sequence[DkimResult], client: Address | None
) -> DmarcResult | None:
    """The result with the gravest consequence, of the domains that a message claims; None where none has any."""
    worst, most = None, (0, 0, 0)
    for result in results:
        verdict = dmarc_verdict(settings, result, dkim, client, several=len(results) > 1)
        weight = (*_severity(verdict), list(Policy).index(result.disposition))
        if weight > most and verdict.action != "accept":
            worst, most = result, weight
    return worst


def message_verdict(
    settings: Settings,
    author: Author,
    result: DmarcResult | None,
    dkim: Sequence[DkimResult],
    client: Address | None,
) -> DmarcVerdict:
    """What is to be done with a message: by its DMARC result, and where it does not have one author domain by that."""
    verdict = DmarcVerdict()
    if result is not None:
        verdict = dmarc_verdict(settings.dmarc, result, dkim, client, several=len(author.domains) > 1)
    if author.problem is None:
        return verdict
    return max(verdict, _without_author(settings, author, author.problem, dkim, client), key=_severity)


def _without_author(
    settings: Settings, author: Author, problem: AuthorProblem, dkim: Sequence[DkimResult], client: Address | None
) -> DmarcVerdict:
    """Its policy can't be known, so by default it is treated as under the strictest one: "care must be taken by the
    Mail Receiver to recognize such messages as the threats they might be" (RFC 9989 11.5)."""
    dmarc = settings.dmarc
    on_author = _on_author(settings, problem)
    if on_author is OnAuthor.REJECT:
        return DmarcVerdict(DmarcAction.REJECT, reply=_author_refusal(author.reason))
    incomplete = author.more or len(author.domains) > MAX_CLAIMED
    if dmarc.mode is DmarcMode.OFF or (on_author is OnAuthor.ACCEPT and not incomplete):
        return DmarcVerdict()
    rule, reason = dmarc, author.reason
    if incomplete:
        # "If not all Author Domains are processed, then the DMARC evaluation is incomplete" (11.5). To accept is to
        # follow the policies that are found, and the one that was not looked up may be p=reject.
        rule, reason = _strictest_rule(dmarc), f"{reason}, and more than {MAX_CLAIMED} domains may be shown"
    enforced = _enforced(rule.reject, _author_refusal(reason), f"no single author domain: {shortened(reason, 200)}")
    return _in_mode(dmarc, rule, enforced, dkim, client)


def _severity(verdict: DmarcVerdict) -> tuple[int, int]:
    """Verdicts in their order; of those that are made weaker, by what they would have been."""
    order = ("", "accept", "tag", "tempfail", "hold", "reject")
    return order.index(verdict.action), order.index(verdict.would)


def _strictest_rule(settings: DmarcSettings) -> DmarcSettings:
    rules = [rule for rule in (settings, *settings.domains.values()) if rule.mode is DmarcMode.ENFORCE]
    actions = list(DmarcAction)
    return max(rules, key=lambda rule: actions.index(rule.reject), default=settings)


def _author_refusal(reason: str) -> Reply:
    help_text = "write one From field with one address, like From: Name <name@example.org>"
    return reply(550, "7.1", f"the message has no single author domain: {shortened(reason, 250)}; {help_text}")


def _on_author(settings: Settings, problem: AuthorProblem) -> OnAuthor:
    authors = settings.authors
    match problem:
        case AuthorProblem.NO_FROM:
            return authors.none
        case AuthorProblem.SEVERAL_FROM:
            return authors.several_fields
        case AuthorProblem.SEVERAL_DOMAINS:
            return authors.several_domains
        case _:
            return authors.unparsable
