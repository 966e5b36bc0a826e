"""Lists of hosts as OpenDKIM matches them, as networks that contain no address which it does not match.

OpenDKIM compares texts: it asks its list for the client's address, then for each network around it, the smallest first,
and for "!" and the same text before each (dkimf_checkip). So an entry that is not written in the usual form never
matches, and of two that both contain a client the smaller one decides.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from mailnotary.config.settings import Network

MAX_PIECES = 1024  # networks that one network without its exclusions may become


@dataclass(slots=True)
class Hosts:
    """What a list of hosts becomes: `networks`, as they are written in mailnotary.yaml, and `notes` on the others."""

    networks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_hosts(entries: Iterable[str]) -> Hosts:
    """The networks of a list, without the addresses that an exclusion (!) takes from them."""
    hosts = Hosts()
    included: dict[Network, str] = {}
    excluded: set[Network] = set()
    for entry in dict.fromkeys(text.strip() for text in entries):
        text = entry.removeprefix("!").strip()
        if text.lower() == "localhost" and not entry.startswith("!"):
            # The name of these two addresses (RFC 6761 section 6.3); others of 127.0.0.0/8 need not have it.
            included |= {ip_network("127.0.0.1"): "127.0.0.1", ip_network("::1"): "::1"}
            continue
        network, problem = _network(text)
        if network is None:
            hosts.notes.append(f"{entry}: {problem}")
        elif entry.startswith("!"):
            excluded.add(network)  # with host bits as well: rather too few are trusted than one too many
        elif problem:
            hosts.notes.append(f"{entry}: {problem}")
        else:
            included[network] = str(network) if "/" in text else str(network.network_address)
    taken = sorted(excluded, key=_start)
    for network, written in included.items():
        pieces = _without(network, _inside(network, taken))
        if pieces is None:
            hosts.notes.append(f"{written}: its exclusions (!) would make it {MAX_PIECES} networks: write what remains")
        else:
            hosts.networks += [written] if pieces == [str(network)] else pieces
    hosts.networks = list(dict.fromkeys(hosts.networks))
    return hosts


def _network(text: str) -> tuple[Network | None, str]:
    """An entry's network, and why OpenDKIM never matches it ("" if it does); None for what is not an address."""
    plain = text.replace("[", "").replace("]", "").lower()
    address, slash, length = plain.partition("/")
    try:
        host, network = ip_address(address), ip_network(plain, strict=False)
    except ValueError:
        return None, "names and ranges have no match: write the addresses"
    if host.version == 6 and (host.scope_id or (network.prefixlen >= 96 and host.ipv4_mapped)):
        mapped = "write IPv4 addresses as such" if host.ipv4_mapped else "remove the zone"
        return None, f"OpenDKIM never matches this: {mapped}"
    if slash and host != network.network_address:
        return network, f"host bits are set, so OpenDKIM never matches it: write {network}, or {host} for one address"
    if address != str(host) or (slash and length not in (str(network.prefixlen), str(network.netmask))):
        return network, f"OpenDKIM compares texts and never matches this one: write {network}"
    return network, ""


def _start(network: Network) -> tuple[int, int]:
    return int(network.version), int(network.network_address)


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
