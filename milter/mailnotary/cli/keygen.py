"""Makes a signing key: the file of the private key, its entry in the keystore, and the DNS record to publish.

The key file is keys/DOMAIN.SELECTOR.pem beside the keystore, readable only by the daemon's user (mode 0600); files are
never overwritten. The keystore keeps its comments and order, and is created if it is missing. The entry is `auto`: the
daemon signs with the key once it has seen the record in DNS.

example: mailnotary keygen example.org rsa2026
         mailnotary keygen example.org example.net example.com rsa2026
         mailnotary keygen example.org ed2026 --algorithm ed25519"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import DEFAULT_CONFIG, add_config, add_json, print_json
from mailnotary.cli.output import say, with_progress
from mailnotary.cli.records import config_option, record_json, show_record
from mailnotary.config import settings_file
from mailnotary.config.keystore_file import selector_name, signing_domain
from mailnotary.config.keystore_files import sources
from mailnotary.config.load import ConfigError, load_configuration
from mailnotary.config.settings import Settings
from mailnotary.crypto import generate_private_key, load_private_key
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.domain import MAX_NAME
from mailnotary.keys.create import EntryKeys, Pem, locked, owner_of, store

ALGORITHMS = ("rsa", "ed25519")
BITS = (2048, 3072, 4096)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("domains", metavar="DOMAIN", nargs="+", help="the domain that signs; several get a key each")
    parser.add_argument(
        "selector", metavar="SELECTOR", help=f"the key's name, like rsa2026: {key_record_name('DOMAIN', 'SELECTOR')}"
    )
    parser.add_argument(
        "--algorithm",
        choices=ALGORITHMS,
        default="rsa",
        help="rsa, which all receivers verify (default), or ed25519, which is short, for use beside an RSA key",
    )
    parser.add_argument("--bits", type=int, choices=BITS, help=f"the size of an RSA key (default: {BITS[0]})")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the keys."""
    if args.algorithm != "rsa" and args.bits is not None:
        raise CommandError(f"--bits is for RSA: {args.algorithm} keys have a fixed size")
    pairs = list(dict.fromkeys(names(domain, args.selector) for domain in args.domains))
    settings = settings_at(args.config)
    owner_, warning = owner_of(settings.user)
    pems = [Pem(selector, generate_private_key(args.algorithm, args.bits or BITS[0])) for _, selector in _shown(pairs)]
    entries = [EntryKeys(domain, domain, [pem]) for (domain, _), pem in zip(pairs, pems, strict=True)]
    with locked(settings.keystore):
        by_source: dict[Path, list[EntryKeys]] = {}
        where = sources(settings.keystore)
        for entry in entries:
            by_source.setdefault(where.get(entry.name, settings.keystore), []).append(entry)
        written = [
            (file, source)
            for source, group in by_source.items()
            for file in store(settings.keystore, group, owner=owner_, source=source)
        ]
    records = [
        (key_record_name(domain, pem.selector), key_record_text(load_private_key(pem.octets)))
        for (domain, _), pem in zip(pairs, pems, strict=True)
    ]
    if warning:
        print(f"mailnotary keygen: warning: {warning}", file=sys.stderr)
    if args.json:
        made = [{"file": file, "keystore": source} for file, source in written]
        print_json({"keys": made, "records": [record_json(name, value) for name, value in records]})
        return 0
    for file, source in written:
        say(f"wrote {file} and added it to {source} (state: auto)")
    for name, value in records:
        print()
        show_record(name, value)
    config = config_option(args.config)
    say(
        "\nNext: publish the record and reload the daemon (systemctl reload mailnotary). It signs with the key once "
        f"DNS serves the record; `mailnotary keys{config}` shows whether it does."
    )
    for note in _own_mail(args.config):
        say(note)
    return 0


def _shown(pairs: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return with_progress(pairs, len(pairs), "making keys") if len(pairs) > 1 else pairs


def _own_mail(config: Path | None) -> Iterator[str]:
    """What to do if this machine has a Postfix whose own mail the keystore does not cover."""
    from mailnotary.doctor.machine import command  # other commands, which use parts of this one, need no doctor
    from mailnotary.doctor.postfix import own_mail

    myorigin = command("postconf", "-xh", "myorigin")
    if not myorigin:
        return
    try:
        keystore = load_configuration(config or DEFAULT_CONFIG).keystore
    except ConfigError:  # check-config reports it
        return
    for finding in own_mail(myorigin.strip(), keystore):
        if finding.advice:
            yield f"\nNote: {finding.text}.\nSo that it is signed: {finding.advice}"


def names(domain_text: str, selector_text: str) -> tuple[str, str]:
    """The domain and the selector as A-labels in lower case. Raises CommandError for what a keystore refuses."""
    domain = domain_name(domain_text)
    try:
        selector = selector_name(selector_text).lower()
    except ValueError as error:
        raise CommandError(str(error)) from error
    if len(key_record_name(domain, selector)) > MAX_NAME:
        raise CommandError(
            f"the record's name would be longer than DNS allows ({MAX_NAME} octets): choose a shorter selector"
        )
    return domain, selector


def domain_name(text: str) -> str:
    """A domain of the command line as A-labels in lower case. Raises CommandError for what a keystore refuses."""
    try:
        return signing_domain(text)
    except ValueError as error:
        raise CommandError(str(error)) from error


def settings_at(path: Path | None) -> Settings:
    """The settings alone: keygen must also work before there is a keystore, and while it has errors. Without -c, a
    missing default file means the defaults."""
    if path is None and not DEFAULT_CONFIG.exists():
        return Settings(keystore=DEFAULT_CONFIG.parent / "keystore.yaml")
    try:
        return settings_file.load(path or DEFAULT_CONFIG)
    except ConfigError as error:
        raise CommandError(f"the configuration has errors:\n{error}") from error
