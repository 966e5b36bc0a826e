"""`mailnotary keys --plan`: when the keys of each domain are replaced, and how far that is."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table

from mailnotary.cli import CommandError
from mailnotary.cli.common import print_json, to_json
from mailnotary.cli.output import Console, Folded, Text, print_table
from mailnotary.config.keystore import KeyEntry
from mailnotary.config.load import Configuration
from mailnotary.keys import histories, progress
from mailnotary.keys.progress import Progress
from mailnotary.keys.rotate import Births, due


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The plan for one entry. `born`: since when its oldest key signs; `due`: when it is replaced, None where that is
    never or is under way; in seconds since 1970. `steps`: what is under way, a sentence for each key."""

    entry: str
    selectors: tuple[str, ...]
    born: float | None
    due: float | None
    steps: tuple[str, ...]


def plan(configuration: Configuration, *, as_json: bool) -> int:
    """Shows the plan, what is due first on top."""
    directory = configuration.settings.state_dir
    try:
        noted, known = progress.load(directory), histories.load(directory)
        published = histories.remembered(directory, configuration.keystore)
    except histories.StateError as error:
        raise CommandError(str(error)) from error
    births = Births(known, published)
    rows = [_row(configuration, entry, births, published, noted) for entry in configuration.keystore.entries.values()]
    rows.sort(key=lambda row: (not row.steps, row.due is None, row.due or 0))
    every = configuration.settings.rotation.rotate_every
    if as_json:
        print_json({"rotate_every": every, "last_run": noted.time or None, "plan": [to_json(row) for row in rows]})
        return 0
    console = Console()
    if every is None:
        console.print(Folded("", "rotation.rotate_every is not set, so keys are replaced only by hand"))
    elif not noted.time:
        console.print(Folded("", "nothing has run yet: systemctl enable --now mailnotary-rotate.timer"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("DOMAIN", "SIGNS WITH", "SINCE", "REPLACED"):
        table.add_column(title, no_wrap=title in ("SINCE", "REPLACED"), overflow="fold")
    for row in rows:
        when = Text("under way", "yellow") if row.steps else Text(_date(row.due) if row.due else "never")
        table.add_row(row.entry, " ".join(row.selectors) or "-", _moment(row.born) if row.born else "-", when)
    print_table(console, table)
    for row in rows:
        for step in row.steps:
            console.print(Folded(f"{row.entry}: ", step))
    return 0


def _row(
    configuration: Configuration,
    entry: KeyEntry,
    births: Births,
    published: frozenset[tuple[str, str]],
    noted: Progress,
) -> PlanRow:
    rotation = configuration.settings.rotation
    steps = tuple(f"{step.selector}: {step.text}" for step in noted.steps if step.entry == entry.name)
    born = births.of(entry)
    planned = rotation.includes(entry.domain) and born is not None and not steps
    when = due(entry.domain, born or 0, rotation.rotate_every or 0) if planned else None
    selectors = tuple(key.selector for key in entry.keys if not entry.idle(key, published))
    return PlanRow(entry.name, selectors, born, when, steps)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _date(when: float) -> str:
    return f"due since {_moment(when)}" if when <= time.time() else _moment(when)
