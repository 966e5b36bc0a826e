"""From results to a verdict: what the MTA is told to do, and what the sender's admin gets to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mailnotary.address import Author, AuthorProblem
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.domain import is_subdomain
from mailnotary.escape import ascii_printable
from mailnotary.settings import (
    DmarcAction,
    DmarcMode,
    DmarcSettings,
    Network,
    OnAuthor,
    Settings,
    SpfAction,
    SpfSettings,
)
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

Address = IPv4Address | IPv6Address

MAX_REPLY_TEXT = 400  # octets; RFC 5321 4.5.3.1.5 gives a reply line 512 in all


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """Put a field at a place counted from the top (0: above all others). The value comes without the space after
    the colon; its folds are CRLF and white space."""

    index: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class DeleteHeader:
    """Delete the index-th field of this name, counted from 1 at the top among those of the name alone."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Accept the message and hold it in the MTA's queue until its admin looks at it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Refuse the message for good (5xx) or for now (4xx). The text is printable US-ASCII."""

    code: int
    enhanced_code: str
    text: str


Action = InsertHeader | DeleteHeader | Quarantine | Reply


def reply(code: int, detail: str, text: str) -> Reply:
    """A reply with the enhanced code of its class (RFC 3463 section 2): `detail` "7.1" under 550 is 5.7.1."""
    return Reply(code, f"{code // 100}.{detail}", ascii_printable(text, MAX_REPLY_TEXT)[:MAX_REPLY_TEXT])


def containing(networks: Sequence[Network], address: Address | None) -> Network | None:
    """The first network that an address is in."""
    if address is None:
        return None
    for network in networks:
        if network.version == address.version and address in network:
            return network
    return None


# --- SPF (RFC 7208 section 8) ---


def wants_mail_reply(settings: Settings) -> bool:
    """Whether SPF may come to a reply, so that MAIL FROM has to be answered."""
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


# --- the author (RFC 9989 sections 5.3.1 and 11.5) ---


def author_reply(settings: Settings, author: Author) -> Reply | None:
    """The refusal of a message without one author domain, where the admin asks for it."""
    if author.problem is None or _on_author(settings, author.problem) is not OnAuthor.REJECT:
        return None
    return reply(550, "7.1", f"the message has no single author domain: {author.reason}")


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


# --- DMARC (RFC 9989 sections 5.4 and 7.2) ---


@dataclass(frozen=True, slots=True)
class DmarcVerdict:
    """`action` is what is done; `would` is what enforcing would have done, "" where that is the same; `why` says
    what made the difference; `reply` and `hold` are the action's form."""

    action: str = "accept"
    would: str = ""
    why: str = ""
    reply: Reply | None = None
    hold: Quarantine | None = None


def dmarc_verdict(
    settings: DmarcSettings, result: DmarcResult, dkim: Sequence[DkimResult], client: Address | None
) -> DmarcVerdict:
    """What a DMARC result comes to under the admin's settings. p=none, a pass and an error change nothing."""
    if result.status is not DmarcStatus.FAIL or result.disposition is Policy.NONE:
        return DmarcVerdict()
    rule = _rule(settings, result.domain)
    action = rule.reject if result.disposition is Policy.REJECT else rule.quarantine
    why = _exemption(settings, dkim, client)
    if not why and rule.mode is not DmarcMode.ENFORCE:
        why = "dmarc.mode is monitor"
    if why:
        return DmarcVerdict("tag", "" if action is DmarcAction.TAG else action, why)
    match action:
        case DmarcAction.REJECT:
            return DmarcVerdict(action, reply=_dmarc_refusal(result))
        case DmarcAction.HOLD:
            return DmarcVerdict(action, hold=Quarantine(f"DMARC fail for {result.domain}, p={result.disposition}"))
        case DmarcAction.TAG:
            return DmarcVerdict(action)


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
