"""The SMTP client's address as SPF needs it (RFC 7208 sections 5 and 7.3)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from mailnotary.resolver import RecordKind


class Client:
    """An address. `number` its bits as an integer; `kind` the record type that may hold it."""

    __slots__ = ("bits", "kind", "number", "version")

    def __init__(self, ip: str | IPv4Address | IPv6Address) -> None:
        """Raises ValueError where the text is no address."""
        address = ip_address(ip)
        number = int(address)
        # Section 5: a client on an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) is an IPv4 client.
        if address.version == 6 and number >> 32 == 0xFFFF:
            self.version, self.number = 4, number & 0xFFFFFFFF
        else:
            self.version, self.number = address.version, number
        self.bits, self.kind = (32, RecordKind.A) if self.version == 4 else (128, RecordKind.AAAA)

    def __str__(self) -> str:
        """As people read it, the "c" macro (7.3)."""
        return str(IPv4Address(self.number) if self.version == 4 else IPv6Address(self.number))

    @property
    def dotted(self) -> str:
        """The "i" macro (7.3): dotted quad, or the 32 nibbles with dots between them; DNS does not mind their case, and
        the public suite's explanations have them in upper case."""
        return str(self) if self.version == 4 else ".".join(f"{self.number:032X}")

    @property
    def zone(self) -> str:
        """The "v" macro (7.2)."""
        return "in-addr" if self.version == 4 else "ip6"

    @property
    def reverse_name(self) -> str:
        """The name of its PTR records (5.5)."""
        return ".".join(reversed(self.dotted.lower().split("."))) + f".{self.zone}.arpa"
