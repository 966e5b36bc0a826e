"""The real OpenDKIM, and the daemon that runs what `mailnotary import` makes of its configuration: generated tables and
lists of hosts, the same mail to both."""

import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from bench import peers
from mailnotary.importing import Imported, convert
from mailnotary.importing.conf import DataSet, Item
from mailnotary.importing.opendkim.signing_table import SigningTable
from support.daemon import Daemon
from support.mail import rsa_pem
from support.milter_client import MilterClient, Outcome

CASES = 30
DOMAINS = ("a.example", "sub.a.example", "b.example")
REFILE = ("*@D", "*@*.D", "*D", "u@D", "n*@D", "*@*D", "D", "@D", "U@D", "*u@D")
FLAT = ("D", ".D", "u@D", "u@.D", "*@D", "u@*", "U@D")
FOR_ALL = ("*", "*@*", "u@*")
AUTHORS = [
    f"{user}@{domain}" for user in ("u", "news") for domain in (*DOMAINS, "x.sub.a.example", "x.b.example", "c.example")
]
ADDRESSES = ("127.0.0.1", "127.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.1.1", "192.0.2.1", "2001:db8::1")
HOSTS = (
    *("10.0.0.0/24", "10.0.0.0/8", "!10.0.0.0/30", "10.0.0.2", "!10.0.0.2", "10.0.0.0/30", "10.0.0.5/24", "127.0.0.1"),
    *("!10.0.1.0/24", "192.0.2.1/32", "localhost", "2001:db8::/32", "!2001:db8::1", "2001:DB8::1", "[192.0.2.1]"),
    *("[2001:db8::1]", "[10.0.1.0]/24", "[10.0.0.0/24]", "10.0.0.0/255.255.255.0", "10.0.0.0/08"),
)


class Case:
    """A configuration of OpenDKIM, made from a seed, in a directory of its own."""

    def __init__(self, directory: Path, key: Path, seed: int) -> None:
        source = random.Random(seed)
        self.wildcards, self.several = bool(seed % 2), bool(seed // 2 % 2)
        patterns = [
            one.replace("D", source.choice(DOMAINS)) for one in source.choices(REFILE if self.wildcards else FLAT, k=4)
        ]
        if source.random() < 0.4:
            patterns.insert(source.randrange(5), source.choice(FOR_ALL))
        patterns = list(dict.fromkeys(patterns))
        self.table = SigningTable(
            DataSet(tuple(Item(one, f"k{number}") for number, one in enumerate(patterns)), self.wildcards),
            several=self.several,
        )
        self.missing = source.choice([*range(len(patterns)), *[-1] * 8])  # the row that KeyTable lacks; -1 for none
        self.hosts = source.choices(HOSTS, k=source.randrange(1, 7))
        rows = (f"k{n} signer{n}.example:s{n}:{key}\n" for n in range(len(patterns)) if n != self.missing)
        (directory / "keys").write_text("".join(rows))
        (directory / "rules").write_text("".join(f"{one} k{n}\n" for n, one in enumerate(patterns)))
        (directory / "hosts").write_text("".join(f"{one}\n" for one in self.hosts))
        self.text = "\n".join([*patterns, *self.hosts, f"{self.wildcards=} {self.several=} {self.missing=}"])
        self.conf = directory / "config"
        self.conf.write_text(
            f"Mode sv\nSyslog no\nUMask 000\nSocket local:{directory}/socket\nCanonicalization relaxed/relaxed\n"
            f"KeyTable file:{directory}/keys\nSigningTable {'refile' if self.wildcards else 'file'}:{directory}/rules\n"
            f"InternalHosts file:{directory}/hosts\nMultipleSignatures {'yes' if self.several else 'no'}\n"
            "RequireSafeKeys false\n"
        )

    def expected(self, author: str) -> set[str]:
        """The domains that sign for an author by our reading of the tables."""
        return {f"signer{rule.key[1:]}.example" for rule in self.table.match(author)}


def signers(outcome: Outcome) -> set[str]:
    """The domains of the signatures that a message was given."""
    return {domain for value in outcome.headers("DKIM-Signature") for domain in re.findall(r"\bd=([^;\s]+)", value)}


def play(address: str) -> dict[tuple[str, str], set[str] | None]:
    """Who signs what each author sends from each address; None for mail that has to wait."""
    signed: dict[tuple[str, str], set[str] | None] = {}
    for ip in ADDRESSES:
        with MilterClient(address) as client:
            for author in AUTHORS:
                message = f"From: {author}\r\nSubject: x\r\n\r\nx\r\n".encode()
                name = "localhost" if ip == "127.0.0.1" else "unknown"
                outcome = client.send_message(message, client_ip=ip, client_name=name, mail_from=author)
                assert outcome.reply is None or outcome.reply.code == 451, (outcome, ip, author)
                signed[ip, author] = signers(outcome) if outcome.reply is None else None
    return signed


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), workers=1) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(rsa_pem())
    return path


def follow(daemon: Daemon, imported: Imported) -> None:
    """Has the daemon take over an imported configuration, on its own socket."""
    settings = yaml.safe_load(imported.settings)
    (daemon.directory / "keystore.yaml").write_text(imported.keystore)
    daemon.reload(sign_for=settings["sign_for"], signing=settings["signing"])


@pytest.mark.parametrize("seed", range(CASES))
def test_no_mail_is_signed_that_opendkim_does_not_sign(daemon: Daemon, key: Path, tmp_path: Path, seed: int) -> None:
    case = Case(tmp_path, key, seed)
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    assert program is not None, "Debian's package opendkim is missing: tests/bootstrap.sh test"
    with ExitStack() as stack:
        opendkim = stack.enter_context(peers.Peer(tmp_path, [program, "-f", "-x", str(case.conf)]))
        theirs = play(opendkim.address)
        os.kill(opendkim.pid, signal.SIGKILL)  # it takes five seconds to stop by itself
    imported = convert([case.conf])
    follow(daemon, imported)
    ours = play(daemon.address)
    trusted = {ip for ip, author in theirs if theirs[ip, author]}
    for (ip, author), domains in theirs.items():
        if domains is None:
            continue
        assert domains in (case.expected(author), set()), f"{author} from {ip} in\n{case.text}"
        assert not ours[ip, author] or domains, f"{author} from {ip} in\n{case.text}\n{imported.keystore}"
        if ip in trusted and "[192.0.2.1]" not in case.hosts:  # OpenDKIM matches that one at times
            assert domains == case.expected(author), f"{author} from {ip} in\n{case.text}"
            if not imported.notes:
                assert ours[ip, author] == domains, f"{author} from {ip} in\n{case.text}\n{imported.keystore}"
