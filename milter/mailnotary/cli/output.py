"""Text output: colors, and lines that fold between words at the width of a terminal.

rich draws on terminals, and tables everywhere. To load it takes longer than the work of many commands: a pipe or a file
gets its lines without it."""

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from mailnotary.cli.common import result_style

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions
    from rich.table import Table
    from rich.text import Text as RichText

T = TypeVar("T")

_UNBOUNDED = 10_000  # columns: more than any row has
SECTION = 10  # columns for the names of sections
LEAST_WIDTH = 20  # columns for text, however narrow the terminal and however deep the indent


class Text:
    """Text whose parts may each have a style, in rich's words ("bold red")."""

    def __init__(self, text: str = "", style: str = "") -> None:
        self._parts = [(text, style)]

    @classmethod
    def assemble(cls, *parts: "str | tuple[str, str] | Text") -> Self:
        """One of parts: without a style, with one, and of texts."""
        text = cls()
        for part in parts:
            text._parts += part._parts if isinstance(part, Text) else [(part, "") if isinstance(part, str) else part]
        return text

    def append(self, text: str, style: str) -> None:
        """Adds a part."""
        self._parts.append((text, style))

    def __str__(self) -> str:
        return "".join([text for text, _ in self._parts])

    def __rich__(self) -> "RichText":
        from rich.text import Text as RichText

        return RichText.assemble(*self._parts)


class Folded:
    """A line of `head` and `body`. On a terminal the body folds between words, and each further line begins with `tail`
    (by default blanks as wide as the head); a pipe or a file gets one line, for grep."""

    def __init__(self, head: Text | str, body: Text | str, tail: Text | None = None) -> None:
        self._head, self._body, self._tail = Text.assemble(head), Text.assemble(body), tail

    def __str__(self) -> str:
        return f"{self._head}{self._body}"

    def __rich_console__(self, console: "RichConsole", options: "ConsoleOptions") -> "Iterator[RichText]":
        from rich.text import Text as RichText

        head, body = self._head.__rich__(), self._body.__rich__()
        tail = RichText(" " * head.cell_len) if self._tail is None else self._tail.__rich__()
        width = max(options.max_width - max(head.cell_len, tail.cell_len), LEAST_WIDTH)
        for number, line in enumerate(body.wrap(console, width) or [RichText()]):
            line.rstrip()
            yield RichText.assemble(tail if number else head, line)


class Console:
    """Standard output: with colors on a terminal or where FORCE_COLOR is not empty (force-color.org), unless NO_COLOR
    is set (no-color.org)."""

    def __init__(self) -> None:
        # Decided here: old releases of rich take an empty FORCE_COLOR for a wish.
        self.is_terminal = bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()

    @cached_property
    def rich(self) -> "RichConsole":
        """For what only rich can do."""
        from rich.console import Console as RichConsole

        return RichConsole(highlight=False, soft_wrap=True, force_terminal=self.is_terminal)

    def print(self, *lines: Folded | Text | str) -> None:
        """Prints the lines at once; an empty one where there are none."""
        if self.is_terminal:
            self.rich.print(*(Text(line) if isinstance(line, str) else line for line in lines), sep="\n")
        else:
            print(*lines, sep="\n", flush=True)


def say(text: str) -> None:
    """Prints a paragraph."""
    Console().print(*(Folded("", line) for line in text.split("\n")))


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, while a bar on standard error shows how many of them have come; only if that is a terminal. It is gone
    when all have."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console as RichConsole
    from rich.progress import Progress

    with Progress(console=RichConsole(stderr=True), transient=True) as progress:
        yield from progress.track(items, total, description=what)


def print_table(console: Console, table: "Table") -> None:
    """Prints a table, as wide as a terminal, with columns that fold; a pipe gets one line for each row."""
    if console.is_terminal:
        console.rich.print(table, soft_wrap=False)
        return
    from rich.console import Console as RichConsole

    RichConsole(highlight=False, width=_UNBOUNDED, force_terminal=False).print(table)


def print_section(console: Console, name: str, title: Text | str, detail: str = "") -> None:
    """Prints a part of an account of one message: its name, its title, and below that what there is to say of it."""
    console.print(Folded(Text(f"{name:<{SECTION}}", "bold"), title))
    if detail:
        console.print(Folded(" " * SECTION, detail))


def in_colors(words: Iterable[str]) -> Text:
    """Result words, each in its colour; "-" for none."""
    parts = [part for word in words for part in (" ", (word, result_style(word)))]
    return Text.assemble(*(parts[1:] or ["-"]))
