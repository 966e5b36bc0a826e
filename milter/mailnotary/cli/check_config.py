"""Checks mailnotary.yaml, its keystore and every key, and summarizes what the daemon would do.

example: mailnotary check-config
         mailnotary check-config -c new.yaml --json
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator

from mailnotary.cli.common import DEFAULT_CONFIG, add_config, add_json, counted, print_json
from mailnotary.config.keystore import IDLE_STATES, KeyState, KeyStore
from mailnotary.config.load import ConfigError, Configuration, Problem, load_configuration
from mailnotary.config.publishing import PublishSettings
from mailnotary.config.settings import DmarcMode, Mode, Settings, SpfAction
from mailnotary.sources.beside import with_source

SHOWN = 10  # domains named in one line


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--reload", action="store_true", help="exit with 1 only if the daemon would refuse the files (for systemd)"
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """0 if the daemon can use the whole configuration; 1, and every error, if it cannot."""
    path = args.config or DEFAULT_CONFIG
    try:
        configuration = load_configuration(path)
    except ConfigError as error:
        if args.json:
            nothing: dict[str, object] = {"faults": [], "warnings": [], "summary": []}
            print_json({"ok": False, "file": path, "errors": error.problems} | nothing)
        else:
            print(error, file=sys.stderr)
        return 1
    configuration = with_source(configuration)
    lines = list(summary(configuration))
    status = 1 if configuration.faults and not args.reload else 0
    if args.json:
        faults, warnings = configuration.faults, configuration.warnings + tuple(_publishing(configuration))
        ok = not faults
        print_json({"ok": ok, "file": path, "errors": [], "faults": faults, "warnings": warnings, "summary": lines})
        return status
    for warning in configuration.warnings:
        print(f"{warning} (warning)", file=sys.stderr)
    for problem in _publishing(configuration):
        print(f"{problem} (warning)", file=sys.stderr)
    for fault in configuration.faults:
        print(fault, file=sys.stderr)
    print(f"{path}: {_verdict(configuration)}")
    for line in lines:
        print(f"  {line}")
    return status


def _publishing(configuration: Configuration) -> Iterator[Problem]:
    """What `rotate --due` and `dns --publish` would fail on. They are root's: nobody else can read what they need."""
    publish = configuration.settings.publish
    if os.geteuid() == 0 and publish != PublishSettings():
        from mailnotary.publish.publisher import problems  # with what asks nameservers and updates them

        for text in problems(publish):
            file, _, message = text.partition(": ")
            yield Problem(file, 0, 0, message)


def _verdict(configuration: Configuration) -> str:
    if not configuration.faults:
        return "good"
    if configuration.stranger:
        who = f"this runs as {configuration.stranger}, not as the daemon's user {configuration.settings.user}"
        return f"whether the daemon can use the keys can't be told, because {who}: run it as root"
    waiting = configuration.keystore.waiting()
    names = ", ".join(waiting[:SHOWN]) + (f" and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else "")
    whose, keys = ("its", "key is") if len(waiting) == len(configuration.faults) == 1 else ("their", "keys are")
    return f"the daemon would run, but not sign for {names}: {whose} mail would wait (451) until the {keys} fixed"


def summary(configuration: Configuration) -> Iterator[str]:
    """What the daemon would do, one line for each function."""
    settings, keystore = configuration.settings, configuration.keystore
    yield f"listens on {settings.listen}"
    if settings.mode in (Mode.VERIFY, Mode.OBSERVE):
        yield f"signs nothing: mode is {settings.mode}"
    else:
        yield from _signing(keystore, stranger=bool(configuration.stranger))
    if settings.mode is Mode.OBSERVE:
        yield f"{_verifying(settings)}; and changes nothing: mode is observe"
    elif settings.mode is Mode.SIGN:
        yield "verifies nothing: mode is sign"
    else:
        yield _verifying(settings)
    if settings.reports.enabled:
        yield f"reports to the domains of others as {settings.reports.from_}, by `mailnotary reports`"


def _signing(keystore: KeyStore, *, stranger: bool) -> Iterator[str]:
    """`stranger`: which keys the daemon can use is not known."""
    if not keystore.entries:
        yield "signs nothing: the keystore has no domains"
        return
    if from_source := sum(entry.from_source for entry in keystore.entries.values()):
        yield f"{counted(from_source, 'domain')} of these from the source of keys"
    keys = [key for entry in keystore.entries.values() for key in entry.keys]
    usable = [key for key in keys if stranger or key.state in IDLE_STATES or not key.fault]
    states = Counter(key.state for key in usable)
    signing = len(keystore.entries) - (0 if stranger else len(keystore.waiting()))
    yield f"signs for {counted(signing, 'domain')}: {counted(states[KeyState.ACTIVE], 'active key')}"
    if broken := len(keys) - len(usable):
        yield f"{counted(broken, 'key')} that can't be used"
    if waiting := states[KeyState.AUTO]:
        yield f"{counted(waiting, 'auto key')}: each signs once the daemon has seen its record in DNS"
    if retired := states[KeyState.RETIRED]:
        yield f"{counted(retired, 'retired key')}: never sign"


def _verifying(settings: Settings) -> str:
    spf = settings.spf
    actions = {
        f"SPF {name}": action
        for name, action in (
            ("HELO fail", spf.helo_fail),
            ("fail", spf.fail),
            ("softfail", spf.softfail),
            ("permerror", spf.permerror),
            ("temperror", spf.temperror),
        )
        if action is not SpfAction.ACCEPT
    }
    done = [f"{name}: {action}" for name, action in actions.items()]
    dmarc = settings.dmarc
    if dmarc.mode is DmarcMode.ENFORCE:
        done += [f"DMARC p=reject: {dmarc.reject}", f"DMARC p=quarantine: {dmarc.quarantine}"]
    checks = "SPF and DKIM" if dmarc.mode is DmarcMode.OFF else "SPF, DKIM and DMARC"
    return f"verifies {checks}; " + (", ".join(done) if done else "rejects nothing for it")
