"""How many addresses a domain's SPF record lets in. Whoever gets hold of one of them, in a cloud or behind a proxy,
passes SPF, and with it DMARC: "BreakSPF: How Shared Infrastructures Magnify SPF Vulnerabilities" (NDSS 2024)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from mailnotary.frozen import frozen
from mailnotary.resolver import DnsTempError, RecordKind, Resolver
from mailnotary.spf.limits import MAX_LOOKUPS, MAX_MX_HOSTS
from mailnotary.spf.macro import MacroString
from mailnotary.spf.record import (
    A,
    All,
    Directive,
    Exists,
    Include,
    Ip4,
    Ip6,
    Mx,
    Ptr,
    SpfRecord,
    SpfRecordError,
    is_spf_record,
    parse_record,
)
from mailnotary.status import SpfStatus

MAX_TOLD = 100  # networks of one host that are looked at


@frozen
class Breadth:
    """How many addresses of each kind pass, each counted once. `everybody`: the record lets in all that are left.
    `open_ended` are terms whose addresses cannot be known beforehand (ptr, exists, macros); `incomplete` says what
    could not be followed, "" if all was."""

    ipv4: int
    ipv6: int
    everybody: bool = False
    open_ended: tuple[str, ...] = ()
    incomplete: str = ""


def breadth(domain: str, resolver: Resolver) -> Breadth:
    """Adds up the terms of a record, and of all that it includes, whose match is a pass (RFC 7208 section 4.6.2), to
    the bounds of a check. Terms in front of them that fail some of these addresses are not subtracted: it is an upper
    bound. Never raises on anything that DNS holds."""
    walk = _Walk(resolver)
    walk.follow(domain)
    ipv4 = sum(network.num_addresses for network in collapse_addresses(walk.ipv4))
    ipv6 = sum(network.num_addresses for network in collapse_addresses(walk.ipv6))
    open_ended = tuple(dict.fromkeys(walk.open_ended))
    return Breadth(ipv4, ipv6, walk.everybody, open_ended, walk.incomplete)


class _Walk:
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._lookups = 0
        self.ipv4: list[IPv4Network] = []
        self.ipv6: list[IPv6Network] = []
        self.everybody = False
        self.open_ended: list[str] = []
        self.incomplete = ""

    def follow(self, domain: str) -> None:
        record = self._record(domain)
        if record is None:
            return
        for directive in record.directives:
            if isinstance(directive.mechanism, All):
                self.everybody = self.everybody or directive.result is SpfStatus.PASS
                return  # what follows is never reached
            if directive.result is SpfStatus.PASS:
                self._add(directive, domain)
        if record.redirect is not None:
            target = self._literal(record.redirect.target, record.redirect.text)
            if target and self._counted(record.redirect.text):
                self.follow(target)

    def _record(self, domain: str) -> SpfRecord | None:
        texts = [text for text in self._records(domain, RecordKind.TXT) if isinstance(text, bytes)]
        found = [text for text in texts if is_spf_record(text)]
        if len(found) != 1:
            self._missed(f"{domain} has {'several SPF records' if found else 'no SPF record'}")
            return None
        try:
            return parse_record(found[0])
        except SpfRecordError as error:
            self._missed(f"{domain}: {error}")
            return None

    def _add(self, directive: Directive, domain: str) -> None:
        mechanism = directive.mechanism
        match mechanism:
            case Ip4():
                self.ipv4.append(IPv4Network((mechanism.network, mechanism.mask.bit_count())))
            case Ip6():
                self.ipv6.append(IPv6Network((mechanism.network, mechanism.mask.bit_count())))
            case Include():
                target = self._literal(mechanism.target, directive.text)
                if target and self._counted(directive.text):
                    everybody, self.everybody = self.everybody, False
                    self.follow(target)
                    self.everybody = self.everybody or everybody
            case A() | Mx():
                target = self._literal(mechanism.target, directive.text) if mechanism.target is not None else domain
                if target and self._counted(directive.text):
                    hosts: Iterable[str] = [target]
                    if isinstance(mechanism, Mx):
                        exchanges = self._records(target, RecordKind.MX)[:MAX_MX_HOSTS]
                        hosts = [str(getattr(exchange, "host", "")) for exchange in exchanges]
                    for host in hosts:
                        self._add_host(host, mechanism)
            case Ptr() | Exists():
                self.open_ended.append(directive.text)

    def _add_host(self, host: str, mechanism: A | Mx) -> None:
        for kind in (RecordKind.A, RecordKind.AAAA):
            for address in self._records(host, kind)[:MAX_TOLD]:
                if isinstance(address, IPv4Address):
                    self.ipv4.append(IPv4Network((address, mechanism.prefix4), strict=False))
                elif isinstance(address, IPv6Address):
                    self.ipv6.append(IPv6Network((address, mechanism.prefix6), strict=False))

    def _literal(self, target: MacroString, term: str) -> str:
        """The domain of a term without macros; else "", and the term is noted."""
        if target.letters:
            self.open_ended.append(term)
            return ""
        return target.expand_domain(lambda _: "")

    def _counted(self, term: str) -> bool:
        """Counts a term that asks DNS; whether it may (RFC 7208 section 4.6.4)."""
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            self._missed(f"more than {MAX_LOOKUPS} terms ask DNS; {term} is the first that is not followed")
            return False
        return True

    def _records(self, name: str, kind: RecordKind) -> tuple[object, ...]:
        try:
            return self._resolver.lookup(name, kind).records
        except DnsTempError as error:
            self._missed(f"{kind} {name}: {error.reason}")
            return ()

    def _missed(self, what: str) -> None:
        self.incomplete = self.incomplete or what


def of_term(term: str) -> int:
    """How many addresses an ip4 or ip6 term lets in; 0 for another term, or a text that is none."""
    try:
        (directive,) = parse_record(b"v=spf1 " + term.encode("ascii", "replace")).directives
    except (SpfRecordError, ValueError):
        return 0
    mechanism = directive.mechanism
    if isinstance(mechanism, Ip4):
        return 1 << (32 - mechanism.mask.bit_count())
    return 1 << (128 - mechanism.mask.bit_count()) if isinstance(mechanism, Ip6) else 0
