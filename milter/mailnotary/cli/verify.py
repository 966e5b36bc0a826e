"""Verifies the DKIM signatures of a message file.

example: mailnotary verify message.eml"""

import argparse
import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from mailnotary import dkim
from mailnotary.cli.common import (
    RecordingResolver,
    add_config,
    add_json,
    add_zone,
    print_json,
    read_message,
    read_settings,
    resolver_for,
    result_style,
)
from mailnotary.escape import printable
from mailnotary.mail.message import crlf


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("message", metavar="MESSAGE", help="the message file, - for standard input")
    add_config(parser)
    add_zone(parser)
    parser.add_argument("--now", type=int, metavar="EPOCH", help="use this as the current time (seconds since 1970)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints one result per signature, the topmost first."""
    settings = read_settings(args.config)
    resolver = RecordingResolver(resolver_for(args.zone, settings))
    now = int(time.time()) if args.now is None else args.now
    results = dkim.verify(
        crlf(read_message(args.message)),
        resolver,
        now=now,
        max_signatures=settings.verify.max_signatures,
        min_rsa_bits=settings.verify.min_rsa_bits,
    )
    if args.json:
        print_json({"dkim": results})
    else:
        _render(results)
    return 0


def _render(results: Sequence[dkim.DkimResult]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not results:
        console.print(Text.assemble(("none", result_style("none")), "  the message has no DKIM signature"))
    for result in results:
        console.print(Text.assemble((f"{result.status:<9}", result_style(result.status)), "  ", _title(result)))
        if result.reason:
            console.print(Text(f"           {printable(result.reason)}"))


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
