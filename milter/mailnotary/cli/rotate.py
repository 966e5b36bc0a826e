"""Rotates the keys of a domain: makes new ones, and marks the old ones to retire when the new ones sign.

For each key that signs, a new one with the same algorithm and size is made and added as `auto`. The old one gets
`retire_after: SELECTOR` in the keystore: it signs until the daemon has seen the new record in DNS and signs with the
new key instead. So every message has a signature that can be verified. Old keys whose successors already sign are set
to `state: retired`.

--all rotates every domain of the keystore, --due those with a key that is older than so many days, by the time at which
the daemon first saw its record, or by that of its file. Domains whose last rotation is still in progress are left out.

example: mailnotary rotate example.org
         mailnotary rotate --due 365"""

import argparse
import os
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, add_json, print_json, read_configuration
from mailnotary.cli.keygen import domain_name
from mailnotary.cli.output import say, with_progress
from mailnotary.cli.records import config_option, record_json, show_record
from mailnotary.config.keystore import KeyEntry, KeyState, StoredKey
from mailnotary.config.keystore_files import KEYS_DIRECTORY
from mailnotary.config.load import Configuration
from mailnotary.config.private_key import load_key
from mailnotary.crypto import KeyLoadError, PrivateKey, generate_private_key, load_private_key
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.keys import histories
from mailnotary.keys.create import EntryKeys, Pem, locked, owner_of, store

LEAST_BITS = 2048  # of a new RSA key, even if the old one was shorter (RFC 8301 section 3.2)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("domain", metavar="DOMAIN", nargs="?", help="a domain of the keystore")
    which.add_argument("--all", action="store_true", help="every domain of the keystore")
    which.add_argument(
        "--due",
        type=int,
        nargs="?",
        const=histories.DUE_DAYS,
        metavar="DAYS",
        help=f"every domain with a key older than this (default: {histories.DUE_DAYS})",
    )
    add_config(parser)
    add_json(parser)


@dataclass(frozen=True, slots=True)
class _Rotation:
    """The new keys of an entry, each with the old one that it replaces."""

    entry: KeyEntry
    new: Sequence[tuple[StoredKey, Pem]]

    def stored(self) -> EntryKeys:
        """What to store."""
        changed = {old.selector: {"retire_after": pem.selector} for old, pem in self.new}
        for key in self.entry.keys:
            if key.retire_after is not None and key.state is not KeyState.RETIRED:
                changed[key.selector] = {"state": str(KeyState.RETIRED)}
        return EntryKeys(self.entry.name, self.entry.domain, [pem for _, pem in self.new], changed)

    def record(self, pem: Pem) -> tuple[str, str]:
        """The name and the text of a new key's record."""
        return key_record_name(self.entry.domain, pem.selector), key_record_text(load_private_key(pem.octets))


def run(args: argparse.Namespace) -> int:
    """Makes the rotations."""
    settings = read_configuration(args.config).settings
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


def _as_json(rotations: Sequence[_Rotation]) -> dict[str, object]:
    new = [(rotation, old, pem) for rotation in rotations for old, pem in rotation.new]
    keys = [
        {"entry": rotation.entry.name, "selector": pem.selector, "replaces": old.selector} for rotation, old, pem in new
    ]
    return {
        "keys": keys,
        "records": [record_json(*rotation.record(pem)) for rotation, _, pem in new],
    }


def _rotations(args: argparse.Namespace, configuration: Configuration) -> list[_Rotation]:
    published = _published(configuration)
    if args.domain is not None:
        return [_rotation(configuration, _entry(configuration, domain_name(args.domain)), published)]
    entries = list(configuration.keystore.entries.values())
    if args.due is not None:
        entries = _due(configuration, entries, published, time.time() - args.due * 86400)
    rotations = []
    for entry in with_progress(entries, len(entries), "making keys"):
        try:
            rotations.append(_rotation(configuration, entry, published))
        except CommandError as error:
            print(f"mailnotary rotate: {entry.name} is passed over: {error}", file=sys.stderr)
    return rotations


def _rotation(configuration: Configuration, entry: KeyEntry, published: Collection[tuple[str, str]]) -> _Rotation:
    taken = {key.selector for key in entry.keys} | _left_behind(configuration.settings.keystore, entry.domain)
    new = []
    for old, private in _to_rotate(entry, published):
        selector = new_selector(private.algorithm, taken, time.time())
        taken.add(selector)
        new.append((old, Pem(selector, _generate(private))))
    return _Rotation(entry, new)


def _due(
    configuration: Configuration, entries: Sequence[KeyEntry], published: Collection[tuple[str, str]], before: float
) -> list[KeyEntry]:
    """The entries with a key that signs and is from before some time."""
    seen = histories.load(configuration.settings.state_dir)
    first = {(name.domain, name.selector): history.first_good for name, history in seen.items()}

    def born(entry: KeyEntry, key: StoredKey) -> float:
        known = first.get((entry.domain, key.selector))
        return os.stat(key.file).st_mtime if known is None else known

    return [
        entry
        for entry in entries
        if any(not key.fault and not entry.idle(key, published) and born(entry, key) < before for key in entry.keys)
    ]


def _entry(configuration: Configuration, domain: str) -> KeyEntry:
    entries = configuration.keystore.entries
    entry = entries.get(domain) or next((entry for entry in entries.values() if entry.domain == domain), None)
    if entry is None:
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


def _to_rotate(entry: KeyEntry, published: Collection[tuple[str, str]]) -> list[tuple[StoredKey, PrivateKey]]:
    """The keys that sign at present. Raises CommandError if there are none, or if a rotation is in progress."""
    for key in entry.keys:
        if key.retire_after is not None and not entry.idle(key, published):
            raise CommandError(
                f"a rotation is in progress: {key.selector} still signs until {key.retire_after} does; publish the "
                f"record of {key.retire_after} first (mailnotary dns {entry.domain})"
            )
    olds = [(key, _load(key)) for key in entry.keys if not entry.idle(key, published)]
    if not olds:
        reasons = "; ".join(entry.idle(key, published) for key in entry.keys)
        raise CommandError(f"no key of {entry.name} signs yet, so there is nothing to rotate: {reasons}")
    return olds


def _left_behind(keystore: Path, domain: str) -> set[str]:
    """The selectors of key files, which may no longer be in an entry."""
    files = (keystore.parent / KEYS_DIRECTORY).glob(f"{domain}.*.pem")
    return {file.name.removeprefix(f"{domain}.").removesuffix(".pem") for file in files}


def _load(key: StoredKey) -> PrivateKey:
    try:
        return load_key(key)
    except KeyLoadError as error:
        raise CommandError(f"{key.file}: {error}") from error


def _generate(old: PrivateKey) -> bytes:
    return generate_private_key(old.algorithm, max(old.bits, LEAST_BITS) if old.algorithm == "rsa" else 0)


def new_selector(algorithm: str, taken: Collection[str], now: float) -> str:
    """A selector that the entry has not had: "rsa20260131", and if that is taken "rsa20260131b" and so on."""
    base = ("rsa" if algorithm == "rsa" else "ed") + time.strftime("%Y%m%d", time.gmtime(now))
    lowered = {selector.lower() for selector in taken}
    for suffix in ("", *(chr(code) for code in range(ord("b"), ord("z") + 1))):
        if base + suffix not in lowered:
            return base + suffix
    raise CommandError(f"all selectors from {base} to {base}z are taken: wait until tomorrow, or use keygen")
