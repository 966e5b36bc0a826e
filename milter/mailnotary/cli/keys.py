"""Shows every key of the keystore: what it is, whether DNS serves its record, whether it signs, and why not.

DNS is asked now. Whether an `auto` key signs is read from the state that the daemon last saved.

example: mailnotary keys
         mailnotary keys --check
         mailnotary keys --plan
         mailnotary keys remove example.org rsa2025
         mailnotary keys --json | jq '.keys[] | select(.dns != "match")'"""

import argparse
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from mailnotary.cli import CHECK_STATUS, EXIT_STATUS, CommandError
from mailnotary.cli.common import (
    CheckStatus,
    add_check,
    add_config,
    add_json,
    add_zone,
    nameservers,
    nameservers_json,
    print_json,
    print_summary,
    read_configuration,
    resolver_for,
    to_json,
)
from mailnotary.cli.keys_check import check
from mailnotary.cli.keys_plan import plan
from mailnotary.cli.keys_remove import remove
from mailnotary.cli.output import Console, Folded, Text, print_table, with_progress
from mailnotary.cli.records import with_config
from mailnotary.config.keystore import IDLE_STATES, KeyEntry, KeyState, StoredKey
from mailnotary.config.load import Configuration
from mailnotary.config.private_key import load_key
from mailnotary.config.settings import Mode
from mailnotary.crypto import PrivateKey
from mailnotary.dkim.publish import key_record_name
from mailnotary.escape import printable
from mailnotary.keys import histories, progress
from mailnotary.keys.histories import KeyHistory, KeyId
from mailnotary.keys.observe import KeyObservation, KeyRecordStatus, observe
from mailnotary.keys.progress import NOTHING, Progress
from mailnotary.resolver import Resolver

AT_ONCE = 64  # questions to DNS, so that one that is not answered holds up only a few others


@dataclass(frozen=True, slots=True)
class KeyRow:
    """Everything about one key. `entry` is its name in the keystore, `domain` the one that it signs as (d=); `fault` is
    why it can't be used, "" if it can; `dns` is "match", "mismatch", "missing", "exposed" (a private key), "error", or
    "unknown" for a key with a fault; `why` says why it signs or not, `note` what the administrator should do or can do.
    Times are seconds since 1970, null if never."""

    entry: str
    domain: str
    selector: str
    algorithm: str
    bits: int
    state: KeyState
    retire_after: str | None
    file: str
    fault: str
    dns: KeyRecordStatus
    dns_reason: str
    signing: bool
    why: str
    note: str
    first_seen: float | None
    last_seen: float | None


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "action",
        metavar="remove DOMAIN SELECTOR",
        nargs="*",
        help="take a key that no longer signs out of the keystore",
    )
    add_zone(parser)
    add_config(parser)
    add_json(parser)
    add_check(parser)
    parser.add_argument("--plan", action="store_true", help="show when the keys of each domain are replaced")
    parser.epilog = f"{EXIT_STATUS}; with --check {CHECK_STATUS}"


def run(args: argparse.Namespace) -> int:
    """Shows all keys, or removes one."""
    if args.action:
        if len(args.action) != 3 or args.action[0] != "remove":
            raise CommandError("write `mailnotary keys`, or `mailnotary keys remove DOMAIN SELECTOR`")
        return remove(args.config, args.action[1], args.action[2])
    configuration = read_configuration(args.config)
    if args.plan:
        return plan(configuration, as_json=args.json)
    configuration = read_configuration(args.config, source=True)
    resolver = resolver_for(args.zone, configuration.settings)
    try:
        known: Mapping[KeyId, KeyHistory] = histories.load(configuration.settings.state_dir)
        noted = progress.load(configuration.settings.state_dir)
        problem = ""
    except histories.StateError as error:
        known, noted, problem = {}, Progress(), f"the state of the daemon is not known: {error}"
    total = sum(len(entry.keys) for entry in configuration.keystore.entries.values())
    rows = list(with_progress(key_rows(configuration, known, resolver, time.time(), noted), total, "asking DNS"))
    status, texts = check(rows, problem, noted.steps) if args.check else (CheckStatus.OK, [])
    asked = nameservers(args.zone, configuration.settings, args.config)
    if args.json:
        output = {"keys": [to_json(row) for row in rows]} | ({"problem": problem} if problem else {})
        print_json(output | nameservers_json(asked))
        return status
    if args.check:
        print_summary("KEYS", status, texts)
        return status
    console = Console()
    if problem:
        console.print(Folded(Text("! ", "yellow"), Text(problem, "yellow")))
    _render(console, configuration, rows, args.config)
    if asked and rows:
        console.print()
        console.print(Folded("asked ", str(asked)))
    return 0


def key_rows(
    configuration: Configuration,
    known: Mapping[KeyId, KeyHistory],
    resolver: Resolver,
    now: float,
    noted: Progress = NOTHING,
) -> Iterator[KeyRow]:
    """One row for each key, in the order of the keystore."""
    loaded = [(entry, key, _load(key)) for entry in configuration.keystore.entries.values() for key in entry.keys]
    by_name = {(entry.domain, key.selector): _history(known, entry, key, private) for entry, key, private in loaded}
    published = {name for name, history in by_name.items() if history.signing}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        observations = pool.map(lambda item: _observe(resolver, *item), loaded)
        for (entry, key, private), observation in zip(loaded, observations, strict=True):
            history = by_name[entry.domain, key.selector]
            idle = _idle(configuration, entry, key, published)
            step = noted.of(entry.domain, key.selector)
            yield KeyRow(
                entry=entry.name,
                domain=entry.domain,
                selector=key.selector,
                algorithm=private.algorithm if private else "",
                bits=private.bits if private else 0,
                state=key.state,
                retire_after=key.retire_after,
                file=key.file,
                fault=key.fault,
                dns=observation.result,
                dns_reason=observation.reason,
                signing=not idle,
                why=idle or _why(key, history),
                note=step.text if step else _note(entry, key, history, observation, published, now),
                first_seen=history.first_good,
                last_seen=history.last_good,
            )


def _load(key: StoredKey) -> PrivateKey | None:
    return None if key.fault else load_key(key)


def _history(
    known: Mapping[KeyId, KeyHistory], entry: KeyEntry, key: StoredKey, private: PrivateKey | None
) -> KeyHistory:
    if private is None:
        return KeyHistory()
    return known.get(KeyId(entry.domain, key.selector, histories.fingerprint(private)), KeyHistory())


def _observe(resolver: Resolver, entry: KeyEntry, key: StoredKey, private: PrivateKey | None) -> KeyObservation:
    if private is None:
        return KeyObservation(KeyRecordStatus.UNKNOWN)
    return observe(resolver, entry.domain, key.selector, private)


def _idle(configuration: Configuration, entry: KeyEntry, key: StoredKey, published: set[tuple[str, str]]) -> str:
    """Why a key does not sign at present, "" if it does."""
    if configuration.settings.mode is Mode.VERIFY:
        return "mode is verify"
    if entry.faulty is None or key.state in IDLE_STATES:
        return entry.idle(key, published)
    return f"{entry.faulty.selector} can't be used, so the mail of {entry.name} waits"


def _why(key: StoredKey, history: KeyHistory) -> str:
    if key.state is KeyState.ACTIVE:
        return "active"
    return f"seen in DNS since {_day(history.first_good)}" if history.first_good is not None else "seen in DNS"


def _note(
    entry: KeyEntry,
    key: StoredKey,
    history: KeyHistory,
    observation: KeyObservation,
    published: set[tuple[str, str]],
    now: float,
) -> str:
    """What to do about a key, "" if nothing."""
    if key.fault:
        return f"{printable(key.file)}: {key.fault}"
    idle = entry.idle(key, published)
    good = observation.result is KeyRecordStatus.MATCH
    if key.state is KeyState.PENDING:
        return "it goes on with the next run of `mailnotary rotate --due`"
    if idle and (key.state is KeyState.RETIRED or (entry.domain, key.selector) in published or key.retire_after):
        if observation.result is KeyRecordStatus.MISSING:
            return "its record is gone: the key can be removed from the keystore"
        if history.idle_since is None:
            return "its record can be removed a week after its last signature"
        end = history.idle_since + histories.KEEP_RECORD
        return "its record can be removed" if now >= end else f"its record can be removed on {_day(end)}"
    if key.state is KeyState.AUTO and idle:
        wrong = observation.result in (KeyRecordStatus.MISMATCH, KeyRecordStatus.EXPOSED)
        what = "correct" if wrong else "publish"
        return "it will start to sign soon" if good else f"{what} its record: `mailnotary dns {entry.domain}`"
    if observation.result in (KeyRecordStatus.MISMATCH, KeyRecordStatus.MISSING, KeyRecordStatus.EXPOSED):
        return f"receivers that see this can't verify its signatures: `mailnotary dns {entry.domain}`"
    return ""


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%d")


_STYLES = {
    KeyRecordStatus.MATCH: "green",
    KeyRecordStatus.MISMATCH: "bold red",
    KeyRecordStatus.MISSING: "red",
    KeyRecordStatus.EXPOSED: "bold white on red",
    KeyRecordStatus.ERROR: "yellow",
    KeyRecordStatus.UNKNOWN: "bold red",
}


def _render(console: Console, configuration: Configuration, rows: list[KeyRow], config: Path | None) -> None:
    if not rows:
        make = with_config("`mailnotary keygen DOMAIN SELECTOR`", config)
        console.print(Folded("", f"{configuration.settings.keystore} has no keys: make one with {make}"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("DOMAIN", "SELECTOR", "KEY", "STATE", "DNS", "SIGNS"):
        long = title in ("DOMAIN", "SELECTOR")
        table.add_column(title, no_wrap=not long, overflow="fold")
    for row in rows:
        domain = row.domain if row.entry in (row.domain, "*") else f"{row.domain} ({row.entry})"
        table.add_row(
            Text(f"{domain} (*)" if row.entry == "*" else domain),
            Text(row.selector),
            f"{row.algorithm} {row.bits}" if row.algorithm == "rsa" else row.algorithm or "-",
            str(row.state),
            Text(str(row.dns), _STYLES[row.dns]),
            Text("yes", "green") if row.signing else Text("no", "dim" if row.state is KeyState.RETIRED else "yellow"),
        )
    print_table(console, table)
    for row in rows:
        reasons = [] if row.signing else [row.why]
        reasons += [text for text in (row.dns_reason, with_config(row.note, config)) if text]
        if reasons:
            console.print()
            console.print(Text(key_record_name(row.domain, row.selector), "bold"))
            for reason in reasons:
                console.print(Folded("  ", reason))
