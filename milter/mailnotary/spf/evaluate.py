"""The evaluation of SPF records for one client and one sender (RFC 7208 sections 4.4 to 6.1)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mailnotary.escape import ascii_printable
from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, Resolver
from mailnotary.spf.client import Client
from mailnotary.spf.identity import Sender, is_dns_name
from mailnotary.spf.macro import MacroString
from mailnotary.spf.record import (
    A,
    All,
    Directive,
    Exists,
    Include,
    Ip4,
    Ip6,
    Mechanism,
    Modifier,
    Mx,
    Ptr,
    Record,
    RecordError,
    is_spf_record,
    parse_record,
)
from mailnotary.spf.trace import Step, Trace
from mailnotary.status import SpfStatus

MAX_LOOKUPS = 10  # terms that ask DNS, over all records of a check (4.6.4)
MAX_MX_HOSTS = 10  # of one "mx" (4.6.4)
MAX_PTR_NAMES = 10  # of the client's address (4.6.4)


class Failure(Exception):  # noqa: N818 - an outcome of the protocol, no error of this program
    """The whole check ends with permerror, temperror, or for lack of a record with none."""

    def __init__(self, status: SpfStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class NoMatchForSender(Exception):  # noqa: N818
    """The term has a macro that can't be expanded for this sender, so it does not match (RFC 8616 section 4)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record came to: `domain` is whose record it was (a redirect's target), `term` the one that matched,
    `explanation` that record's exp=."""

    status: SpfStatus
    reason: str
    domain: str
    term: str = ""
    explanation: Modifier | None = None


class Evaluation:
    """The state that one check has over all its records: the arguments, and what was used up of the limits."""

    def __init__(
        self,
        *,
        client: Client,
        sender: Sender,
        helo: str,
        resolver: Resolver,
        void_limit: int,
        deadline: float,
        clock: Callable[[], float],
        trace: Trace | None,
    ) -> None:
        self.client = client
        self.sender = sender
        self.helo = helo
        self.lookups = 0
        self.void_lookups = 0
        self._resolver = resolver
        self._void_limit = void_limit
        self._deadline = deadline
        self._clock = clock
        self._trace = trace
        self._depth = 0
        self._client_names: list[str] | None = None  # validated, once asked for

    # -- records

    def check(self, domain: str) -> Verdict:
        """check_host() for a well-formed domain: fetches its record and evaluates it. Raises Failure."""
        step = self._step(domain)
        try:
            text = self._fetch(domain)
            if step:
                step.record = text
            record = parse_record(text)
        except RecordError as error:  # 4.6: any syntax error, before anything is evaluated
            raise self._failed(
                step, SpfStatus.PERMERROR, f"the record of {_shown(domain)} has an error: {error}"
            ) from None
        except Failure as failure:
            self._failed(step, failure.status, failure.reason)
            raise
        verdict = self._evaluate(record, domain)
        if step:
            step.outcome = verdict.status
        return verdict

    def _fetch(self, domain: str) -> bytes:
        """The text of a domain's only SPF record (4.4, 4.5)."""
        answer = self._ask_or_fail(domain, RecordKind.TXT)
        found = [text for text in answer.records if isinstance(text, bytes) and is_spf_record(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise Failure(SpfStatus.PERMERROR, f"{_shown(domain)} has {len(found)} SPF records, where one is allowed")
        reason = "has no SPF record" if answer.exists else "does not exist"
        raise Failure(SpfStatus.NONE, f"{_shown(domain)} {reason}")

    def _evaluate(self, record: Record, domain: str) -> Verdict:
        """4.6.2: the directives from left to right, then the redirect, then the default."""
        client = self.client
        for directive in record.directives:
            mechanism = directive.mechanism
            if type(mechanism) is Ip4 and self._trace is None:  # most directives of most records
                matched = client.version == 4 and client.number & mechanism.mask == mechanism.network
                through = ""
            else:
                matched, through = self._directive(directive, domain)
            if matched:
                reason = f"{client} matches {directive.text} of {_shown(domain)}{through}"
                return Verdict(directive.result, reason, domain, directive.text, record.explanation)
        if record.redirect is not None:
            redirected = self._redirect(record.redirect, domain)
            if redirected is not None:
                return redirected
        # 4.7: "just as if "?all" were specified as the last directive"
        return Verdict(SpfStatus.NEUTRAL, f"no term of {_shown(domain)} matches {client}", domain)

    def _directive(self, directive: Directive, domain: str) -> tuple[bool, str]:
        """Whether it matches, and for an include through what."""
        step = self._step(domain, directive.text)
        try:
            matched, through = self._matches(directive.mechanism, domain, step)
            outcome, note = ("match" if matched else "no match"), ""
        except NoMatchForSender:
            matched, through, outcome = False, "", "no match"
            note = "the sender's local-part is not US-ASCII"
        except Failure as failure:
            self._failed(step, failure.status, failure.reason)
            raise
        except DnsTempError as error:  # section 5: "the topmost check_host() returns temperror"
            reason = f"{directive.text} of {_shown(domain)}: {ascii_printable(error.reason, 200)}"
            raise self._failed(step, SpfStatus.TEMPERROR, reason) from None
        if step:
            self._end(step, outcome, note or through)
        return matched, through

    def _matches(self, mechanism: Mechanism, domain: str, step: Step | None) -> tuple[bool, str]:
        client = self.client
        match mechanism:
            case All():  # 5.1
                return True, ""
            case Ip4():  # 5.6
                return client.version == 4 and client.number & mechanism.mask == mechanism.network, ""
            case Ip6():
                return client.version == 6 and client.number & mechanism.mask == mechanism.network, ""
        self._count_term(domain)
        target = self._target(mechanism.target, domain, step)
        if isinstance(mechanism, Include):
            return self._include(target)
        if isinstance(mechanism, Ptr):
            return self._ptr(target), ""
        if not is_dns_name(target):
            # 4.8 leaves it open what a malformed <target-name> does; like a name that does not exist it does not match.
            # Nothing is asked, so it is no void look-up.
            return False, ""
        match mechanism:
            case A():
                return self._host_matches(target, mechanism), ""
            case Mx():
                return self._mx(target, mechanism), ""
            case Exists():  # 5.7: an A look-up "even when the connection type is IPv6"
                return bool(self._ask_counting(target, RecordKind.A).records), ""

    def _include(self, target: str) -> tuple[bool, str]:
        """5.2, with its table of what each result of the included record causes."""
        self._depth += 1
        try:
            verdict = self._check_target(target)
        finally:
            self._depth -= 1
        return verdict.status is SpfStatus.PASS, f" ({verdict.reason})"

    def _redirect(self, redirect: Modifier, domain: str) -> Verdict | None:
        """6.1: the other record's result is this one's. None where it can't be followed for this sender."""
        step = self._step(domain, redirect.text)
        try:
            self._count_term(domain)
            target = self._target(redirect.target, domain, step)
        except NoMatchForSender:
            # RFC 8616 says of all terms that they "do not match anything": this one then leads nowhere.
            self._end(step, "no match", "the sender's local-part is not US-ASCII")
            return None
        except Failure as failure:
            self._failed(step, failure.status, failure.reason)
            raise
        self._depth += 1
        try:
            verdict = self._check_target(target)
        except Failure as failure:
            self._failed(step, failure.status, failure.reason)
            raise
        finally:
            self._depth -= 1
        self._end(step, verdict.status, "")
        return verdict

    def _check_target(self, target: str) -> Verdict:
        """check_host() for an include or a redirect: where that is none, they are permerror (5.2, 6.1)."""
        if not is_dns_name(target) or "." not in target:
            raise Failure(SpfStatus.PERMERROR, f'"{_shown(target)}" is no domain name that can have a record')
        try:
            return self.check(target)
        except Failure as failure:
            if failure.status is SpfStatus.NONE:
                raise Failure(SpfStatus.PERMERROR, failure.reason) from None
            raise

    # -- mechanisms that compare addresses

    def _host_matches(self, host: str, mechanism: A | Mx) -> bool:
        """Whether one of a host's addresses is the client's, as far as the prefix goes (5.3)."""
        client = self.client
        shift = client.bits - (mechanism.prefix4 if client.version == 4 else mechanism.prefix6)
        wanted = client.number >> shift
        answer = self._ask_counting(host, client.kind)
        return any(number >> shift == wanted for number in self._addresses(answer))

    def _addresses(self, answer: Answer) -> Iterator[int]:
        version = self.client.version
        for record in answer.records:
            if not isinstance(record, bytes | str | MxRecord) and record.version == version:
                yield int(record)

    def _mx(self, target: str, mechanism: Mx) -> bool:
        """5.4. A domain without MX has no implicit one here."""
        answer = self._ask_counting(target, RecordKind.MX)
        hosts = [record.host for record in answer.records if isinstance(record, MxRecord)]
        # 4.6.4: more than 10 "MUST produce a permerror". Said before any is looked up, so that the result does
        # not hang on the order in which DNS gives them.
        if len(hosts) > MAX_MX_HOSTS:
            raise Failure(SpfStatus.PERMERROR, f"{_shown(target)} has {len(hosts)} MX, more than {MAX_MX_HOSTS}")
        # A null MX (RFC 7505) names no host.
        return any(self._host_matches(host, mechanism) for host in hosts if is_dns_name(host))

    # -- the client's names

    def _ptr(self, target: str) -> bool:
        """5.5: whether one of the client's validated names is the target or below it."""
        wanted = target.lower()
        return any(_is_within(name.lower(), wanted) for name in self._validated_names())

    def _validated_names(self) -> list[str]:
        """5.5: the names of the client's address that have that address. A DNS error takes a name off, and where it is
        the PTR look-up's own, all of them."""
        if self._client_names is None:
            self._client_names = []
            try:
                answer = self._ask_counting(self.client.reverse_name, RecordKind.PTR)
            except DnsTempError:
                return self._client_names
            names = [record for record in answer.records if isinstance(record, str)]
            # 4.6.4: "all records other than the first 10 MUST be ignored"
            self._client_names += [name for name in names[:MAX_PTR_NAMES] if self._has_client_address(name)]
        return self._client_names

    def _has_client_address(self, name: str) -> bool:
        if not is_dns_name(name):
            return False
        try:
            # No void look-up: whose address it is writes these names, not the domain that is checked, and there are
            # 10 at most (4.6.4 gives that reason for not making too many of them an error).
            answer = self._ask(name, self.client.kind)
        except DnsTempError:
            return False
        return self.client.number in self._addresses(answer)

    def client_name(self, domain: str) -> str:
        """The "p" macro (7.3): a validated name of the client, best the domain itself, then one below it, then any."""
        names = self._validated_names()
        wanted = domain.lower()
        for name in names:
            if name.lower() == wanted:
                return name
        return next((name for name in names if _is_within(name.lower(), wanted)), names[0] if names else "unknown")

    # -- macros

    def _target(self, spec: MacroString | None, domain: str, step: Step | None) -> str:
        """The <target-name> (4.8): the expanded domain-spec, or the <domain>."""
        if spec is None:
            return domain
        if spec.letters:
            if spec.uses_local_part and self.sender.is_utf8:
                raise NoMatchForSender
            if "p" in spec.letters and self._client_names is None:
                # 4.6.4 counts the PTR look-up of a %{p} beside the term that it stands in; there is one for a check.
                self._count_term(domain)
        target = spec.expand_domain(lambda letter: self.macro(letter, domain))
        if step:
            step.target = target
        return target

    def macro(self, letter: str, domain: str) -> str:
        """The value of a macro letter (7.2) that terms may use."""
        match letter:
            case "s":
                return str(self.sender)
            case "l":
                return self.sender.local_part
            case "o":
                return self.sender.domain
            case "d":
                return domain
            case "i":
                return self.client.dotted
            case "p":
                return self.client_name(domain)
            case "v":
                return self.client.zone
            case _:
                return self.helo

    # -- DNS and the limits

    def ask_for_explanation(self, name: str) -> Answer:
        """The TXT records of an exp= target, which no limit counts but that of time (4.6.4). Raises DnsTempError and
        Failure."""
        return self._ask(name, RecordKind.TXT)

    def _ask(self, name: str, kind: RecordKind) -> Answer:
        if self._clock() >= self._deadline:  # 4.6.4: "the result of authorization SHOULD be temperror"
            raise Failure(SpfStatus.TEMPERROR, f"no time is left to ask for {kind} {_shown(name)}")
        return self._resolver.lookup(name, kind)

    def _ask_or_fail(self, name: str, kind: RecordKind) -> Answer:
        try:
            return self._ask(name, kind)
        except DnsTempError as error:  # 4.4
            raise Failure(SpfStatus.TEMPERROR, f"{kind} {_shown(name)}: {ascii_printable(error.reason, 200)}") from None

    def _ask_counting(self, name: str, kind: RecordKind) -> Answer:
        """Asks for a term. 4.6.4 limits "terms" for which DNS "queries" return nothing; as others do (pyspf, Mail::SPF,
        mox) each such question counts, those for the hosts of an "mx" too."""
        answer = self._ask(name, kind)
        if not answer.records:
            self.void_lookups += 1
            if self.void_lookups > self._void_limit:
                raise Failure(
                    SpfStatus.PERMERROR,
                    f"{kind} {_shown(name)} finds nothing: more than {self._void_limit} such look-ups",
                )
        return answer

    def _count_term(self, domain: str) -> None:
        if self.lookups >= MAX_LOOKUPS:
            raise Failure(
                SpfStatus.PERMERROR, f"more than {MAX_LOOKUPS} terms ask DNS, the one too many in {_shown(domain)}"
            )
        self.lookups += 1

    # -- the trace

    def _step(self, domain: str, term: str = "") -> Step | None:
        if self._trace is None:
            return None
        step = Step(self._depth, domain, term)
        self._trace(step)
        return step

    def _end(self, step: Step | None, outcome: str, note: str) -> None:
        if step:
            step.outcome, step.note = outcome, note
            step.lookups, step.void_lookups = self.lookups, self.void_lookups

    def _failed(self, step: Step | None, status: SpfStatus, reason: str) -> Failure:
        self._end(step, status, reason)
        return Failure(status, reason)


def _is_within(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _shown(name: str) -> str:
    return ascii_printable(name, 253)
