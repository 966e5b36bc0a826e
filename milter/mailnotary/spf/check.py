"""The check_host() function (RFC 7208 section 4), and the checks of the two identities that call it."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypedDict, Unpack

from mailnotary.escape import ascii_printable
from mailnotary.resolver import Resolver
from mailnotary.spf.client import Client
from mailnotary.spf.evaluate import Evaluation, Failure, Verdict
from mailnotary.spf.explain import explanation
from mailnotary.spf.identity import POSTMASTER, a_labels, is_mail_domain, octets, parse_sender, strip_path, to_text
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.spf.trace import Trace
from mailnotary.status import SpfStatus

MAX_SECONDS = 20.0  # RFC 7208 4.6.4 asks for 20 s at least; Postfix gives up on a milter's answer to MAIL after 30 s
MAX_VOID_LOOKUPS = 2  # 4.6.4: "a default of two is RECOMMENDED"


class Options(TypedDict, total=False):
    """What every check takes beside its arguments. None of it is needed.

    receiver: the name of this host, for explanations (the "r" macro); "unknown" if not given.
    default_explanation: what a fail explains when the domain does not, or not well (6.2); "" if not given.
    void_limit: how many look-ups may find nothing (4.6.4).
    deadline: when to give up with temperror, in the clock's seconds; 20 s from now if not given. HELO's and MAIL FROM's
        checks share their time by sharing it.
    clock: what the deadline is measured with; `time.monotonic` if not given.
    now: seconds since the epoch (the "t" macro); the present if not given.
    trace: is called with each step."""

    receiver: str
    default_explanation: str
    void_limit: int
    deadline: float | None
    clock: Callable[[], float]
    now: float | None
    trace: Trace | None


def check_host(
    ip: str | IPv4Address | IPv6Address,
    domain: str | bytes,
    sender: str | bytes,
    *,
    helo: str | bytes,
    resolver: Resolver,
    identity: SpfIdentity = SpfIdentity.MAILFROM,
    **options: Unpack[Options],
) -> SpfResult:
    """Whether the client at `ip` may use `domain` (RFC 7208 4.1). `sender` is the identity that is checked; without a
    local-part it stands for postmaster's. Raises ValueError where `ip` is no address; whatever the rest and DNS
    hold, the result says it."""
    client = Client(ip)
    name = a_labels(to_text(domain))
    if name is None or not is_mail_domain(name):
        shown = ascii_printable(to_text(domain), 253).lower()
        return SpfResult(SpfStatus.NONE, identity, shown, reason=f'"{shown}" is no domain name that can have a record')
    clock = options.get("clock", time.monotonic)
    deadline = options.get("deadline")
    evaluation = Evaluation(
        client=client,
        sender=parse_sender(to_text(sender)),
        helo=octets(a_labels(to_text(helo)) or to_text(helo)),
        resolver=resolver,
        void_limit=options.get("void_limit", MAX_VOID_LOOKUPS),
        deadline=clock() + MAX_SECONDS if deadline is None else deadline,
        clock=clock,
        trace=options.get("trace"),
    )
    try:
        verdict = evaluation.check(name)
    except Failure as failure:
        verdict = Verdict(failure.status, failure.reason, name)
    explained = ""
    if verdict.status is SpfStatus.FAIL:
        text = explanation(evaluation, verdict, options.get("receiver") or "unknown", options.get("now"))
        explained = options.get("default_explanation", "") if text is None else text
    return SpfResult(
        verdict.status,
        identity,
        name.lower(),
        verdict.term,
        explained,
        verdict.reason,
        evaluation.lookups,
        evaluation.void_lookups,
    )


def check_mail_from(
    ip: str | IPv4Address | IPv6Address,
    mail_from: str | bytes,
    helo: str | bytes,
    resolver: Resolver,
    **options: Unpack[Options],
) -> SpfResult:
    """Checks the MAIL FROM identity (RFC 7208 2.4), with or without its angle brackets; see `check_host`. The null
    reverse-path stands for postmaster at the HELO name."""
    mailbox = strip_path(to_text(mail_from))
    if not mailbox:
        domain = to_text(helo)
        mailbox = f"{POSTMASTER}@{domain}"
    else:
        domain = mailbox.rpartition("@")[2] if "@" in mailbox else ""
    return check_host(ip, domain, mailbox, helo=helo, resolver=resolver, **options)


def check_helo(
    ip: str | IPv4Address | IPv6Address, helo: str | bytes, resolver: Resolver, **options: Unpack[Options]
) -> SpfResult:
    """Checks the HELO identity (RFC 7208 2.3); see `check_host`."""
    sender = f"{POSTMASTER}@{to_text(helo)}"
    return check_host(ip, helo, sender, helo=helo, resolver=resolver, identity=SpfIdentity.HELO, **options)
