"""The check_host() function (RFC 7208 section 4), and the checks of the two identities that call it."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypedDict, Unpack

from mailnotary.escape import ascii_printable
from mailnotary.remember import Remembered
from mailnotary.resolver import Memo, NotingResolver, Resolver
from mailnotary.spf.client_address import ClientAddress, client_address
from mailnotary.spf.evaluate import Evaluation, Verdict
from mailnotary.spf.explain import explanation
from mailnotary.spf.identity import POSTMASTER, a_labels, is_mail_domain, strip_path, to_text
from mailnotary.spf.limits import MAX_SECONDS, MAX_VOID_LOOKUPS, Failure, LimitedResolver
from mailnotary.spf.macro import MacroString
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.spf.trace import TraceStep
from mailnotary.status import SpfStatus

_Key = tuple[ClientAddress, str, SpfIdentity, int]
_Expanded = tuple[tuple[MacroString, str], ...]


def _cost(spec: MacroString, name: str = "") -> int:
    """About how much memory they take."""
    return 300 + 100 * len(spec.parts) + len(name)


# Checks of domains whose records have no macros of the sender, though perhaps of the domain and of the client's address
# and names, so that they have the same result for every sender and at any time. A fail may have an explanation that
# depends on the sender, and a temperror says nothing about the next check.
_memo: Memo[_Key, SpfResult] = Memo(
    4 * 1024 * 1024, lambda key, result: 700 + len(key[1]) + len(result.reason) + len(result.mechanism)
)
# And of the others: the same for all senders for whom the domain-specs with such macros expand to the same names, as
# those do that ask for the HELO name or for a part of the local-part. `_personal` has what the last check expanded.
_personal_memo: Memo[tuple[ClientAddress, str, SpfIdentity, int, _Expanded], SpfResult] = Memo(
    4 * 1024 * 1024,
    lambda key, result: (
        900 + len(key[1]) + len(result.reason) + len(result.mechanism) + sum([_cost(*pair) for pair in key[4]])
    ),
)
_personal: Remembered[_Key, tuple[MacroString, ...]] = Remembered(1024 * 1024)

Ip = str | IPv4Address | IPv6Address | ClientAddress
"""The client's address; the last is what `client_address` makes of the others."""


class Options(TypedDict, total=False):
    """What every check takes besides its arguments. All of it is optional.

    receiver: the name of this host, for explanations (the "r" macro); "unknown" if not given.
    default_explanation: the explanation of a fail whose domain gives none that is usable (6.2); "" if not given.
    void_limit: how many look-ups may find nothing (4.6.4); 2 if not given.
    deadline: when to give up with temperror, in the clock's seconds; 20 s from now if not given. The checks of HELO
        and MAIL FROM share their time by sharing it.
    clock: what the deadline is measured with; `time.monotonic` if not given.
    now: seconds since the epoch (the "t" macro); the current time if not given.
    trace: gets each step of the check."""

    receiver: str
    default_explanation: str
    void_limit: int
    deadline: float | None
    clock: Callable[[], float]
    now: float | None
    trace: list[TraceStep] | None


def check_host(
    ip: Ip,
    domain: str | bytes,
    sender: str | bytes,
    *,
    helo: str | bytes,
    resolver: Resolver,
    identity: SpfIdentity = SpfIdentity.MAILFROM,
    receiver: str = "unknown",
    default_explanation: str = "",
    void_limit: int = MAX_VOID_LOOKUPS,
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    now: float | None = None,
    trace: list[TraceStep] | None = None,
) -> SpfResult:
    """Whether the client at `ip` may use `domain` (RFC 7208 4.1). `sender` is the identity that is checked; without a
    local-part it is postmaster's. For the rest see `Options`. Raises ValueError where `ip` is not an address; for
    anything else that a client said or DNS holds there is a result."""
    client = ip if isinstance(ip, ClientAddress) else client_address(ip)
    name = a_labels(to_text(domain))
    if name is None or not is_mail_domain(name):  # 4.3
        shown = ascii_printable(to_text(domain).lower(), 253)  # before the escape: \U0001f600 is not \u0001f600
        return SpfResult(
            SpfStatus.NONE,
            identity,
            shown,
            reason=f'"{shown}" is not a domain name that can have a record' if shown else "there is no domain to check",
            brief="no domain name",
        )
    deadline = clock() + MAX_SECONDS if deadline is None else deadline
    key = client, name, identity, void_limit
    noted = NotingResolver(resolver)
    recalls = trace is None and clock() < deadline
    if recalls and (kept := _memo.recall(key, noted)) is not None:
        return kept
    dns = LimitedResolver(noted, void_limit=void_limit, deadline=deadline, clock=clock, trace=trace)
    evaluation = Evaluation(client, to_text(sender), to_text(helo), dns)
    specs = _personal.get(key)
    if recalls and specs is not None and (expanded := evaluation.expand(specs)) is not None:
        kept = _personal_memo.recall((*key, expanded), noted)
        if kept is not None:
            return kept
    try:
        verdict = evaluation.check(name)
    except Failure as failure:
        verdict = Verdict(failure.status, failure.reason, failure.brief, name)
    explained = ""
    if verdict.status is SpfStatus.FAIL:
        own = explanation(evaluation, verdict, receiver or "unknown", now)
        explained = default_explanation if own is None else own
    result = SpfResult(
        status=verdict.status,
        identity=identity,
        domain=name.lower(),
        mechanism=verdict.term,
        explanation=explained,
        reason=verdict.reason,
        lookups=dns.lookups,
        void_lookups=dns.void_lookups,
        brief=verdict.brief,
    )
    if result.status not in (SpfStatus.FAIL, SpfStatus.TEMPERROR):
        expanded = tuple(evaluation.expanded)
        if not expanded and evaluation.lasting:
            _memo.keep(key, result, noted)
        elif evaluation.lasting:
            _personal_memo.keep((*key, expanded), result, noted)
            specs = tuple([spec for spec, _ in expanded])
            if specs != _personal.get(key):
                _personal.keep(key, specs, 400 + len(name) + sum([_cost(spec) for spec in specs]))
    return result


def check_mail_from(
    ip: Ip,
    mail_from: str | bytes,
    helo: str | bytes,
    resolver: Resolver,
    **options: Unpack[Options],
) -> SpfResult:
    """Checks the MAIL FROM identity (RFC 7208 2.4), with or without its angle brackets; see `check_host`. The null
    reverse-path stands for postmaster at the HELO name."""
    mailbox = strip_path(to_text(mail_from))
    if not mailbox:
        mailbox = f"{POSTMASTER}@{to_text(helo)}"
    _, at, domain = mailbox.rpartition("@")
    return check_host(ip, domain if at else "", mailbox, helo=helo, resolver=resolver, **options)


def check_helo(ip: Ip, helo: str | bytes, resolver: Resolver, **options: Unpack[Options]) -> SpfResult:
    """Checks the HELO identity (RFC 7208 2.3); see `check_host`."""
    sender = f"{POSTMASTER}@{to_text(helo)}"
    return check_host(ip, helo, sender, helo=helo, resolver=resolver, identity=SpfIdentity.HELO, **options)
