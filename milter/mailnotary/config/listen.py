"""Where the daemon listens, in libmilter's words (smfi_setconn) and in Postfix's."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mailnotary.domain import is_domain_name
from mailnotary.escape import printable

MAX_UNIX_PATH = 107  # octets: sun_path of sockaddr_un has 108, the last of them NUL (unix(7))
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
EXAMPLES = "inet:8891@127.0.0.1, inet6:8891@::1 or unix:/run/mailnotary/mailnotary.sock"

_LIBMILTER = re.compile(r"(?P<port>[^@:\[\]]+)@(?P<host>.+)\Z")  # inet:port@host
_POSTFIX = re.compile(r"(?P<host>\[[^\]]*\]|[^@:]*):(?P<port>[^@:]+)\Z")  # inet:host:port, inet:[address]:port


@dataclass(frozen=True, slots=True)
class Listen:
    """A listening socket: `family` is "inet" or "inet6", with `host` (an address or a name) and `port`, or "unix"
    with `path`. `str()` is what libmilter's setconn takes, and `parse` too."""

    family: str
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Reads inet:port@host, inet6:port@host, unix:/path, local:/path, and Postfix's inet:host:port. Raises
        ValueError with what to write instead."""
        family, colon, rest = text.partition(":")
        if family in ("unix", "local") and colon:
            return cls("unix", path=_checked_path(rest))
        if family in ("inet", "inet6") and colon:
            return _inet(family, rest)
        if text.startswith("/"):
            raise ValueError(f"a path needs its family: write unix:{printable(text, 120)}")
        raise ValueError(f"'{printable(text, 80)}' is not a socket: write {EXAMPLES}")

    @property
    def exposure(self) -> str:
        """A warning about a socket that other machines can reach; "" if they can't."""
        if self.family == "unix" or is_loopback(self.host):
            return ""
        return (
            f"{self} can be reached from other machines, and anyone who reaches it can have mail signed as yours: list "
            "your mail servers' addresses in socket.peers, or listen on a unix socket or on 127.0.0.1"
        )

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.family == "unix" else f"{self.family}:{self.port}@{self.host}"


def is_loopback(host: str) -> bool:
    """Whether an address or a name is of this machine alone."""
    try:
        address = ip_address(host)  # is_loopback is true for ::ffff:127.0.0.1 only since Python 3.13
        return any(address in network for network in _LOOPBACK)
    except ValueError:  # a name: only this one is certain (RFC 6761 section 6.3)
        return host == "localhost"


def _checked_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(
            f"'{printable(path, 120)}' is not an absolute path: write unix:/run/mailnotary/mailnotary.sock"
        )
    if not path.isprintable():
        raise ValueError(f"'{printable(path, 120)}' has characters that can't be printed: choose another path")
    if path.endswith("/"):
        raise ValueError(f"'{printable(path, 120)}' is a directory: add the socket's name")
    octets = len(path.encode())
    if octets > MAX_UNIX_PATH:
        raise ValueError(
            f"the path of a socket can have {MAX_UNIX_PATH} octets, and this has {octets}: choose a shorter one"
        )
    return path


def _inet(family: str, rest: str) -> Listen:
    match = _LIBMILTER.match(rest) or _POSTFIX.match(rest)
    if match is None:
        if rest.isdigit():
            raise ValueError(f"the address is missing: write {family}:{rest}@127.0.0.1, or @0.0.0.0 for every address")
        raise ValueError(f"'{printable(rest, 80)}' is not port@address: write {EXAMPLES}")
    port, host = _port(match["port"]), match["host"].removeprefix("[").removesuffix("]")
    postfix = "@" not in rest
    if not host:
        raise ValueError(f"the address is missing: write inet:{port}@127.0.0.1, or @0.0.0.0 for every address")
    if ":" in host or host.replace(".", "").isdigit():
        address = _address(host)
        if address.version == 6 and family == "inet" and not postfix:  # Postfix's "inet" is both, libmilter's IPv4
            raise ValueError(f"{address} is an IPv6 address: write inet6:{port}@{address}")
        if address.version == 4 and family == "inet6":
            raise ValueError(f"{address} is an IPv4 address: write inet:{port}@{address}")
        return Listen("inet6" if address.version == 6 else "inet", str(address), port)
    if not is_domain_name(host.lower()):
        raise ValueError(f"'{printable(host, 80)}' is neither an address nor a host name: write {EXAMPLES}")
    return Listen(family, host.lower(), port)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"'{printable(text, 80)}' is not an IP address: write {EXAMPLES}") from None
    if address.version == 6 and address.scope_id:  # libmilter calls inet_pton, which does not accept zones
        raise ValueError(f"a socket address can't have a zone ('%{address.scope_id}'): remove it")
    return address


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError(f"'{printable(text, 20)}' is not a port: write a number from 1 to 65535")
