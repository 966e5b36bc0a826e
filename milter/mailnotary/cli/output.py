"""Text output: colors, and lines that fold between words at the width of a terminal."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, ConsoleOptions
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table  # many commands print none

T = TypeVar("T")

_UNBOUNDED = 10_000  # columns: more than any row has
SECTION = 10  # columns for the names of sections
LEAST_WIDTH = 20  # columns for text, however narrow the terminal and however deep the indent


def open_console() -> Console:
    """Standard output: with colors on a terminal or where FORCE_COLOR is not empty (force-color.org), unless NO_COLOR
    is set (no-color.org)."""
    # Decided here: old releases of rich take an empty FORCE_COLOR for a wish.
    return Console(
        highlight=False, soft_wrap=True, force_terminal=bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
    )


def say(text: str) -> None:
    """Prints a paragraph."""
    console = open_console()
    for line in text.split("\n"):
        console.print(Folded("", line))


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, while a bar on standard error shows how many of them have come; only if that is a terminal. It is gone
    when all have."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import Progress  # here: no command without a bar waits for it

    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total, description=what)


def print_table(console: Console, table: "Table") -> None:
    """Prints a table, as wide as a terminal, with columns that fold; a pipe gets one line for each row."""
    if console.is_terminal:
        console.print(table, soft_wrap=False)
    else:
        Console(highlight=False, width=_UNBOUNDED, force_terminal=False).print(table)


def print_section(console: Console, name: str, title: Text | str, detail: str = "") -> None:
    """Prints a part of an account of one message: its name, its title, and below that what there is to say of it."""
    console.print(Folded(Text(f"{name:<{SECTION}}", "bold"), title))
    if detail:
        console.print(Folded(" " * SECTION, detail))


class Folded:
    """A line of `head` and `body`. On a terminal the body folds between words, and each further line begins with `tail`
    (by default blanks as wide as the head); a pipe or a file gets one line, for grep."""

    def __init__(self, head: Text | str, body: Text | str, tail: Text | None = None) -> None:
        self._head = Text(head) if isinstance(head, str) else head
        self._body = Text(body) if isinstance(body, str) else body
        self._tail = Text(" " * self._head.cell_len) if tail is None else tail

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if not console.is_terminal:
            yield Text.assemble(self._head, self._body)
            return
        indent = max(self._head.cell_len, self._tail.cell_len)
        width = max(options.max_width - indent, LEAST_WIDTH)
        for number, line in enumerate(self._body.wrap(console, width) or [Text()]):
            line.rstrip()
            yield Text.assemble(self._tail if number else self._head, line)
