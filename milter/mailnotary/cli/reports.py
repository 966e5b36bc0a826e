"""Makes DMARC aggregate reports from the history and sends them, as the section `reports` of the configuration says.

Without --date it sends all that is due: the reports of the last three days that are over and were not sent, and what is
to be tried again. The systemd timer runs this. With --dry-run it sends and notes nothing, the day is yesterday unless
--date says another, and the current day works as well.

`reports bounced FILE` takes a message that came back to `bounces_to`, from a file or from standard input: its
destination gets no reports for a week.

`reports read FILE...` says what reports of others tell of your domains: who sends as you, what passes, and what
p=reject would cost. A FILE is XML, gzip, zip, a message, an mbox or a directory of such.

example: mailnotary reports --dry-run --out /tmp/reports
         mailnotary reports --date 2026-03-01 --domain example.org --dry-run
         mailnotary reports read Maildir/ *.xml.gz
         mailnotary reports bounced < message"""

import argparse
import time
from datetime import UTC, date, datetime, timedelta

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, add_json, add_zone
from mailnotary.cli.reports_dry import dry_run
from mailnotary.cli.reports_read import read
from mailnotary.cli.reports_send import bounced, send
from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.escape import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "action", metavar="read|bounced FILE", nargs="*", help="read reports of others, or one of ours that came back"
    )
    parser.add_argument("--date", metavar="D", type=_day, help="of this UTC day, like 2026-03-01, today or yesterday")
    parser.add_argument("--domain", metavar="D", type=_domain, action="append", default=[], help="only to this domain")
    parser.add_argument("--dry-run", action="store_true", help="send nothing, and note nothing")
    parser.add_argument(
        "--out", metavar="DIR", help="write each report as NAME.xml into this directory (with --dry-run)"
    )
    parser.add_argument("--at-once", action="store_true", help="send all now, whatever reports.spread_seconds says")
    add_zone(parser)
    add_config(parser)
    add_json(parser)


def _day(text: str) -> date:
    today = datetime.fromtimestamp(time.time(), UTC).date()
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{printable(text, 40)} is not a day: write one like 2026-03-01") from None


def _domain(text: str) -> str:
    name = to_ascii(text)
    if name is None or not is_domain_name(name):
        raise argparse.ArgumentTypeError(f"{printable(text, 100)} is not a domain name: write one like example.org")
    return name


def run(args: argparse.Namespace) -> int:
    """Makes, sends or reads reports."""
    if args.out is not None and not args.dry_run:
        raise CommandError("--out needs --dry-run: reports that are sent are not written to files")
    match args.action:
        case []:
            return dry_run(args) if args.dry_run else send(args)
        case ["bounced", *files]:
            return bounced(args, files)
        case ["read", *files]:
            return read(args, files)
        case _:
            raise CommandError("write `mailnotary reports`, with nothing behind it, read FILE... or bounced FILE")
