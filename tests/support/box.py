"""What the tests in a booted box share: a nameserver for the whole machine, and short words for its commands."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.dns_server import DnsServer
from support.mail import zone

HOST = "127.44.0.1"  # a box may share the network of its host, whose 127.0.0.1 has services of its own
CONFIG = Path("/etc/mailnotary/mailnotary.yaml")
RESOLV_CONF = Path("/etc/resolv.conf")
REAL = Path("/run/resolv.conf.real")  # what the machine came with
TIMEOUT = 30.0  # seconds that anything may take that takes well under one


def run(*command: str, check: bool = True, stdin: bytes = b"", seconds: float = 120) -> str:
    """Runs a command; its output, both channels. AssertionError when it fails, unless `check` is False."""
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
    )
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0 or not check, f"{' '.join(command)}: status {done.returncode}\n{text}"
    return text


def wait_for(what: Callable[[], object], description: str, seconds: float = TIMEOUT) -> None:
    """Waits until it is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s: {description}\n{journal()[-6000:]}"
        time.sleep(0.05)


def journal(identifier: str = "mailnotary") -> str:
    """All that a program has logged."""
    return run("journalctl", "--quiet", "--no-pager", "--output=cat", "--identifier", identifier)


def shown(name: str, unit: str = "mailnotary") -> str:
    """A property of a unit."""
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def processes(user: str) -> list[str]:
    """The command lines of a user's processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, KeyError):  # it has ended; its user has no name
            if path.owner() == user:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def configure(**settings: Any) -> None:
    """Sets keys of mailnotary.yaml, of which every one stands there as a comment."""
    lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith(tuple(f"{k}:" for k in settings))]
    lines += [f"{key}: {json.dumps(value)}" for key, value in settings.items()]  # JSON is YAML
    CONFIG.write_text("\n".join(lines) + "\n")


class Nameserver:
    """The machine's nameserver. Its zone is that of `support.mail`, and what was published since."""

    def __init__(self, too: Mapping[str, Any] | None = None) -> None:
        self.zone = {**zone(), **(too or {})}
        self.server = DnsServer(self.zone, host=HOST, port=53).start()
        if not REAL.exists():  # else tests that ran in this box before made it
            REAL.write_text(RESOLV_CONF.read_text())
        if os.path.ismount(RESOLV_CONF):  # the host's
            run("umount", str(RESOLV_CONF))
        RESOLV_CONF.unlink(missing_ok=True)
        RESOLV_CONF.write_text(f"nameserver {HOST}\n")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The machine asks its real nameservers meanwhile: for what is to be fetched."""
        RESOLV_CONF.write_text(REAL.read_text())
        yield
        RESOLV_CONF.write_text(f"nameserver {HOST}\n")

    def publish(self, domain: str) -> None:
        """Puts the records of `mailnotary dns` into the zone, as the domain's owner does."""
        for record in json.loads(run("mailnotary", "dns", domain, "--json"))["records"]:
            self.zone[record["name"]] = [{record["type"]: record["value"]}]
        self.server.set_zone(self.zone)
