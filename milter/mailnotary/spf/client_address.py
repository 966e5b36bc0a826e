"""The SMTP client's address as SPF needs it (RFC 7208 sections 5 and 7.3)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailnotary.resolver import RecordKind
from mailnotary.spf.record import Ip4, Ip6


class ClientAddress:
    """An address: `number` its bits as an integer, `kind` and `family` the records that can hold it."""

    __slots__ = ("bits", "family", "kind", "number", "text", "version")

    def __init__(self, ip: str | IPv4Address | IPv6Address) -> None:
        """Raises ValueError where the text is not an address."""
        address = ip_address(ip) if isinstance(ip, str) else ip
        number = int(address)
        # Section 5: a client on an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) is an IPv4 client.
        if address.version == 6 and number >> 32 == 0xFFFF:
            address = IPv4Address(number & 0xFFFFFFFF)
            number = int(address)
        # As people read it, the "c" macro (7.3); an interface's name is not part of what DNS can say.
        self.text = str(address).partition("%")[0]
        self.number = number
        self.version = address.version
        self.bits = address.max_prefixlen
        self.family = type(address)
        self.kind = RecordKind.A if address.version == 4 else RecordKind.AAAA

    def is_in(self, mechanism: Ip4 | Ip6) -> bool:
        """Whether the address is in the network (5.6)."""
        return self.version == mechanism.version and self.number & mechanism.mask == mechanism.network

    @property
    def dotted(self) -> str:
        """The "i" macro (7.3): dotted quad, or the 32 nibbles with dots between them; DNS does not mind their case, and
        the public suite's explanations have them in upper case."""
        return self.text if self.version == 4 else ".".join(f"{self.number:032X}")

    @property
    def zone(self) -> str:
        """The "v" macro (7.2)."""
        return "in-addr" if self.version == 4 else "ip6"

    @property
    def reverse_name(self) -> str:
        """The name of its PTR records (5.5)."""
        return ".".join(reversed(self.dotted.lower().split("."))) + f".{self.zone}.arpa"


# A client comes with HELO and MAIL FROM, and with its next message.
client_address = lru_cache(maxsize=1024)(ClientAddress)
