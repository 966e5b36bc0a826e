"""The real OpenDMARC, and the daemon that runs what `mailnotary import` makes of its configuration: the same mail."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from bench import peers
from mailnotary.importing import convert
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.milter_client import MilterClient, Outcome

pytestmark = [pytest.mark.mta, pytest.mark.root]

ZONE = {
    "_dmarc.q.example": [{"TXT": "v=DMARC1; p=quarantine"}],
    "_dmarc.r.example": [{"TXT": "v=DMARC1; p=reject"}],
    "_dmarc.n.example": [{"TXT": "v=DMARC1; p=none"}],
}
AUTHORS = ("u@q.example", "u@r.example", "u@n.example", "u@x.example")
ADDRESSES = ("192.0.2.9", "198.51.100.1", "2001:db8::1", "2001:db8::2")
HOSTS = (
    "192.0.2.9",
    "192.0.2.0/24",
    "[192.0.2.9]",
    "192.0.2.7/24",
    "2001:db8::/32",
    "!2001:db8::1",
    "192.0.2.0/255.255.255.0",
)
CONFIGS = [
    f"RejectFailures {reject}\nHoldQuarantinedMessages {hold}\n{more}"
    for reject in ("true", "false")
    for hold in ("true", "false")
    for more in ("", "IgnoreHosts DIR/hosts\n", "IgnoreMailFrom r.example\n")
]


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with DnsServer(ZONE, host=host, port=53):
        yield f"{host}:53"


@pytest.fixture(scope="module")
def daemon(nameserver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("daemon")
    with Daemon(directory, workers=1, dns={"nameservers": [nameserver], "timeout": 2}) as daemon:
        yield daemon


def action(outcome: Outcome) -> str:
    """What becomes of a message."""
    if outcome.reply is not None:
        return str(outcome.reply.code)
    return "hold" if outcome.quarantined else "accept"


def play(address: str) -> dict[tuple[str, str], str]:
    """What becomes of mail from each address, with each author."""
    found = {}
    for ip in ADDRESSES:
        for author in AUTHORS:
            message = f"From: {author}\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nSubject: x\r\n\r\nx\r\n".encode()
            with MilterClient(address) as client:
                found[ip, author] = action(client.send_message(message, client_ip=ip, mail_from="a@b.example"))
    return found


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(2))
def test_what_opendmarc_lets_pass_passes_and_what_it_refuses_is_refused(
    nameserver: str, daemon: Daemon, tmp_path: Path, config: str, seed: int
) -> None:
    hosts = random.Random(f"{seed} {config}").sample(HOSTS, 3)
    (tmp_path / "hosts").write_text("\n".join(hosts))
    text = "Socket local:{directory}/socket\nPidFile {directory}/pid\nSyslog false\nUMask 000\n" + config
    with ExitStack() as stack:
        opendmarc = peers.opendmarc(tmp_path / "old", nameserver, text.replace("DIR", str(tmp_path)))
        assert opendmarc is not None, "Debian's package opendmarc is missing, or this is not root"
        stack.enter_context(opendmarc)
        theirs = play(opendmarc.address)
        os.killpg(opendmarc.pid, signal.SIGKILL)  # it takes seconds to stop by itself
    imported = convert([tmp_path / "old" / "config"])
    daemon.reload(dmarc=yaml.safe_load(imported.settings)["dmarc"])
    ours = play(daemon.address)
    spared = "IgnoreMailFrom" in config, "0/255" in " ".join(hosts) and "IgnoreHosts" in config  # told, not taken over
    for asked, wanted in theirs.items():
        if not any(spared):
            assert ours[asked] == wanted, (asked, hosts, imported.settings)
        assert wanted == "accept" or ours[asked] == wanted, (asked, hosts, imported.settings)
