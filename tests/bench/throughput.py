"""How fast mailnotary is, alone or beside OpenDKIM and rspamd where these are installed.

    PYTHONPATH=tests python -m bench.throughput [--rounds 3] [--seconds 2] [--only WORD] [--plots FOLDER]

Each piece of work is measured in turn with each filter, round after round, and medians are shown: a machine that is
busy with something else slows all of them down. `CPU` is milliseconds a message of all of a filter's processes. The
messages come from as many clients as there are connections; DNS is a server on loopback, and every cache is warm.
"""

import argparse
import os
import random
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench import peers, svg
from mailnotary import dkim
from mailnotary.crypto import generate_private_key, load_private_key
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.mail import record_of
from support.milter_load import Load, Script, load, middle

DOMAIN = "good.example"
ENVELOPE: dict[str, Any] = {"mail_from": f"alice@{DOMAIN}", "helo": f"mail.{DOMAIN}", "client_ip": "192.0.2.10"}
MANY = 10_000  # domains of a large keystore

_HEADER = """\
Received: from mail.good.example (mail.good.example [192.0.2.10])
\tby relay.good.example (Postfix) with ESMTPS id 4XyZab12Cdz9v
\tfor <user@rcpt.example>; Sat, 21 Nov 2020 10:11:12 +0000 (UTC)
Received: from app-7.internal.good.example (app-7.internal.good.example [198.51.100.23])
\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
\tby mail.good.example (Postfix) with ESMTPSA id 4XyZaa0Kqjz3w
\tfor <user@rcpt.example>; Sat, 21 Nov 2020 10:11:11 +0000 (UTC)
From: Alice Example <alice@good.example>
To: Bob Receiver <user@rcpt.example>
Cc: =?utf-8?q?Zo=C3=AB?= <zoe@rcpt.example>,
 Team <team@rcpt.example>
Reply-To: support@good.example
Subject: Quarterly   numbers, and the meeting
Date: Sat, 21 Nov 2020 10:11:10 +0000
Message-ID: <20201121101110.52e6b438@good.example>
In-Reply-To: <20201120.prev@rcpt.example>
References: <20201119.first@rcpt.example>
 <20201120.prev@rcpt.example>
MIME-Version: 1.0
Content-Type: {type}
Content-Transfer-Encoding: 8bit
List-Unsubscribe: <https://news.good.example/unsubscribe/f2a74de4>
User-Agent: Bench/1.0

"""
_WORDS = ("the", "of", "and", "meeting", "invoice", "delivery", "is", "that", "for", "schedule", "their", "payment")


@dataclass(frozen=True, slots=True)
class Work:
    """One row: what is asked of the filters in a role (`verify`, `sign` ...)."""

    name: str
    role: str
    octets: int
    prose: bool = False
    connections: int = 10
    per_connection: int = 100


WORK = (
    Work("verify 4 KB", "verify", 4_000),
    Work("verify 4 KB, one message a connection", "verify", 4_000, per_connection=1),
    Work("verify 50 KB", "verify", 50_000),
    Work("verify 2 MB, base64", "verify", 2_000_000),
    Work("verify 2 MB, prose with double spaces and trailing blanks", "verify", 2_000_000, prose=True),
    Work("verify 10 MB, base64, 50 connections", "verify", 10_000_000, connections=50),
    Work("sign 4 KB, RSA-2048, OpenSSL", "sign", 4_000),
    Work("sign 4 KB, RSA-2048, pycryptodome", "sign-pycryptodome", 4_000),
    Work(f"sign 4 KB, RSA-2048, {MANY:,} domains", "sign-many", 4_000),
    Work("sign 4 KB, Ed25519", "sign-ed25519", 4_000),
)
CONNECTIONS = (1, 2, 5, 10, 20, 50)
SIZES = (4_000, 50_000, 500_000, 2_000_000, 10_000_000)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that runs."""

    name: str
    address: str
    pid: int


@cache
def pem(algorithm: str) -> bytes:
    """The sender's key."""
    return generate_private_key(algorithm)


@cache
def message(octets: int, prose: bool, signed: bool) -> bytes:
    """A message of about so many octets, with LF: words (with `prose`: and many blanks), else a large attachment."""
    rng = random.Random(octets)
    attached = octets > 60_000 and not prose
    head = _HEADER.format(type='multipart/mixed; boundary="b"' if attached else "text/plain; charset=utf-8").encode()
    ends = (" \n", "  ", "\n", " ") if prose else (" ", " ", " ", "\n")
    words = "".join(rng.choice(_WORDS) + ends[n % 7 % 4] for n in range(2_000)).encode()
    block, tail = words, b""
    if attached:
        head += (
            b"--b\nContent-Type: text/plain\n\n" + words[:2_000] + b"\n--b\nContent-Type: application/octet-stream\n"
        )
        head += b"Content-Transfer-Encoding: base64\n\n"
        block = b64encode(rng.randbytes(57 * 400))
        block = b"".join(block[start : start + 76] + b"\n" for start in range(0, len(block), 76))
        tail = b"--b--\n"
    size = octets - len(head) - 700 * signed
    body = (block * (size // len(block) + 1))[:size].rstrip() + b"\n" + tail
    if not signed:
        return head + body
    data = (head + body).replace(b"\n", b"\r\n")
    signer = dkim.Signer(DOMAIN, "rsa", load_private_key(pem("rsa")), canonicalization="relaxed/relaxed")
    return (dkim.sign(data, signer) + b"\r\n" + data).replace(b"\r\n", b"\n")


def zone() -> dict[str, Any]:
    """The sender's: SPF that passes, its keys, a policy."""
    return {
        DOMAIN: [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}],
        f"mail.{DOMAIN}": [{"TXT": "v=spf1 a -all"}, {"A": "192.0.2.10"}],
        f"_dmarc.{DOMAIN}": [{"TXT": "v=DMARC1; p=reject; rua=mailto:d@good.example"}],
        f"rsa._domainkey.{DOMAIN}": [{"TXT": record_of(pem("rsa"))}],
        f"ed._domainkey.{DOMAIN}": [{"TXT": record_of(pem("ed25519"))}],
    }


@contextmanager
def filters(folder: Path, roles: set[str]) -> Iterator[dict[str, list[Filter]]]:
    """Starts the filters of these roles: mailnotary first, then its peers."""
    keys = {}
    for selector, algorithm in (("rsa", "rsa"), ("ed", "ed25519")):
        keys[selector] = folder / f"{selector}.pem"
        keys[selector].write_bytes(pem(algorithm))
        keys[selector].chmod(0o600)
    with ExitStack() as stack:
        names = zone()
        if "sign-many" in roles:
            record = names[f"rsa._domainkey.{DOMAIN}"]
            names |= {f"rsa._domainkey.d{number}.example": record for number in range(MANY)}
        server = stack.enter_context(DnsServer(names))
        nameserver = server.nameserver
        found: dict[str, list[Filter]] = {}
        for role in sorted(roles):
            selector = "" if role == "verify" else "ed" if role == "sign-ed25519" else "rsa"
            daemon = stack.enter_context(_mailnotary(folder / role, role, nameserver, keys.get(selector)))
            found[role] = [Filter("mailnotary", daemon.address, daemon.pid)]
            if role in ("sign-many", "sign-pycryptodome"):  # what the peers have is in the row of `sign`
                continue
            key = keys.get(selector)
            candidates = [("OpenDKIM", peers.opendkim(folder / f"opendkim-{role}", zone(), selector, key))]
            if role != "sign-ed25519":
                candidates.append(("rspamd", peers.rspamd(folder / f"rspamd-{role}", nameserver, selector, key)))
            for name, peer in candidates:
                if peer is not None:
                    stack.enter_context(peer)
                    found[role].append(Filter(name, peer.address, peer.pid))
        yield found


def _mailnotary(folder: Path, role: str, nameserver: str, key: Path | None) -> Daemon:
    folder.mkdir()
    config: dict[str, Any] = {"dns": {"nameservers": [nameserver]}, "workers": "auto", "state_dir": str(folder)}
    config["listen"] = f"unix:{folder / 'socket'}"
    env = {"MAILNOTARY_CRYPTO": "pycryptodome"} if role == "sign-pycryptodome" else {}
    if key is None:
        return Daemon(folder, env=env, **config)
    config["sign_for"] = {"networks": ["192.0.2.0/24"]}
    entry = {"keys": [{"selector": key.stem, "file": str(key)}]}
    domains = {DOMAIN: entry}
    if role == "sign-many":
        domains |= {f"d{number}.example": entry for number in range(MANY)}
    return Daemon(folder, env=env, keystore={"domains": domains}, **config)


def measure(work: Work, subjects: Sequence[Filter], rounds: int, seconds: float) -> list[Load]:
    """One piece of work for each filter in turn, round after round; the medians."""
    signs = work.role != "verify"
    data = message(work.octets, work.prose, not signs)
    scripts = [Script(subject.address, data, **ENVELOPE) for subject in subjects]
    loads: list[list[Load]] = [[] for _ in subjects]
    for _ in range(rounds):
        for subject, script, found in zip(subjects, scripts, loads, strict=True):
            one = load(
                script,
                subject.address,
                subject.pid,
                expect=b"DKIM-Signature" if signs else b"dkim=pass",
                connections=work.connections,
                per_connection=work.per_connection,
                seconds=seconds * (4 if work.octets > 5_000_000 else 1),
            )
            found.append(one)
    return [middle(found) for found in loads]


def table(running: dict[str, list[Filter]], works: Sequence[Work], rounds: int, seconds: float) -> None:
    """Prints a row for each piece of work and filter."""
    columns = [
        "work",
        "filter",
        "messages/s",
        "CPU ms",
        "p50 ms",
        "p99 ms",
        "PSS MiB",
        "wrong",
        "× its rate",
        "× its CPU",
    ]
    print("|", " | ".join(columns), "|")
    print("|---|---|" + "--:|" * (len(columns) - 2))
    for work in works:
        subjects = running[work.role]
        results = measure(work, subjects, rounds, seconds)
        ours = results[0]
        for subject, one in zip(subjects, results, strict=True):
            beside = ["", ""]
            if one is not ours and one.rate and one.cpu:
                beside = [f"{ours.rate / one.rate:.2f}", f"{ours.cpu / one.cpu:.2f}"]
            figures = [f"{one.rate:.0f}", f"{one.cpu:.3f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.pss:.0f}"]
            print("|", " | ".join([work.name, subject.name, *figures, str(one.wrong), *beside]), "|", flush=True)


def plots(folder: Path, subjects: Sequence[Filter], rounds: int, seconds: float) -> None:
    """Writes messages/s over connections, and CPU over message size."""
    folder.mkdir(parents=True, exist_ok=True)
    rates: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in subjects}
    cpus: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in subjects}
    for count in CONNECTIONS:
        for subject, one in zip(
            subjects, measure(Work("", "verify", 4_000, connections=count), subjects, rounds, seconds), strict=True
        ):
            rates[subject.name].append((count, one.rate))
    for size in SIZES:
        for subject, one in zip(
            subjects, measure(Work("", "verify", size, connections=4), subjects, rounds, seconds), strict=True
        ):
            cpus[subject.name].append((size, one.cpu))
    cores = os.cpu_count()
    title = f"Messages of 4 KB verified in a second ({cores} cores)"
    (folder / "rate.svg").write_text(svg.plot(title, "connections", "messages/s", rates))
    title = "CPU to verify a message"
    (folder / "cpu.svg").write_text(svg.plot(title, "octets of the message", "milliseconds", cpus, log_y=True))
    print(f"\nwrote {folder / 'rate.svg'} and {folder / 'cpu.svg'}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", metavar="WORD", help="the rows with this in their name")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write SVG plots there")
    options = parser.parse_args()
    works = [work for work in WORK if options.only in work.name]
    roles = {work.role for work in works} | ({"verify"} if options.plots else set())
    with tempfile.TemporaryDirectory(prefix="mailnotary-bench-") as folder, filters(Path(folder), roles) as running:
        table(running, works, options.rounds, options.seconds)
        if options.plots:
            plots(options.plots, running["verify"], options.rounds, options.seconds)


if __name__ == "__main__":
    main()
