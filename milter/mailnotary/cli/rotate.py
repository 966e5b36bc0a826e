"""Rotates the keys of a domain: makes new ones, and marks the old ones to retire when the new ones sign.

For each key that signs, a new one with the same algorithm and size is made and added as `auto`. The old one gets
`retire_after: SELECTOR` in the keystore: it signs until the daemon has seen the new record in DNS and signs with the
new key instead. So every message has a signature that can be verified. Old keys whose successors already sign are set
to `state: retired`.

example: mailnotary rotate example.org"""

import argparse
import sys
import time
from collections.abc import Collection
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, add_json, print_json, read_configuration
from mailnotary.cli.keygen import domain_name
from mailnotary.cli.output import say
from mailnotary.cli.records import config_option, record_json, show_record
from mailnotary.config.keystore import KeyEntry, KeyState, StoredKey
from mailnotary.config.keystore_files import KEYS_DIRECTORY
from mailnotary.config.load import ConfigError, Configuration
from mailnotary.config.private_key import load_key
from mailnotary.crypto import KeyLoadError, PrivateKey, generate_private_key, load_private_key
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.keys import histories
from mailnotary.keys.create import NewKeyError, Pem, locked, owner_of, store
from mailnotary.keys.edit import KeystoreEditError

LEAST_BITS = 2048  # of a new RSA key, even if the old one was shorter (RFC 8301 section 3.2)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("domain", metavar="DOMAIN", help="a domain of the keystore")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Makes one rotation."""
    domain = domain_name(args.domain)
    settings = read_configuration(args.config).settings
    key_owner, warning = owner_of(settings.user)
    try:
        with locked(settings.keystore):
            configuration = read_configuration(args.config)  # again, now that no other command changes it
            entry = _entry(configuration, domain)
            published = _published(configuration)
            olds = _to_rotate(entry, published)
            taken = {key.selector for key in entry.keys} | _left_behind(settings.keystore, entry.domain)
            new: list[tuple[StoredKey, Pem]] = []
            for old, private in olds:
                selector = new_selector(private.algorithm, taken, time.time())
                taken.add(selector)
                new.append((old, Pem(selector, _generate(private))))
            changed = {old.selector: {"retire_after": pem.selector} for old, pem in new}
            for key in entry.keys:
                if key.retire_after is not None and key.state is not KeyState.RETIRED:
                    changed[key.selector] = {"state": str(KeyState.RETIRED)}
            keys = [pem for _, pem in new]
            store(
                settings.keystore,
                entry.name,
                entry.domain,
                keys,
                owner=key_owner,
                changed=changed,
                source=Path(entry.source),
            )
    except (NewKeyError, KeystoreEditError, ConfigError) as error:
        raise CommandError(str(error)) from error
    if warning:
        print(f"mailnotary rotate: warning: {warning}", file=sys.stderr)
    records = [
        (old, pem, key_record_name(entry.domain, pem.selector), key_record_text(load_private_key(pem.octets)))
        for old, pem in new
    ]
    if args.json:
        made = [{"selector": pem.selector, "replaces": old.selector} for old, pem, _, _ in records]
        print_json({"keys": made, "records": [record_json(name, value) for _, _, name, value in records]})
        return 0
    for old, pem, name, value in records:
        print(f"{pem.selector} replaces {old.selector} once DNS serves its record:\n")
        show_record(name, value)
        print()
    say(
        "Next: publish the records and reload the daemon (systemctl reload mailnotary). Keep the old records: "
        f"`mailnotary keys{config_option(args.config)}` says when they can be removed."
    )
    return 0


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
