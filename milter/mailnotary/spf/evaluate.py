"""The evaluation of SPF records for one client and one sender (RFC 7208 sections 4.4 to 6.1)."""

from collections.abc import Sequence
from typing import NamedTuple

from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable, shortened
from mailnotary.resolver import DnsTempError, MxRecord, RecordKind
from mailnotary.spf import ahead
from mailnotary.spf.client_address import ClientAddress
from mailnotary.spf.identity import domain_octets, is_dns_name, local_part
from mailnotary.spf.limits import MAX_LOOKUPS, MAX_MX_HOSTS, MAX_PTR_NAMES, Failure, LimitedResolver, shown
from mailnotary.spf.macro import MacroString, Values
from mailnotary.spf.personal import for_client, is_personal
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
    SpfRecord,
    SpfRecordError,
    almost_spf,
    is_spf_record,
    parse_record,
)
from mailnotary.spf.trace import TraceStep
from mailnotary.status import SpfStatus

DNS_ERROR = "DNS gives no answer"
MAX_TERM = 300  # characters of one in a reason
_UTF8_SENDER = "the sender's local-part is not US-ASCII"


class UnusableMacro(ProtocolOutcome):
    """A term has a macro that can't be expanded for this sender, so it does not match (RFC 8616 section 4)."""


class Verdict(NamedTuple):
    """What a record resulted in: `domain` is whose record it was (a redirect's target), `term` the one that matched,
    `explanation` that record's exp=. `reason` and `brief` are those of the result."""

    status: SpfStatus
    reason: str
    brief: str
    domain: str
    term: str = ""
    explanation: Modifier | None = None


class Evaluation:
    """One check: the arguments that stay the same through all its records."""

    __slots__ = ("_client_names", "_helo", "_macros", "_sender", "client", "dns", "expanded", "lasting")

    def __init__(self, client: ClientAddress, sender: str, helo: str, dns: LimitedResolver) -> None:
        self.client = client
        self.dns = dns
        self._sender = sender
        self._helo = helo
        self._macros: dict[str, str] = {}  # values of macro letters that were asked for
        self._client_names: list[str] | None = None  # validated, once they were asked for
        # The domain-specs that depend on who sends, and their names: what tells the result from another sender's.
        self.expanded: list[tuple[MacroString, str]] = []
        self.lasting = True  # whether nothing else does

    # Records

    def check(self, domain: str) -> Verdict:
        """check_host() for a domain that DNS can carry: fetches its record and evaluates it. Raises Failure."""
        step = self.dns.begin(domain)
        try:
            text = self._fetch(domain)
            self.dns.count_record(domain, text)
            if step:
                step.record = text
            record = parse_record(text)
            if record.asking > 1 and self.dns.begins_early:
                self.dns.send_ahead(ahead.questions(record, domain, self.client, MAX_LOOKUPS - self.dns.lookups))
            verdict = self._evaluate(record, domain)
        except SpfRecordError as error:  # 4.6: any syntax error, before anything is evaluated
            reason = f"the record of {shown(domain)} has an error: {error}"
            raise self.dns.failed(step, Failure(SpfStatus.PERMERROR, reason, "the record has an error")) from None
        except Failure as met:
            self.dns.failed(step, met)
            raise
        self.dns.end(step, verdict.status)
        return verdict

    def _fetch(self, domain: str) -> bytes:
        """The text of a domain's only SPF record (4.4, 4.5)."""
        try:
            answer = self.dns.ask(domain, RecordKind.TXT)
        except DnsTempError as error:  # 4.4
            raise Failure(SpfStatus.TEMPERROR, _unanswered(domain, "", error), DNS_ERROR) from None
        texts = [text for text in answer.records if isinstance(text, bytes) and is_spf_record(text)]
        if len(texts) == 1:
            return texts[0]
        if texts:
            reason = f"{shown(domain)} has {len(texts)} SPF records, where one is allowed"
            raise Failure(SpfStatus.PERMERROR, reason, "several SPF records")
        if answer.exists:
            almost = any(isinstance(text, bytes) and almost_spf(text) for text in answer.records)
            but = ", but one that does not begin with v=spf1 and a space" if almost else ""
            raise Failure(SpfStatus.NONE, f"{shown(domain)} has no SPF record{but}", "no SPF record")
        raise Failure(SpfStatus.NONE, f"{shown(domain)} does not exist", "no such domain")

    def _evaluate(self, record: SpfRecord, domain: str) -> Verdict:
        """4.6.2: the directives from left to right, then the redirect, then the default."""
        client, traced = self.client, self.dns.traced
        for directive in record.directives:
            network = directive.mechanism
            if isinstance(network, (Ip4, Ip6)) and not (traced or client.is_in(network)):
                continue  # most terms of most records
            through = self._directive(directive, domain)
            if through is not None:
                reason = f"{self.client.text} matches {_term(directive.text)} of {shown(domain)}{through}"
                brief = f"matches {type(directive.mechanism).__name__.lower()}"
                return Verdict(directive.result, reason, brief, domain, directive.text, record.explanation)
        if record.redirect is not None:
            redirected = self._redirect(record.redirect, domain)
            if redirected is not None:
                return redirected
        # 4.7: 'just as if "?all" were specified as the last directive'
        reason = f"no term of {shown(domain)} matches {self.client.text}"
        return Verdict(SpfStatus.NEUTRAL, reason, "no term matches", domain)

    def _directive(self, directive: Directive, domain: str) -> str | None:
        """None where it does not match; where it does, through what (an include says it)."""
        mechanism = directive.mechanism
        step = self.dns.begin(domain, directive.text)
        note = ""
        try:
            through = self._matches(mechanism, domain, step)
        except UnusableMacro:
            through, note = None, _UTF8_SENDER
        except DnsTempError as error:  # section 5: "the topmost check_host() returns temperror"
            reason = _unanswered(domain, directive.text, error)
            raise self.dns.failed(step, Failure(SpfStatus.TEMPERROR, reason, DNS_ERROR)) from None
        except Failure as met:
            self.dns.failed(step, met)
            raise
        if step:
            self.dns.end(step, "no match" if through is None else "match", note)
        return through

    def _matches(self, mechanism: Mechanism, domain: str, step: TraceStep | None) -> str | None:
        if isinstance(mechanism, (Ip4, Ip6)):  # 5.6
            return "" if self.client.is_in(mechanism) else None
        if isinstance(mechanism, All):  # 5.1
            return ""
        self.dns.count_term(domain)
        target = self._target(mechanism.target, domain, step)
        if isinstance(mechanism, Include):
            return self._include(target)
        return "" if self._asks_and_matches(mechanism, target) else None

    def _asks_and_matches(self, mechanism: A | Mx | Ptr | Exists, target: str) -> bool:
        if isinstance(mechanism, Ptr):
            return self._ptr(target)
        if not is_dns_name(target):
            # 4.8 leaves it open what a malformed <target-name> does: like a name that does not exist, it does not
            # match. Nothing was asked, so it is not a void look-up.
            return False
        match mechanism:
            case A():
                return self._host_matches(target, mechanism)
            case Mx():
                return self._mx(target, mechanism)
            case Exists():  # 5.7: A records, "even when the connection type is IPv6"
                return bool(self.dns.ask_for_term(target, RecordKind.A).records)

    def _include(self, target: str) -> str | None:
        """5.2, with its table of what each result of the included record causes."""
        verdict = self._check_target(target)
        return f" ({verdict.reason})" if verdict.status is SpfStatus.PASS else None

    def _redirect(self, redirect: Modifier, domain: str) -> Verdict | None:
        """6.1: the other record's result is this one's. None where it can't be followed for this sender."""
        step = self.dns.begin(domain, redirect.text)
        try:
            self.dns.count_term(domain)
            verdict = self._check_target(self._target(redirect.target, domain, step))
        except UnusableMacro:
            # RFC 8616 says of all terms that they "do not match anything": this one then leads nowhere.
            self.dns.end(step, "no match", _UTF8_SENDER)
            return None
        except Failure as met:
            self.dns.failed(step, met)
            raise
        self.dns.end(step, verdict.status)
        return verdict

    def _check_target(self, target: str) -> Verdict:
        """check_host() for an include or a redirect, to which none is permerror (5.2, 6.1)."""
        if not is_dns_name(target) or "." not in target:  # 4.3
            reason = f'"{shown(target)}" is not a domain name that can have a record'
            raise Failure(SpfStatus.PERMERROR, reason, "a term leads to no domain name")
        self.dns.depth += 1
        try:
            return self.check(target)
        except Failure as failure:
            if failure.status is SpfStatus.NONE:
                raise Failure(SpfStatus.PERMERROR, failure.reason, "a term leads to no SPF record") from None
            raise
        finally:
            self.dns.depth -= 1

    # Hosts and their addresses

    def _host_matches(self, host: str, mechanism: A | Mx) -> bool:
        """Whether one of a host's addresses is the client's, as far as the prefix goes (5.3)."""
        client = self.client
        shift = client.bits - (mechanism.prefix4 if client.version == 4 else mechanism.prefix6)
        wanted = client.number >> shift
        answer = self.dns.ask_for_term(host, client.kind)
        return any(int(record) >> shift == wanted for record in answer.records if isinstance(record, client.family))

    def _mx(self, target: str, mechanism: Mx) -> bool:
        """5.4. A domain without MX has no implicit one here."""
        answer = self.dns.ask_for_term(target, RecordKind.MX)
        hosts = [record.host.removesuffix(".") for record in answer.records if isinstance(record, MxRecord)]
        # 4.6.4: more than 10 "MUST produce a permerror". Said before any is looked up, so that the result does
        # not depend on the order in which DNS gives them.
        if len(hosts) > MAX_MX_HOSTS:
            reason = f"{shown(target)} has {len(hosts)} MX, more than {MAX_MX_HOSTS}"
            raise Failure(SpfStatus.PERMERROR, reason, f"more than {MAX_MX_HOSTS} MX")
        hosts = [host for host in hosts if is_dns_name(host)]  # a null MX (RFC 7505) names none
        self.dns.send_ahead([(host, self.client.kind) for host in hosts])
        return any(self._host_matches(host, mechanism) for host in hosts)

    # The client's names

    def _ptr(self, target: str) -> bool:
        """5.5: whether one of the client's validated names is the target or below it."""
        return any(_is_within(name, target) for name in self._validated_names())

    def _validated_names(self) -> list[str]:
        """5.5: the names of the client's address that have that address. A DNS error removes the name that it concerns,
        and all of them if it is that of the PTR look-up."""
        if self._client_names is None:
            self._client_names = []
            try:
                answer = self.dns.ask_of_client(self.client.reverse_name, RecordKind.PTR)
            except DnsTempError:
                return self._client_names
            self.dns.count_void(answer, self.client.reverse_name, RecordKind.PTR)
            names = [record.removesuffix(".") for record in answer.records if isinstance(record, str)]
            names = [name for name in names[:MAX_PTR_NAMES] if is_dns_name(name)]  # 4.6.4: others "MUST be ignored"
            self.dns.send_ahead([(name, self.client.kind) for name in names])
            self._client_names += [name for name in names if self._has_client_address(name)]
        return self._client_names

    def _has_client_address(self, name: str) -> bool:
        try:
            # Not a void look-up: the owner of the address writes these names, not the domain that is checked, and there
            # are 10 at most (4.6.4 gives the same reason why more are not an error).
            answer = self.dns.ask_of_client(name, self.client.kind)
        except DnsTempError:
            return False
        client = self.client
        return any(int(record) == client.number for record in answer.records if isinstance(record, client.family))

    def _client_name(self, domain: str) -> str:
        """The "p" macro (7.3): a validated name of the client: the domain itself, else one below it, else any."""
        names = self._validated_names()
        same = (name for name in names if name.lower() == domain.lower())
        below = (name for name in names if _is_within(name, domain))
        return next(same, None) or next(below, None) or (names[0] if names else "unknown")

    # Macros

    def can_expand(self, spec: MacroString) -> bool:
        """RFC 8616 section 4: where a term has the macros s or l and the sender's local-part is not US-ASCII, it does
        "not match anything"."""
        return spec.letters.isdisjoint("sl") or self._macro("l").isascii()

    def _target(self, spec: MacroString | None, domain: str, step: TraceStep | None) -> str:
        """The <target-name> (4.8): the expanded domain-spec, or the <domain>."""
        if spec is None:
            return domain
        values = self.macros_of(domain)
        if spec.letters:
            if not self.can_expand(spec):
                self.lasting = False
                raise UnusableMacro
            if "p" in spec.letters and self._client_names is None:
                # 4.6.4 counts the PTR look-up of a %{p} beside the term that it is in; a check does it once.
                self.dns.count_term(domain)
            spec = for_client(spec, self.client, domain, values)
        target = spec.expand_domain(values)
        if is_personal(spec):
            self.expanded.append((spec, target))
            self.lasting = self.lasting and "p" not in spec.letters
        if step:
            step.target = target
        return target

    def expand(self, specs: Sequence[MacroString]) -> tuple[tuple[MacroString, str], ...] | None:
        """What domain-specs of `expanded` that need no DNS are for this sender; None where one has no expansion."""
        if not all(map(self.can_expand, specs)):
            return None
        return tuple([(spec, spec.expand_domain(self._macro)) for spec in specs])

    def macros_of(self, domain: str) -> Values:
        """The values of the macros that terms may use, for a <domain>; good until it is called again."""
        self._macros["d"] = domain
        return self._macro

    def _macro(self, letter: str) -> str:
        """7.2"""
        value = self._macros.get(letter)
        if value is None:
            value = self._value(letter)
            if letter != "p":  # which differs for each <domain>
                self._macros[letter] = value
        return value

    def _value(self, letter: str) -> str:
        match letter:
            case "s":
                return f"{self._macro('l')}@{self._macro('o')}"
            case "l":
                return local_part(self._sender)
            case "o":
                return domain_octets(self._sender.rpartition("@")[2])
            case "i":
                return self.client.dotted
            case "p":
                return self._client_name(self._macros["d"])
            case "v":
                return self.client.zone
            case _:
                return domain_octets(self._helo)


def _term(text: str) -> str:
    """A term as a reason shows it: it may have thousands of octets, and an include's reason holds that of another."""
    return shortened(text, MAX_TERM)


def _is_within(name: str, target: str) -> bool:
    name, target = name.lower(), target.lower()
    return name == target or name.endswith("." + target)


def _unanswered(domain: str, term: str, error: DnsTempError) -> str:
    return f"{_term(term) or 'the record'} of {shown(domain)}: {ascii_printable(error.reason, 300)}"
