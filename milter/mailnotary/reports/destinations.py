"""Where a report goes: the mailto: URIs of rua=, as far as their domains want it (RFC 9990 section 4)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailnotary.dmarc.discover import Discovery, TooManyQuestionsError, targets
from mailnotary.dmarc.policy_record import is_record, parse
from mailnotary.domain import MAX_NAME
from mailnotary.mail.envelope import Mailbox
from mailnotary.reports.uri import host_of, mailbox_in
from mailnotary.resolver import DnsTempError, RecordKind, Resolver

MAX_DESTINATIONS: Final = 10  # of one report: "up to the Receiver's limits on supported URIs" (RFC 9990 3.5)


class Consent(StrEnum):
    """Whether a destination wants reports about a policy domain."""

    OWN = "own"  # it is within the same organization
    CONFIRMED = "confirmed"  # a record below it says so
    REFUSED = "refused"  # no record says so, or the URI cannot be used
    UNKNOWN = "unknown"  # DNS does not answer


@dataclass(frozen=True, slots=True)
class Destination:
    """A URI of rua= and what was found: `mailboxes` to write to, which are others than the URI's where its domain says
    so; `reason` is a sentence for an admin."""

    uri: str
    consent: Consent
    reason: str
    mailboxes: tuple[Mailbox, ...] = ()


class Destinations:
    """Looks up who wants which report. The walks of the DNS tree are those of one resolver, which remembers."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def of(self, policy_domain: str, rua: Iterable[str]) -> list[Destination]:
        """One for each URI, in their order."""
        return [self._of(policy_domain, uri) for uri in rua]

    def _of(self, policy_domain: str, uri: str) -> Destination:
        try:
            mailbox = mailbox_in(uri)
        except ValueError as error:
            return Destination(uri, Consent.REFUSED, str(error))
        try:
            if self._organization(policy_domain) == self._organization(mailbox.domain):
                return Destination(uri, Consent.OWN, f"within the organization of {policy_domain}", (mailbox,))
            return self._external(policy_domain, uri, mailbox)
        except DnsTempError as error:
            return Destination(uri, Consent.UNKNOWN, error.reason)
        except TooManyQuestionsError:
            return Destination(uri, Consent.REFUSED, f"the organization of {mailbox.domain} takes too many questions")

    def _organization(self, domain: str) -> str:
        return Discovery(self._resolver).walk(domain).org_domain

    def _external(self, policy_domain: str, uri: str, mailbox: Mailbox) -> Destination:
        name = confirming_name(policy_domain, mailbox.domain)
        if len(name) > MAX_NAME:
            return Destination(
                uri, Consent.REFUSED, f"the name that would confirm {mailbox.domain} is too long for DNS"
            )
        answer = self._resolver.lookup(name, RecordKind.TXT)
        records = [text for text in answer.texts if is_record(text)]
        if not records:
            return Destination(uri, Consent.REFUSED, f"no record at {name} confirms it")
        # "replace the corresponding value extracted from the domain's DMARC Policy Record with the one found"
        instead = [other for text in records for other in parse(text).rua]
        if any(host_of(other) != mailbox.domain for other in instead):
            return Destination(uri, Consent.REFUSED, f"the record at {name} names a host other than {mailbox.domain}")
        mailboxes = tuple(dict.fromkeys(_usable(instead))) if instead else (mailbox,)
        return Destination(uri, Consent.CONFIRMED, f"confirmed by the record at {name}", mailboxes)


def _usable(uris: Iterable[str]) -> Iterator[Mailbox]:
    for uri in uris:
        try:
            yield mailbox_in(uri)
        except ValueError:
            continue


def confirming_name(policy_domain: str, host: str) -> str:
    """Where a destination says that it wants reports about a policy domain (RFC 9990 section 4, steps 2 and 3)."""
    return f"{policy_domain}._report._dmarc.{host}"


def questions(policy_domain: str, rua: Iterable[str]) -> list[tuple[str, RecordKind]]:
    """What `Destinations.of` may ask, for `resolver.prefetch`."""
    hosts = {host for uri in rua if (host := host_of(uri)) is not None}
    names = [f"_dmarc.{target}" for domain in (policy_domain, *sorted(hosts)) for target in targets(domain)]
    names += [confirming_name(policy_domain, host) for host in sorted(hosts)]
    return [(name, RecordKind.TXT) for name in dict.fromkeys(names) if len(name) <= MAX_NAME]


def recipients(destinations: Iterable[Destination]) -> list[Mailbox]:
    """All mailboxes to write to, each once."""
    found = dict.fromkeys(mailbox for one in destinations for mailbox in one.mailboxes)
    return list(found)[:MAX_DESTINATIONS]
