"""Where the policy and the organizational domain of a name are: the DNS tree walk (RFC 9989 section 4.10)."""

from dataclasses import dataclass, field

from mailnotary.dmarc.policy_record import PolicyRecord, Psd, parse, policy_records
from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.resolver import DnsTempError, RecordKind, Resolver

MAX_LABELS = 8  # names longer than this are shortened after the first question: so many questions a walk (4.10 step 4)

# Questions of one evaluation. Author, SPF and DKIM identifiers share most of their walks; the tenth signature of a
# message made to cost us work does not get its own eight questions.
MAX_QUESTIONS = 40


class TooManyQuestionsError(ProtocolOutcome):
    """The evaluation has asked all the questions that it is allowed."""


@frozen
class WalkStep:
    """What DNS has at `_dmarc.` under one domain: its record if there is exactly one, and in words what was found.
    `exists` tells whether the name exists at all (RFC 8020)."""

    domain: str
    record: PolicyRecord | None
    exists: bool
    found: str

    @property
    def name(self) -> str:
        """The name that was asked for."""
        return "_dmarc." + self.domain

    @property
    def final(self) -> bool:
        """Whether a walk stops here (4.10 steps 2 and 6)."""
        return self.record is not None and self.record.psd is not Psd.UNKNOWN


@frozen
class Walk:
    """A tree walk from `start` upwards, as far as it went."""

    start: str
    steps: tuple[WalkStep, ...]

    @property
    def published(self) -> list[WalkStep]:
        """The steps that have a record, from the longest name to the shortest."""
        return [step for step in self.steps if step.record is not None]

    @property
    def org_domain(self) -> str:
        """The organizational domain (4.10.2). A walk stops at the first psd=n or psd=y, so only the last record
        found can have either."""
        steps = self.published
        if not steps:
            return self.start
        last = steps[-1]
        assert last.record is not None  # noqa: S101 - for the type checker: `published` has only such
        if last.record.psd is Psd.YES and last.domain != self.start:  # rule 2: one label below
            return _below(self.start, last.domain)
        return last.domain  # rule 1 (psd=n) and rule 3 (fewest labels)

    @property
    def policy_step(self) -> WalkStep | None:
        """The step whose record applies to `start` as author domain: its own, else its organizational domain's,
        else its public suffix domain's (4.10.1)."""
        steps = self.published
        if not steps:
            return None
        for domain in (self.start, self.org_domain):
            for step in steps:
                if step.domain == domain:
                    return step
        return steps[-1]  # rule 2 without a record one label below: the one with psd=y


def targets(domain: str) -> list[str]:
    """The domains whose records a full walk asks for, in order (4.10 steps 1, 3, 4 and 7)."""
    labels = domain.split(".")
    parents = labels[1:] if len(labels) <= MAX_LABELS else labels[1 - MAX_LABELS :]
    return [domain] + [".".join(parents[i:]) for i in range(len(parents))]


def _below(start: str, parent: str) -> str:
    """The domain one label below parent on the way to start."""
    return ".".join(start.split(".")[-(parent.count(".") + 2) :])


@dataclass(slots=True)
class Discovery:
    """The walks of one evaluation: no name is asked for twice, and only so many are at all. `walks`, where given,
    takes each walk in turn, cut short where an error ended it."""

    resolver: Resolver
    walks: list[Walk] | None = None
    questions: int = 0
    _steps: dict[str, WalkStep | DnsTempError] = field(default_factory=dict)

    def at(self, domain: str) -> WalkStep:
        """What DNS has for one domain. Raises DnsTempError, TooManyQuestionsError."""
        step = self._steps.get(domain)
        if step is None:
            try:
                step = self._ask(domain)
            except DnsTempError as error:
                step = error.again()
            self._steps[domain] = step
        if isinstance(step, DnsTempError):
            raise step.again()
        return step

    def walk(self, domain: str) -> Walk:
        """Walks the tree from a domain. Raises DnsTempError, TooManyQuestionsError."""
        steps: list[WalkStep] = []
        try:
            for target in targets(domain):
                step = self.at(target)
                steps.append(step)
                if step.final:
                    break
        finally:
            walk = Walk(domain, tuple(steps))
            if self.walks is not None:
                self.walks.append(walk)
        return walk

    def exists(self, domain: str) -> bool:
        """Whether a domain exists: any answer but NXDOMAIN (3.2.13, A.4). Raises DnsTempError, TooManyQuestionsError.

        The type asked for makes no difference by the DNS's rules; A is the one that faulty servers get right."""
        if self.at(domain).exists:
            return True  # a name below it exists, so it does (RFC 8020 section 2)
        self._count()
        return self.resolver.lookup(domain, RecordKind.A).exists

    def _ask(self, domain: str) -> WalkStep:
        self._count()
        answer = self.resolver.lookup("_dmarc." + domain, RecordKind.TXT)
        records = policy_records(answer.texts)
        if len(records) == 1:
            record = parse(records[0])
            return WalkStep(domain, record, answer.exists, record.text)
        if records:  # "If multiple DMARC Policy Records are returned for a single target, they are all discarded"
            return WalkStep(domain, None, answer.exists, f"{len(records)} DMARC records, all to be discarded")
        if not answer.exists:
            return WalkStep(domain, None, False, "NXDOMAIN")
        if answer.records:
            shown = ascii_printable(answer.texts[0], 40) if answer.texts else ""
            return WalkStep(domain, None, True, f"no DMARC record, but {shown}")
        return WalkStep(domain, None, True, "NODATA")

    def _count(self) -> None:
        if self.questions >= MAX_QUESTIONS:
            raise TooManyQuestionsError
        self.questions += 1
