"""Runs stored mail through the daemon's own session, and says what the daemon would do with it.

Client, HELO name and sender are those of the Received field of the host that took the mail in, and of Return-Path. DNS
is asked now: what it said when the mail arrived is not known, so keys and records may have gone meanwhile.

example: mailnotary replay --received-by mx.example.org ~/Maildir
         mailnotary replay --received-by mx.example.org spam.mbox --json"""

import argparse
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from mailnotary.cli import complain
from mailnotary.cli.common import (
    add_config,
    add_json,
    add_zone,
    print_json,
    read_configuration,
    resolver_for,
)
from mailnotary.cli.explain import hand_over
from mailnotary.cli.messages import MESSAGE_HELP, StoredMessage, read_messages
from mailnotary.cli.output import Console, Text, in_colors, print_table, with_progress
from mailnotary.escape import printable
from mailnotary.history.story import complete, row_of, story_of
from mailnotary.mail.message import crlf, parse
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.session import Session
from mailnotary.session.stored import Arrival, arrival


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("mailboxes", metavar="MAILBOX", nargs="+", help=MESSAGE_HELP)
    parser.add_argument(
        "--received-by",
        required=True,
        metavar="HOST",
        help="the host that took the mail in, as in Received",
    )
    add_zone(parser)
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Replays all messages; 1 where some could not be."""
    stored = [message for path in args.mailboxes for message in read_messages(path)]
    found: list[dict[str, Any]] = []
    skipped = 0
    replayed = _Replay(args)
    for message in with_progress(stored, len(stored), "messages"):
        outcome = message.problem or replayed.outcome(message)
        if isinstance(outcome, str):
            skipped += 1
            complain(f"mailnotary replay: {outcome}")
        else:
            found.append({"message": message.name} | outcome)
    if args.json:
        print_json({"messages": found, "skipped": skipped})
    else:
        _render(found, skipped)
    return 1 if skipped else 0


class _Replay:
    """Sessions with one configuration."""

    def __init__(self, args: argparse.Namespace) -> None:
        configuration = read_configuration(args.config, source=True)
        self._host: str = args.received_by
        self._records: list[MessageRecord] = []
        self._environment = Environment(
            configuration.settings,
            configuration.keystore,
            resolver_for(args.zone, configuration.settings),
            self._records.append,
            socket.getfqdn(),
        )

    def outcome(self, message: StoredMessage) -> dict[str, Any] | str:
        """What the daemon would do with a message, as `history --json` has it; or why that cannot be said."""
        parsed = parse(crlf(message.octets))
        arrived = arrival(parsed, self._host)
        if isinstance(arrived, str):
            return f"{message.name}: {arrived}"
        self._run(arrived, parsed.body)
        record = self._records.pop()
        return complete(row_of(record), self._host, story_of(record, str))

    def _run(self, arrived: Arrival, body: bytes) -> None:
        session = Session(lambda: self._environment)
        session.connect(str(arrived.client.address), None, None)
        session.helo(arrived.client.helo)
        if session.mail_from(b"<" + arrived.mail_from + b">", None) is not None:
            return
        hand_over(session, arrived.fields, body)


def _render(messages: list[dict[str, Any]], skipped: int) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("MESSAGE", "ACTION", "SPF", "DKIM", "DMARC", "AUTHOR"):
        table.add_column(name, overflow="fold")
    for message in messages:
        table.add_row(*_cells(message))
    print_table(console, table)
    counts = Counter(message["action"] for message in messages)
    summary = ", ".join(f"{count} {action}" for action, count in counts.most_common()) or "no messages"
    console.print(f"{summary}; {skipped} skipped. DNS was asked today.")


def _cells(message: dict[str, Any]) -> Iterator[Text]:
    yield Text(printable(message["message"]))
    yield Text(message["action"] + (f" (would {message['would']})" if message["would"] else ""))
    dmarc = [message["dmarc"]["status"]] if message["dmarc"] else []
    mail_from = [result["status"] for result in message["spf"] if result["identity"] == "mailfrom"]
    for words in (mail_from, sorted({result["status"] for result in message["dkim"]}), dmarc):
        yield in_colors(words)
    author = message["author"]
    yield Text(printable(",".join(author["domains"][:2])) if author and author["domains"] else "-")
