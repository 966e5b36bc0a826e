"""Our own results as an Authentication-Results field (RFC 8601 section 2.7).

Filters trust this field, and some of them don't parse it: they search for "dmarc=pass". So nothing in it is a sender's
own text. A reason is the result's `brief`, made of fixed words; an identifier is written if it is a domain name or an
address literal, and left out if not; i= is cut down to its domain. What a sender really wrote is in the log.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from mailnotary.authres.types import AuthenticationResults, MethodResult, Property
from mailnotary.authres.vetted import host, plain
from mailnotary.authres.write import assemble, fold, line, pvalue, unfolded
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.domain import is_subdomain
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import AuthStatus, DkimStatus, DmarcStatus, SpfStatus

MIN_SIGNATURE = 8  # characters of header.b (RFC 6008 section 4)
MAX_SIGNATURE = 64  # as many tell any two real signatures apart
_ALGORITHMS = frozenset(("rsa-sha256", "rsa-sha1", "ed25519-sha256"))
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_LOGIN = re.compile(r"[A-Za-z0-9._+-]{1,64}(?:@[A-Za-z0-9._-]{1,253})?\Z")
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
    both_spf: bool = False,
) -> AuthenticationResults:
    """The field for what was checked: `auth` the login name of an authenticated client, `dkim` None where signatures
    were not looked at (no signature there is `dkim=none`), `mail_from` and `helo` as the client gave them, `both_spf`
    whether HELO's result is written beside that of MAIL FROM."""
    results: list[MethodResult] = []
    if auth is not None:
        results.append(_auth(auth))
    results += [_spf(*facts) for facts in _spf_facts(spf, mail_from, helo, both_spf)]
    if dkim is not None:
        results += _dkim(dkim)
    if dmarc is not None:
        results.append(_dmarc(*_dmarc_facts(dmarc)))
    return AuthenticationResults(authserv_id, tuple(results))


def field_value(
    authserv_id: str,
    *,
    spf: Sequence[SpfResult],
    dkim: Sequence[DkimResult],
    dmarc: DmarcResult | None,
    mail_from: str,
    helo: str,
    both_spf: bool = False,
) -> str:
    """The same as `format(from_results(...))` in half the time: what SPF and DMARC say of one sender's messages is the
    same for each, and written once; so is nearly all of what is said of a signature."""
    lines = [_spf_line(*facts) for facts in _spf_facts(spf, mail_from, helo, both_spf)]
    if not dkim:
        lines.append(_NO_SIGNATURE)
    for signature, prefix in _shown(dkim) if dkim else ():
        text = _signature_text(*_signature_facts(signature))
        lines.append(fold(f"{text} header.b={pvalue(prefix)}" if prefix else text))
    if dmarc is not None:
        lines.append(_dmarc_line(*_dmarc_facts(dmarc)))
    return assemble(authserv_id, 1, lines)


def _auth(user: str) -> MethodResult:
    return MethodResult("auth", AuthStatus.PASS, _properties("smtp", auth=user if _LOGIN.match(user) else ""))


_SpfFacts = tuple[SpfStatus, str, str, str]


def _spf_facts(results: Sequence[SpfResult], mail_from: str, helo: str, both: bool) -> list[_SpfFacts]:
    """Status, property, its value, and the reason of each result that is written, MAIL FROM's first.

    Many readers take the first result, and SpamAssassin any pass: the name in HELO, which says nothing of the sender,
    must not vouch for him. So HELO's own result is written only where both are asked for, and only with its name: a
    result that names nobody is taken for MAIL FROM's. By the same token none is a pass without a name.

    SPF vouches for a domain: the local part, which it did not check, SHOULD be left out (RFC 8601 2.7.2), though rspamd
    and others write the address. A null sender has no domain; its check was of the HELO name (RFC 7208 2.4), and that
    is what it shows."""
    sender = mail_from.strip("<> ")
    facts: list[_SpfFacts] = []
    for result in results:
        if result.identity is SpfIdentity.MAILFROM:
            name = sender.rpartition("@")[2] if sender else helo
            facts.insert(0, _of_name(result, "mailfrom" if sender else "helo", name))
        elif len(results) == 1 or (both and host(result.domain or helo)):
            facts.append(_of_name(result, "helo", helo))
    return list(dict.fromkeys(facts))  # with a null sender both are of the HELO name


def _of_name(result: SpfResult, shown: str, name: str) -> _SpfFacts:
    domain = host(result.domain or name)
    if result.status is SpfStatus.PASS and not domain:
        return SpfStatus.NONE, shown, "", "no domain name"
    return result.status, shown, domain, plain(result.brief)


def _spf(status: SpfStatus, identity: str, domain: str, reason: str) -> MethodResult:
    return MethodResult("spf", status, _properties("smtp", **{identity: domain}), reason)


def _dmarc_facts(result: DmarcResult) -> tuple[DmarcStatus, str, Policy | None, str]:
    """policy.dmarc is the policy to be applied "after policy options have been processed" (RFC 9989 section 9.1):
    sp=, np= and t=y. On a pass nothing is applied; there it says what the domain asks for."""
    fails = result.policy is not None and result.status is DmarcStatus.FAIL
    policy = result.disposition if fails else result.policy
    return result.status, host(result.domain), policy, plain(result.brief)


def _dmarc(status: DmarcStatus, domain: str, policy: Policy | None, reason: str) -> MethodResult:
    properties = _properties("header", **{"from": domain})
    if policy is not None:
        properties += (Property("policy", "dmarc", policy),)
    return MethodResult("dmarc", status, properties, reason)


@lru_cache(maxsize=1024)
def _spf_line(status: SpfStatus, identity: str, domain: str, reason: str) -> str:
    return line(_spf(status, identity, domain, reason))


@lru_cache(maxsize=1024)
def _dmarc_line(status: DmarcStatus, domain: str, policy: Policy | None, reason: str) -> str:
    return line(_dmarc(status, domain, policy, reason))


def _dkim(results: Sequence[DkimResult]) -> list[MethodResult]:
    """The signatures' results, the topmost first. Of too many, those that pass and then the topmost are told of."""
    if not results:
        return [MethodResult("dkim", DkimStatus.NONE, comment="no signature")]
    return [_signature(*_signature_facts(result), prefix) for result, prefix in _shown(results)]


def _shown(results: Sequence[DkimResult]) -> list[tuple[DkimResult, str]]:
    """The results that are told of, each with its header.b."""
    all_of_them = list(zip(results, _prefixes([result.signature for result in results]), strict=True))
    if len(results) <= MAX_DKIM:
        return all_of_them
    passed_first = sorted(range(len(results)), key=lambda number: results[number].status != DkimStatus.PASS)
    return [all_of_them[number] for number in sorted(passed_first[:MAX_DKIM])]


def _signature_facts(result: DkimResult) -> tuple[DkimStatus, str, str, str, str, int, str]:
    domain = host(result.domain)
    agent = host(result.identity.rpartition("@")[2])
    return (
        *(result.status, domain, f"@{agent}" if agent and is_subdomain(agent, domain) else "", host(result.selector)),
        *(result.algorithm if result.algorithm in _ALGORITHMS else "", result.key_bits, plain(result.brief)),
    )


def _signature(
    status: DkimStatus, domain: str, identity: str, selector: str, algorithm: str, bits: int, reason: str, prefix: str
) -> MethodResult:
    properties = _properties("header", d=domain, i=identity, s=selector, a=algorithm, b=prefix)
    return MethodResult("dkim", status, properties, reason, comment=f"{bits}-bit key" if bits else "")


@lru_cache(maxsize=1024)
def _signature_text(
    status: DkimStatus, domain: str, identity: str, selector: str, algorithm: str, bits: int, reason: str
) -> str:
    """What the field says of a signature but for header.b, which ends it and is another one each time."""
    return unfolded(_signature(status, domain, identity, selector, algorithm, bits, reason, ""))


_NO_SIGNATURE = line(_dkim(())[0])


def _prefixes(signatures: Sequence[str]) -> list[str]:
    """The first characters of each b=, as many as tell all apart, at least eight (RFC 6008 section 4). Signatures
    that are the same altogether can't be told apart and don't lengthen the others."""
    distinct = set(signatures)
    length = MIN_SIGNATURE
    longest = min(max(map(len, distinct)), MAX_SIGNATURE)
    while length < longest and len({text[:length] for text in distinct}) < len(distinct):
        length += 1
    return [_NOT_BASE64.sub("", text[:length]) for text in signatures]


def _properties(ptype: str, **values: str) -> tuple[Property, ...]:
    return tuple([Property(ptype, name, value) for name, value in values.items() if value])
