"""The life of keys in the real daemon, with a real DNS server whose zone changes meanwhile; dkimpy verifies every
signature."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest
import yaml

from mailnotary.cli import main
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.mail import record_of
from support.milter_client import MilterClient

MESSAGE = b"From: Alice <alice@example.org>\r\nSubject: lunch\r\nMessage-ID: <%d@example.org>\r\n\r\nNoon.\r\n"
SIGNS = "a key starts to sign"
STOPS = "a key stops signing"


class Life:
    """A daemon, its keys and its DNS."""

    def __init__(self, directory: Path, dns: DnsServer) -> None:
        self.directory = directory
        self.dns = dns
        self.zone: dict[str, Any] = {}
        (directory / "state").mkdir()
        self.daemon = Daemon(
            directory,
            dns={"nameservers": [dns.nameserver], "timeout": 0.5},
            key_check_seconds=1,
            state_dir=str(directory / "state"),
        )

    def command(self, *arguments: str) -> str:
        """Runs a command on the daemon's configuration."""
        with redirect_stdout(StringIO()) as out:
            assert main([*arguments, "-c", str(self.daemon.file)]) == 0
        return out.getvalue()

    def make(self, *selectors: str) -> None:
        """Makes Ed25519 keys."""
        for selector in selectors:
            self.command("keygen", "example.org", selector, "--algorithm", "ed25519")

    def publish(self, *selectors: str) -> None:
        """DNS serves these keys' records, and no others."""
        self.zone = self.records(*selectors)
        self.dns.set_zone(self.zone)

    def records(self, *selectors: str) -> dict[str, Any]:
        """The zone with these keys' records."""
        pems = {
            selector: (self.directory / "keys" / f"example.org.{selector}.pem").read_bytes() for selector in selectors
        }
        return {f"{name}._domainkey.example.org": [{"TXT": record_of(pem)}] for name, pem in pems.items()}

    def keys(self) -> dict[str, dict[str, Any]]:
        """What `mailnotary keys` tells, by selector."""
        return {key["selector"]: key for key in json.loads(self.command("keys", "--json"))["keys"]}

    def send(self, number: int = 1) -> set[str]:
        """Sends one message; the selectors of its signatures, each of which dkimpy has verified."""
        with MilterClient(self.daemon.address) as client:
            outcome = client.send_message(MESSAGE % number, client_ip="127.0.0.1", mail_from="alice@example.org")
        assert outcome.reply is None
        return self.verified(outcome.message)

    def verified(self, message: bytes) -> set[str]:
        """The selectors of a message's signatures; all must pass with what DNS serves now."""
        zone = self.zone
        verifier = dkimpy.DKIM(message)
        signatures = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"]

        def lookup(name: bytes, timeout: int = 5) -> bytes | None:
            found = zone.get(name.decode().rstrip("."))
            return found[0]["TXT"].encode() if found else None

        selectors = set()
        for index in range(len(signatures)):
            assert verifier.verify(idx=index, dnsfunc=lookup), message
            selectors.add(verifier.signature_fields[b"s"].decode())
        return selectors

    def wait_until(self, selectors: set[str], seconds: float = 15.0) -> None:
        """Waits until messages are signed with these keys and no others."""
        _wait(lambda: self.send() == selectors, seconds, self.daemon.text)


def _wait(condition: Callable[[], bool], seconds: float, note: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, note()[-4000:]
        time.sleep(0.05)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with DnsServer({}, ttl=0, negative_ttl=0) as dns:
        yield Life(tmp_path, dns)


def test_a_new_key_signs_by_itself_once_its_record_appears(life: Life) -> None:
    life.make("a")
    with life.daemon as daemon:
        assert life.send() == set()
        assert life.keys()["a"] | {"signing": False, "dns": "missing"} == life.keys()["a"]
        life.publish("a")
        daemon.wait_for(SIGNS)
        life.wait_until({"a"})
        assert life.keys()["a"] | {"signing": True, "dns": "match"} == life.keys()["a"]


def test_the_first_message_of_a_new_daemon_is_signed_where_dns_serves_the_key(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon:
        assert life.send() == {"a"}


def test_a_dns_that_is_slow_delays_the_first_start_for_seconds_only(life: Life) -> None:
    life.make("a")
    life.dns.stop()
    with life.daemon:  # waits for "ready"
        assert life.send() == set()


def test_a_key_whose_record_vanishes_makes_room_and_comes_back(life: Life) -> None:
    life.make("a", "b")
    life.publish("a", "b")
    with life.daemon as daemon:
        assert life.send() == {"a", "b"}
        life.dns.set_zone(life.records("b"))
        (line,) = daemon.wait_for(STOPS)
        assert "selector=a" in line
        life.wait_until({"b"})
        life.publish("a", "b")
        life.wait_until({"a", "b"})


def test_a_key_whose_record_is_anothers_makes_room(life: Life) -> None:
    life.make("a", "b")
    life.publish("a", "b")
    with life.daemon as daemon:
        zone = dict(life.zone)
        zone["a._domainkey.example.org"] = zone["b._domainkey.example.org"]
        life.dns.set_zone(zone)
        daemon.wait_for(STOPS)
        assert life.keys()["a"]["dns"] == "mismatch"
        life.wait_until({"b"})


def test_the_only_key_goes_on_without_its_record_and_that_is_said(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon as daemon:
        life.dns.set_zone({})
        (line,) = daemon.wait_for("a key signs although DNS does not serve its record")
        assert " error " in line
        time.sleep(4)  # more looks than a key with a neighbour would get
        assert life.send() == {"a"}
        life.dns.set_zone(life.zone)
        daemon.wait_for("the record of a key is right again")


def test_keys_go_on_signing_when_dns_is_down_over_a_restart_too(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon as daemon:
        assert life.send() == {"a"}
        life.dns.stop()
        daemon.wait_for("DNS gave no answer about some keys", count=2)
        assert life.send() == {"a"}
    with life.daemon:
        assert life.send() == {"a"}
        life.daemon.wait_for("DNS gave no answer about some keys")
        assert life.send() == {"a"}


def test_another_key_in_the_same_file_signs_nothing_before_dns_has_it(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon as daemon:
        assert life.send() == {"a"}
        file = life.directory / "keys" / "example.org.a.pem"
        file.rename(file.with_suffix(".old"))
        (life.directory / "keystore.yaml").unlink()
        life.make("a")
        daemon.reload()
        life.wait_until(set())
        life.publish("a")
        life.wait_until({"a"})


def test_an_active_key_signs_whatever_dns_says(life: Life) -> None:
    life.make("a")
    keystore = life.directory / "keystore.yaml"
    keystore.write_text(keystore.read_text().replace("auto", "active"))
    with life.daemon as daemon:
        life.zone = life.records("a")  # what verifiers elsewhere see
        assert life.send() == {"a"}
        daemon.wait_for("a key signs although DNS does not serve its record")


def test_the_watch_is_replaced_when_it_dies_and_no_mail_notices(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon as daemon:
        (watch,) = daemon.key_watch()
        os.kill(watch, 9)
        assert life.send() == {"a"}
        _wait(lambda: daemon.key_watch() not in ([], [watch]), 15)
        life.dns.set_zone({})
        daemon.wait_for("a key signs although DNS does not serve its record")
        assert life.send() == {"a"}


def test_without_keys_there_is_no_watch_and_a_reload_brings_it(life: Life) -> None:
    with life.daemon as daemon:
        assert daemon.key_watch() == []
        life.make("a")
        life.publish("a")
        daemon.reload()
        life.wait_until({"a"})
        (life.directory / "keystore.yaml").write_text("domains: {}\n")
        daemon.reload()
        _wait(lambda: daemon.key_watch() == [], 15)


def test_the_watch_ends_with_its_supervisor(life: Life) -> None:
    life.make("a")
    life.publish("a")
    with life.daemon as daemon:
        (watch,) = daemon.key_watch()
        os.kill(daemon.pid, 9)
        _wait(lambda: not Path(f"/proc/{watch}/fd").exists() or _is_zombie(watch), 10)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_rotation_under_load_breaks_no_message(life: Life) -> None:
    life.command("keygen", "example.org", "rsa1")
    life.make("ed1")
    life.publish("rsa1", "ed1")
    with life.daemon as daemon, Load(life, senders=3) as load:
        load.wait_for_messages(50)
        life.command("rotate", "example.org")
        entries = yaml.safe_load((life.directory / "keystore.yaml").read_text())["domains"]["example.org"]["keys"]
        new = [key["selector"] for key in entries if key["state"] == "auto"][2:]
        assert len(new) == 2
        daemon.reload()
        load.wait_for_messages(50)
        assert load.seen == {"rsa1", "ed1"}  # DNS does not have the new ones yet
        life.publish("rsa1", "ed1", *new)
        life.wait_until(set(new))
        load.wait_for_messages(50)
        load.seen.clear()
        load.wait_for_messages(50)
        assert load.seen == set(new)
    assert load.count >= 200
    keys = life.keys()
    assert not keys["rsa1"]["signing"]
    assert keys["rsa1"]["note"].startswith("its record can be removed on")


class Load:
    """Messages without end, each of which must be signed and verify when it comes out. `seen`: their selectors."""

    def __init__(self, life: Life, senders: int) -> None:
        self.count = 0
        self.seen: set[str] = set()
        self._life = life
        self._errors: list[BaseException] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(senders)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        assert self._errors == []

    def wait_for_messages(self, more: int) -> None:
        """Waits for so many further messages."""
        goal = self.count + more
        _wait(lambda: self.count >= goal or bool(self._errors), 60)
        assert self._errors == []

    def _send(self, number: int) -> None:
        try:
            while not self._stopped.is_set():
                number += 10
                selectors = self._life.send(number)
                assert selectors, "a message left unsigned"
                self.seen |= selectors
                self.count += 1
        except BaseException as error:
            self._errors.append(error)


def test_a_key_watch_that_stood_still_over_many_reloads_knows_the_newest_keys(life: Life) -> None:
    life.make("s1")
    life.publish("s1")
    with life.daemon as daemon:
        life.wait_until({"s1"})
        (key_watch,) = daemon.key_watch()
        os.kill(key_watch, signal.SIGSTOP)
        for _ in range(60):  # more than wait for it
            daemon.reload()
        life.make("s2")
        life.publish("s1", "s2")
        daemon.reload()
        if daemon.key_watch() == [key_watch]:
            os.kill(key_watch, signal.SIGCONT)
        life.wait_until({"s1", "s2"})
        assert "the key watch is not responding; restarting it" in daemon.text()
