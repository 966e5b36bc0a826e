"""config/migrate.md, as an admin goes through it: Postfix with the real OpenDKIM, OpenDMARC and policyd-spf, mailnotary
beside them, the switch, and the way back."""

import random
import re
import shlex
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from bench import peers
from mailnotary.cli import main
from mailnotary.crypto import load_private_key
from mailnotary.dkim import Signer
from mailnotary.dkim import sign as dkim_sign
from support.daemon import Daemon, free_port
from support.dns_server import DnsServer
from support.mail import MESSAGE, record_of, rsa_pem, zone
from support.postfix import Postfix, postfix
from support.rig import fields

pytestmark = [pytest.mark.mta, pytest.mark.root]

OPENDKIM = """\
Mode sv
Socket local:{directory}/socket
Syslog no
UMask 000
AuthservID old.example.net
Canonicalization relaxed/relaxed
Domain example.org
Selector rsa
KeyFile {directory}/key.pem
InternalHosts 127.0.0.1
RequireSafeKeys false
TestDNSData file:{directory}/zone
"""
OPENDMARC = """\
Socket local:{directory}/socket
PidFile {directory}/pid
AuthservID old.example.net
Syslog false
UMask 000
RejectFailures true
"""
POLICYD = """\
debugLevel = 1
HELO_reject = False
Mail_From_reject = Fail
Header_Type = AR
Authserv_Id = old.example.net
"""


class _Request(socketserver.BaseRequestHandler):
    """One connection of Postfix: the program on its standard input and output, as spawn(8) runs it."""

    def handle(self) -> None:
        words = self.server.words  # type: ignore[attr-defined]
        with subprocess.Popen(words, stdin=self.request.fileno(), stdout=self.request.fileno()) as process:
            process.wait()


class Policyd(socketserver.ThreadingTCPServer):
    """policyd-spf with a nameserver of its own."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, directory: Path, nameserver: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.conf = directory / "policyd-spf.conf"
        self.conf.write_text(POLICYD)
        resolv = directory / "resolv.conf"
        resolv.write_text(f"nameserver {nameserver}\n")
        mount = f"mount --bind {shlex.quote(str(resolv))} /etc/resolv.conf"
        self.words = ["unshare", "-m", "sh", "-c", f"{mount} && exec policyd-spf {shlex.quote(str(self.conf))}"]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.service = f"inet:127.0.0.1:{self.server_address[1]}"


class Machine:
    """A mail server with the three filters, on which the admin works."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        stack.enter_context(DnsServer(zone(), host=host, port=53))
        self.directory, self.nameserver = directory, f"{host}:53"
        dkim, dmarc, spf = (directory / name for name in ("opendkim", "opendmarc", "policyd"))
        for part in (dkim, spf):
            part.mkdir()
        (dkim / "key.pem").touch(mode=0o600)
        (dkim / "key.pem").write_bytes(rsa_pem())
        self.opendkim_conf = dkim / "opendkim.conf"
        self.opendkim_conf.write_text(OPENDKIM.format(directory=dkim))
        (dkim / "zone").write_text(f"rsa._domainkey.example.org {record_of(rsa_pem())}\n")
        program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
        assert program is not None
        self.opendkim = stack.enter_context(peers.Peer(dkim, [program, "-f", "-x", str(self.opendkim_conf)]))
        opendmarc = peers.opendmarc(dmarc, self.nameserver, OPENDMARC)
        assert opendmarc is not None
        self.opendmarc = stack.enter_context(opendmarc)
        self.policyd = stack.enter_context(Policyd(spf, host))
        stack.callback(self.policyd.shutdown)
        self.mailnotary = f"inet:127.0.0.1:{free_port()}"
        self.restrictions = f"reject_unauth_destination, check_policy_service {self.policyd.service}"
        settings = {"smtpd_recipient_restrictions": self.restrictions}
        self.postfix: Postfix = stack.enter_context(postfix(f"{self.old}", settings=settings))

    @property
    def old(self) -> str:
        """The old filters, as smtpd_milters has them."""
        return f"{self.opendkim.address}, {self.opendmarc.address}"

    def postconf(self, **settings: str) -> None:
        """Changes main.cf and reloads Postfix, which takes new connections with it from then on."""
        self.postfix.run("postconf", *(f"{name}={value}" for name, value in settings.items()))
        before = self.postfix.log().count("reload -- ")
        self.postfix.run("postfix", "reload")
        deadline = time.monotonic() + 20
        while self.postfix.log().count("reload -- ") == before:
            assert time.monotonic() < deadline, self.postfix.log()
            time.sleep(0.02)

    def outgoing(self) -> list[str]:
        """The domains and selectors that sign mail of this host."""
        code, text = self.postfix.send(MESSAGE, sender="alice@example.org")
        assert code == 250, text
        signatures = fields(self.postfix.receive(text).data, "DKIM-Signature")
        return [f"{find('d', one)} {find('s', one)}" for one in signatures]

    def incoming(self, message: bytes, ip: str) -> tuple[int, str, list[str]]:
        """The reply to mail from elsewhere, and the results that are written into it."""
        code, text = self.postfix.send(message, ip=ip, helo="mail.example.org", sender="alice@example.org")
        results = fields(self.postfix.receive(text).data, "Authentication-Results") if code == 250 else []
        return code, text, results


def find(tag: str, signature: str) -> str:
    match = re.search(rf"\b{tag}=([^;\s]+)", signature)
    return match[1] if match else ""


def signed_mail() -> bytes:
    return dkim_sign(MESSAGE, Signer("example.org", "rsa", load_private_key(rsa_pem()))) + b"\r\n" + MESSAGE


@pytest.fixture
def machine() -> Iterator[Machine]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="mailnotary-")))
        directory.chmod(0o755)
        yield Machine(directory, stack)


def test_side_by_side_then_the_switch_then_the_way_back(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    forged = MESSAGE.replace(b"lunch", b"money")
    assert machine.outgoing() == ["example.org rsa"]
    assert machine.incoming(signed_mail(), "192.0.2.10")[0] == 250
    assert machine.incoming(forged, "198.51.100.66")[0] == 550

    # 1. Side by side
    new = machine.directory / "new"
    sources = [machine.opendkim_conf, machine.directory / "opendmarc" / "config", machine.policyd.conf]
    sources.append(machine.postfix.config / "main.cf")
    assert main(["import", *map(str, sources), "--output", str(new), "--copy-keys"]) == 0
    assert "smtpd_milters = unix:" in capsys.readouterr().out
    settings = yaml.safe_load((new / "mailnotary.yaml").read_text())
    (new / "keystore.yaml").rename(machine.directory / "keystore.yaml")
    port = machine.mailnotary.rpartition(":")[2]
    settings |= {"listen": f"inet:{port}@127.0.0.1", "user": "root", "workers": 2, "state_dir": str(machine.directory)}
    settings |= {"dns": {"nameservers": [machine.nameserver], "timeout": 2}, "socket": {}}
    mode = settings["mode"]
    observing = settings | {"mode": "observe", "history": {"enabled": True, "compare_with": ["old.example.net"]}}
    with Daemon(machine.directory, **(observing | {"log": {"to": "stderr"}})) as daemon:
        machine.postconf(smtpd_milters=f"{machine.old}, {machine.mailnotary}")
        assert machine.outgoing() == ["example.org rsa"]
        code, text, results = machine.incoming(signed_mail(), "192.0.2.10")
        assert code == 250, text
        assert all(one.startswith("old.example.net") for one in results)
        assert machine.incoming(forged, "198.51.100.66")[0] == 550
        assert "same in " in disagreements(daemon)

        # 2. The switch
        daemon.reload(mode=mode)
        machine.postconf(
            smtpd_milters=machine.mailnotary,
            non_smtpd_milters=machine.mailnotary,
            smtpd_recipient_restrictions="reject_unauth_destination",
        )
        assert machine.outgoing() == ["example.org rsa"]
        code, text, results = machine.incoming(signed_mail(), "192.0.2.10")
        assert code == 250, text
        assert len(results) == 1
        assert {"spf=pass", "dkim=pass", "dmarc=pass"} <= set(re.findall(r"\w+=pass", results[0]))
        code, text, _ = machine.incoming(forged, "198.51.100.66")
        assert (code, "SPF" in text) == (550, True), text

        # 3. The way back
        machine.postconf(
            smtpd_milters=machine.old,
            non_smtpd_milters=machine.old,
            smtpd_recipient_restrictions=machine.restrictions,
        )
    assert machine.outgoing() == ["example.org rsa"]
    assert machine.incoming(forged, "198.51.100.66")[0] == 550


def disagreements(daemon: Daemon) -> str:
    """What `mailnotary history --disagreements` says, once it knows of all messages."""
    command = [sys.executable, "-m", "mailnotary", "history", "--disagreements", "-c", str(daemon.file)]
    deadline = time.monotonic() + 20
    while True:
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if "same in " in text or time.monotonic() > deadline:
            return text
        time.sleep(0.3)
