"""Prints the DNS records to publish for a domain's keys, and checks its SPF and DMARC records.

Each record is printed as lines of a zone file (in strings of at most 255 octets) and as one line for a web panel.
Retired keys are left out. Each line
`DNS:` says what DNS serves now.

--publish asks the primary nameserver, or those of the zone, shows the difference, and publishes the records of the keys
and those of --spf and --dmarc, in the way that the section `publish` of the configuration says.

example: mailnotary dns example.org
         mailnotary dns example.org --publish --spf "v=spf1 mx -all"
         mailnotary dns --all > dkim.zone"""

import argparse
import sys
from typing import Any

from mailnotary.cli import CommandError
from mailnotary.cli.advice import View, as_json, dmarc_view, spf_view
from mailnotary.cli.breadth_text import in_words
from mailnotary.cli.common import (
    add_config,
    add_json,
    add_zone,
    nameservers,
    nameservers_json,
    print_json,
    read_configuration,
    resolver_for,
)
from mailnotary.cli.keygen import domain_name
from mailnotary.cli.output import Console, Folded, Text
from mailnotary.cli.records import config_option, show_record
from mailnotary.config.keystore import KeyEntry, KeyState
from mailnotary.config.load import Configuration
from mailnotary.config.private_key import load_key
from mailnotary.crypto import KeyLoadError
from mailnotary.dkim.publish import key_record_name, key_record_text, zone_lines
from mailnotary.escape import printable
from mailnotary.keys.observe import observe
from mailnotary.resolver import Resolver

TTL = 3600  # seconds, of records in the zone file


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("domain", metavar="DOMAIN", nargs="?", help="a domain of the keystore")
    which.add_argument("--all", action="store_true", help="all records of the keystore, as a zone file")
    parser.add_argument(
        "--publish", action="store_true", help="show how DNS differs, then change it, as `publish:` says"
    )
    parser.add_argument("--spf", metavar="RECORD", help="with --publish: the SPF record that the domain is to have")
    parser.add_argument("--dmarc", metavar="RECORD", help="with --publish: its DMARC record")
    parser.add_argument("--yes", action="store_true", help="with --publish: do not ask")
    add_zone(parser)
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the records of one domain."""
    configuration = read_configuration(args.config, source=True)
    if args.all and (args.publish or args.spf is not None or args.dmarc is not None):
        raise CommandError("--publish, --spf and --dmarc take one DOMAIN, not --all")
    if args.all:
        return _all(configuration, as_json=args.json)
    domain = domain_name(args.domain)
    entry = configuration.keystore.find(domain)
    if args.publish:
        from mailnotary.cli.dns_publish import publish  # with what asks nameservers and updates them

        return publish(args, configuration, entry if entry is None or entry.domain == domain else None, domain)
    if args.spf is not None or args.dmarc is not None or args.yes:
        raise CommandError("--spf, --dmarc and --yes go with --publish")
    if entry is None:
        raise CommandError(
            f"no entry of the keystore covers {domain}: make a key with `mailnotary keygen {domain} SELECTOR"
            f"{config_option(args.config)}`"
        )
    resolver = resolver_for(args.zone, configuration.settings)
    records = records_of(entry, resolver)
    spf, dmarc = spf_view(domain, resolver), dmarc_view(domain, resolver)
    asked = nameservers(args.zone, configuration.settings, args.config)
    if args.json:
        print_json({"records": records, "spf": as_json(spf), "dmarc": as_json(dmarc)} | nameservers_json(asked))
        return 0
    for record in records:
        show_record(record["name"], record["value"])
        print(f"\nDNS: {record['dns']}" + (f": {record['dns_reason']}" if record["dns_reason"] else "") + "\n")
    if not records:
        print(f"The entry {entry.name} has no key that is not retired.\n")
    console = Console()
    _show(console, "SPF", spf)
    _show(console, "DMARC", dmarc)
    if asked:
        console.print(Folded("asked ", str(asked)))
    return 0


def _all(configuration: Configuration, *, as_json: bool) -> int:
    """Prints the records of all keys, without asking DNS. Keys that can't be used are named, and the status is 1."""
    records: dict[str, str] = {}
    status = 0
    for entry in configuration.keystore.entries.values():
        for key in entry.keys:
            name = key_record_name(entry.domain, key.selector)
            if key.fault and key.state is not KeyState.RETIRED:
                print(f"mailnotary dns: {name} is left out: {printable(key.file)}: {key.fault}", file=sys.stderr)
                status = 1
            elif key.state is not KeyState.RETIRED:
                records[name] = key_record_text(load_key(key))
    if as_json:
        print_json({"records": [{"name": name, "type": "TXT", "value": value} for name, value in records.items()]})
        return status
    for name, value in records.items():
        print(zone_lines(name, value, TTL))
    return status


def records_of(entry: KeyEntry, resolver: Resolver) -> list[dict[str, Any]]:
    """The records to publish for an entry's keys, and what DNS serves in their place."""
    records = []
    for key in entry.keys:
        if key.state is KeyState.RETIRED:
            continue
        try:
            private = load_key(key)
        except KeyLoadError as error:
            raise CommandError(f"{key.file}: {error}") from error
        observation = observe(resolver, entry.domain, key.selector, private)
        records.append(
            {
                "name": key_record_name(entry.domain, key.selector),
                "type": "TXT",
                "value": key_record_text(private),
                "dns": str(observation.result),
                "dns_reason": observation.reason,
            }
        )
    return records


def _show(console: Console, what: str, view: View) -> None:
    lookups = "" if view.lookups is None else f" ({view.lookups} look-ups)"
    console.print(Text.assemble((what, "bold"), f" at {view.name}{lookups}:"))
    for text in view.records or ("none",):
        console.print(Folded("  ", text))
    if view.breadth is not None:
        console.print(Folded("  ", in_words(view.breadth)))
    for advice in view.advice:
        console.print(Folded(Text("  ! ", "yellow"), Text(advice, "yellow")))
    if not view.advice:
        console.print(Text("  good", "green"))
