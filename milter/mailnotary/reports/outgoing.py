"""The reports of a period: who gets one, and where it goes."""

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from mailnotary.config.settings import ReportsSettings, Settings
from mailnotary.dmarc.policy_record import Psd
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.history.store import Search, Store
from mailnotary.mail.envelope import mailbox_of
from mailnotary.reports.destinations import Consent, Destination, Destinations, questions
from mailnotary.reports.gather import Gathered, Gatherer
from mailnotary.reports.names import Reporter
from mailnotary.reports.period import Period
from mailnotary.resolver import Resolver, prefetch

AHEAD: Final = 50  # reports whose DNS questions are begun before the first of them is looked at
CHUNK: Final = 2000  # messages read from the history at a time


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One report; `skipped` says why it is not made, "" where it is."""

    report: Gathered
    period: Period
    destinations: tuple[Destination, ...]
    skipped: str = ""


def search_of(period: Period) -> Search:
    """The messages of a period that may be reported."""
    return Search(mode="verify", evaluated=True, since=period.begin, until=period.end)


def messages_of(store: Store, period: Period) -> Iterator[dict[str, Any]]:
    """Those messages. Raises StoreError."""
    return store.each(search_of(period), CHUNK)


def reporter_of(settings: Settings, unique_id: str) -> Reporter:
    """Who reports. Where the configuration does not say it yet, for a report that only this machine's administrator
    gets to see, it is this host."""
    reports = settings.reports
    if reports.from_:
        domain = mailbox_of(reports.from_).domain
    else:
        name = to_ascii(settings.authserv_id or socket.getfqdn()) or ""
        domain = name if is_domain_name(name) else "localhost"
    email = reports.from_ or f"postmaster@{domain}"
    extra = ""
    if reports.contact:
        try:
            email = str(mailbox_of(reports.contact))
        except ValueError:
            extra = reports.contact
    return Reporter(reports.org_name or domain, domain, email, extra, unique_id)


def outgoing(gatherer: Gatherer, period: Period, settings: ReportsSettings, resolver: Resolver) -> Iterator[Outgoing]:
    """The reports of a gatherer that was given the messages of this period. Their DNS questions are asked side by
    side, a few reports ahead."""
    lookup = Destinations(resolver)
    reports = gatherer.reports()
    while some := list(islice(reports, AHEAD)):
        reasons = [why_not(report, settings) for report in some]
        for report, reason in zip(some, reasons, strict=True):
            if not reason:
                prefetch(resolver, questions(report.domain, report.published.rua))
        for report, reason in zip(some, reasons, strict=True):
            found = () if reason else tuple(_allowed(lookup.of(report.domain, report.published.rua), settings))
            yield Outgoing(report, period, found, reason)


def why_not(report: Gathered, settings: ReportsSettings) -> str:
    """Why a policy domain gets no report, "" where it does."""
    if not report.published.rua:
        return "its record asks for none (no rua= with mailto:)"
    if excluded(report.domain, settings):
        return "it is in reports.exclude"
    if report.published.psd == Psd.YES and not settings.public_suffixes:
        # A registry would read which names below it get and send mail (RFC 9990 section 7.3).
        return "it is a public suffix (reports.public_suffixes)"
    if report.messages < settings.min_messages:
        return f"it has fewer messages than reports.min_messages ({settings.min_messages})"
    return ""


def excluded(domain: str, settings: ReportsSettings) -> bool:
    """Whether a domain is in `reports.exclude`, or below one that is."""
    return any(is_subdomain(domain, other) for other in settings.exclude)


def _allowed(destinations: Iterable[Destination], settings: ReportsSettings) -> Iterator[Destination]:
    for one in destinations:
        if any(excluded(mailbox.domain, settings) for mailbox in one.mailboxes):
            yield Destination(one.uri, Consent.REFUSED, "its domain is in reports.exclude")
        else:
            yield one


def only(domains: Iterable[str]) -> Callable[[str], bool]:
    """Which policy domains are wanted: these, or all where there are none."""
    wanted = frozenset(domains)
    return lambda domain: not wanted or domain in wanted
