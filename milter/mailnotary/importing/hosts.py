"""Lists of hosts as networks that contain no address which the other program does not match.

OpenDKIM and OpenDMARC compare texts: they ask their list for the client's address, then for each network around it, the
smallest first, and for "!" and the same text before each (dkimf_checkip, dmarcf_checkip). So an entry that is not
written in the usual form never matches, and of two that both contain a client the smaller one decides. For other
programs the order of the list decides: there, what any exclusion (!) contains is left out.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from mailnotary.config.settings import Network
from mailnotary.importing.conf import Item
from mailnotary.importing.source import Note

MAX_PIECES = 1024  # networks that one network without its exclusions may become


@dataclass(frozen=True, slots=True)
class Form:
    """How a program reads a list: whether it compares texts, and which brackets do not keep an entry from matching, a
    regular expression for the whole of it."""

    texts: bool
    brackets: str = r"(?!)"


# OpenDKIM 2.11.0-beta2, tried: [192.0.2.1] and [192.0.2.0/24] never match.
OPENDKIM = Form(texts=True, brackets=r"\[[0-9a-f:.]*:[0-9a-f:.]*\]|\[[0-9a-f:.]+\]/[0-9]+")
OPENDMARC = Form(texts=True)
DKIMPY = Form(texts=False, brackets=r"\[[0-9a-f:.]+\]")
AMAVIS = Form(texts=False, brackets=r"\[[0-9a-f:.]+\](/[0-9]+)?")
OTHERS = Form(texts=False)


@dataclass(slots=True)
class Hosts:
    """What a list of hosts becomes: `networks`, as they are written in mailnotary.yaml, and `notes` on the others."""

    networks: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def read_hosts(entries: Iterable[Item], name: str, form: Form) -> Hosts:
    """The networks of a list, without the addresses that an exclusion (!) takes from them. `name` is that of the list,
    for the notes."""
    hosts = Hosts()
    included: dict[Network, Item] = {}
    excluded: set[Network] = set()
    for item in entries:
        entry = item.key.strip()
        text = entry.removeprefix("!").strip()
        if form.texts and text.lower() == "localhost" and not entry.startswith("!"):
            # The name of these two addresses (RFC 6761 section 6.3); others of 127.0.0.0/8 need not have it.
            included |= {ip_network(one): Item(one, "", item.place) for one in ("127.0.0.1", "::1")}
            continue
        network, problem = _network(text, form)
        if network is None or (problem and not entry.startswith("!")):
            hosts.notes.append(Note(item.place, f"{name} {entry}: {problem}"))
        elif entry.startswith("!"):
            excluded.add(network)  # with host bits as well: rather too few are trusted than one too many
        else:
            written = str(network) if "/" in text else str(network.network_address)
            included.setdefault(network, Item(written, "", item.place))
    taken = sorted(excluded, key=_start)
    for network, item in included.items():
        holes = _inside(network, taken)
        if not form.texts and _around(network, excluded):
            holes = [network]
        pieces = _without(network, holes)
        if pieces is None:
            why = f"its exclusions (!) would make it {MAX_PIECES} networks: write what remains"
            hosts.notes.append(Note(item.place, f"{name} {item.key}: {why}"))
        else:
            hosts.networks += [item.key] if pieces == [str(network)] else pieces
    hosts.networks = list(dict.fromkeys(hosts.networks))
    return hosts


def _network(text: str, form: Form) -> tuple[Network | None, str]:
    """An entry's network, and why it never matches ("" if it does); None for what is not an address."""
    plain = text.replace("[", "").replace("]", "").lower()
    address, slash, length = plain.partition("/")
    try:
        host, network = ip_address(address), ip_network(plain, strict=False)
    except ValueError:
        return None, "names and ranges have no match: write the addresses"
    if host.version == 6 and (host.scope_id or (network.prefixlen >= 96 and host.ipv4_mapped)):
        mapped = "write IPv4 addresses as such" if host.ipv4_mapped else "remove the zone"
        return None, f"this never matches: {mapped}"
    if "[" in text and not re.fullmatch(form.brackets, text.lower()):
        return network, f"in brackets, it never matches: write {network}"
    if slash and host != network.network_address:
        return network, f"host bits are set, so it never matches: write {network}, or {host} for one address"
    if address != str(host) or (slash and length != str(network.prefixlen)):
        return network, f"not taken over in this form: write {network}"
    return network, ""


def _start(network: Network) -> tuple[int, int]:
    return int(network.version), int(network.network_address)


def _around(network: Network, excluded: set[Network]) -> bool:
    """Whether one of them contains a network."""
    return any(network.supernet(new_prefix=length) in excluded for length in range(network.prefixlen + 1))


def _inside(network: Network, excluded: Sequence[Network]) -> list[Network]:
    """Those that are in a network; sorted as they are, they are next to each other."""
    version, first = _start(network)
    begin = bisect_left(excluded, (version, first), key=_start)
    end = bisect_left(excluded, (version, int(network.broadcast_address) + 1), key=_start)
    return [inner for inner in excluded[begin:end] if inner.prefixlen >= network.prefixlen]


def _without(network: Network, holes: Sequence[Network]) -> list[str] | None:
    """The networks that remain of one without those inside it; None for too many."""
    make, bits = type(network.network_address), network.max_prefixlen
    pieces: list[str] = []
    start, end = int(network.network_address), int(network.broadcast_address) + 1
    for begin, after in [(_start(hole)[1], int(hole.broadcast_address) + 1) for hole in holes] + [(end, end)]:
        while start < begin:  # the largest network that begins here and ends before the hole
            aligned = (start & -start).bit_length() - 1 if start else bits
            size = min(aligned, (begin - start).bit_length() - 1)
            pieces.append(f"{make(start)}/{bits - size}")
            start += 1 << size
            if len(pieces) > MAX_PIECES:
                return None
        start = max(start, after)
    return pieces
