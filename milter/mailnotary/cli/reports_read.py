"""`mailnotary reports read`: a table of what reports of others say."""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from mailnotary.cli import CommandError
from mailnotary.cli.common import counted, print_json
from mailnotary.cli.messages import read_messages
from mailnotary.cli.output import Console, Folded, Text, print_table, say
from mailnotary.escape import printable
from mailnotary.reports.summary import Reading, Source, Summary, cost
from mailnotary.reports.unpack import ReadError

MAX_FILE = 64 * 1024 * 1024  # octets
SHOWN = 30  # sources of a domain in the table; --json has all


def read(args: argparse.Namespace, names: list[str]) -> int:
    """Shows what the files say; 1 if one of them could not be read."""
    if not names:
        raise CommandError("write `mailnotary reports read FILE...`")
    reading = Reading()
    errors: list[dict[str, str]] = []
    for name in names:
        try:
            for where, octets in _files(name):
                try:
                    reading.file(octets)
                except ReadError as error:
                    errors.append({"file": where, "error": str(error)})
        except OSError as error:
            errors.append({"file": name, "error": f"can't be read: {error.strerror}"})
    if args.json:
        domains = [_json(summary) for summary in reading.summaries.values()]
        print_json({"domains": domains, "duplicates": reading.duplicates, "errors": errors})
    else:
        for one in errors:
            print(f"mailnotary: {printable(one['file'], 300)}: {one['error']}", file=sys.stderr)
        for summary in reading.summaries.values():
            _show(summary)
        if reading.duplicates:
            say(f"{counted(reading.duplicates, 'report')} came again and did not count.")
    return 1 if errors else 0


def _files(name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a directory, or one file; an mbox or a Maildir message by message."""
    path = Path(name)
    if name != "-" and path.is_dir() and not (path / "cur").is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file():
                yield from _files(str(file))
        return
    if name == "-":
        octets = sys.stdin.buffer.read(MAX_FILE + 1)
    elif path.is_dir():
        yield from ((message.name, message.octets) for message in read_messages(name))
        return
    else:
        with path.open("rb") as opened:
            octets = opened.read(MAX_FILE + 1)
    if len(octets) > MAX_FILE:
        raise CommandError(f"{printable(name)}: larger than {MAX_FILE} octets")
    if octets.startswith(b"From ") and name != "-":
        yield from ((message.name, message.octets) for message in read_messages(name))
    else:
        yield name, octets


def _show(summary: Summary) -> None:
    console = Console()
    days = f"{_day(summary.begin)} to {_day(summary.end)}"
    reports, organizations = counted(summary.reports, "report"), counted(len(summary.organizations), "organization")
    head = f"{reports} from {organizations}, {days}; p={', '.join(summary.policies)}"
    console.print(Folded(Text(f"{summary.domain}: ", "bold"), Text(head, "bold")))
    table = Table(box=None, pad_edge=False)
    for column in ("source", "messages", "passed", "failed", "refused or held", "valid for"):
        table.add_column(column, justify="left" if column in ("source", "valid for") else "right")
    sources = summary.worst()
    for source in sources[:SHOWN]:
        table.add_row(*_row(source))
    print_table(console, table)
    if len(sources) > SHOWN:
        say(f"and {len(sources) - SHOWN} more sources with fewer failures")
    say(cost(summary))
    print()


def _row(source: Source) -> tuple[str, ...]:
    names = ", ".join(name for name, _ in source.by.most_common(3))
    numbers = (source.messages, source.passed, source.failed, source.refused + source.held)
    return source.address, *map(str, numbers), names


def _day(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}" if seconds else "unknown"
    except (OverflowError, ValueError, OSError):
        return "unknown"


def _json(summary: Summary) -> dict[str, Any]:
    return {
        "domain": summary.domain,
        "reports": summary.reports,
        "begin": summary.begin,
        "end": summary.end,
        "organizations": dict(summary.organizations),
        "policies": dict(summary.policies),
        **{what: summary.total(what) for what in ("messages", "passed", "failed", "refused", "held", "vouched")},
        "sources": [
            {
                "source": one.address,
                **{what: getattr(one, what) for what in ("messages", "passed", "failed", "refused", "held", "vouched")},
                "valid_for": dict(one.by),
            }
            for one in summary.worst()
        ],
    }
