"""How fast mailnotary is, alone or beside its peers where these are installed.

    PYTHONPATH=tests python -m bench.throughput [--rounds 5] [--seconds 2] [--only WORD]

Each piece of work is measured in turn with each filter, round after round, and medians are shown: a machine that is
busy with something else slows all of them down. `CPU` is milliseconds a message of all of a filter's processes; the two
columns after the memory are our rate by the other's and our CPU by the other's. The messages come from as many clients
as there are connections; DNS is a server on loopback.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import peers
from bench.messages import GOOD, SELECTORS, message, pem
from bench.senders import CLIENT, Senders
from support.daemon import Daemon, free_port
from support.mail import record_of
from support.milter_load import Load, Script, load, middle

MANY = 10_000  # domains of a large keystore
# As OpenDMARC gets it from the two filters before it.
_BEFORE_OPENDMARC = f"""\
Authentication-Results: mx.rcpt.example; spf=pass (sender SPF authorized) smtp.mailfrom=alice@{GOOD}
Authentication-Results: mx.rcpt.example;
\tdkim=pass (2048-bit key; unprotected) header.d={GOOD} header.i=@{GOOD} header.a=rsa-sha256
""".encode()


@dataclass(frozen=True, slots=True)
class Work:
    """One row: what is asked of which filters. `senders`: how many domains the messages come from, 0 for a new one
    each; with `zipf` the second has half as many as the first, the third a third, and so on, as in a day's mail. `far`:
    DNS takes `FAR` for each answer."""

    name: str
    octets: int
    filters: tuple[str, ...]
    prose: bool = False
    connections: int = 10
    per_connection: int = 100
    senders: int = 1
    zipf: bool = False
    far: bool = False

    @property
    def signs(self) -> bool:
        """Whether the messages are to be signed, else to be verified."""
        return self.name.startswith("sign")


VERIFIERS = ("mailnotary", "OpenDKIM", "rspamd")
WORK = (
    Work("verify 4 KB", 4_000, (*VERIFIERS, "pyspf-milter", "OpenDMARC")),
    Work("verify 4 KB, pycryptodome", 4_000, ("mailnotary pycryptodome", "rspamd")),
    Work("verify 4 KB, one message a connection", 4_000, VERIFIERS, per_connection=1),
    Work("verify 4 KB, every sender domain new", 4_000, ("mailnotary", "pyspf-milter", "rspamd"), senders=0),
    *(
        Work(
            f"verify 4 KB, every sender domain new, DNS 50 ms away, {connections} connections",
            4_000,
            ("mailnotary far", "rspamd far"),
            connections=connections,
            senders=0,
            far=True,
        )
        for connections in (10, 50)
    ),
    Work("verify 4 KB, 10,000 sender domains", 4_000, ("mailnotary", "rspamd"), senders=10_000, zipf=True),
    Work("verify 4 KB, as many processes each", 4_000, ("mailnotary", "rspamd processes")),
    Work("verify 4 KB, with and without history, metrics and reports", 4_000, ("mailnotary", "mailnotary recorded")),
    Work("verify 50 KB", 50_000, VERIFIERS),
    Work("verify 2 MB, base64", 2_000_000, (*VERIFIERS, "bare-filter")),
    Work("verify 10 MB, base64", 10_000_000, (*VERIFIERS, "bare-filter")),
    Work(
        "verify 2 MB, prose with double spaces and trailing blanks", 2_000_000, ("mailnotary", "OpenDKIM"), prose=True
    ),
    Work("verify 10 MB, base64, 50 connections", 10_000_000, VERIFIERS, connections=50),
    Work("sign 4 KB, RSA-2048", 4_000, ("sign mailnotary", "sign OpenDKIM", "sign rspamd")),
    Work("sign 4 KB, RSA-2048, pycryptodome", 4_000, ("sign mailnotary pycryptodome", "sign OpenDKIM")),
    Work("sign 4 KB, Ed25519", 4_000, ("sign mailnotary ed25519", "sign OpenDKIM ed25519")),
    Work("sign 4 KB, RSA-2048, 100 domains", 4_000, ("sign mailnotary 100",), senders=100),
    Work(f"sign 4 KB, RSA-2048, {MANY:,} domains", 4_000, ("sign mailnotary many",), senders=500),
)
_CHAIN = ("OpenDKIM", "pyspf-milter", "OpenDMARC")  # what a message goes through without us
FAR = 0.05  # seconds
COLD = 2_000  # messages from as many new domains
DRAWN = 20_000  # messages of a day's mail, over and over


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that runs. `expect` is in its answer to each message, `above` above each message that it gets."""

    name: str
    address: str
    pid: int
    expect: bytes
    above: bytes = b""


class Filters:
    """The filters, each started when it is first asked for, and ended with a `with`. `source`: a directory with the
    package of the daemon, where it is not the one of this tree."""

    def __init__(self, directory: Path, senders: Senders, source: Path | None = None) -> None:
        self._directory = directory
        self._senders = senders
        self._far: Senders | None = None
        self._env = {"PYTHONPATH": str(source)} if source is not None else {}
        self._running: dict[str, Filter | None] = {}
        self._stack = ExitStack()
        self._keys = {}
        for selector, algorithm in SELECTORS.items():
            self._keys[selector] = directory / f"{selector}.pem"
            self._keys[selector].write_bytes(pem(algorithm))
            self._keys[selector].chmod(0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def get(self, wanted: str) -> Filter | None:
        """The filter of this name, as it stands in `WORK`; None where it is not installed."""
        if wanted not in self._running:
            self._running[wanted] = self._start(wanted)
        return self._running[wanted]

    def _start(self, wanted: str) -> Filter | None:
        words = wanted.removeprefix("sign ").split()
        name, kinds = words[0], set(words[1:])
        signs = wanted.startswith("sign ")
        selector = ("ed" if "ed25519" in kinds else "rsa") if signs else ""
        expect = b"DKIM-Signature" if signs else b"dkim=pass"
        directory = self._directory / wanted.replace(" ", "-")
        if name == "mailnotary":
            daemon = self._stack.enter_context(self._mailnotary(directory, selector, kinds))
            return Filter("mailnotary, all three" if "recorded" in kinds else name, daemon.address, daemon.pid, expect)
        key, nameserver, above = self._keys.get(selector), self._nameserver(kinds), b""
        match name:
            case "OpenDKIM":
                peer = peers.opendkim(directory, {f"rsa._domainkey.{GOOD}": record_of(pem("rsa"))}, selector, key)
            case "rspamd":
                processes = (os.cpu_count() or 1) if "processes" in kinds else 1
                name = f"{name}, {processes} processes" if processes > 1 else name
                peer = peers.rspamd(directory, nameserver, selector, key, processes=processes)
            case "pyspf-milter":
                peer, expect = peers.pyspf_milter(directory, nameserver), b"spf=pass"
            case "OpenDMARC":
                peer, expect, above = peers.opendmarc(directory, nameserver), b"dmarc=pass", _BEFORE_OPENDMARC
            case _:
                peer, expect = peers.bare(directory), b"X-Hash"
        if peer is None:
            return None
        self._stack.enter_context(peer)
        return Filter(name, peer.address, peer.pid, expect, above)

    def _nameserver(self, kinds: set[str]) -> str:
        if "far" in kinds:
            if self._far is None:
                self._far = self._stack.enter_context(self._senders.with_delay(FAR))
            return self._far.nameserver
        return self._senders.nameserver

    def _mailnotary(self, directory: Path, selector: str, kinds: set[str]) -> Daemon:
        directory.mkdir()
        config: dict[str, Any] = {
            "listen": f"unix:{directory / 'socket'}",
            "workers": "auto",
            "state_dir": str(directory),
        }
        if "recorded" in kinds:
            config["history"] = {"enabled": True}
            config["metrics"] = {"listen": f"127.0.0.1:{free_port()}"}
            config["reports"] = {"enabled": True, "org_name": "Receiver", "from": "dmarc@rcpt.example"}
        config["dns"] = {"nameservers": [self._nameserver(kinds)]}
        env = self._env | ({"MAILNOTARY_CRYPTO": "pycryptodome"} if "pycryptodome" in kinds else {})
        if not selector:
            return Daemon(directory, env=env, **config)
        config["sign_for"] = {"networks": ["192.0.2.0/24"]}
        size = MANY if "many" in kinds else 100 if "100" in kinds else 1
        domains = {}
        for name in [GOOD] if size == 1 else map(_sender, range(size)):
            file = str(self._keys[selector])
            if size > 1:  # a file of its own, as it has in life
                file = str(directory / f"{name}.pem")
                Path(file).write_bytes(name.encode() + b"\n" + pem(SELECTORS[selector]))
                Path(file).chmod(0o600)
            domains[name] = {"keys": [{"selector": selector, "file": file}]}
        return Daemon(directory, env=env, keystore={"domains": domains}, **config)


def _sender(number: int) -> str:
    return f"d{number}.example"


_new = count()


def _letters(work: Work, above: bytes, domains: Sequence[str]) -> list[tuple[bytes, dict[str, Any]]]:
    return [
        (
            above + message(domain, work.octets, prose=work.prose, signed=not work.signs),
            {"mail_from": f"alice@{domain}", "helo": f"mail.{GOOD}", "client_ip": CLIENT},
        )
        for domain in domains
    ]


def _scripts(work: Work, subjects: Sequence[Filter]) -> list[Script]:
    """What each filter is sent."""
    drawn: Sequence[int] = ()
    if work.zipf:
        weights = [1 / rank for rank in range(1, work.senders + 1)]
        drawn = random.Random(work.senders).choices(range(work.senders), weights, k=DRAWN)
        domains = [_sender(number) for number in sorted(set(drawn))]
    elif work.senders == 1:
        domains = [GOOD]
    else:
        domains = [_sender(number) for number in (range(work.senders) if work.senders else islice(_new, COLD))]
    scripts = [Script(subject.address, *_letters(work, subject.above, domains)) for subject in subjects]
    if drawn:
        places = {number: place for place, number in enumerate(sorted(set(drawn)))}
        for script in scripts:
            script.pick([places[number] for number in drawn])
    return scripts


def measure(work: Work, subjects: Sequence[Filter], rounds: int, seconds: float) -> list[Load]:
    """One piece of work for each filter in turn, round after round; the medians."""
    return [middle(found) for found in in_turn(work, subjects, rounds, seconds)]


def in_turn(work: Work, subjects: Sequence[Filter], rounds: int, seconds: float) -> list[list[Load]]:
    """One piece of work for each filter in turn: what each did, round by round."""
    scripts = _scripts(work, subjects) if work.senders else []
    loads: list[list[Load]] = [[] for _ in subjects]
    for turn in range(rounds + work.zipf):
        for number, subject in enumerate(subjects):
            warm = turn >= work.zipf  # a day's mail is not the first that comes
            one = load(
                scripts[number] if scripts else _scripts(work, [subject])[0],
                subject.address,
                subject.pid,
                expect=subject.expect,
                connections=work.connections,
                per_connection=work.per_connection,
                seconds=(seconds * (4 if work.octets > 5_000_000 else 1)) if work.senders and warm else None,
            )
            if warm:
                loads[number].append(one)
    return loads


def table(filters: Filters, works: Sequence[Work], rounds: int, seconds: float) -> None:
    """Prints a row for each piece of work and filter."""
    columns = ["work", "filter", "messages/s", "CPU ms", "p50 ms", "p99 ms", "PSS MiB", "largest", "wrong"]
    columns += ["× its rate", "× its CPU"]
    print("|", " | ".join(columns), "|")
    print("|---|---|" + "--:|" * (len(columns) - 2))
    for work in works:
        subjects = [found for name in work.filters if (found := filters.get(name)) is not None]
        results = dict(
            zip([subject.name for subject in subjects], measure(work, subjects, rounds, seconds), strict=True)
        )
        ours = results["mailnotary"]
        for name, one in results.items():
            figures = [f"{one.rate:.0f}", f"{one.cpu:.3f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.pss:.0f}"]
            figures += [f"{one.largest:.0f}", str(one.wrong), *_beside(ours, one)]
            print("|", " | ".join([work.name, name, *figures]), "|", flush=True)
        if all(name in results for name in _CHAIN):
            cpu = sum(results[name].cpu for name in _CHAIN)
            cells = ["", f"{cpu:.3f}", "", "", f"{sum(results[name].pss for name in _CHAIN):.0f}", "", "", ""]
            print("|", " | ".join([work.name, "all three", *cells, f"{ours.cpu / cpu:.2f}"]), "|", flush=True)


def _beside(ours: Load, one: Load) -> tuple[str, str]:
    if one is ours or not one.rate or not one.cpu:
        return "", ""
    return f"{ours.rate / one.rate:.2f}", f"{ours.cpu / one.cpu:.2f}"


@contextmanager
def started() -> Iterator[Filters]:
    """Filters and the DNS that they ask."""
    records = {selector: record_of(pem(algorithm)) for selector, algorithm in SELECTORS.items()}
    with (
        tempfile.TemporaryDirectory(prefix="mailnotary-bench-") as directory,
        Senders(records) as senders,
        Filters(Path(directory), senders) as filters,
    ):
        yield filters


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", metavar="WORD", help="the rows with this in their name")
    options = parser.parse_args()
    works = [work for work in WORK if options.only in work.name]
    with started() as filters:
        table(filters, works, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
