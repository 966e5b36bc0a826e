"""Runs a message through the daemon's own session and says what the daemon would do with it, and why.

Each message of an mbox or a Maildir is explained with the same client and envelope. The exit status does not depend on
the results; scripts use --json.

example: mailnotary explain message.eml --ip 192.0.2.7 --helo mx.example.org \\
             --mail-from bob@example.org"""

import argparse
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mailnotary.cli.common import (
    RecordingResolver,
    add_config,
    add_json,
    add_zone,
    client_address,
    nameservers,
    read_configuration,
    resolver_for,
    to_json,
)
from mailnotary.cli.explain_dkim2 import as_json as dkim2_as_json
from mailnotary.cli.explain_text import render
from mailnotary.cli.messages import MESSAGE_HELP, for_each
from mailnotary.config.load import Configuration
from mailnotary.dkim.diagnose import Diagnosis, diagnose
from mailnotary.escape import printable
from mailnotary.keys import histories
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import Resolver
from mailnotary.session.inbound import Traces
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.policy import DeleteHeader, InsertHeader, Reply
from mailnotary.session.session import Session

CHUNK = 65_535  # octets; as much of a body as the milter protocol passes at once


def hand_over(session: Session, fields: Iterable[HeaderField], body: bytes) -> None:
    """Gives a message's content to a session, in the role of the MTA."""
    for field in fields:
        session.header(field.name, field.value)
    session.end_of_headers()
    for start in range(0, len(body), CHUNK):
        session.body(body[start : start + CHUNK])
    session.end_of_message("-")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one message. `removed` are the header fields that were removed."""

    record: MessageRecord
    removed: tuple[HeaderField, ...]
    questions: list[dict[str, Any]]
    traces: Traces
    diagnoses: tuple[Diagnosis | None, ...]  # beside record.results.signatures


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("message", metavar="MESSAGE", help=MESSAGE_HELP)
    parser.add_argument("--ip", required=True, type=client_address, help="the client's address")
    parser.add_argument("--helo", required=True, metavar="NAME", help="the name that the client gave with HELO or EHLO")
    parser.add_argument("--mail-from", required=True, metavar="ADDR", help='the envelope sender ("" for a bounce)')
    parser.add_argument(
        "--rcpt",
        action="append",
        default=[],
        metavar="ADDR",
        help="an envelope recipient, once for each (only reachable_recipients and dkim2 need them)",
    )
    parser.add_argument("--auth-user", metavar="U", help="the login name of an authenticated client")
    parser.add_argument(
        "--tls-client",
        metavar="SUBJECT",
        help="the subject of the client's TLS certificate, verified by the MTA",
    )
    parser.add_argument("--daemon-name", metavar="NAME", help="the {daemon_name} of the MTA's listener")
    add_zone(parser)
    parser.add_argument("--now", type=int, metavar="EPOCH", help="use this as the current time (seconds since 1970)")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Explains each message."""
    configuration = read_configuration(args.config, source=True)
    resolver = resolver_for(args.zone, configuration.settings)
    published = _published(configuration)

    def use(octets: bytes) -> Explanation:
        return explain(octets, args, configuration, resolver, published)

    asked = nameservers(args.zone, configuration.settings, args.config)
    return for_each(
        args.message, use, lambda explanation: render(explanation, asked), as_json if args.json else None, asked
    )


def explain(
    octets: bytes,
    args: argparse.Namespace,
    configuration: Configuration,
    inner: Resolver,
    published: frozenset[tuple[str, str]],
) -> Explanation:
    """Runs one message (with CRLF line ends) through a session, in the role of the MTA."""
    resolver = RecordingResolver(inner)
    message = parse(octets)
    records: list[MessageRecord] = []
    traces = Traces()
    now = args.now
    environment = Environment(
        configuration.settings,
        configuration.keystore,
        resolver,
        records.append,
        socket.getfqdn(),
        clock=time.time if now is None else lambda: float(now),
        published=published,
        traces=traces,
    )
    session = Session(lambda: environment)
    session.connect(str(args.ip), None, args.daemon_name)
    session.helo(args.helo)
    sender = args.mail_from.encode("utf-8", "surrogateescape")
    bare = sender.startswith(b"<") and sender.endswith(b">")
    if session.mail_from(sender if bare else b"<" + sender + b">", args.auth_user, args.tls_client) is None:
        for recipient in args.rcpt:
            session.rcpt_to(recipient.encode("utf-8", "surrogateescape"))
        hand_over(session, message.fields, message.body)
    record = records[0]
    questions = list(resolver.questions)  # without those of the diagnosis, which repeat them
    diagnoses: list[Diagnosis | None] = []
    if signatures := record.results.signatures:
        diagnoses = diagnose(message.fields, message.body, signatures, resolver, now=int(environment.clock()))
    return Explanation(record, _removed(message.fields, record), questions, traces, tuple(diagnoses))


def _published(configuration: Configuration) -> frozenset[tuple[str, str]]:
    """The auto keys that the daemon signs with."""
    try:
        return histories.remembered(configuration.settings.state_dir, configuration.keystore)
    except histories.StateError as error:
        print(f"mailnotary explain: warning: it is unknown which auto keys sign: {error}", file=sys.stderr)
        return frozenset()


def _removed(fields: tuple[HeaderField, ...], record: MessageRecord) -> tuple[HeaderField, ...]:
    by_name: dict[bytes, list[HeaderField]] = {}
    for field in fields:
        by_name.setdefault(field.key, []).append(field)
    deletions = (action for action in record.actions if isinstance(action, DeleteHeader))
    return tuple(by_name[action.name.lower().encode()][action.index - 1] for action in deletions)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The JSON object of the command."""
    record = explanation.record
    reply = next((action for action in record.actions if isinstance(action, Reply)), None)
    return {
        "mode": record.mode,
        "why": printable(record.why),
        "author": to_json(record.author),
        "spf": to_json(record.results.spf),
        "dkim": to_json(record.results.signatures),
        "dkim_details": to_json(explanation.diagnoses),
        "dkim_evidence": [result.evidence and result.evidence._asdict() for result in record.results.signatures],
        "dmarc": to_json(record.results.dmarc),
        "arc": to_json(record.results.arc),
        "arc_would_trust": list(record.arc_missing),
        "dkim2": dkim2_as_json(record.results.dkim2),
        "action": record.action,
        "would": record.verdict.would if record.verdict else "",
        "signed": [{"domain": domain, "selector": selector} for domain, selector in record.signed],
        "headers_added": [[action.name, action.value] for action in record.actions if isinstance(action, InsertHeader)],
        "headers_removed": [
            [field.name.decode("ascii"), field.value.decode("utf-8", "backslashreplace").removeprefix(" ")]
            for field in explanation.removed
        ],
        "reply": to_json(reply),
        "error": record.error,
        "dns": explanation.questions,
    }
