"""Checks all that the daemon needs from the machine and the mail server: configuration, keys, socket, DNS, clock,
Postfix or Sendmail. Each line is ok, a warning or an error, with what to do. It changes nothing.

example: mailnotary doctor
         mailnotary doctor -c /etc/mailnotary/mailnotary.yaml --json"""

import argparse
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from mailnotary.cli.common import DEFAULT_CONFIG, add_config, add_json, print_json
from mailnotary.config.keystore import KeyStore
from mailnotary.config.listen import Listen
from mailnotary.config.settings import Settings
from mailnotary.doctor import configuration, machine, postfix, sendmail
from mailnotary.doctor.finding import Finding, Level, ok


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """0 when there is no error."""
    settings, keystore, findings = configuration.read(args.config or DEFAULT_CONFIG)
    if settings is not None:
        findings += _around(settings, keystore or KeyStore())
    findings += machine.clock(time.time(), machine.synchronized())
    good = all(finding.level is not Level.ERROR for finding in findings)
    if args.json:
        print_json({"ok": good, "findings": findings})
    else:
        _render(findings)
    return 0 if good else 1


def _around(settings: Settings, keystore: KeyStore) -> Iterator[Finding]:
    """All that can only be checked once the settings are known."""
    listen = Listen.parse(settings.listen)
    yield from machine.service()
    yield from machine.socket(listen)
    yield from machine.callers(listen)
    yield from machine.resolver(settings.dns, machine.first_domain(tuple(keystore.entries)))
    mta, cf = postfix.read(), sendmail.read()
    if mta is not None:
        yield from postfix.check(mta, settings, keystore)
    elif cf is not None:
        yield from sendmail.check(cf, listen)
    else:
        yield ok("mail server", "neither Postfix nor Sendmail is installed on this machine: check it where it runs")


_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def _render(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = (f"{finding.level:<8}", _STYLES[finding.level])
        console.print(Text.assemble(level, f"{finding.check:<{width}}  {finding.text}"))
        if finding.advice:
            console.print(Text(f"{'':8}{'':{width}}  -> {finding.advice}"))
