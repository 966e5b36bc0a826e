"""Bars over time, as numbers that a template writes as SVG.

A chart is 1000 by 100 units and is stretched to the width that there is. So it has no text: that is in HTML beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
_GAP: Final = 0.22  # of a bar's room
_LEAST: Final = 1.0  # the height of what is there at all


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar, from the bottom up. `kind` is its class in the style sheet."""

    y: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and what it says: "2026-11-26 17:00: 12 came through, 3 refused"."""

    x: float
    width: float
    parts: tuple[Part, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`kinds`: class and word of each kind; `most`: what the highest bar counts."""

    bars: tuple[Bar, ...]
    kinds: Mapping[str, str]
    most: int


def stacked(names: Sequence[str], counts: Sequence[Mapping[str, int]], kinds: Mapping[str, str]) -> Chart:
    """One bar for each name, of the counts by kind."""
    most = max((sum(count.values()) for count in counts), default=0)
    room = WIDTH / max(len(names), 1)
    bars = []
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        told = ", ".join(f"{count[kind]:,} {word}" for kind, word in kinds.items() if count.get(kind)) or "nothing"
        parts = tuple(_parts(count, kinds, most))
        bars.append(Bar(round(room * (place + _GAP / 2), 2), round(room * (1 - _GAP), 2), parts, f"{name}: {told}"))
    return Chart(tuple(bars), kinds, most)


def _parts(count: Mapping[str, int], kinds: Mapping[str, str], most: int) -> list[Part]:
    parts, top = [], HEIGHT
    for kind in kinds:
        if value := count.get(kind, 0):
            height = max(value * HEIGHT / most, _LEAST)
            top = max(top - height, 0.0)
            parts.append(Part(round(top, 2), round(height, 2), kind))
    return parts
