"""Rotates the keys of a domain: makes new ones, and marks the old ones to retire when the new ones sign.

For each key that signs, a new one with the same algorithm and size is made and added as `auto`. The old one gets
`retire_after: SELECTOR` in the keystore: it signs until the daemon has seen the new record in DNS and signs with the
new key instead. So every message has a signature that can be verified. Old keys whose successors already sign are set
to `state: retired`.

--due without DAYS does what is due where the section `rotation` of the configuration has `rotate_every`: it makes new
keys, publishes their records, sees that every nameserver of the zone serves them before they sign, and removes what has
been replaced for long enough. What fails or has to wait is tried again the next time; the systemd timer runs this.

--all rotates every domain of the keystore, --due DAYS those with a key that is older than so many days, by the time at
which the daemon first saw its record, or by that of its file. Domains whose last rotation is still in progress are left
out.

example: mailnotary rotate example.org
         mailnotary rotate --due 365
         mailnotary rotate --due"""

import argparse
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, add_json, not_of_source, print_json, read_configuration
from mailnotary.cli.keygen import domain_name
from mailnotary.cli.output import say, with_progress
from mailnotary.cli.records import config_option, record_json, show_record
from mailnotary.cli.rotate_due import rotate_due
from mailnotary.config.keystore import KeyEntry
from mailnotary.config.load import Configuration
from mailnotary.keys import histories
from mailnotary.keys.create import EntryKeys, locked, owner_of, store
from mailnotary.keys.rotate import Births, Rotation, RotationError, rotation_of

_SCHEDULE = -1  # --due without DAYS


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("domain", metavar="DOMAIN", nargs="?", help="a domain of the keystore")
    which.add_argument("--all", action="store_true", help="every domain of the keystore")
    which.add_argument(
        "--due",
        type=int,
        nargs="?",
        const=_SCHEDULE,
        metavar="DAYS",
        help="every domain with a key older than this; without DAYS all that is due, as `rotation` says (or after "
        f"{histories.DUE_DAYS} days)",
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the rotations."""
    settings = read_configuration(args.config).settings
    if args.due == _SCHEDULE:
        if settings.rotation.rotate_every is not None:
            return rotate_due(args)
        args.due = histories.DUE_DAYS
    key_owner, warning = owner_of(settings.user)
    with locked(settings.keystore):
        configuration = read_configuration(args.config)  # again, now that no other command changes it
        rotations = _rotations(args, configuration)
        by_source: dict[str, list[EntryKeys]] = {}
        for rotation in rotations:
            by_source.setdefault(rotation.entry.source, []).append(rotation.stored())
        for source, entries in by_source.items():
            store(settings.keystore, entries, owner=key_owner, source=Path(source))
    if warning:
        print(f"mailnotary rotate: warning: {warning}", file=sys.stderr)
    if args.json:
        print_json(_as_json(rotations))
        return 0
    for rotation in rotations:
        for old, pem in rotation.new:
            print(f"{pem.selector} replaces {old.selector} of {rotation.entry.name} once DNS serves its record:\n")
            show_record(*rotation.record(pem))
            print()
    if not rotations:
        print("No key is due.")
        return 0
    say(
        "Next: publish the records and reload the daemon (systemctl reload mailnotary). Keep the old records: "
        f"`mailnotary keys{config_option(args.config)}` says when they can be removed."
    )
    return 0


def _as_json(rotations: Sequence[Rotation]) -> dict[str, object]:
    new = [(rotation, old, pem) for rotation in rotations for old, pem in rotation.new]
    keys = [
        {"entry": rotation.entry.name, "selector": pem.selector, "replaces": old.selector} for rotation, old, pem in new
    ]
    return {
        "keys": keys,
        "records": [record_json(*rotation.record(pem)) for rotation, _, pem in new],
    }


def _rotations(args: argparse.Namespace, configuration: Configuration) -> list[Rotation]:
    published = _published(configuration)
    if args.domain is not None:
        return [
            rotation_of(configuration.settings.keystore, _entry(configuration, domain_name(args.domain)), published)
        ]
    entries = list(configuration.keystore.entries.values())
    if args.due is not None:
        entries = _due(configuration, entries, published, time.time() - args.due * 86400)
    rotations = []
    for entry in with_progress(entries, len(entries), "making keys"):
        try:
            rotations.append(rotation_of(configuration.settings.keystore, entry, published))
        except RotationError as error:
            print(f"mailnotary rotate: {entry.name} is passed over: {error}", file=sys.stderr)
    return rotations


def _due(
    configuration: Configuration, entries: Sequence[KeyEntry], published: Collection[tuple[str, str]], before: float
) -> list[KeyEntry]:
    """The entries with a key that signs and is from before some time."""
    births = Births(histories.load(configuration.settings.state_dir), published)
    return [entry for entry in entries if (born := births.of(entry)) is not None and born < before]


def _entry(configuration: Configuration, domain: str) -> KeyEntry:
    entries = configuration.keystore.entries
    entry = entries.get(domain) or next((entry for entry in entries.values() if entry.domain == domain), None)
    if entry is None:
        not_of_source(configuration.settings, domain)
        raise CommandError(f"the keystore has no entry for {domain}: make a key with `mailnotary keygen`")
    sharing = [
        other.name
        for other in entries.values()
        if other is not entry and {key.file for key in other.keys} & {key.file for key in entry.keys}
    ]
    if sharing:
        print(
            f"mailnotary rotate: warning: {', '.join(sharing[:5])} shares keys with {entry.name}, and will continue to "
            "use the old ones",
            file=sys.stderr,
        )
    return entry


def _published(configuration: Configuration) -> Collection[tuple[str, str]]:
    try:
        return histories.remembered(configuration.settings.state_dir, configuration.keystore)
    except histories.StateError as error:
        raise CommandError(f"it is not known which keys sign: {error}") from error
