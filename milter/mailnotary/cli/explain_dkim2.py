"""What `mailnotary explain` says of a chain of DKIM2, which is experimental. All text of the message passes through
`printable`."""

import time
from typing import Any

from mailnotary.cli.common import result_style, to_json
from mailnotary.cli.output import SECTION, Console, Folded, Text, print_section
from mailnotary.dkim2 import DRAFT, Change, Dkim2Result, Hop
from mailnotary.escape import printable

_MAX_RECIPIENTS = 3  # of a hop that are listed
_MAX_TEXT = 80  # characters of a value or line


def as_json(result: Dkim2Result | None) -> Any:
    """The JSON object of a result, with the draft that it was made by."""
    return None if result is None else {"draft": DRAFT, **to_json(result)}


def render(console: Console, result: Dkim2Result) -> None:
    """Prints a result, and each hop with what it says it changed."""
    word = Text(result.status, result_style(result.status))
    about = f" {printable(result.domain)}" if result.domain else ""
    title = Text.assemble(word, f"{about} (experimental, {DRAFT})")
    print_section(console, "DKIM2", title, printable(result.reason))
    for hop in result.hops:
        _hop(console, hop)


def _hop(console: Console, hop: Hop) -> None:
    status = Text(hop.status, result_style(hop.status))
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(hop.timestamp, 10**11)))
    console.print(
        Folded(" " * SECTION, Text.assemble(f"i={hop.number} ", status, f" {printable(hop.domain)}, signed {made}"))
    )
    for text, style in _details(hop):
        console.print(Folded(" " * (SECTION + 4), Text(text, style)))


def _details(hop: Hop) -> list[tuple[str, str]]:
    """Each line about a hop, with its style."""
    lines = [(_sent(hop), "")]
    for value in hop.values:
        bits = f", {value.key_bits} bits" if value.key_bits else ""
        key = f"{printable(value.selector)} ({printable(value.algorithm)}{bits})"
        lines.append((f"signature {key}: {value.status if value.status != 'none' else 'not looked at'}", ""))
    if hop.flags:
        lines.append((f"flags: {printable(', '.join(hop.flags))}", ""))
    lines += [(_changed(change), "") for change in hop.changes]
    if not hop.body_known:
        lines.append(("says that the body before it cannot be recreated", "yellow"))
    if hop.reason:
        lines.append((printable(hop.reason), "yellow"))
    return lines


def _sent(hop: Hop) -> str:
    if hop.next_domain:
        return f"handed to {printable(hop.next_domain)}, which signs next"
    listed = ", ".join(map(printable, hop.rcpt_to[:_MAX_RECIPIENTS]))
    more = len(hop.rcpt_to) - _MAX_RECIPIENTS
    return f"sent from {printable(hop.mail_from)} to {listed}" + (f" and {more} more" if more > 0 else "")


def _changed(change: Change) -> str:
    before = " | ".join([printable(text, _MAX_TEXT) for text in change.before])
    after = " | ".join([printable(text, _MAX_TEXT) for text in change.after])
    if change.name:
        name = printable(change.name)
        if not change.before:
            return f"says that it added {name}: {after}"
        if not change.after:
            return f"says that it removed {name}: {before}"
        return f"says that {name} was: {before}; and is now: {after}"
    parts = [f"added lines {', '.join(change.after)} of the body"] if change.after else []
    parts += [f"took out of the body: {before}"] if change.before else []
    return f"says that it {'; '.join(parts)}"
