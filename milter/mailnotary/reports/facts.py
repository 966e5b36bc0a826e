"""What a report says of one message, from its entry in the history."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from mailnotary.dmarc.result import Policy
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.session.forwarded import TRUSTED
from mailnotary.session.outcome import MessageMode
from mailnotary.status import DkimStatus, DmarcStatus

MAX_SIGNATURES: Final = 20  # of one record, the best first: the history keeps no more (RFC 9990 3.1.3: at most 100)
MAX_SEALS: Final = 10  # of a chain, the newest
MAX_ADDRESS_LITERAL: Final = 50  # octets of a domain in brackets

_WEAKER = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE}  # under t=y (RFC 9989 4.7)
_DISPOSITIONS = {"reject": "reject", "hold": "quarantine", "accept": "none"}


class Published(NamedTuple):
    """A policy record as it was found: the words of its tags with their defaults, what its owner did wrong, and where
    reports go."""

    domain: str
    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    testing: bool
    psd: str
    fo: str
    rua: tuple[str, ...]
    problems: tuple[str, ...]


class Signature(NamedTuple):
    """The result of one DKIM signature; `reason` is in our own words."""

    domain: str
    selector: str
    result: str
    reason: str


class Spf(NamedTuple):
    """The SPF result of MAIL FROM; `reason` is in our own words."""

    domain: str
    result: str
    reason: str


class Record(NamedTuple):
    """What messages have in common that are counted together (RFC 9990 3.1.1.7): "One record per (IP, result,
    authentication identifiers)". `envelope_from` is "" for the null reverse-path, and None if it cannot be told.
    `reasons` are pairs of a type and a comment."""

    source_ip: str
    disposition: str
    dkim: str
    spf: str
    reasons: tuple[tuple[str, str], ...]
    header_from: str
    envelope_from: str | None
    signatures: tuple[Signature, ...]
    spf_result: Spf | None


class Fact(NamedTuple):
    """One message: under which policy it was evaluated, and what is said of it."""

    published: Published
    record: Record


def fact_of(message: Mapping[str, Any]) -> Fact | None:
    """What is reported of a message, as `story.complete` has it; None where nothing is: no policy record applied to it,
    it is to come again, or it is a report itself."""
    dmarc = message["dmarc"]
    if message["mode"] != MessageMode.VERIFY or dmarc is None or not (found := dmarc["record"]):
        return None
    if message["action"] not in _DISPOSITIONS:  # a temporary failure: the sender tries again, and is counted then
        return None
    # Reports about reports would never end. A subject alone proves nothing, and would hide a forgery from its victim.
    if message["is_report"] and dmarc["status"] == DmarcStatus.PASS:
        return None
    source = message["client"].partition("%")[0]  # RFC 3986 section 3.2.2 has no zones
    if not source or not is_domain_name(found["domain"]):
        return None
    disposition, reasons = _applied(message, dmarc)
    record = Record(
        source_ip=source,
        disposition=disposition,
        dkim=_aligned(dmarc["dkim_aligned"]),
        spf=_aligned(dmarc["spf_aligned"]),
        reasons=reasons,
        header_from=dmarc["domain"],
        envelope_from=_envelope_from(message["mail_from"]),
        signatures=_signatures(message["dkim"], dmarc),
        spf_result=_spf(message["spf"]),
    )
    return Fact(_published(found), record)


def _aligned(aligned: bool) -> str:
    return "pass" if aligned else "fail"


def _published(found: Mapping[str, Any]) -> Published:
    return Published(
        domain=found["domain"],
        **{tag: found[tag] for tag in ("p", "sp", "np", "adkim", "aspf")},
        testing=bool(found["t"]),
        psd=found["psd"] or "u",
        fo=found["fo"] or "0",
        rua=tuple(found["rua"] or ()),
        problems=tuple(found["problems"] or ()),
    )


def _envelope_from(mail_from: str) -> str | None:
    if not mail_from:
        return ""
    domain = mail_from.rpartition("@")[2]
    name = to_ascii(domain)
    if name is not None and is_domain_name(name):
        return name
    literal = domain.startswith("[") and domain.endswith("]") and domain.isascii()
    return domain if literal and len(domain) <= MAX_ADDRESS_LITERAL else None


def _spf(results: Sequence[Mapping[str, Any]]) -> Spf | None:
    """Only MAIL FROM counts in DMARC (RFC 9990 3.1.1.13); with a null reverse-path that is postmaster at the HELO name
    (RFC 7208 section 2.4)."""
    for one in results:
        if one["identity"] == "mailfrom" and one["domain"]:
            return Spf(one["domain"], one["status"], one["brief"] or "")
    return None


def _signatures(results: Sequence[Mapping[str, Any]], dmarc: Mapping[str, Any]) -> tuple[Signature, ...]:
    """In the order of RFC 9990 3.1.3: passed and strictly aligned, passed and aligned, passed, all others. One that
    could not be read as far as its d= says nothing."""
    author, org = dmarc["domain"], dmarc["org_domain"]

    def place(one: Mapping[str, Any]) -> int:
        if one["status"] != DkimStatus.PASS:
            return 3
        if one["domain"] == author:
            return 0
        return 1 if org and is_subdomain(one["domain"], org) else 2

    ordered = sorted((one for one in results if one["domain"]), key=place)[:MAX_SIGNATURES]
    return tuple(Signature(one["domain"], one["selector"], one["status"], one["brief"] or "") for one in ordered)


# --- what the policy came to ----------------------------------------------------------------------------------------


def _applied(message: Mapping[str, Any], dmarc: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The disposition, and why it is not what the policy asks for: "If alignment fails and the policy applied does not
    match the DMARC Policy Domain's configured policy, the "reason" element MUST be included" (RFC 9990 3.1.1.9)."""
    policy = dmarc["policy"] or Policy.NONE
    if dmarc["status"] == DmarcStatus.PASS:
        return ("none" if policy == Policy.NONE else "pass"), ()
    disposition = _DISPOSITIONS[message["action"]]
    if dmarc["status"] != DmarcStatus.FAIL:
        return disposition, (("other", f"DMARC ended in {dmarc['status']}, so the policy was not applied"),)
    reasons: list[tuple[str, str]] = []
    asked = policy
    if dmarc["record"]["t"] and policy in _WEAKER:
        asked = _WEAKER[policy]
        reasons.append(("policy_test_mode", ""))
    if disposition != asked:
        reasons.append(_override(message, disposition))
    return disposition, tuple(reasons)


def _override(message: Mapping[str, Any], disposition: str) -> tuple[str, str]:
    why = message["override"] or ""
    if "dmarc.exempt" in why:
        return "trusted_forwarder", "the client or a signer is trusted to forward mail"
    if TRUSTED in why and (arc := message["arc"]):
        return "local_policy", _chain(arc)
    if disposition == "reject":
        reply = message["reply"]
        if reply and str(reply["enhanced_code"]).startswith("5.7.2"):  # X.7.23, X.7.24 (RFC 7372 section 3.2)
            return "local_policy", "refused for its SPF result"
        return "local_policy", "refused for another reason"
    if disposition == "quarantine":
        return "local_policy", "held for the administrator"
    if message["regardless"]:
        return "local_policy", "accepted without applying policies"
    if message["reachable"]:
        return "local_policy", "its recipients accept all mail"
    if why:
        return "local_policy", "policies are not enforced here"
    return "local_policy", "only marked in Authentication-Results"


def _chain(arc: Mapping[str, Any]) -> str:
    """What RFC 8617 7.2.2 wants of a chain that decided: its status, each seal's d= and s=, the first client."""
    seals = list(enumerate(arc["sets"], 1))[-MAX_SEALS:]
    parts = [f"arc={arc['status']}"]
    parts += [f"as[{number}].d={domain} as[{number}].s={selector}" for number, (domain, selector) in reversed(seals)]
    if arc["first_client"]:
        parts.append(f"remote-ip[1]={arc['first_client']}")
    return " ".join(parts)
