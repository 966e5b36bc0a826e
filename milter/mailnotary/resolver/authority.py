"""The nameservers of a zone, each asked directly: what every one of them serves, whatever caches say."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from threading import Lock
from typing import Final, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdatatype import RdataType

from mailnotary.escape import printable
from mailnotary.resolver.dns import system_nameservers
from mailnotary.resolver.records import labels_text
from mailnotary.resolver.types import MAX_CNAMES, Answer, DnsTempError
from mailnotary.resolver.wire import UDP_SIZE, parse_name

T = TypeVar("T")
Address = tuple[str, int]

PORT: Final = 53
NOTHING: Final = Answer((), exists=False)
MAX_SERVERS: Final = 50  # of a zone: the root has 13, and nobody is known who has more than 30
MAX_ADDRESSES: Final = 200  # of all of them
AT_ONCE: Final = 16  # servers of a zone


@dataclass(frozen=True, slots=True)
class Nameserver:
    """One address of a zone's nameserver. `name` is for people."""

    name: str
    address: Address

    def __str__(self) -> str:
        return shown(self.address) if not self.name else f"{self.name} ({shown(self.address)})"


def shown(address: Address) -> str:
    """An address for people; with its port if that is not DNS's own."""
    host, port = address
    if port == PORT:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records of a name are: the name itself, or what its aliases lead to; its zone, and the nameservers of
    that."""

    name: str
    zone: str
    servers: tuple[Nameserver, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """What one nameserver serves at a name: its TXT records, or `alias`, the name that a CNAME leads to. `problem`: why
    that is not known, "" if it is."""

    server: Nameserver
    answer: Answer = NOTHING
    alias: str = ""
    problem: str = ""


class Authority:
    """Finds and asks nameservers of zones. `nameservers` are the recursive ones that know where zones are; none: the
    system's. `timeout` in seconds is for each question to each server, `port` that of nameservers that were found. What
    was found is remembered: make a new one after a while. Safe to call from any thread."""

    def __init__(self, nameservers: Sequence[Address] = (), *, timeout: float = 5.0, port: int = PORT) -> None:
        self._nameservers = tuple(nameservers)
        self._timeout = timeout
        self._port = port
        self._found: dict[str, tuple[Nameserver, ...]] = {}
        self._lock = Lock()

    def zone_of(self, name: str) -> str:
        """The zone that has a name, which need not exist. Raises DnsTempError."""
        current = _parsed(name)
        while current != dns.name.root:
            reply = self._ask(current, RdataType.SOA)
            if records(reply, current, RdataType.CNAME, str):  # what follows is about another name
                current = current.parent()
                continue
            # In the answer if the name is the zone's own, otherwise with the negative answer (RFC 2308 section 3).
            for rrset in (*reply.answer, *reply.authority):
                if rrset.rdtype == RdataType.SOA and current.is_subdomain(rrset.name) and rrset.name != dns.name.root:
                    return _text(rrset.name)
            current = current.parent()
        raise DnsTempError(f"no zone was found that has {printable(name)}")

    def servers_of(self, zone: str) -> tuple[Nameserver, ...]:
        """Every address of every nameserver of a zone. Raises DnsTempError."""
        with self._lock:
            known = self._found.get(zone)
        if known is None:
            known = self._search(zone)
            with self._lock:
                self._found[zone] = known
        return known

    def place_of(self, name: str, servers: Callable[[str], Sequence[Address]] = lambda _: ()) -> Place:
        """Where the records of a name are. An alias is followed if every nameserver has it (RFC 1034 section 3.6.2).
        `servers` names those of a zone where others than its NS records' are to be asked. Raises DnsTempError."""
        seen: set[str] = set()
        while len(seen) <= MAX_CNAMES:
            seen.add(name)
            zone = self.zone_of(name)
            named = tuple(Nameserver("", address) for address in servers(zone))
            place = Place(name, zone, named or self.servers_of(zone))
            aliases = {served.alias for served in self.ask_each(place)}
            if len(aliases) != 1 or aliases == {""}:
                return place
            name = aliases.pop()
            if name in seen:
                raise DnsTempError(f"the aliases of {printable(name)} lead in a circle")
        raise DnsTempError(f"more than {MAX_CNAMES} aliases in a row")

    def ask_each(self, place: Place) -> list[Served]:
        """What each of the nameservers serves at the place; in their order."""
        if not place.servers:
            return []
        with ThreadPoolExecutor(min(AT_ONCE, len(place.servers))) as pool:
            served = list(pool.map(partial(self._served, place.name), place.servers))
        return _without_unreachable(served)

    def _served(self, name: str, server: Nameserver) -> Served:
        asked = _parsed(name)
        try:
            reply = exchange(asked, RdataType.TXT, server.address, self._timeout, recursive=False)
        except DnsTempError as error:
            return Served(server, problem=error.reason)
        if not reply.flags & dns.flags.AA:
            return Served(server, problem="it is not authoritative for the zone")
        alias = records(reply, asked, RdataType.CNAME, lambda record: _text(record.target))
        if alias:
            return Served(server, alias=alias[0])
        texts = records(reply, asked, RdataType.TXT, lambda record: b"".join(record.strings))
        return Served(server, Answer(texts, exists=reply.rcode() == dns.rcode.NOERROR))

    def _search(self, zone: str) -> tuple[Nameserver, ...]:
        apex = _parsed(zone)
        names = records(self._ask(apex, RdataType.NS), apex, RdataType.NS, lambda record: record.target)
        found = []
        if len(names) > MAX_SERVERS:  # every one must serve a record before it is used, so none is left out
            raise DnsTempError(f"{zone} has more than {MAX_SERVERS} nameservers")
        for name in sorted(names):
            addresses: list[str] = []
            for kind in (RdataType.A, RdataType.AAAA):
                reply = self._ask(name, kind)
                addresses += [rdata.address for rrset in reply.answer if rrset.rdtype == kind for rdata in rrset]
            if not addresses:
                raise DnsTempError(f"the nameserver {_text(name)} of {zone} has no address")
            found += [Nameserver(_text(name), (address, self._port)) for address in addresses]
        if not found:
            raise DnsTempError(f"{zone} has no NS records")
        if len(found) > MAX_ADDRESSES:
            raise DnsTempError(f"the nameservers of {zone} have more than {MAX_ADDRESSES} addresses")
        return tuple(found)

    def _ask(self, name: dns.name.Name, kind: RdataType) -> dns.message.Message:
        """The reply of the first recursive nameserver that has one. Raises DnsTempError."""
        problem = "there is no nameserver to ask"
        for server in self._nameservers or system_nameservers():
            try:
                return exchange(name, kind, server, self._timeout, recursive=True)
            except DnsTempError as error:
                problem = f"{shown(server)}: {error.reason}"
        raise DnsTempError(problem)


def _without_unreachable(served: list[Served]) -> list[Served]:
    """Without the addresses to which this host has no route at all (IPv6, mostly), where the same nameserver has been
    asked at another."""
    reached = {one.server.name for one in served if one.problem != NO_ROUTE}
    return [one for one in served if one.problem != NO_ROUTE or one.server.name not in reached]


NO_ROUTE: Final = "this host has no route to it"


def exchange(
    name: dns.name.Name, kind: RdataType, server: Address, timeout: float, *, recursive: bool
) -> dns.message.Message:
    """One question to one server, over TCP if UDP can't carry the answer. Raises DnsTempError, also for an rcode other
    than NOERROR and NXDOMAIN."""
    question = dns.message.make_query(name, kind, use_edns=True, payload=UDP_SIZE)
    if not recursive:
        question.flags &= ~dns.flags.RD
    host, port = server
    try:
        reply, _ = dns.query.udp_with_fallback(question, host, timeout, port=port, ignore_unexpected=True)
    except dns.exception.Timeout:
        raise DnsTempError("no reply in time", "TIMEOUT") from None
    except OSError as error:
        family_is_missing = ip_address(host).version == 6 and error.errno in _UNREACHABLE
        raise DnsTempError(NO_ROUTE if family_is_missing else error.strerror or str(error)) from error
    except (dns.exception.DNSException, ValueError, EOFError) as error:
        raise DnsTempError(f"an unusable reply: {printable(str(error), 200)}") from error
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise DnsTempError(f"rcode {dns.rcode.to_text(reply.rcode())}")
    return reply


_UNREACHABLE: Final = (101, 97, 99)  # ENETUNREACH, EAFNOSUPPORT, EADDRNOTAVAIL


def records(reply: dns.message.Message, name: dns.name.Name, kind: RdataType, value: Callable[..., T]) -> tuple[T, ...]:
    """The values of the records of a name in a reply's answer."""
    rrset = reply.get_rrset(reply.answer, name, dns.rdataclass.IN, kind)
    return tuple(value(record) for record in rrset or ())


def _parsed(name: str) -> dns.name.Name:
    parsed = parse_name(name)
    if parsed is None:
        raise DnsTempError(f"{printable(name)} can't be in DNS")
    return dns.name.from_wire(parsed, 0)[0]


def _text(name: dns.name.Name) -> str:
    return labels_text(name.labels[:-1])
