"""What the daemon needs from its machine: its own socket, DNS, a clock."""

import math
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence

from mailnotary.config.listen import Listen
from mailnotary.config.settings import DnsSettings
from mailnotary.daemon.probe import ProbeError, probe
from mailnotary.doctor.finding import Finding, error, ok, warning
from mailnotary.doctor.listeners import Process, listening
from mailnotary.escape import printable
from mailnotary.resolver import Answer, DnsTempError, RecordKind
from mailnotary.resolver.authority import PORT, shown
from mailnotary.resolver.dns import DnsResolver, system_nameservers

SLOW = 1.0  # seconds for one question; a message has a dozen, asked in parallel
YEARS = range(2025, 2100)
FOREIGN = "example.com"  # exists, and is of no zone of an admin's own nameserver (RFC 2606)
BOGUS = "dnssec-failed.org"  # its signature is wrong on purpose, for checks like this one


def command(*words: str, timeout: float = 20.0) -> str | None:
    """A command's output; None if it does not exist or fails. Searches the directories of root's commands, too."""
    done = _run(words, timeout)
    return done.stdout.decode("utf-8", "replace") if done is not None and done.returncode == 0 else None


def failure(*words: str, timeout: float = 20.0) -> str:
    """Why a command fails, in its own words; "" if it works or does not exist."""
    done = _run(words, timeout)
    if done is None or done.returncode == 0:
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1], 300) if lines else f"status {done.returncode}"


def _run(words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[bytes] | None:
    program = shutil.which(words[0]) or shutil.which(words[0], path="/usr/sbin:/usr/local/sbin:/sbin")
    if program is None:
        return None
    try:
        return subprocess.run(  # noqa: S603, our own words
            [program, *words[1:]], capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


# -- the socket


def socket(listen: Listen) -> Iterator[Finding]:
    """Whether the daemon answers on its socket, and accepts what it needs from an MTA."""
    try:
        answer = probe(listen)
    except ProbeError as problem:
        process = listening(listen)
        if process and not process.ours:
            text = f"{process.name} (process {process.pid}) listens at {listen}, and is not a milter: {problem}"
            yield error("socket", text, _elsewhere(listen, process))
            return
        advice = "systemctl start mailnotary; if it stops again, `journalctl -u mailnotary` says why"
        yield error("socket", f"{listen}: {problem}", advice)
        return
    process = listening(listen)
    by = f"{process.name} (process {process.pid})" if process else "another milter"
    if not answer.ours and not (process and process.ours):
        yield error("socket", f"{by} answers at {listen}, not mailnotary", _elsewhere(listen, process))
        return
    yield ok("socket", f"{listen} serves milter protocol {answer.version}")
    if answer.leading_space:
        yield ok("header spacing", "the daemon accepts the white space after a header field's colon (HDR_LEADSPC)")
    else:
        text = "the daemon accepts no white space after a header field's colon (HDR_LEADSPC)"
        yield error("header spacing", text, f"look who listens on {listen}")


def _elsewhere(listen: Listen, process: Process | None) -> str:
    find = "" if listen.family == "unix" else f" (`ss -ltnp 'sport = :{listen.port}'`)"
    stop = f"stop {process.name}" if process else f"find out which program it is{find}, stop it"
    return f"{stop} and restart mailnotary, or set another address in listen and in the mail server"


def callers(listen: Listen) -> Iterator[Finding]:
    """Who can connect to a port: any account of the machine, and it can claim that a user has logged in. (The
    configuration's warnings cover a port that other machines can reach.)"""
    if listen.family != "unix" and not listen.exposure:
        text = f"every account of this machine can connect to {listen} and get mail signed; a unix socket prevents that"
        yield ok("callers", text)


# -- DNS


def resolver(settings: DnsSettings, domain: str) -> Iterator[Finding]:
    """Whether each nameserver answers, quickly and truthfully. `domain` is one that certainly exists."""
    for nameserver in settings.nameservers or system_nameservers():
        address, port = nameserver
        to_try = f"delv @{address}{'' if port == PORT else f' -p {port}'} {BOGUS}"
        yield from _nameserver(shown(nameserver), DnsResolver([nameserver], timeout=settings.timeout), domain, to_try)


def _nameserver(server: str, dns: DnsResolver, domain: str, to_try: str) -> Iterator[Finding]:
    began = time.monotonic()
    answer = _ask(dns, domain, RecordKind.TXT)
    took = time.monotonic() - began
    if isinstance(answer, DnsTempError):
        advice = "name a working nameserver in dns.nameservers or /etc/resolv.conf; one on this machine is best"
        yield error("resolver", f"{server}: {printable(answer.reason)}", advice)
        return
    speed = f"{server} answers in {math.ceil(took * 1000)} ms"
    if took > SLOW:
        yield warning("resolver", f"{speed}, which is slow", "run a resolver on this machine, such as Unbound")
    else:
        yield ok("resolver", speed)
    yield from _truth(server, dns, to_try)


def _truth(server: str, dns: DnsResolver, to_try: str) -> Iterator[Finding]:
    local = "run a resolver on this machine, such as Unbound, and name it in dns.nameservers"
    foreign = _ask(dns, FOREIGN, RecordKind.TXT)
    if isinstance(foreign, DnsTempError):
        # A server that is only authoritative refuses (REFUSED) what it has no zone for.
        text = f"{server} answers for some names, but not for {FOREIGN}: {printable(foreign.reason)}"
        yield error("resolver", text, f"it is not a resolver, or has no way to the Internet: {local}")
        return
    # RFC 6761 section 6.4: names below invalid. do not exist. Some providers answer with an address of their own.
    nothing = _ask(dns, f"{secrets.token_hex(8)}.invalid", RecordKind.A)
    if isinstance(nothing, Answer) and nothing.records:
        text = f"{server} invents answers for names that do not exist, which breaks SPF and DMARC"
        yield error("resolver", text, local)
    bogus = _ask(dns, BOGUS, RecordKind.A)
    if isinstance(bogus, DnsTempError) and bogus.word == "SERVFAIL":
        yield ok("DNSSEC", f"{server} validates")
    elif isinstance(bogus, Answer) and bogus.records:
        yield warning("DNSSEC", f"{server} does not validate, so keys and policies in DNS can be forged", local)
    else:
        yield warning(
            "DNSSEC", f"{server} has no answer for {BOGUS}, so it is unknown whether it validates", f"try `{to_try}`"
        )


def _ask(dns: DnsResolver, name: str, kind: RecordKind) -> Answer | DnsTempError:
    try:
        return dns.lookup(name, kind)
    except DnsTempError as problem:
        return problem


# -- the clock


def clock(now: float, synchronized: str | None) -> Iterator[Finding]:
    """Whether the time is right: signatures carry it, and expire by it. `now` is in seconds since 1970,
    `synchronized` what timedatectl reports."""
    year = time.gmtime(now).tm_year
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    advice = "run an NTP client, such as systemd-timesyncd or chrony"
    if year not in YEARS:
        yield error("clock", f"{when} is wrong, and signatures would carry it", advice)
    elif synchronized == "no":
        yield warning("clock", f"{when}, but not synchronized", advice)
    else:
        yield ok("clock", when + (", synchronized" if synchronized == "yes" else ""))


def synchronized() -> str | None:
    """Whether NTP sets the clock: "yes", "no", or None if that is unknown."""
    answer = command("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return answer.strip() if answer is not None else None


def first_domain(names: Sequence[str]) -> str:
    """A domain to ask DNS for: one of the admin's own, else the one that IANA reserves for examples."""
    return next((name for name in names if name != "*"), "example.com")
