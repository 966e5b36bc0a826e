"""`mailnotary dns DOMAIN --publish`: shows how the records in DNS differ from those that should be there, and changes
them once that is confirmed."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailnotary.cli import CommandError
from mailnotary.cli.common import print_json
from mailnotary.config.keystore import KeyEntry, KeyState
from mailnotary.config.load import Configuration
from mailnotary.config.private_key import load_key
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.dmarc.policy_record import is_record, parse
from mailnotary.errors import DnsError, SetupError
from mailnotary.escape import printable
from mailnotary.publish.publisher import Publisher, Publishers
from mailnotary.resolver.authority import Authority, Place, Served
from mailnotary.resolver.update import Change
from mailnotary.spf.record import SpfRecordError, is_spf_record, parse_record


@dataclass(frozen=True, slots=True)
class Step:
    """A change at a place, and who makes it."""

    change: Change
    place: Place
    publisher: Publisher


def publish(args: argparse.Namespace, configuration: Configuration, entry: KeyEntry | None, domain: str) -> int:
    """Publishes the records of a domain. 0: DNS has them all, or gets them from its primary in time."""
    wanted = [*_keys(entry), *_policies(args, domain)]
    if not wanted:
        raise CommandError(f"there is nothing to publish for {domain}: write --spf or --dmarc, or make a key")
    dns = configuration.settings.dns
    publishers = Publishers(configuration.settings.publish, Authority(dns.nameservers, timeout=dns.timeout))
    try:
        steps = [_step(publishers, *item) for item in wanted]
        changes = [step for step in steps if step.change.add]
        if args.json:
            return _in_json(args, publishers, steps)
        for step in steps:
            print("\n".join(_difference(step)))
        if not changes:
            print("DNS has all of this already.")
            return 0
        if not (args.yes or _confirmed(len(changes))):
            print("Nothing has been changed.")
            return 1
        for step in changes:
            step.publisher.change(step.change)
            print(f"published {step.change.name}")
            for served in publishers.authority.ask_each(step.place):
                print(f"  {served.server}: {_said(served, step.change.add[0])}")
    except (DnsError, SetupError) as error:
        raise CommandError(str(error)) from error
    return 0


def _in_json(args: argparse.Namespace, publishers: Publishers, steps: Sequence[Step]) -> int:
    if args.yes:
        for step in steps:
            if step.change.add:
                step.publisher.change(step.change)
    print_json({"published": args.yes, "changes": [_json(publishers, step, asked=args.yes) for step in steps]})
    return 0


def _json(publishers: Publishers, step: Step, *, asked: bool) -> dict[str, object]:
    served = publishers.authority.ask_each(step.place) if asked and step.change.add else []
    return {
        "name": step.change.name,
        "type": "TXT",
        "remove": [printable(text, 5000) for text in step.change.remove],
        "add": [printable(text, 5000) for text in step.change.add],
        "servers": {str(one.server): _said(one, step.change.add[0]) for one in served},
    }


def _keys(entry: KeyEntry | None) -> Iterator[tuple[str, bytes, str]]:
    """The key records of an entry: name, text, and what else at that name gives way to it."""
    for key in entry.keys if entry is not None else ():
        if key.state is not KeyState.RETIRED and not key.fault:
            text = key_record_text(load_key(key))
            yield key_record_name(entry.domain if entry else "", key.selector), text.encode(), "all"


def _policies(args: argparse.Namespace, domain: str) -> Iterator[tuple[str, bytes, str]]:
    if args.spf is not None:
        text = args.spf.encode()
        if not is_spf_record(text):
            raise CommandError('--spf: an SPF record begins with v=spf1 and a space: write one like "v=spf1 mx -all"')
        try:
            parse_record(text)
        except SpfRecordError as error:
            raise CommandError(f"--spf: {error}") from error
        yield domain, text, "spf"
    if args.dmarc is not None:
        text = args.dmarc.encode()
        record = parse(text) if is_record(text) else None
        if record is None or record.problems or not record.usable:
            why = "; ".join(record.problems) if record else "it must begin with v=DMARC1;"
            raise CommandError(f'--dmarc: {why}: write one like "v=DMARC1; p=none; rua=mailto:dmarc@{domain}"')
        yield f"_dmarc.{domain}", text, "dmarc"


_GIVE_WAY = {"all": lambda _: True, "spf": is_spf_record, "dmarc": is_record}


def _step(publishers: Publishers, name: str, text: bytes, kind: str) -> Step:
    place = publishers.place_of(name)
    publisher = publishers.at(place)
    if publisher is None:
        raise CommandError(
            f"{place.name} is not published by mailnotary: write a server with its key, or a program, below `publish:` "
            "in the configuration"
        )
    present = publisher.texts()
    if text in present and sum(_GIVE_WAY[kind](old) for old in present) == 1:
        return Step(Change(place.name), place, publisher)
    old = tuple(old for old in present if _GIVE_WAY[kind](old) and old != text)
    add = () if text in present else (text,)
    return Step(Change(place.name, add or (text,), old, present), place, publisher)


def _difference(step: Step) -> Iterator[str]:
    change = step.change
    where = f" (in the zone {step.place.zone})"
    yield f"{change.name}. TXT{where}" + ("" if change.add else ": as it should be")
    for mark, texts in (("-", change.remove), ("+", change.add)):
        for text in texts:
            yield f"  {mark} {printable(text, 5000)}"


def _said(served: Served, text: bytes) -> str:
    if served.problem:
        return served.problem
    if text in served.answer.texts:
        return "serves it"
    return f"has the alias {printable(served.alias)}" if served.alias else "does not serve it yet"


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise CommandError("nothing has been changed: look at the difference, then add --yes")
    print(f"Publish {'this record' if count == 1 else f'these {count} records'}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
