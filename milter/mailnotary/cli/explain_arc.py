"""The ARC chain of a message, hop by hop, as `mailnotary explain` shows it."""

import time

from mailnotary.arc import ArcResult
from mailnotary.authres import Passage
from mailnotary.cli.common import result_style
from mailnotary.cli.output import SECTION, Console, Folded, Text, print_section
from mailnotary.escape import printable


def render(console: Console, result: ArcResult, passage: Passage | None, missing: tuple[str, ...]) -> None:
    """Prints the chain, the oldest set first, and what it would take for it to outweigh DMARC."""
    title = Text.assemble(
        (result.status, result_style(result.status)), f", {len(result.sets)} set{'s' * (len(result.sets) != 1)}"
    )
    print_section(console, "ARC", title, printable(result.reason))
    for each in result.sets:
        when = "" if each.timestamp is None else time.strftime(", %Y-%m-%d %H:%M:%SZ", time.gmtime(each.timestamp))
        _line(console, f"{each.instance} sealed by {each.domain}, selector {each.selector}{when}, cv={each.cv}")
        _line(console, f"  it found: {each.assessment.decode('utf-8', 'replace').strip()}")
        if each.signature:
            _line(console, f"  its signature does not hold: {each.signature}")
        else:
            _line(console, "  its signature holds: nothing that it covers was changed since")
        if each.testing:
            _line(console, "  its key is in test mode (t=y)")
    if missing:
        _line(console, f"would have passed through: {', '.join(missing)} not in arc.trusted_sealers", "yellow")
    elif passage is not None:
        _line(console, f"passed DMARC before it came to {', '.join(passage.sealers)}, all trusted", "green")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Folded(" " * SECTION, Text(printable(text.replace("\r\n", ""), 600), style)))
