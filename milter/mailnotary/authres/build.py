"""Our own results as an Authentication-Results field (RFC 8601 section 2.7).

Filters trust this field, and some of them don't parse it: they search for "dmarc=pass". So nothing in it is a sender's
own text. A reason is the result's `brief`, made of fixed words; an identifier is written if it is a domain name or an
address literal, and left out if not; i= is cut down to its domain. What a sender really wrote is in the log.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from mailnotary.arc.result import ArcResult
from mailnotary.authres.results import Results
from mailnotary.authres.types import MethodResult, Property
from mailnotary.authres.vetted import host, plain
from mailnotary.authres.write import assemble, fold, line, pvalue, unfolded
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import DRAFT, Dkim2Result
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.domain import is_subdomain
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import ArcStatus, AuthStatus, Dkim2Status, DkimStatus, DmarcStatus, SpfStatus

MIN_SIGNATURE = 8  # characters of header.b (RFC 6008 section 4)
MAX_SIGNATURE = 64  # enough to tell any two real signatures apart
_ALGORITHMS = frozenset(("rsa-sha256", "rsa-sha1", "ed25519-sha256"))
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_LOGIN = re.compile(r"[A-Za-z0-9._+-]{1,64}(?:@[A-Za-z0-9._-]{1,253})?\Z")
MAX_SEALERS = 5  # names of sealers
MAX_DKIM = 20  # results of signatures; a message may have tens of thousands, an MTA takes no header field of that size


def field_value(
    authserv_id: str,
    results: Results,
    *,
    mail_from: str = "",
    helo: str = "",
    both_spf: bool = False,
    replays: bool = False,
    remote_ip: str = "",
    override: bool = False,
) -> str:
    """The field's value, folded as `format` does it: `mail_from` and `helo` as the client gave them, `both_spf` whether
    HELO's result is written beside that of MAIL FROM, `replays` whether a signature is told to be replayed,
    `remote_ip` the client's address, for ARC, `override` whether ARC outweighed DMARC's policy.

    What SPF and DMARC say about one sender's messages is the same for each, and is formatted once; so is nearly all of
    what is said about a signature."""
    lines = [
        *_auth(results.auth),
        *_spf(results.spf, mail_from, helo, both_spf),
        *_dkim(results.dkim, replays),
        *_dmarc(results.dmarc, override),
        *_arc(results.arc, remote_ip),
        *_dkim2(results.dkim2),
    ]
    return assemble(authserv_id, 1, lines)


def _auth(user: str | None) -> list[str]:
    if user is None:
        return []
    shown = user if _LOGIN.match(user) else ""
    return [line(MethodResult("auth", AuthStatus.PASS, _properties("smtp", auth=shown)))]


def _spf(results: Sequence[SpfResult], mail_from: str, helo: str, both: bool) -> list[str]:
    """Each result that is written, MAIL FROM's first.

    Many readers take the first result, and SpamAssassin any pass: the name in HELO, which says nothing of the sender,
    must not vouch for them. So HELO's own result is written only where both are asked for, and only with its name: a
    result that names nobody is taken as MAIL FROM's. By the same token none is a pass without a name.

    SPF vouches for a domain: the local part, which it did not check, SHOULD be left out (RFC 8601 2.7.2), though rspamd
    and others write the address. A null sender has no domain; its check was of the HELO name (RFC 7208 2.4), and that
    is what it shows."""
    sender = mail_from.strip("<> ")
    lines: list[str] = []
    for result in results:
        if result.identity is SpfIdentity.MAILFROM:
            name = sender.rpartition("@")[2] if sender else helo
            lines.insert(0, _spf_of_name(result, "mailfrom" if sender else "helo", name))
        elif len(results) == 1 or (both and host(result.domain or helo)):
            lines.append(_spf_of_name(result, "helo", helo))
    return list(dict.fromkeys(lines))  # with a null sender both are of the HELO name


def _spf_of_name(result: SpfResult, shown: str, name: str) -> str:
    domain = host(result.domain or name)
    if result.status is SpfStatus.PASS and not domain:
        return _spf_line(SpfStatus.NONE, shown, "", "no domain name")
    return _spf_line(result.status, shown, domain, plain(result.brief))


@lru_cache(maxsize=1024)
def _spf_line(status: SpfStatus, identity: str, domain: str, reason: str) -> str:
    return line(MethodResult("spf", status, _properties("smtp", **{identity: domain}), reason))


def _dkim(results: Sequence[DkimResult] | None, replays: bool) -> list[str]:
    """The signatures' results, the topmost first. Of too many, those that pass and then the topmost are listed."""
    if results is None:
        return []
    if not results:
        return [_NO_SIGNATURE]
    return [_signature_line(result, prefix, replays) for result, prefix in _shown(results)]


_NO_SIGNATURE = line(MethodResult("dkim", DkimStatus.NONE, comment="no signature"))


def _shown(results: Sequence[DkimResult]) -> list[tuple[DkimResult, str]]:
    """The results that are listed, each with its header.b."""
    all_of_them = list(zip(results, _prefixes([result.signature for result in results]), strict=True))
    if len(results) <= MAX_DKIM:
        return all_of_them
    passed_first = sorted(range(len(results)), key=lambda number: results[number].status != DkimStatus.PASS)
    return [all_of_them[number] for number in sorted(passed_first[:MAX_DKIM])]


def _signature_line(result: DkimResult, prefix: str, replays: bool) -> str:
    domain = host(result.domain)
    agent = host(result.identity.rpartition("@")[2])
    text = _signature_text(
        result.status,
        domain,
        f"@{agent}" if agent and is_subdomain(agent, domain) else "",
        host(result.selector),
        result.algorithm if result.algorithm in _ALGORITHMS else "",
        result.key_bits,
        plain(result.brief),
    )
    if replays and result.replayed:  # RFC 8601 section 2.4: policy has what was found beyond the method
        text += " policy.replay=yes"
    return fold(f"{text} header.b={pvalue(prefix)}" if prefix else text)


@lru_cache(maxsize=1024)
def _signature_text(
    status: DkimStatus, domain: str, identity: str, selector: str, algorithm: str, bits: int, reason: str
) -> str:
    """What the field says about a signature, except header.b, which ends it and is different each time."""
    properties = _properties("header", d=domain, i=identity, s=selector, a=algorithm)
    comment = f"{bits}-bit key" if bits else ""
    return unfolded(MethodResult("dkim", status, properties, reason, comment=comment))


def _prefixes(signatures: Sequence[str]) -> list[str]:
    """The first characters of each b=, as many as tell all apart, at least eight (RFC 6008 section 4). Signatures
    that are the same altogether can't be told apart and don't lengthen the others."""
    length = MIN_SIGNATURE
    if len(signatures) > 1:
        distinct = set(signatures)
        longest = min(max(map(len, distinct)), MAX_SIGNATURE)
        while length < longest and len({text[:length] for text in distinct}) < len(distinct):
            length += 1
    return [_NOT_BASE64.sub("", text[:length]) for text in signatures]


def _dmarc(result: DmarcResult | None, override: bool) -> list[str]:
    """policy.dmarc is the policy to be applied "after policy options have been processed" (RFC 9989 section 9.1):
    sp=, np= and t=y. On a pass nothing is applied; there it says what the domain asks for."""
    if result is None:
        return []
    fails = result.policy is not None and result.status is DmarcStatus.FAIL
    policy = result.disposition if fails else result.policy
    return [_dmarc_line(result.status, host(result.domain), policy, plain(result.brief), override)]


@lru_cache(maxsize=1024)
def _dmarc_line(status: DmarcStatus, domain: str, policy: Policy | None, reason: str, override: bool) -> str:
    properties = _properties("header", **{"from": domain})
    if policy is not None:
        properties += (Property("policy", "dmarc", policy),)
    if override:  # the type is for what local policy did beyond the method (RFC 8601 2.4); no name is registered for it
        properties += (Property("policy", "override", "arc"),)
    return line(MethodResult("dmarc", status, properties, reason))


def _arc(result: ArcResult | None, remote_ip: str) -> list[str]:
    """The chain (RFC 8617 sections 6 and 10). The sealers are named where the chain proves them, the newest first. Mail
    without a chain has no such result: it would say nothing, and be in nearly every field."""
    if result is None or result.status is ArcStatus.NONE:
        return []
    comment = ""
    if result.status is ArcStatus.PASS:
        sealers = list(dict.fromkeys([name for each in reversed(result.sets) if (name := host(each.domain))]))
        more = ", and others" if len(sealers) > MAX_SEALERS else ""
        sets = f"{len(result.sets)} set{'s' * (len(result.sets) > 1)}"
        comment = f"{sets}, sealed by {', '.join(sealers[:MAX_SEALERS])}{more}"
    properties = _properties("smtp", **{"remote-ip": remote_ip})
    if result.oldest_pass is not None:
        properties += (Property("header", "oldest-pass", str(result.oldest_pass)),)
    return [line(MethodResult("arc", result.status, properties, plain(result.brief), comment=comment))]


def _dkim2(result: Dkim2Result | None) -> list[str]:
    """header.d is the originator, d= of the first signature; of nothing but a pass, as it proves nothing otherwise. No
    RFC has registered the method: the comment says what it is."""
    if result is None:
        return []
    domain = host(result.domain) if result.status is Dkim2Status.PASS else ""
    return [_dkim2_line(result.status, domain, len(result.hops), plain(result.brief))]


@lru_cache(maxsize=1024)
def _dkim2_line(status: Dkim2Status, domain: str, hops: int, reason: str) -> str:
    comment = f"experimental, {DRAFT}"
    if hops:
        comment += f", {hops} signature{'s' * (hops > 1)}"
    return line(MethodResult("dkim2", status, _properties("header", d=domain), reason, comment=comment))


def _properties(ptype: str, **values: str) -> tuple[Property, ...]:
    return tuple([Property(ptype, name, value) for name, value in values.items() if value])
