"""Mail from elsewhere: SPF, DKIM and DMARC of one message, every DNS question begun as early as it is known."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from mailnotary import arc, dkim, dmarc, spf
from mailnotary.authres import Results
from mailnotary.config.settings import DmarcMode, Settings
from mailnotary.dkim import DkimResult
from mailnotary.dkim.bodies import BodyHashes
from mailnotary.dmarc import DmarcResult
from mailnotary.dmarc import Trace as DmarcTrace
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
from mailnotary.mail.message import HeaderField
from mailnotary.resolver import MessageResolver, RecordKind
from mailnotary.session.budget import Budget
from mailnotary.session.experiment import Observed, Recipients, is_observed
from mailnotary.session.forwarded import with_passage
from mailnotary.session.policy import MAX_CLAIMED, strictest
from mailnotary.spf import SpfIdentity, SpfResult, TraceStep
from mailnotary.spf.client_address import client_address
from mailnotary.spf.identity import a_labels, is_mail_domain
from mailnotary.status import ArcStatus, DmarcStatus, SpfStatus

RESERVE = 0.25  # of the time of two parts of the checks: what the second has even if the first never ends

BRIEF = {
    AuthorProblem.NO_FROM: "no From field",
    AuthorProblem.SEVERAL_FROM: "several From fields",
    AuthorProblem.NO_DOMAIN: "From has no domain",
    AuthorProblem.SEVERAL_DOMAINS: "several author domains",
    AuthorProblem.UNPARSABLE: "From cannot be parsed",
    AuthorProblem.AMBIGUOUS: "From is ambiguous",
}


@dataclass(slots=True)
class Traces:
    """Where the engines note their steps, for `explain`; the daemon has none."""

    spf: dict[SpfIdentity, list[TraceStep]] = field(default_factory=dict)
    dmarc: DmarcTrace = field(default_factory=DmarcTrace)


class Inbound:
    """The checks of one message, in the order in which its parts arrive: `start` at MAIL FROM, `check_spf` whenever it
    is asked for, `end_of_headers`, `body`, `finish`."""

    def __init__(
        self,
        settings: Settings,
        budget: Budget,
        client: IPv4Address | IPv6Address | None,
        helo: str,
        mail_from: str,
        *,
        receiver: str,
        now: float,
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._client = client
        self._address = None if client is None else client_address(client)
        self._helo = helo
        self._mail_from = mail_from
        self._receiver = receiver
        self._now = now
        self._traces = traces
        self._spf: tuple[SpfResult, ...] | None = None
        self._bodies = BodyHashes()  # of all signatures, those of ARC too
        self._verifier: dkim.Verifier | None = None
        self._chain: arc.Verifier | None = None
        self._author: Author | None = None
        self._observed: Observed | None = None

    def start(self) -> None:
        """Begins with the SPF questions that are sure to be asked, and one that a record at a HELO name nearly always
        leads to: it is "a" or has it in front, where there is one."""
        if self._address is None:
            return
        if self._mail_from:
            _begin_spf(self._budget.mail_from, self._mail_from.rpartition("@")[2], RecordKind.TXT)
        if self._checks_helo():
            _begin_spf(self._budget.helo, self._helo, RecordKind.TXT, self._address.kind)

    def check_spf(self) -> tuple[SpfResult, ...]:
        """SPF of HELO and MAIL FROM, each its own result (RFC 7208 sections 2.3 and 2.4)."""
        if self._spf is None:
            self._spf = self._evaluate_spf()
        return self._spf

    def _checks_helo(self) -> bool:
        return self._settings.spf.check_helo or not self._mail_from

    def _evaluate_spf(self) -> tuple[SpfResult, ...]:
        if self._address is None:
            reason = "the client's address is not known"
            return (SpfResult(SpfStatus.NONE, SpfIdentity.MAILFROM, "", reason=reason, brief="no client address"),)
        client, budget = self._address, self._budget
        seconds = self._settings.limits.spf_seconds  # of both checks together: Postfix waits 30 s for MAIL's answer
        end = time.monotonic() + seconds
        if not self._settings.spf.check_helo:
            options = self._spf_options(SpfIdentity.MAILFROM, budget.mail_from, seconds)
            return (spf.check_mail_from(client, self._mail_from, self._helo, budget.mail_from, **options),)
        if not self._mail_from:
            options = self._spf_options(SpfIdentity.HELO, budget.helo, seconds)
            helo = spf.check_helo(client, self._helo, budget.helo, **options)
            # RFC 7208 2.4: the null sender stands for postmaster@HELO, which is what was just checked (2.3).
            return helo, replace(helo, identity=SpfIdentity.MAILFROM)
        # MAIL FROM comes first, since DMARC depends on it and never on HELO, and leaves HELO its share: whoever
        # makes the records of one name slow gains nothing at another.
        options = self._spf_options(SpfIdentity.MAILFROM, budget.mail_from, seconds * (1 - RESERVE))
        mail_from = spf.check_mail_from(client, self._mail_from, self._helo, budget.mail_from, **options)
        options = self._spf_options(SpfIdentity.HELO, budget.helo, end - time.monotonic())
        return spf.check_helo(client, self._helo, budget.helo, **options), mail_from

    def _spf_options(self, identity: SpfIdentity, dns: MessageResolver, seconds: float) -> spf.Options:
        dns.restart(seconds)
        return {
            "receiver": self._receiver,
            "void_limit": self._settings.spf.void_lookups,
            "deadline": time.monotonic() + seconds,
            "now": self._now,
            "trace": None if self._traces is None else self._traces.spf.setdefault(identity, []),
        }

    def end_of_headers(
        self, fields: Sequence[HeaderField], author: Author, recipients: Recipients | None = None
    ) -> None:
        """Parses the signatures and begins with the questions for keys and the DMARC policy. DKIM2 is
        observed only of a message whose `recipients` are given."""
        settings = self._settings
        self._author = author
        self._verifier = dkim.Verifier(
            fields,
            self._budget.keys,
            now=int(self._now),
            author_domains=author.domains[:MAX_CLAIMED],
            max_signatures=settings.verify.max_signatures,
            min_rsa_bits=settings.verify.min_rsa_bits,
            bodies=self._bodies,
        )
        wanted = settings.arc.verify or settings.arc.seal is not None
        if wanted and not arc.FIELDS.isdisjoint([field.key for field in fields]):  # most mail has no chain
            self._chain = arc.Verifier(
                fields,
                self._budget.arc,
                now=int(self._now),
                min_rsa_bits=settings.verify.min_rsa_bits,
                bodies=self._bodies,
            )
        if settings.dmarc.mode is not DmarcMode.OFF:
            for domain in author.domains[:MAX_CLAIMED]:
                self._budget.policy.prefetch(dmarc.questions(domain))
        if recipients is not None and is_observed(settings):
            self._observed = Observed(
                fields, self._budget.dkim2, now=int(self._now), mail_from=self._mail_from, recipients=recipients
            )
        self.check_spf()

    @property
    def wants_body(self) -> bool:
        """Whether any signature is left that the body could make pass."""
        observed = self._observed is not None and self._observed.wants_body
        return observed or self._bodies.open

    def body(self, chunk: bytes) -> None:
        """The next octets of the body."""
        self._bodies.update(chunk)
        if self._observed is not None:
            self._observed.body(chunk)

    def finish(self) -> Results:
        """All results."""
        self._bodies.finish()
        spf_results = self.check_spf()
        seconds = self._settings.limits.message_seconds
        # A sender names the domains whose keys are asked for. Were they to use up all the time, by never answering, the
        # policy of the abused domain could not be looked up, and so not be followed.
        end = time.monotonic() + seconds
        self._budget.keys.restart(seconds * (1 - RESERVE))
        signatures = tuple(self._verifier.finish()) if self._verifier is not None else ()
        self._budget.policy.restart(end - time.monotonic())
        results = Results(spf=spf_results, dkim=signatures, dmarc=self._dmarc(signatures))
        if self._chain is not None:
            # After the policy: its keys were asked for long ago, and may take no time from what DMARC needs.
            self._budget.arc.restart(end - time.monotonic())
            chain = self._chain.finish()
            results = with_passage(replace(results, arc=chain if chain.status is not ArcStatus.NONE else None))
        if self._observed is None:
            return results
        self._budget.dkim2.restart(end - time.monotonic())  # last: it can take no time from what decides
        return replace(results, dkim2=self._observed.finish())

    def _dmarc(self, dkim_results: Sequence[DkimResult]) -> DmarcResult | None:
        author = self._author
        if self._settings.dmarc.mode is DmarcMode.OFF or author is None:
            return None
        if author.problem is not None:
            return self._dmarc_of_claims(author, dkim_results)
        trace = self._traces.dmarc if self._traces else None
        return dmarc.evaluate(author.domains[0], self.check_spf(), dkim_results, self._budget.policy, trace=trace)

    def _dmarc_of_claims(self, author: Author, dkim_results: Sequence[DkimResult]) -> DmarcResult:
        """A message without one author domain never passes. But a From field that is damaged or has a second address
        must not be the way around a policy either: "apply the DMARC mechanism to each domain found [...] and apply the
        most strict policy selected among the checks that fail" (RFC 9989 11.5)."""
        assert author.problem is not None  # noqa: S101 - for the type checker
        traces = [DmarcTrace() for _ in author.domains[:MAX_CLAIMED]]
        results = [
            dmarc.evaluate(domain, self.check_spf(), dkim_results, self._budget.policy, trace=trace)
            for domain, trace in zip(author.domains, traces, strict=False)
        ]
        worst = strictest(self._settings.dmarc, results, dkim_results, self._client)
        if worst is not None:
            if self._traces:
                self._traces.dmarc = traces[results.index(worst)]
            return replace(
                worst, reason=f"{worst.reason}; {author.reason}", brief=f"{worst.brief}, {BRIEF[author.problem]}"
            )
        # RFC 9989 5.3.1: "DMARC validation is not possible". We say permerror rather than none, since none reads
        # "this domain has no policy" to a filter, and a message without a usable author is nothing so harmless.
        return DmarcResult(DmarcStatus.PERMERROR, "", reason=author.reason, brief=BRIEF[author.problem])


def _begin_spf(dns: MessageResolver, name: str, *kinds: RecordKind) -> None:
    """Asks for records of a domain that will be checked, in the very letters in which the check will ask."""
    domain = a_labels(name)
    if domain is not None and is_mail_domain(domain):
        dns.prefetch([(domain, kind) for kind in kinds])
