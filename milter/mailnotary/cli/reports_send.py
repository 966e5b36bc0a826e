"""`mailnotary reports`: makes and sends what is due. `reports bounced`: takes note of mail that came back."""

import argparse
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from mailnotary import dkim
from mailnotary.cli import CommandError
from mailnotary.cli.common import DEFAULT_CONFIG, print_json, read_configuration, read_settings, resolver_for
from mailnotary.cli.output import Console, Folded, Text, with_progress
from mailnotary.config.load import Configuration
from mailnotary.config.settings import Settings
from mailnotary.crypto import KeyLoadError
from mailnotary.domain import is_subdomain
from mailnotary.history.keeper import location_of
from mailnotary.history.store import Store, StoreError
from mailnotary.keys import histories
from mailnotary.mail.envelope import mailbox_of
from mailnotary.reports import bounce
from mailnotary.reports.ledger import Ledger, State, unique_id_of
from mailnotary.reports.outgoing import reporter_of
from mailnotary.reports.period import DAY, Period, ended, periods_of
from mailnotary.reports.send import Mailed, Office
from mailnotary.session.outbound import signer_of, signing_keys

GRACE = 600  # seconds after the end of a period, until all hosts have stored its messages
OLDEST = 30  # days: the notes of what was sent are kept for twice as long
DAYS = 3  # back to which reports are made, if they were not

_STYLES = {State.SENT: "green", State.LATER: "yellow", State.FAILED: "red"}


def send(args: argparse.Namespace) -> int:
    """Sends what is due; 1 if there was something, and all of it has to wait."""
    configuration = read_configuration(args.config, source=True)
    settings = configuration.settings
    if not settings.reports.enabled:
        where = args.config or DEFAULT_CONFIG
        raise CommandError(f"reports.enabled is false in {where}, so none are sent: write --dry-run to see them")
    if args.at_once:
        settings = replace(settings, reports=replace(settings.reports, spread_seconds=0))
    signers = _signers(configuration)
    periods = _periods(args, settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the lease is given back
    mails: list[Mailed] = []
    with _store(settings) as noting, _store(settings, read_only=True) as store:
        ledger = Ledger(noting.database, socket.gethostname(), time.time)
        for domain, destination, reason in ledger.tidy():
            _show(Mailed(domain, destination, State.FAILED, f"given up: {reason}"), args, mails)
        resolver = resolver_for(args.zone, settings)
        reporter = reporter_of(settings, unique_id_of(store.database))
        office = Office(settings, reporter, signers, store, ledger, resolver, track=with_progress)
        for period in periods:
            if owner := ledger.owner_of(period.begin):
                print(f"mailnotary: {owner} is making the reports of {period}", file=sys.stderr)
            for mailed in office.send(period, args.domain):
                _show(mailed, args, mails)
    if args.json:
        fields = ("domain", "destination", "state", "reason")
        print_json({"mails": [{name: getattr(mailed, name) for name in fields} for mailed in mails]})
    return 1 if mails and all(mailed.state is State.LATER for mailed in mails) else 0


@contextmanager
def _store(settings: Settings, *, read_only: bool = False) -> Iterator[Store]:
    """The store; whoever only reads it never waits for the daemon, nor makes it wait."""
    try:
        location = location_of(settings.history, settings.state_dir)
        with closing(Store.open(location, read_only=read_only)) as store:
            yield store
    except StoreError as error:
        raise CommandError(str(error)) from error


def _periods(args: argparse.Namespace, settings: Settings) -> list[Period]:
    hours, until = settings.reports.period_hours, time.time() - GRACE
    if args.date is None:
        return list(ended(until, hours, DAYS))
    periods = periods_of(args.date, hours)
    if periods[0].begin < until - OLDEST * DAY:
        raise CommandError(f"{args.date} is more than {OLDEST} days ago: nobody knows any more which reports were sent")
    if periods[-1].end > until:
        raise CommandError(f"{args.date} is not over for {GRACE // 60} minutes yet: write --dry-run to see its reports")
    return periods


def _signers(configuration: Configuration) -> list[dkim.Signer]:
    """Who signs reports. Without a signature most readers discard them: they "MUST" pass DMARC (RFC 9990 3.5.2)."""
    settings = configuration.settings
    domain = mailbox_of(str(settings.reports.from_)).domain
    entry = configuration.keystore.find(domain)
    if entry is None:
        raise CommandError(
            f"no entry of the keystore covers {domain}, the domain of reports.from, so reports can't be signed: "
            f"make a key with `mailnotary keygen {domain} SELECTOR`"
        )
    if not is_subdomain(domain, entry.domain):  # the entry "*" may sign as anybody
        raise CommandError(f"the keystore signs {domain}, the domain of reports.from, as {entry.domain}: add an entry")
    try:
        published = histories.remembered(settings.state_dir, configuration.keystore)
        keys, idle = signing_keys(entry, published)
        if not keys:
            raise CommandError(f"no key of {entry.name} signs, so reports can't be signed: {idle}")
        return [signer_of(entry.domain, key, settings.signing) for key in keys]
    except (KeyLoadError, histories.StateError) as error:
        raise CommandError(f"reports can't be signed: {error}") from error


def _show(mailed: Mailed, args: argparse.Namespace, mails: list[Mailed]) -> None:
    mails.append(mailed)
    if args.json:
        return
    reason = f" ({mailed.reason})" if mailed.reason else ""
    console = Console()
    text = f"{mailed.state}: {mailed.domain} to {mailed.destination}{reason}"
    console.print(Folded("", Text(text, _STYLES[mailed.state])))


def bounced(args: argparse.Namespace, files: list[str]) -> int:
    """Stops sending to the destination of a report that came back. Mail that is anything else is left alone."""
    octets = _read(files)
    found: list[dict[str, Any]] = []
    with _store(read_settings(args.config)) as store:
        ledger = Ledger(store.database, socket.gethostname(), time.time)
        for message_id in bounce.returned(octets):
            if destination := ledger.destination_of(message_id):
                reason = bounce.reason(octets)
                ledger.refuse(destination, reason)
                found.append({"destination": destination, "reason": reason})
    if args.json:
        print_json({"bounced": found})
        return 0
    for one in found:
        print(f"{one['destination']} gets no reports for a week: {one['reason']}")
    if not found:
        print("this is not a report of ours that came back")
    return 0


def _read(files: list[str]) -> bytes:
    if len(files) > 1:
        raise CommandError("write `mailnotary reports bounced FILE`, or feed it the message on standard input")
    if files and files[0] != "-":
        with open(files[0], "rb") as file:
            return file.read(bounce.MAX_LOOKED_AT)
    return sys.stdin.buffer.read(bounce.MAX_LOOKED_AT)
