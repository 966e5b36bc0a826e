"""Checks all that the daemon needs from the machine and the mail server: configuration, keys, socket, DNS, clock,
Postfix or Sendmail. Each line is ok, a warning, an error, or unknown (it could not be checked), with what to do. It
changes nothing.

The exit status is that of a monitoring plugin; --check makes the output one as well.

example: mailnotary doctor
         mailnotary doctor --check"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mailnotary.cli import CHECK_STATUS
from mailnotary.cli.common import (
    DEFAULT_CONFIG,
    CheckStatus,
    add_check,
    add_config,
    add_json,
    print_json,
    print_summary,
    worst,
)
from mailnotary.cli.output import Console, Folded, Text
from mailnotary.cli.records import with_config
from mailnotary.config.keystore import KeyStore
from mailnotary.config.listen import Listen
from mailnotary.config.settings import Settings
from mailnotary.doctor import configuration, machine, postfix, sendmail, signing, unit
from mailnotary.doctor.finding import Finding, Level, ok
from mailnotary.resolver.dns import DnsResolver


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_config(parser)
    add_json(parser)
    add_check(parser)
    parser.set_defaults(failed=CheckStatus.UNKNOWN)
    parser.epilog = f"exit status: {CHECK_STATUS}"


def run(args: argparse.Namespace) -> int:
    """The worst of what was found, as a `CheckStatus`."""
    settings, keystore, findings = configuration.read(args.config or DEFAULT_CONFIG)
    findings += unit.check(unit.read())
    if settings is not None:
        findings += unit.reports(settings.reports, unit.read(unit.TIMER))
        findings += _around(settings, keystore or KeyStore())
    findings += machine.clock(time.time(), machine.synchronized())
    findings = [replace(finding, advice=with_config(finding.advice, args.config)) for finding in findings]
    status = worst(_STATUSES[finding.level] for finding in findings)
    if args.json:
        print_json({"ok": status is not CheckStatus.CRITICAL, "status": status.name.lower(), "findings": findings})
    elif args.check:
        print_summary("DOCTOR", status, _summary(findings, status))
    else:
        _render(findings)
    return status


def _summary(findings: Sequence[Finding], status: CheckStatus) -> list[str]:
    """A line for each problem, those that make the status first."""
    problems = sorted(
        (finding for finding in findings if finding.level is not Level.OK),
        key=lambda finding: _STATUSES[finding.level] is not status,
    )
    return [f"{finding.check}: {finding.text}" for finding in problems] or [f"{len(findings)} checks"]


def _around(settings: Settings, keystore: KeyStore) -> Iterator[Finding]:
    """All that can only be checked once the settings are known."""
    listen = Listen.parse(settings.listen)
    yield from machine.socket(listen)
    yield from machine.callers(listen)
    yield from machine.resolver(settings.dns, machine.first_domain(tuple(keystore.entries)))
    dns = settings.dns
    yield from signing.check(settings, keystore, DnsResolver(dns.nameservers, timeout=dns.timeout))
    mta, cf = postfix.read(), sendmail.read()
    broken = list(postfix.unreadable()) if mta is None else []
    if mta is not None:
        yield from postfix.check(mta, settings, keystore)
    elif cf is not None:
        yield from sendmail.check(cf, listen, settings.mode)
    elif broken:
        yield from broken
    else:
        yield ok("mail server", "neither Postfix nor Sendmail is installed on this machine: check it where it runs")


_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.UNKNOWN: "yellow", Level.ERROR: "bold red"}
_STATUSES = {
    Level.OK: CheckStatus.OK,
    Level.WARNING: CheckStatus.WARNING,
    Level.UNKNOWN: CheckStatus.UNKNOWN,
    Level.ERROR: CheckStatus.CRITICAL,
}
_CHECK_WIDTH = 18  # columns; a longer name makes its own line longer


def _render(findings: Sequence[Finding]) -> None:
    console = Console()
    indent = Text(" " * (8 + _CHECK_WIDTH + 2))
    for finding in findings:
        level = (f"{finding.level:<8}", _STYLES[finding.level])
        head = Text.assemble(level, f"{finding.check:<{_CHECK_WIDTH}}  ")
        console.print(Folded(head, finding.text, indent))
        if finding.advice:
            console.print(Folded(Text(f"{indent}-> "), finding.advice, Text(f"{indent}   ")))
    counts = Counter(finding.level for finding in findings)
    words = [f"{counts[level]} {word}{'s' * (counts[level] != 1)}" for level, word in _COUNTED if counts[level]]
    console.print()
    console.print(Text(", ".join(words) if words else "nothing is wrong", "bold"))


_COUNTED = ((Level.ERROR, "error"), (Level.WARNING, "warning"), (Level.UNKNOWN, "unknown"))
