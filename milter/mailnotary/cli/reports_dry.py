"""`mailnotary reports --dry-run`: the reports of a day as they would be sent."""

import argparse
import hashlib
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mailnotary.cli import CommandError
from mailnotary.cli.common import counted, nameservers, nameservers_json, print_json, read_settings, resolver_for
from mailnotary.cli.output import Console, Folded, Text, with_progress
from mailnotary.config.settings import Settings
from mailnotary.history.keeper import location_of
from mailnotary.history.store import Store, StoreError
from mailnotary.reports import xml
from mailnotary.reports.gather import gathering
from mailnotary.reports.ledger import unique_id_of
from mailnotary.reports.names import Reporter, file_name, report_id
from mailnotary.reports.outgoing import Outgoing, messages_of, only, outgoing, reporter_of, search_of
from mailnotary.reports.period import Period, periods_of
from mailnotary.resolver import Resolver

MAX_FILE_NAME = 255  # octets, on every file system of Linux


def dry_run(args: argparse.Namespace) -> int:
    """Shows the reports of the day, and writes them where --out says."""
    settings = read_settings(args.config)
    day = args.date or datetime.fromtimestamp(time.time(), UTC).date() - timedelta(days=1)
    out = _directory(args.out)
    resolver = resolver_for(args.zone, settings)
    objects: list[dict[str, Any]] = []
    found = False
    try:
        with closing(Store.open(location_of(settings.history, settings.state_dir), read_only=True)) as store:
            reporter = reporter_of(settings, unique_id_of(store.database))
            for period in periods_of(day, settings.reports.period_hours):
                for one in _reports(store, period, args.domain, settings, resolver):
                    found = True
                    written = None if out is None or one.skipped else _write(out, one, reporter)
                    if args.json:
                        objects.append(_json(one, reporter, written))
                    else:
                        _show(one, written)
    except StoreError as error:
        raise CommandError(str(error)) from error
    if not found and not args.json:
        Console().print(Folded("", f"There is nothing to report of {day}."))
    if args.json:
        print_json({"reports": objects} | nameservers_json(nameservers(args.zone, settings, args.config)))
    return 0


def _directory(name: str | None) -> Path | None:
    if name is None:
        return None
    directory = Path(name)
    directory.mkdir(exist_ok=True)
    return directory


def _reports(
    store: Store, period: Period, domains: list[str], settings: Settings, resolver: Resolver
) -> Iterator[Outgoing]:
    with gathering(only(domains)) as gatherer:
        messages = messages_of(store, period)
        gatherer.add(with_progress(messages, store.count(search_of(period)), f"messages of {period}"))
        reports = outgoing(gatherer, period, settings.reports, resolver)
        yield from with_progress(reports, gatherer.finish(), "reports")


def _write(directory: Path, one: Outgoing, reporter: Reporter) -> Path:
    """Writes a report; its path. Raises OSError."""
    path = directory / file_name(one.report.domain, one.period, reporter)
    if len(path.name) > MAX_FILE_NAME:  # two domain names of full length do not fit
        path = directory / f"{hashlib.sha256(path.name.encode()).hexdigest()}.xml"
    with path.open("wb") as file:
        xml.write(file, one.report, one.period, reporter)
    return path


def _show(one: Outgoing, written: Path | None) -> None:
    console = Console()
    report = one.report
    head = Text.assemble((report.domain, "bold"), f" {one.period}: {counted(report.messages, 'message')}")
    console.print(Folded("", Text.assemble(head, f"; no report: {one.skipped}" if one.skipped else "")))
    for destination in one.destinations:
        to = ", ".join(map(str, destination.mailboxes)) or destination.uri
        console.print(Folded("  ", f"{destination.consent}: {to} ({destination.reason})"))
    if written is not None:
        console.print(Folded("  ", f"written to {written}"))


def _json(one: Outgoing, reporter: Reporter, written: Path | None) -> dict[str, Any]:
    report = one.report
    return {
        "domain": report.domain,
        "begin": one.period.begin,
        "end": one.period.last,
        "report_id": report_id(report.domain, one.period, reporter),
        "messages": report.messages,
        "skipped": one.skipped,
        "destinations": one.destinations,
        "file": None if written is None else str(written),
    }
