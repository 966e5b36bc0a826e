"""`mailnotary history --arc-candidates`: sealers that a list of trusted ones would need, from the evidence."""

from dataclasses import replace

from rich.table import Table

from mailnotary.cli.common import print_json
from mailnotary.cli.output import Console, Text, print_table, with_progress
from mailnotary.escape import printable
from mailnotary.history.candidates import candidates
from mailnotary.history.store import Search, Store

_AUTHORS = 5  # that are named of each


def show_candidates(store: Store, search: Search, *, as_json: bool) -> int:
    """Shows them; 1 where there is none."""
    search = replace(search, result=search.result or ("dmarc", "fail"))
    found = candidates(with_progress(store.each(search), store.count(search), "messages"))
    if as_json:
        print_json(
            {
                "candidates": [
                    {
                        "sealers": list(one.sealers),
                        "messages": one.messages,
                        "refused": one.refused,
                        "authors": dict(one.authors.most_common()),
                    }
                    for one in found
                ]
            }
        )
        return 0 if found else 1
    if not found:
        return 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("MESSAGES", "REFUSED"):
        table.add_column(name, justify="right")
    for name in ("SEALERS TO TRUST", "AUTHORS"):
        table.add_column(name, overflow="fold")
    for one in found:
        authors = [name for name, _ in one.authors.most_common(_AUTHORS)]
        more = ", ..." if len(one.authors) > _AUTHORS else ""
        sealers = ", ".join(one.sealers) or "(others)"
        table.add_row(
            str(one.messages),
            str(one.refused),
            Text(printable(sealers, 400)),
            Text(printable(", ".join(authors), 400) + more),
        )
    print_table(Console(), table)
    return 0
