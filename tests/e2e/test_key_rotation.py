"""Keys that replace themselves: the real daemon, and BIND as primary and secondary of the zone."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dkim as dkimpy
import dns.message
import dns.query
import pytest
from dns.rdatatype import CNAME, TXT

from mailnotary.keys import progress
from mailnotary.keys.progress import Phase
from mailnotary.publish import tsig
from mailnotary.resolver.update import Change, Primary
from support.daemon import Daemon, free_port
from support.milter_client import MilterClient
from support.nameservers import OTHER, TSIG, Bind, Knot, zone

HOST = "127.0.0.1"
MESSAGE = b"From: Alice <alice@example.org>\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\nNoon.\r\n"


class Rotation:
    """A daemon, its keys, and the nameservers of its zone."""

    def __init__(self, directory: Path, *, every: str = "1s", remove_after: str = "1s", **rotation: Any) -> None:
        self.directory = directory
        self.ports = (free_port(), free_port())  # of the primary and of the secondary
        text = zone("example.org", {"ns1": HOST, "ns2": HOST})
        self.primary: Bind | Knot = Bind(
            directory / "ns1", HOST, self.ports[0], {"example.org": text}, notify=[(HOST, self.ports[1])]
        )
        self.secondary = Bind(directory / "ns2", HOST, self.ports[1], {"example.org": ""}, of=(HOST, self.ports[0]))
        (directory / "state").mkdir()
        self.servers = [f"{HOST}:{port}" for port in self.ports]
        self.daemon = Daemon(
            directory,
            dns={"nameservers": [self.servers[0]], "timeout": 1, "cache_entries": 0},
            key_check_seconds=1,
            state_dir=str(directory / "state"),
            publish={"server": self.servers[0], "key": "tsig.key", "ttl": 1, "nameservers": self.servers},
            rotation={"rotate_every": every, "remove_after": remove_after, "reload": [], **rotation},
        )
        self.secret(TSIG)

    def secret(self, text: str) -> None:
        """Writes the file of the TSIG key."""
        (self.directory / "tsig.key").write_text(text)
        (self.directory / "tsig.key").chmod(0o600)

    def command(self, *arguments: str, status: int = 0) -> str:
        """Runs a command as a process of its own, as the timer does; its output."""
        command = [sys.executable, "-m", "mailnotary", *arguments, "-c", str(self.daemon.file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, status: int = 0) -> str:
        """One run, and the reload after it."""
        said = self.command("rotate", "--due", status=status)
        self.daemon.reload()
        return said

    def run_until(self, selector: str) -> None:
        """One run after the other, until the key is made and messages are signed with it alone. No next key is due
        before that is seen, however slow the runs are."""

        def made() -> bool:
            key = self.keys().get(selector)
            return key is not None and key["state"] != "retired" and key["retire_after"] is None  # no older one

        wait(lambda: made() or (self.run(), made())[1], self.daemon.text)
        rotation = self.daemon.config["rotation"]
        self.daemon.reload(rotation=rotation | {"rotate_every": "1h"})
        wait(lambda: (self.run(), self.send() == {selector})[1], self.daemon.text)
        self.daemon.reload(rotation=rotation)

    def keys(self) -> dict[str, dict[str, Any]]:
        """What `mailnotary keys` tells, by selector."""
        return {key["selector"]: key for key in json.loads(self.command("keys", "--json"))["keys"]}

    def send(self, *, everywhere: bool = True) -> set[str]:
        """Like `selectors`, of a message that must be signed."""
        selectors = self.selectors(everywhere=everywhere)
        assert selectors, "it left unsigned"
        return selectors

    def selectors(self, *, everywhere: bool = True) -> set[str]:
        """The selectors of a message's signatures; each is verified by dkimpy with what every nameserver serves, or the
        primary alone."""
        with MilterClient(self.daemon.address) as client:
            outcome = client.send_message(MESSAGE, client_ip="127.0.0.1", mail_from="alice@example.org")
        assert outcome.reply is None
        verifier = dkimpy.DKIM(outcome.message)
        count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
        selectors = set()
        for index in range(count):
            for port in self.ports if everywhere else self.ports[:1]:
                assert verifier.verify(idx=index, dnsfunc=lambda name, at=port, **_: self.served(name, at))
            selectors.add(verifier.signature_fields[b"s"].decode())
        return selectors

    def served(self, name: bytes, port: int) -> bytes | None:
        """What one nameserver serves."""
        reply = dns.query.tcp(dns.message.make_query(name.decode(), "TXT"), HOST, 5, port=port)
        found = {rrset.rdtype: rrset[0] for rrset in reply.answer}
        if TXT in found:
            return b"".join(found[TXT].strings)
        return self.served(found[CNAME].target.to_text().encode(), port) if CNAME in found else None

    def begin(self, selector: str = "first") -> None:
        """Makes the first key, publishes it, and waits until it signs."""
        self.command("keygen", "example.org", selector, "--algorithm", "ed25519")
        self.command("dns", "example.org", "--publish", "--yes")
        self.primary_serves(selector)
        self.daemon.reload()
        wait(lambda: self.keys()[selector]["signing"], self.daemon.text)
        wait(lambda: "due since" in self.command("keys", "--plan"))
        wait(self.selectors, self.daemon.text)  # the workers are told after it is noted

    def primary_serves(self, selector: str) -> None:
        """Waits until both do."""
        name = f"{selector}._domainkey.example.org".encode()
        wait(lambda: all(self.served(name, port) for port in self.ports))


def wait(condition: Callable[[], object], note: Callable[[], str] = str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, note()[-4000:]
        time.sleep(0.1)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Rotation]:
    life = Rotation(tmp_path)
    with life.primary, life.secondary:
        life.primary.start("example.org")
        life.secondary.start("example.org")
        with life.daemon:
            yield life


def _made(said: str) -> str:
    match = re.search(r"made (\S+), which is to replace", said)
    assert match, said
    return match[1]


def test_a_key_is_replaced_without_a_hand(life: Rotation) -> None:
    life.begin()
    assert life.send() == {"first"}
    new = _made(life.run())
    life.run_until(new)
    wait(lambda: (life.run(), "first" not in set(life.keys()))[1], life.daemon.text)
    assert life.served(b"first._domainkey.example.org", life.ports[0]) is None
    assert life.send()


def test_a_secondary_that_lags_holds_up_the_new_key_and_nothing_else(life: Rotation) -> None:
    life.begin()
    life.secondary.freeze()
    said = life.run()
    new = _made(said)
    assert f"waits for {life.servers[1]} to serve its record" in said
    for _ in range(3):
        life.run()
        assert life.send(everywhere=False) == {"first"}
    assert life.keys()[new]["state"] == "pending"
    step = progress.load(life.directory / "state").of("example.org", new)
    assert step is not None
    assert step.phase is Phase.SERVE
    assert [first is not None for first in step.servers.values()] == [True, False]
    assert life.keys()[new]["note"] == step.text
    life.secondary.thaw()
    life.run_until(new)


def test_what_fails_is_said_and_tried_again_while_the_old_key_signs(life: Rotation) -> None:
    life.begin()
    life.secret(OTHER)
    assert "another secret for the TSIG key mailnotary" in life.run(status=1)
    assert life.send() == {"first"}
    life.secret(TSIG)
    life.primary.stop()
    assert "no reply in time" in life.run(status=1)
    life.primary.start("example.org")
    wait(lambda: (life.run(), life.send() != {"first"})[1], life.daemon.text)


def test_aliases_lead_to_a_zone_of_our_own_and_two_selectors_take_turns(tmp_path: Path) -> None:
    customer = zone(
        "example.org", {"ns1": HOST}, *(f"{name}._domainkey IN CNAME {name}.dkim.example.net." for name in ("s1", "s2"))
    )
    port = free_port()
    server = f"{HOST}:{port}"
    own = {"server": server, "key": "tsig.key", "nameservers": [server], "ttl": 1}
    life = Rotation(tmp_path, selectors=["s1", "s2"])
    life.ports = (port, port)
    life.daemon.write_config(
        dns={"nameservers": [server], "timeout": 1, "cache_entries": 0},
        publish={"nameservers": [server], "domains": {"dkim.example.net": own}},
    )
    zones = {"example.org": customer, "dkim.example.net": zone("dkim.example.net", {"ns1": HOST})}
    with Knot(tmp_path / "knot", HOST, port, zones) as knot:
        knot.start("example.org")
        with life.daemon:
            life.begin("s1")
            for selector in ("s2", "s1"):
                life.run_until(selector)
            assert len(list((tmp_path / "keys").glob("example.org.s1.*pem"))) == 2


def test_a_keystore_that_cannot_be_changed_and_a_reload_that_fails_are_said(life: Rotation) -> None:
    life.begin()
    keystore = life.directory / "keystore.yaml"
    text = keystore.read_text()
    alias = "  news.example.org: {domain: example.org, keys: *shared}\n"
    keystore.write_text(text.replace("keys:", "keys: &shared", 1) + alias)
    said = life.command("rotate", "--due", status=1)
    assert "nothing was changed" in said
    assert "by hand" in said
    keystore.write_text(text)
    life.daemon.reload(rotation=life.daemon.config["rotation"] | {"reload": ["/bin/sh", "-c", "echo no >&2; exit 7"]})
    said = life.command("rotate", "--due", status=1)
    assert "failed with status 7, and is tried again in the next run: no" in said
    assert progress.load(life.directory / "state").reload
    life.daemon.reload(rotation=life.daemon.config["rotation"] | {"reload": ["true"], "rotate_every": "1h"})
    life.command("rotate", "--due")
    assert not progress.load(life.directory / "state").reload
    life.daemon.reload(mode="verify")
    assert "mode is verify" in life.command("rotate", "--due", status=1)


def test_two_runs_at_once_make_one_key(life: Rotation) -> None:
    life.begin()
    command = [sys.executable, "-m", "mailnotary", "rotate", "--due", "-c", str(life.daemon.file)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    said = "".join(run.communicate()[0] for run in runs)
    assert said.count("made ") == 1, said
    assert len(life.keys()) == 2


def test_of_two_hosts_with_keys_of_their_own_the_second_takes_another_selector(life: Rotation) -> None:
    life.begin()
    taken = f"ed{time.strftime('%Y%m%d', time.gmtime())}"
    primary = Primary((HOST, life.ports[0]), "example.org", tsig.read(life.directory / "tsig.key"))
    primary.change([Change(f"{taken}._domainkey.example.org", add=(b"v=DKIM1; p=",), before=())], 1)
    said = life.run()
    assert f"{taken} has a record of somebody else's: {taken}b takes its place" in said
    life.run_until(f"{taken}b")
    assert life.served(f"{taken}._domainkey.example.org".encode(), life.ports[0]) == b"v=DKIM1; p="
    assert os.path.exists(life.directory / "keys" / f"example.org.{taken}.pem")
