"""The verdict over SPF and DKIM for one author domain (RFC 9989 section 5.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.discover import Discovery, TooManyQuestionsError, Walk, WalkStep, targets
from mailnotary.dmarc.policy_record import Alignment, PolicyRecord
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.resolver import DnsTempError, Memo, NotingResolver, RecordKind, Resolver
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

# "a policy of one level below the specified policy" (4.7, t=y)
_WEAKER = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE, Policy.NONE: Policy.NONE}


_MAIL_FROM = SpfIdentity.MAILFROM
_TELLING: tuple[str, ...] = (SpfStatus.PASS, SpfStatus.TEMPERROR)  # and DKIM's, which are the same words
_Facts = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
# The result for an author domain with the domains that passed SPF and DKIM or ended in a DNS error there: it depends on
# nothing else in their results.
_memo: Memo[_Facts, DmarcResult] = Memo(
    4 * 1024 * 1024,
    lambda facts, result: (
        600 + len(result.reason) + _octets(result.record) + 320 * sum([len(names) for names in facts[1:]])
    ),
)


def _octets(record: PolicyRecord | None) -> int:
    """About how much memory a policy record takes."""
    if record is None:
        return 0
    return 1000 + len(record.text) + sum([100 + len(text) for text in (*record.rua, *record.problems)])


@frozen
class Compared:
    """One authenticated identifier compared with the author domain. `aligned` is None where DNS gave no answer."""

    method: str  # "spf" or "dkim"
    domain: str
    aligned: bool | None
    why: str


@dataclass(slots=True)
class Trace:
    """How an evaluation reached its result, for people: give one to `evaluate` and read it afterwards."""

    walks: list[Walk] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    policy_domain: str = ""  # where the record that applies was found
    record: PolicyRecord | None = None


def questions(from_domain: str) -> list[tuple[str, RecordKind]]:
    """The DNS questions that an evaluation of this author domain may ask first, for `resolver.prefetch`."""
    domain = to_ascii(from_domain)
    if domain is None or not is_domain_name(domain):
        return []
    return [("_dmarc." + target, RecordKind.TXT) for target in targets(domain)]


def evaluate(
    from_domain: str,
    spf: Sequence[SpfResult],
    dkim: Sequence[DkimResult],
    resolver: Resolver,
    *,
    trace: Trace | None = None,
) -> DmarcResult:
    """Evaluates DMARC for the one author domain of a message (U-labels are taken too). Never raises for anything
    that the message or DNS holds."""
    author = to_ascii(from_domain)
    if author is None or not is_domain_name(author):
        shown = ascii_printable(from_domain, 253)
        reason = f"the author domain {shown} is not a domain name"
        return DmarcResult(DmarcStatus.PERMERROR, shown, reason=reason, brief="no domain name")
    if trace is not None:
        return _evaluate(author, spf, dkim, resolver, trace)
    key = (
        author,
        tuple(
            [
                (result.status, result.domain)
                for result in spf
                if result.status in _TELLING and result.identity == _MAIL_FROM
            ]
        ),
        tuple([(result.status, result.domain) for result in dkim if result.status in _TELLING]),
    )
    noted = NotingResolver(resolver)
    result = _memo.recall(key, noted)
    if result is None:
        result = _evaluate(author, spf, dkim, noted, None)
        if result.status is not DmarcStatus.TEMPERROR:
            _memo.keep(key, result, noted)
    return result


def _evaluate(
    author: str, spf: Sequence[SpfResult], dkim: Sequence[DkimResult], resolver: Resolver, trace: Trace | None
) -> DmarcResult:
    discovery = Discovery(resolver, None if trace is None else trace.walks)
    try:
        walk = _policy_walk(discovery, author)
    except DnsTempError as error:
        return _without_policy(discovery, author, [*spf, *dkim], error)
    step = walk.policy_step
    if step is None or step.record is None:
        return DmarcResult(DmarcStatus.NONE, author, reason=_no_record(walk), brief="no DMARC record")
    if trace is not None:
        trace.policy_domain, trace.record = step.domain, step.record
    if not step.record.usable:
        # "the Mail Receiver applies no DMARC processing" (4.10.1). Its word is permerror rather than none: that is
        # for "the retrieval of an improperly formatted DMARC Policy Record" (9.2), none for no record at all.
        problems = "; ".join(step.record.problems)
        reason = f"the record at {step.name} can't be used and has no valid rua=: {problems}"
        brief = "the record cannot be used"
        return DmarcResult(DmarcStatus.PERMERROR, author, org_domain=walk.org_domain, reason=reason, brief=brief)
    # SPF counts for MAIL FROM alone (4.4.2); with a null sender that identity is postmaster at the HELO name (RFC 7208
    # section 2.4), and a result for it says so.
    mail_from = [result for result in spf if result.identity == SpfIdentity.MAILFROM]

    def identifiers(spf_status: SpfStatus, dkim_status: DkimStatus) -> _Identifiers:
        return _Identifiers(
            _names([result.domain for result in mail_from if result.status == spf_status]),
            _names([result.domain for result in dkim if result.status == dkim_status]),
        )

    evaluation = _Evaluation(discovery, author, walk, step, step.record, trace)
    return evaluation.result(
        identifiers(SpfStatus.PASS, DkimStatus.PASS),
        lambda: identifiers(SpfStatus.TEMPERROR, DkimStatus.TEMPERROR),
    )


_NO_POLICY = "DNS gives no policy"


def _without_policy(
    discovery: Discovery, author: str, results: Sequence[SpfResult | DkimResult], error: DnsTempError
) -> DmarcResult:
    """DNS does not say whether the author domain has a record of its own. What its parents say about it is known all
    the same, and holds: otherwise whoever forges a domain with p=reject would write from a name below it whose servers
    are dead. Only if something of that organization has passed is it unknown what should happen to this message."""
    steps = []
    for target in targets(author)[1:]:
        try:
            steps.append(discovery.at(target))
        except DnsTempError:
            continue
        if steps[-1].final:
            break
    walk = Walk(author, tuple(steps))
    step = walk.policy_step
    reason = f"the policy of {author} could not be looked up: {error.reason}"
    if step is None or step.record is None or not step.record.usable:
        return DmarcResult(DmarcStatus.TEMPERROR, author, reason=reason, brief=_NO_POLICY)
    policy = _stricter(step.record.subdomain_policy, step.record.nonexistent_policy)
    passed = any(
        result.status in (SpfStatus.PASS, DkimStatus.PASS) and is_subdomain(result.domain, walk.org_domain)
        for result in results
    )
    disposition = Policy.NONE if passed else _to_apply(policy, step.record)
    return DmarcResult(
        *(DmarcStatus.TEMPERROR, author, policy, disposition, walk.org_domain), reason=reason, brief=_NO_POLICY
    )


def _stricter(first: Policy, second: Policy) -> Policy:
    return max(first, second, key=list(Policy).index)


def _to_apply(policy: Policy, record: PolicyRecord) -> Policy:
    return _WEAKER[policy] if record.testing else policy


def _policy_walk(discovery: Discovery, author: str) -> Walk:
    """The walk that finds the policy: a record at the author domain itself ends it (4.10.1)."""
    first = discovery.at(author)
    if first.record is None:
        return discovery.walk(author)
    walk = Walk(author, (first,))
    if discovery.walks is not None:
        discovery.walks.append(walk)
    return walk


def _no_record(walk: Walk) -> str:
    spoilt = [f"{step.name}: {step.found}" for step in walk.steps if "discarded" in step.found]
    return "no DMARC record" + (f" ({'; '.join(spoilt)})" if spoilt else f" at {walk.start} or above")


class _Identifiers(NamedTuple):
    """Domains that results of SPF and DKIM name."""

    spf: list[str]
    dkim: list[str]


def _names(domains: Sequence[str]) -> list[str]:
    """The distinct domains, shortest first: their walks are the cheapest."""
    names = {name for domain in domains if (name := to_ascii(domain)) is not None and is_domain_name(name)}
    if len(names) < 2:
        return list(names)
    return sorted(names, key=lambda name: (name.count("."), name))


@dataclass(slots=True)
class _Evaluation:
    """What remains once the author's policy record is known."""

    discovery: Discovery
    author: str
    walk: Walk
    step: WalkStep
    record: PolicyRecord
    trace: Trace | None

    def result(self, passed: _Identifiers, unknown: Callable[[], _Identifiers]) -> DmarcResult:
        org = self._org_domain({*passed.spf, *passed.dkim})
        policy = self._policy()
        spf_aligned = self._aligned("spf", passed.spf, self.record.spf_alignment, org)
        dkim_aligned = self._aligned("dkim", passed.dkim, self.record.dkim_alignment, org)
        if spf_aligned or dkim_aligned:
            # One aligned identifier is a pass (5.3.5), whatever DNS fails to say about others: what could not be
            # asked was not "required to perform DMARC validation" (5.3.6).
            status = DmarcStatus.PASS
            reason = " and ".join(m for m, aligned in (("SPF", spf_aligned), ("DKIM", dkim_aligned)) if aligned)
            brief = reason = f"{reason} aligned"
        elif spf_aligned is None or dkim_aligned is None:
            status = DmarcStatus.TEMPERROR
            brief = reason = "DNS did not say whether what passed is aligned"
        elif method := self._depends_on(unknown(), org):
            status = DmarcStatus.TEMPERROR
            brief = reason = f"{method} ended in a DNS error, and would be aligned"
        elif policy is None:
            status, brief = DmarcStatus.TEMPERROR, "DNS did not say whether the author domain exists"
            reason = f"DNS did not say whether {self.author} exists, so sp= or np= is unknown"
        else:
            status = DmarcStatus.FAIL
            reason, brief = self._failure(passed)
        if policy is None:
            policy = _stricter(self.record.subdomain_policy, self.record.nonexistent_policy)
        # A temperror has one, too. "The message cannot be considered to pass or fail" then, and what is done with it is
        # "left to the discretion of the Mail Receiver" (5.3.6). Were nothing done, a forger would choose whether the
        # policy holds, by adding a signature of the forged domain with a selector under which some server does
        # not answer. (OpenDMARC takes such a signature for none at all, so that a forged and an honest message are both
        # refused for good; mox and rspamd let both pass.) See `policy.dmarc_verdict`, which has the sender try again.
        disposition = Policy.NONE if status is DmarcStatus.PASS else _to_apply(policy, self.record)
        return DmarcResult(
            status=status,
            domain=self.author,
            policy=policy,
            disposition=disposition,
            org_domain=org or self.author,
            spf_aligned=bool(spf_aligned),
            dkim_aligned=bool(dkim_aligned),
            reason=reason,
            brief=brief,
            record=self.record,
            policy_domain=self.step.domain,
        )

    def _org_domain(self, identifiers: set[str]) -> str | None:
        """The author's organizational domain, None where DNS gave no answer. It is not asked for where it makes no
        difference (the notes in 4.10.2): only strict alignment, or all that passed is the author domain itself; then
        the author domain, which has a record of its own, is taken for it."""
        if self.step.domain != self.author or self.step.final:
            return self.walk.org_domain
        strict = self.record.spf_alignment is self.record.dkim_alignment is Alignment.STRICT
        if strict or identifiers == {self.author}:
            return self.author
        try:
            return self.discovery.walk(self.author).org_domain
        except DnsTempError:
            return None

    def _policy(self) -> Policy | None:
        """p=, sp= or np= (4.10.1), None where DNS does not say which of the two. np= is for names that give
        NXDOMAIN; NODATA is existence (3.2.13)."""
        if self.step.domain == self.author:
            return self.record.policy
        if self.record.subdomain_policy is self.record.nonexistent_policy:
            return self.record.subdomain_policy
        try:
            exists = self.discovery.exists(self.author)
        except DnsTempError:
            return None
        return self.record.subdomain_policy if exists else self.record.nonexistent_policy

    def _aligned(self, method: str, domains: list[str], mode: Alignment, org: str | None) -> bool | None:
        """Whether any of the domains is aligned, None where that depends on a DNS answer that is missing."""
        if self.author in domains:  # aligned in either mode, and no question needed
            self._note(method, self.author, True, "is the author domain")
            return True
        unknown = False
        for domain in domains:
            aligned, why = self._compare(domain, mode, org)
            self._note(method, domain, aligned, why)
            if aligned:
                return True
            unknown = unknown or aligned is None
        return None if unknown else False

    def _depends_on(self, unknown: _Identifiers, org: str | None) -> str:
        """The method, if any, that a DNS error kept from passing with what is aligned, or may be: "the message cannot
        be considered to pass or fail" then (5.3.6). A temperror of a stranger's domain changes nothing."""
        for method, domains, mode in (
            ("SPF", unknown.spf, self.record.spf_alignment),
            ("DKIM", unknown.dkim, self.record.dkim_alignment),
        ):
            for domain in domains:
                if domain == self.author or self._compare(domain, mode, org)[0] is not False:
                    self._note(method.lower(), domain, None, "may be aligned, but a DNS error prevented its check")
                    return method
        return ""

    def _compare(self, domain: str, mode: Alignment, org: str | None) -> tuple[bool | None, str]:
        if mode is Alignment.STRICT:
            return False, "is not the author domain, as strict alignment demands"
        # An organizational domain is the name itself or above it, so one that both share is above both: a name that
        # is not within the author's can't be aligned, and an attacker's foreign domains cost no question.
        if org is None:
            shared = domain.rpartition(".")[2] == self.author.rpartition(".")[2]
            return (None, "DNS error at the author domain") if shared else (False, "has nothing in common")
        if not is_subdomain(domain, org):
            return False, f"is not within {org}"
        try:
            other = self.discovery.walk(domain).org_domain
        except DnsTempError as error:
            return None, error.reason
        except TooManyQuestionsError:
            return False, "was not looked up: the message has used up its DNS questions"
        return other == org, f"has the organizational domain {other}"

    def _note(self, method: str, domain: str, aligned: bool | None, why: str) -> None:
        if self.trace is not None:
            self.trace.compared.append(Compared(method, domain, aligned, why))

    def _failure(self, passed: _Identifiers) -> tuple[str, str]:
        """The reason and the brief one."""
        methods = [(method, domains[0]) for method, domains in (("SPF", passed.spf), ("DKIM", passed.dkim)) if domains]
        if not methods:
            return ("neither SPF nor DKIM passed",) * 2
        names = " and ".join(f"{method} of {domain}" for method, domain in methods)
        brief = f"{' and '.join(method for method, _ in methods)} passed, not aligned"
        return f"{names} passed, not aligned with {self.author}", brief
