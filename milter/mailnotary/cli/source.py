"""Shows the state of the source of keys (`source:` in mailnotary.yaml), asks it, or seals a key for it.

`source`, or `source status`, says what it said last to the daemon, and since when it has not answered.

`source ask` asks it now, as this user, and says what is wrong with its answer. It changes nothing.

`source seal FILE DOMAIN SELECTOR` seals a private key, which it reads from standard input, for one domain and selector.
FILE has the key of the seal; `source seal --new FILE` makes it.

example: mailnotary source
         mailnotary source ask
         mailnotary source seal --new /etc/mailnotary/source.seal
         mailnotary source seal /etc/mailnotary/source.seal example.org rsa2026 < rsa2026.pem"""

import argparse
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from mailnotary.cli import CHECK_STATUS, CommandError
from mailnotary.cli.common import CheckStatus, add_check, add_config, add_json, print_json, print_summary, read_settings
from mailnotary.cli.keygen import domain_name
from mailnotary.cli.output import Console, Folded, say
from mailnotary.config.private_key import read_secret
from mailnotary.config.settings import Settings
from mailnotary.crypto import MAX_PEM_OCTETS, MAX_SEAL_FILE, KeyLoadError, Sealer, load_private_key, new_seal
from mailnotary.escape import printable
from mailnotary.sources import kept
from mailnotary.sources.asking import SourceError
from mailnotary.sources.kept import Status
from mailnotary.sources.opening import open_sealer, open_source, origin
from mailnotary.sources.table import TableError
from mailnotary.sources.taking import take

_LATE = 2.0  # times source.check_seconds without an answer, after which monitoring is warned


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("what", choices=["status", "ask", "seal"], nargs="?", default="status", help="what to do")
    parser.add_argument("words", metavar="WORD", nargs="*", help="for seal: FILE DOMAIN SELECTOR")
    parser.add_argument("--new", metavar="FILE", type=Path, help="for seal: make this file")
    add_config(parser)
    add_json(parser)
    add_check(parser)
    parser.epilog = f"exit status: with --check {CHECK_STATUS}; else 0 done, 1 not done, 2 wrong usage"


def run(args: argparse.Namespace) -> int:
    """Does one of them."""
    if args.what == "seal":
        return _make(args.new) if args.new is not None else _seal(args.words)
    if args.words or args.new is not None:
        raise CommandError(f"{args.what} takes no further words")
    settings = read_settings(args.config)
    if not settings.source.wanted:
        raise CommandError("there is no source of keys: add `source:` to mailnotary.yaml (config/source.md)")
    return _ask(settings, as_json=args.json) if args.what == "ask" else _status(settings, args)


def _status(settings: Settings, args: argparse.Namespace) -> int:
    try:
        status = kept.load_status(settings.state_dir)
    except TableError as error:
        raise CommandError(str(error)) from error
    said = status.said(status.origin or "the source")
    if args.json:
        print_json({"source": asdict(status)})
    elif args.check:
        found = _judged(settings, status)
        print_summary("SOURCE", found, [said, *status.problems])
        return found
    else:
        say(said)
        for problem in status.problems:
            Console().print(Folded("  ! ", printable(problem)))
    return 0


def _judged(settings: Settings, status: Status) -> CheckStatus:
    if not status.answered:
        return CheckStatus.CRITICAL
    late = time.time() - status.answered > _LATE * settings.source.check_seconds
    return CheckStatus.WARNING if late or status.error or status.waiting else CheckStatus.OK


def _ask(settings: Settings, *, as_json: bool) -> int:
    uid, gids, began = os.geteuid(), (os.getegid(), *os.getgroups()), time.monotonic()
    source = None
    try:
        source = open_source(settings.source, uid, gids)
        sealer = open_sealer(settings.source, uid, gids)
        taken = take(source.ask(changes=False), None, origin(settings.source), sealer)
    except SourceError as error:
        raise CommandError(str(error)) from error
    finally:
        if source is not None:
            source.close()
    if taken.base is not None:
        os.close(taken.base)
    counts, seconds = taken.counts, time.monotonic() - began
    if as_json:
        print_json({"domains": counts.added, "faults": counts.faults, "problems": counts.problems, "seconds": seconds})
    else:
        say(f"{origin(settings.source)}: {counts.added} domains in {seconds:.1f} s, {counts.faults} problems")
        for problem in counts.problems:
            Console().print(Folded("  ! ", printable(problem)))
    return 1 if counts.faults else 0


def _make(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandError(f"{path} is there already, and keys may be sealed with it: name another file") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(new_seal())
    say(f"{path} is made: give it to the daemon's user (chown), and name it in source.seal_file")
    return 0


def _seal(words: list[str]) -> int:
    if len(words) != 3:
        raise CommandError("seal takes FILE DOMAIN SELECTOR, and the private key on standard input")
    file, domain, selector = words
    octets = sys.stdin.buffer.read(MAX_PEM_OCTETS + 1)
    try:
        load_private_key(octets)
    except KeyLoadError as error:
        raise CommandError(f"standard input: {error}") from error
    try:
        sealer = Sealer(read_secret(file, os.geteuid(), (os.getegid(), *os.getgroups()), MAX_SEAL_FILE))
    except KeyLoadError as error:
        raise CommandError(f"{file}: {error}") from error
    print(sealer.seal(octets, domain_name(domain), selector))
    return 0
