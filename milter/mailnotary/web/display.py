"""Text of strangers, numbers and times as the page shows them.

Templates escape what is HTML by themselves. What is left to do is what a reader cannot see: `visible` shows it, and the
element bdi keeps the direction of a text from what is around it.
"""

import re
import time
import unicodedata
from typing import Final

from markupsafe import Markup

from mailnotary.escape import printable

LONG: Final = 300  # characters of a text that are shown
# What has no width or hides what follows, beside what Unicode calls a control or format character.
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_HIDDEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_MAX_MARKS: Final = 2  # on one character; more of them cover the lines around
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)")
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def visible(text: object, limit: int = LONG) -> Markup:
    """A text of strangers as HTML. Nothing in it is invisible or acts on the text around it; it is cut at `limit`."""
    shown = printable(str(text), limit)
    if not shown.isascii():
        shown = "".join(_each(shown))
    return Markup("<bdi>{}</bdi>").format(shown)


def _each(text: str) -> list[str]:
    shown, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        space = category == "Zs" and character != " "
        if category in _HIDDEN_CATEGORIES or character in _INVISIBLE or space or marks > _MAX_MARKS:
            shown.append(f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
        else:
            shown.append(character)
    return shown


def number(value: float) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent. What is not all is never shown as 100 %, and what is there never as 0."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def moment(seconds: float) -> str:
    """A time in UTC; "unknown" where there cannot be such a time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "unknown"


def ago(seconds: float) -> str:
    """How long something is past: "3 days"."""
    for unit, name in _UNITS:
        count = int(seconds // unit)
        if count:
            return f"{count} {name}{'s' * (count != 1)}"
    return "a moment"


def plural(count: int, word: str) -> str:
    """1 message, 2 messages."""
    return f"{number(count)} {word}{'s' * (count != 1)}"


def clock(iso: str) -> str:
    """The time of a message, as the history has it, to the second."""
    found = _TIME.match(iso)
    return f"{found[1]} {found[2]}" if found else iso


FILTERS: Final = {"visible": visible, "number": number, "moment": moment, "ago": ago, "clock": clock}
