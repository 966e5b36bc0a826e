"""YAML as the import writes it."""

from collections.abc import Iterable

from mailnotary.escape import printable
from mailnotary.keys.edit import scalar


def comment(text: str) -> str:
    """A text behind a "#"."""
    return printable(text, limit=400)


def flow(values: Iterable[str]) -> str:
    """A list in brackets."""
    return "[" + ", ".join(scalar(value) for value in values) + "]"
