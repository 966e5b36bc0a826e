"""mailnotary as an admin runs it: the daemon with its YAML files and keys, DNS over the wire, and a real Postfix."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dkim as dkimpy

from mailnotary import authres, dkim
from mailnotary.mail.message import parse
from mailnotary.resolver import DnsTempError, RecordKind, ZoneResolver
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.mail import ed_pem, rsa_pem, zone
from support.postfix import Delivered, Postfix, postfix

MTA = "mx.example.net"  # Postfix's name, and so the authserv-id

KEYS = [{"selector": "rsa", "file": "rsa.pem"}, {"selector": "ed", "file": "ed.pem"}]


@dataclass(slots=True)
class Rig:
    """All of it, running."""

    zone: Mapping[str, Any]
    dns: DnsServer
    daemon: Daemon
    postfix: Postfix

    def deliver(self, message: bytes, **envelope: Any) -> Delivered:
        """Sends a message that must be taken (see `Postfix.send`), and gives it as Postfix handed it on."""
        code, text = self.postfix.send(message, **envelope)
        assert code == 250, f"{code} {text}\n{self.daemon.text()[-4000:]}"
        return self.postfix.receive(text)

    def restart(self) -> None:
        """Starts the daemon again, at the same address."""
        self.daemon.start(ready=False)
        self.daemon.wait_until_served()

    def verified(self, message: bytes) -> tuple[list[str], list[bool]]:
        """`verified` with the zone of this rig."""
        return verified(message, self.zone)


@contextmanager
def start(
    *,
    keystore: Mapping[str, Any] | None = None,
    zone_too: Mapping[str, Any] | None = None,
    postfix_settings: Mapping[str, str] | None = None,
    postfix_services: str = "",
    unix: bool = False,
    **config: Any,
) -> Iterator[Rig]:
    """Starts all of it and stops it in the end. The keystore has example.org and `keystore`, the zone that of
    `support.mail` and `zone_too`; `config` are the keys of mailnotary.yaml. `unix`: the daemon listens on a unix socket
    that only Postfix's group may use."""
    data = {**zone(), **(zone_too or {})}
    with TemporaryDirectory(prefix="mailnotary-") as name, DnsServer(data) as dns:
        directory = Path(name)
        for selector, pem in (("rsa", rsa_pem()), ("ed", ed_pem())):
            path = directory / f"{selector}.pem"
            path.touch(mode=0o600)
            path.write_bytes(pem)
        domains = {"example.org": {"keys": KEYS}, **(keystore or {})}
        nameservers = {"nameservers": [dns.nameserver], "timeout": 2}
        daemon = Daemon(directory, keystore={"domains": domains}, dns=nameservers, **config)
        if "authserv_id" not in config:
            del daemon.config["authserv_id"]  # Postfix says its name
            daemon.write_config()
        if unix:
            directory.chmod(0o711)
            socket = {"listen": f"unix:{directory}/socket", "socket": {"mode": "0660", "group": "postfix"}}
            daemon.write_config(**socket)
            address = daemon.address
        else:
            address = "inet:127.0.0.1:" + daemon.address.removeprefix("inet:").partition("@")[0]
        with daemon, postfix(address, settings=postfix_settings, services=postfix_services, hostname=MTA) as mta:
            yield Rig(data, dns, daemon, mta)
        assert "Traceback" not in daemon.text(), daemon.text()


def verified(message: bytes, zone: Mapping[str, Any]) -> tuple[list[str], list[bool]]:
    """The results of a message's signatures, from the top down: by mailnotary, and by dkimpy."""
    resolver = ZoneResolver(zone)
    ours = [f"{one.status} {one.selector} {one.reason}".rstrip() for one in dkim.verify(message, resolver)]

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        try:
            texts = resolver.lookup(name.decode(), RecordKind.TXT).texts
        except DnsTempError:
            texts = ()
        return texts[0] if texts else b""

    other = dkimpy.DKIM(message)

    def passes(index: int) -> bool:
        try:
            return bool(other.verify(idx=index, dnsfunc=lookup))
        except dkimpy.DKIMException:
            return False

    return ours, [passes(index) for index in range(len(ours))]


def fields(message: bytes, name: str) -> list[str]:
    """The values of a header field from the top down, each on one line with single spaces."""
    key = name.lower().encode()
    found = [one.value for one in parse(message).fields if one.key == key]
    return [re.sub(r"\s+", " ", value.decode("utf-8", "surrogateescape")).strip() for value in found]


def results(message: bytes, authserv_id: str = MTA) -> str:
    """Our Authentication-Results field, which must be the only one in our name and stand above all others, without what
    it says in quotes or comments: what is left are the results that a filter acts upon."""
    first = parse(message).fields[0]
    assert first.key == b"authentication-results", message[:500]
    ours = [value for value in fields(message, "Authentication-Results") if value.startswith(f"{authserv_id};")]
    assert len(ours) == 1, ours
    authres.parse(ours[0])
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', ours[0])
    while (without := re.sub(r"\((?:[^()\\]|\\.)*\)", "", text)) != text:
        text = without
    return text


def body(message: bytes) -> bytes:
    """A message's body."""
    return parse(message).body
