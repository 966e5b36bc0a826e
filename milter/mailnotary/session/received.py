"""Who hands a message over: the client that the MTA names, or the one that a trusted relay got it from, by the Received
field that the relay put on top (RFC 5321 section 4.4)."""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mailnotary.frozen import frozen
from mailnotary.mail.message import HeaderField, unfold

MAX_RELAYS = 10  # that a message passes one after the other

# TCP-info: "(" [ Domain FWS ] address-literal ")"
_TCP_INFO = re.compile(rb"\((?:[^\s()\[\]]+[ \t]+)?\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]\)", re.IGNORECASE)
_FORGED = b" (may be forged))"  # Sendmail's words where the name of TCP-info does not lead back to its address
_BY = re.compile(rb"\sby\s", re.IGNORECASE)
_BY_LINE = re.compile(rb"(?:\A|\r\n)[ \t]+by\s", re.IGNORECASE)
_NAME = re.compile(rb"[!-'*-~]{1,255}\Z")  # printable, without parentheses
# Exchange writes the address without the brackets of RFC 5321: "from NAME (192.0.2.1) by".
_BARE = re.compile(rb"from[ \t]+([!-'*-~]{1,255})[ \t]+\(([0-9A-Fa-f:.%]{2,64})\)[ \t]+by[ \t]", re.IGNORECASE)
# The client has logged in: RFC 3848, RFC 6531 section 4.3; webmail programs write HTTP.
_LOGGED_IN = re.compile(rb"[ \t]with[ \t]+(?:(?:UTF8)?(?:ESMTP|SMTP|LMTP)S?A|HTTPS?)(?![^ \t;(])", re.IGNORECASE)
_SITE = [
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),  # RFC 1122, 1918, 3927
        *("::1/128", "fc00::/7", "fe80::/10"),  # RFC 4291, 4193
    )
]


@frozen
class Sender:
    """The client of a relay: its address, and the name it gave with HELO ("" where that is none)."""

    address: IPv4Address | IPv6Address
    helo: str


def client_address(text: str | None) -> IPv4Address | IPv6Address | None:
    """The client's address; an IPv4 one in IPv6's clothes is IPv4 (RFC 7208 section 5)."""
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def sender(
    fields: Iterable[HeaderField], trusted: Callable[[IPv4Address | IPv6Address], bool]
) -> tuple[Sender | None, bool]:
    """The first client that is none of the trusted relays, by the Received fields from the top down. A relay's own
    message has no further field: (None, True). (None, False): a field does not say where it came from."""
    received = [field.value for field in fields if field.key == b"received"]
    for value in received[:MAX_RELAYS]:
        client = parse(value)
        if client is None or not trusted(client.address):
            return client, False
    return None, len(received) <= MAX_RELAYS


@frozen
class Outside:
    """Mail came from outside: from `sender`, None where the field that must tell cannot be read for certain."""

    sender: Sender | None


def is_of_the_site(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address means this host or its site, wherever it is written."""
    return any(address in network for network in _SITE)


def origin(fields: Iterable[HeaderField], inside: Callable[[IPv4Address | IPv6Address], bool]) -> Outside | None:
    """Where mail that a host of ours hands over began, by the Received fields from the top down: None for one of our
    hosts, or a client that had logged in at one."""
    received = [field.value for field in fields if field.key == b"received"]
    for value in received[:MAX_RELAYS]:
        text = unfold(value).strip(b" \t")
        if text[:5].lower() not in (b"from ", b"from\t"):
            continue  # handed in by a program there: what that had passed on is told below
        if logged_in(value):
            return None
        client = parse(value) or _parse_bare(text)
        if client is None or not inside(client.address):
            return Outside(client)
    return Outside(None) if len(received) > MAX_RELAYS else None


def logged_in(value: bytes) -> bool:
    """Whether a Received field says that the client had authenticated itself. The words stand behind "by", and HELO's
    name, in front of it, can hold both."""
    first, fold, rest = value.partition(b"\r\n")
    if fold and _BY_LINE.search(rest) and _from_domain(first) is not None:
        return _LOGGED_IN.search(unfold(rest)) is not None
    clauses = _BY.split(unfold(value))
    return len(clauses) == 2 and _LOGGED_IN.search(clauses[1]) is not None


def _parse_bare(text: bytes) -> Sender | None:
    """The client of a field without an address literal, which must not hold one anywhere, nor a second "by"."""
    match = None if b"[" in text or len(_BY.split(text)) != 2 else _BARE.match(text)
    address = client_address(match[2].decode("ascii")) if match else None
    return Sender(address, match[1].decode("ascii")) if match and address is not None else None


def parse(value: bytes) -> Sender | None:
    """The client that a Received field names; None where it names none, or two could be meant. What the client said
    with HELO is in the field too, and Postfix takes anything there: `EHLO x (y [192.0.2.1]) by z`. But a line end
    that can't hold: where a later line begins with "by", what ends the first is the relay's own."""
    first, fold, rest = value.partition(b"\r\n")
    clause = _from_domain(first) if fold and _BY_LINE.search(rest) else None
    clause = clause or _from_domain_unfolded(unfold(value))
    if clause is None:
        return None
    helo, literal = clause
    address = client_address(literal.decode("ascii"))
    return Sender(address, helo.decode("ascii") if _NAME.match(helo) else "") if address is not None else None


def _from_domain(text: bytes) -> tuple[bytes, bytes] | None:
    """HELO's name and the address of From-domain: "FROM" FWS Domain FWS TCP-info."""
    words = text.strip(b" \t")
    if words.endswith(_FORGED):
        words = words.removesuffix(_FORGED) + b")"
    start = words.rfind(b"(")
    match = _TCP_INFO.fullmatch(words, max(start, 0))
    if match is None or words[:5].lower() not in (b"from ", b"from\t"):
        return None
    return words[5:start].strip(b" \t"), match[1]


def _from_domain_unfolded(value: bytes) -> tuple[bytes, bytes] | None:
    """The same of a field whose first line goes on behind it: then neither HELO's name may have spaces, nor may an
    address literal may be in the rest, lest HELO's name end the clause."""
    clause = _BY.split(value, maxsplit=1)
    from_domain = _from_domain(clause[0])
    clear = from_domain is not None and _NAME.match(from_domain[0]) and b"[" not in clause[-1]
    return from_domain if len(clause) == 2 and clear else None
