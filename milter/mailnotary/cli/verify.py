"""Verifies the DKIM signatures of a message, or of each message of an mbox or a Maildir.

The exit status does not depend on the results; scripts use --json.

example: mailnotary verify message.eml
         mailnotary verify ~/Maildir --json | jq '.messages[].dkim[].status'"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from mailnotary import dkim
from mailnotary.cli.common import (
    add_config,
    add_json,
    add_zone,
    nameservers,
    read_settings,
    resolver_for,
    result_style,
    to_json,
)
from mailnotary.cli.messages import MESSAGE_HELP, for_each
from mailnotary.cli.output import Console, Folded, Text
from mailnotary.dkim import evidence
from mailnotary.dkim.misprint import misplaced, misprint, served
from mailnotary.dkim.publish import key_record_name
from mailnotary.escape import printable
from mailnotary.resolver import DnsTempError, RecordKind, Resolver
from mailnotary.status import DkimStatus


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("message", metavar="MESSAGE", help=MESSAGE_HELP)
    add_config(parser)
    add_zone(parser)
    parser.add_argument("--now", type=int, metavar="EPOCH", help="use this as the current time (seconds since 1970)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints one result per signature, the topmost first."""
    settings = read_settings(args.config)
    resolver = resolver_for(args.zone, settings)
    now = int(time.time()) if args.now is None else args.now

    def verify(message: bytes) -> Sequence[dkim.DkimResult]:
        return dkim.verify(
            message,
            resolver,
            now=now,
            max_signatures=settings.verify.max_signatures,
            min_rsa_bits=settings.verify.min_rsa_bits,
        )

    def as_json(results: Sequence[dkim.DkimResult]) -> dict[str, Any]:
        return {"dkim": to_json(results), "key_records": [_key_record(result, resolver) for result in results]} | {
            "evidence": [result.evidence and result.evidence._asdict() for result in results]
        }

    def render(results: Sequence[dkim.DkimResult]) -> None:
        _render(results, resolver)

    asked = nameservers(args.zone, settings, args.config)
    status = for_each(args.message, verify, render, as_json if args.json else None, asked)
    if asked and not args.json:
        Console().print(Folded("DNS        ", f"asked {asked}"))
    return status


def _key_record(result: dkim.DkimResult, resolver: Resolver) -> str:
    """What is wrong with the key record of a signature, "" if nothing can be said."""
    if result.status is not DkimStatus.PERMERROR or not result.domain or not result.selector:
        return ""
    try:
        texts = resolver.lookup(key_record_name(result.domain, result.selector), RecordKind.TXT).texts
    except DnsTempError:
        return ""
    if not texts:
        return misplaced(resolver, result.domain, result.selector)
    mistake = misprint(texts[0])
    return f"{mistake.text}; DNS serves {served(texts[0])}" if mistake else ""


def _render(results: Sequence[dkim.DkimResult], resolver: Resolver) -> None:
    console = Console()
    if not results:
        console.print(Text.assemble(("none", result_style("none")), "  the message has no DKIM signature"))
    for result in results:
        status = Text.assemble((f"{result.status:<9}", result_style(result.status)), "  ")
        console.print(Folded(status, _title(result)))
        if result.reason:
            console.print(Folded(" " * 11, printable(result.reason)))
        if result.evidence is not None and (said := evidence.text(result.evidence)):
            console.print(Folded(" " * 11, said))
        if advice := _key_record(result, resolver):
            console.print(Folded(" " * 11, advice))


def _title(result: dkim.DkimResult) -> str:
    """What a signature says about itself, on one line."""
    if not result.domain:
        return "a signature without a usable domain"
    parts = [printable(result.domain)]
    if result.selector:
        parts.append(f"selector {printable(result.selector)}")
    if result.algorithm:
        parts.append(result.algorithm + (f" with {result.key_bits} bits" if result.key_bits else ""))
    if result.identity not in ("", f"@{result.domain}"):
        parts.append(f"for {printable(result.identity)}")
    return ", ".join(parts)
