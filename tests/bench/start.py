"""How long the daemon takes to start and to reload, with one domain and with 10,000, and a command to begin.

    PYTHONPATH=tests python -m bench.start [--rounds 7] [--only WORD]

`seconds` is the time from the start of the process, or from SIGHUP, to the line in the log that says that it is done;
`CPU` that of the process alone (of the daemon the supervisor), in seconds. Medians. Each domain has an RSA key of its
own. "one key new": the file of one key was replaced; "all keys new": all were.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from mailnotary.crypto import generate_private_key
from support.daemon import Daemon

MANY = 10_000
KEYS = 20  # that are made; each file has one of them below a line of its own
ZONE = 'example.org: [{TXT: "v=spf1 ip4:192.0.2.0/24 -all"}]\n'
Took = tuple[float, float]  # seconds, seconds of CPU


@cache
def pems() -> list[bytes]:
    """RSA keys."""
    return [generate_private_key("rsa") for _ in range(KEYS)]


def write_key(directory: Path, number: int, version: int = 0) -> None:
    """The key of a domain: a file that no other is like, put into place as a whole."""
    path = directory / f"d{number}.pem"
    new = path.with_suffix(".new")
    new.write_bytes(f"{number} {version}\n".encode() + pems()[(number + version) % KEYS])
    new.chmod(0o600)
    new.rename(path)


def daemon(directory: Path, domains: int) -> Daemon:
    """A daemon that signs for so many domains."""
    directory.mkdir(exist_ok=True)
    for number in range(domains):
        write_key(directory, number)
    entries = {f"d{n}.example": {"keys": [{"selector": "rsa", "file": f"d{n}.pem"}]} for n in range(domains)}
    settings: dict[str, Any] = {"listen": f"unix:{directory / 'socket'}", "state_dir": str(directory)}
    return Daemon(directory, keystore={"domains": entries}, **settings)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has had (proc(5))."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def log_says(at: Daemon, word: str, count: int) -> None:
    """Waits without much work of its own until so many lines of the log have this word."""
    deadline = time.monotonic() + 60
    while not at.log.exists() or at.log.read_bytes().count(word.encode()) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"no {word!r} in the log:\n{at.text()[-2000:]}")
        time.sleep(0.002)


def start(at: Daemon) -> Took:
    """From nothing to a daemon that is ready."""
    began = time.monotonic()
    at.start(ready=False)
    try:
        log_says(at, " ready ", 1)
        return time.monotonic() - began, cpu(at.pid)
    finally:
        at.stop()


def reload(at: Daemon) -> Took:
    """From SIGHUP to workers that all have the new configuration."""
    count = at.log.read_bytes().count(b" reloaded ")
    spent, began = cpu(at.pid), time.monotonic()
    at.signal(signal.SIGHUP)
    log_says(at, " reloaded ", count + 1)
    return time.monotonic() - began, cpu(at.pid) - spent


def command(directory: Path) -> Took:
    """`mailnotary spf` on a zone file."""
    (directory / "zone.yaml").write_text(ZONE)
    words = [sys.executable, "-m", "mailnotary", "spf", "--zone", str(directory / "zone.yaml")]
    words += ["--ip", "192.0.2.1", "--helo", "mail.example.org", "--mail-from", "a@example.org"]
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while time.monotonic() - began < 60 and not _has_ended(process.pid):
            time.sleep(0.001)
        return time.monotonic() - began, cpu(process.pid)


def _has_ended(pid: int) -> bool:
    """Whether a child waits for being asked how it ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def show(name: str, measure: Callable[[int], Took], rounds: int, only: str) -> None:
    """Measures a row and prints it; the first round warms the caches of files and is left out."""
    if only in name:
        took = [measure(number) for number in range(rounds + 1)][1:]
        seconds, spent = (median(one[part] for one in took) for part in (0, 1))
        print(f"| {name} | {seconds:.3f} | {min(one[0] for one in took):.3f} | {spent:.3f} |", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="WORD", help="the rows with this in their name")
    options = parser.parse_args()
    print("| work | seconds | least | CPU |\n|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="mailnotary-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        rows = [options.rounds, options.only]
        show("mailnotary spf on a zone file", lambda _: command(directory), *rows)
        one = daemon(directory / "one", 1)
        show("start to ready", lambda _: start(one), *rows)
        many = daemon(directory / "many", MANY)
        show(f"start to ready, {MANY:,} domains", lambda _: start(many), *rows)
        stack.enter_context(many)
        show(f"reload of {MANY:,} domains", lambda _: reload(many), *rows)

        def with_new_keys(version: int, domains: int) -> Took:
            for number in range(domains):
                write_key(many.directory, number, version + 1)
            return reload(many)

        show(f"reload of {MANY:,} domains, one key new", lambda number: with_new_keys(number, 1), *rows)
        show(f"reload of {MANY:,} domains, all keys new", lambda number: with_new_keys(number, MANY), *rows)


if __name__ == "__main__":
    main()
