"""`mailnotary history --what-if`: what another configuration would have done with the messages of the history."""

from collections import Counter

from rich.table import Table

from mailnotary.cli.common import print_json
from mailnotary.cli.output import Console, Text, print_table, with_progress
from mailnotary.config.settings import Settings
from mailnotary.escape import printable
from mailnotary.history.store import Search, Store
from mailnotary.history.what_if import Change, WhatIf

TOP = 10  # domains, clients and examples that are listed


def what_if(store: Store, search: Search, settings: Settings, *, as_json: bool) -> int:
    """Compares, and prints what would be different."""
    comparison = WhatIf(settings)
    messages = with_progress(store.each(search), store.count(search), "messages")  # millions take minutes
    changes = list(comparison.changes(messages))
    if as_json:
        changed = [
            {
                "queue_id": change.message["queue_id"],
                "now": change.now,
                "then": change.then,
                "why": change.why,
                "time": change.message["time"],
                "host": change.message["host"],
                "client": change.message["client"],
                "domains": change.message["author"]["domains"] if change.message["author"] else [],
                "legitimate": comparison.legitimate(change),
            }
            for change in changes
        ]
        print_json({"messages": comparison.messages, "changed": changed})
    else:
        _render(comparison, changes)
    return 0


def _render(comparison: WhatIf, changes: list[Change]) -> None:
    console = Console()
    console.print(f"{comparison.messages} messages looked at, {len(changes)} would have ended differently")
    if not changes:
        return
    kinds = Counter((change.now, change.then) for change in changes)
    for (now, then), count in kinds.most_common():
        console.print(f"  {count:>8} {now} -> {then}")
    refused = [change for change in changes if change.refuses]
    looks_good = [(change, why) for change in refused if (why := comparison.legitimate(change))]
    if refused:
        console.print(
            Text(f"\n{len(looks_good)} of the {len(refused)} that would not have come through look legitimate")
        )
        for change, why in looks_good[:TOP]:
            console.print(Text(f"  {_name(change)}: {printable(why)}", "yellow"))
        if len(looks_good) > TOP:
            console.print(f"  and {len(looks_good) - TOP} more: --json lists all")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("\nMOST CHANGED DOMAINS", overflow="fold")
    table.add_column("\nMESSAGES", justify="right")
    table.add_column("\nWHY, FOR ONE", overflow="fold")
    examples: dict[str, Change] = {}
    counts: Counter[str] = Counter()
    for change in changes:
        domain = _domain(change)
        counts[domain] += 1
        examples.setdefault(domain, change)
    for domain, count in counts.most_common(TOP):
        table.add_row(Text(printable(domain)), str(count), Text(printable(examples[domain].why, 160)))
    print_table(console, table)


def _domain(change: Change) -> str:
    author = change.message["author"]
    return author["domains"][0] if author and author["domains"] else "(no author domain)"


def _name(change: Change) -> str:
    return f"{printable(change.message['queue_id'])} of {printable(_domain(change))} from {change.message['client']}"
