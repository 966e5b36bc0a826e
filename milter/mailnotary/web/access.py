"""Which requests are answered: what they do, the name that they ask for, and who sends them."""

from dataclasses import dataclass
from ipaddress import ip_address

from mailnotary.config.settings import Network
from mailnotary.escape import printable

METHODS = ("GET", "HEAD")
LOCAL = ("localhost", "127.0.0.1", "::1")
_MAX_USER = 200  # characters


@dataclass(frozen=True, slots=True)
class Access:
    """`hosts`: names and addresses by which browsers may ask for the page. `proxies`: the only ones who may connect,
    where there are any. `user_header`: the name of the field in which they tell who has logged in; without it no such
    field means anything, and with it a request that lacks it is refused."""

    hosts: frozenset[str] = frozenset(LOCAL)
    proxies: tuple[Network, ...] = ()
    user_header: str = ""

    def refusal(self, method: str, host: str, peer: str, user: str | None) -> tuple[int, str] | None:
        """Why a request is not answered, with the status (RFC 9110); None if it is. `peer` is the address that it comes
        from, `user` the value of the user header."""
        if self.proxies and not self._is_proxy(peer):
            return 403, "Only the proxies that --behind-proxy names may connect."
        if (name := host_name(host)) not in self.hosts:
            # A name that an attacker has made to lead here would let the attacker's page read ours (DNS rebinding). The
            # port does not matter: tunnels have another one.
            return 421, f"This page is not known by the name {printable(name, 80) or '(none)'}: see --host."
        if method not in METHODS:
            return 405, "This page only reads: GET and HEAD."
        if self.user_header and not _is_user(user):
            return 403, f"The proxy has to say in {self.user_header} who has logged in."
        return None

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped.version == network.version and mapped in network for network in self.proxies)


def host_name(host: str) -> str:
    """The name in a Host field (RFC 9110 section 7.2), in lower case, without port, brackets and the root's dot."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _is_user(user: str | None) -> bool:
    """Whether a user header names one user. Two fields, of which a client has sent one, come with a comma between."""
    return user is not None and 0 < len(user) <= _MAX_USER and user.isprintable() and "," not in user
