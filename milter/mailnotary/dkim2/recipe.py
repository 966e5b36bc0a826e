"""Recipes (draft-ietf-dkim-dkim2-spec-06 section 5): what turns an instance of a message into the one before it.

A step copies a range of lines or values, each range behind the one before, or gives new ones. So no recipe can give
more than what it has and what it reads, however it is written, and a copy of a copy is again a range: `Plan` follows
the body's lines back through all recipes, before the first octet of the body has come."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mailnotary.dkim.canon import relaxed_header
from mailnotary.errors import MailSyntaxError
from mailnotary.escape import ascii_printable
from mailnotary.mail.message import HeaderField

MAX_STEPS = 2048  # of one recipe: each changed place takes two
MAX_LINES = 16384  # that steps give, of one recipe: a field of 64 KiB has room for as many
ENDLESS = 2**63  # lines of a body whose end has not come

_NAME = re.compile(r"[!-9;-@\[-~]+\Z")  # ftext (RFC 5322 3.6.8), in lower case: "MUST be in lower case" (5.1)


class RecipeError(MailSyntaxError):
    """The recipe is not in the form of section 5, or does not fit the message."""


class Copied(NamedTuple):
    """Lines or values by their numbers, from 1; the last one is among them."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.end - self.start + 1

    def part(self, first: int, last: int) -> "Copied":
        """Some of them, by their place in this step, from 1."""
        return Copied(self.start + first - 1, self.start + last - 1)


class Given(NamedTuple):
    """Lines without their CRLF, or values."""

    texts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.texts)

    def part(self, first: int, last: int) -> "Given":
        """Some of them, by their place in this step, from 1."""
        return Given(self.texts[first - 1 : last])


Step = Copied | Given
Plan = tuple[Step, ...]
"""An instance's body, made of lines of the body that was received."""
RECEIVED: Plan = (Copied(1, ENDLESS),)


class Recipe(NamedTuple):
    """A valid recipe. `header`: the steps of each name; `body`: None where the body did not change; `body_lost`: "the
    previous state of the message body cannot be recreated" (5.2)."""

    header: dict[str, tuple[Step, ...]]
    body: tuple[Step, ...] | None
    body_lost: bool


def parse_recipe(octets: bytes) -> Recipe:
    """Reads the JSON of r=; raises RecipeError."""
    try:
        value = json.loads(octets.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # numbers of more than 4300 digits among them
        reason = str(error) if isinstance(error, RecipeError) else "it cannot be parsed"
        raise RecipeError(reason) from error
    if not isinstance(value, dict) or not value.keys() & {"h", "b"}:
        raise RecipeError("neither h nor b is there")
    counter = _Counter()
    header = value.get("h", {})
    if not isinstance(header, dict) or ("h" in value and not header):
        raise RecipeError("h is not an object with names")
    for name in header:
        if not _NAME.match(name):
            raise RecipeError(f"{ascii_printable(name, 80)} is not a name in lower case")
    steps = {name: counter.steps(items) for name, items in header.items()}
    body = value.get("b")
    return Recipe(steps, None if body is None else counter.steps(body), "b" in value and body is None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # RFC 8259 section 4: readers take different ones of them
        raise RecipeError("a name is duplicated")
    return found


class _Counter:
    """Reads the steps of one recipe, and counts them."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS  # that are left
        self._lines = MAX_LINES

    def steps(self, items: object) -> tuple[Step, ...]:
        if not isinstance(items, list):
            raise RecipeError("the steps are not an array")
        self._steps -= len(items)
        if self._steps < 0:
            raise RecipeError(f"more than {MAX_STEPS} steps")
        found: list[Step] = []
        last = 0
        for item in items:
            step = self._step(item)
            if isinstance(step, Copied):
                if step.start <= last:  # "greater than the end value of all preceding" (5.1, 5.2)
                    raise RecipeError("a range is not behind the one before")
                last = step.end
            found.append(step)
        return tuple(found)

    def _step(self, item: object) -> Step:
        match item:
            case {"c": [int(start), int(end)], **others} if not others:
                if isinstance(start, bool) or isinstance(end, bool) or not 1 <= start <= end < ENDLESS:
                    raise RecipeError("a range is not two numbers in order")
                return Copied(start, end)
            case {"d": [_, *_] as texts, **others} if not others:
                return self._given(texts)
        raise RecipeError("a step is neither a range nor a list of texts")  # "exactly one key"

    def _given(self, texts: Sequence[object]) -> Given:
        self._lines -= len(texts)
        if self._lines < 0:
            raise RecipeError(f"more than {MAX_LINES} texts")
        octets: list[bytes] = []
        for text in texts:
            if not isinstance(text, str) or "\r" in text or "\n" in text:
                raise RecipeError("a text is not a string on one line")
            try:
                octets.append(text.encode("utf-8"))
            except UnicodeEncodeError as error:
                raise RecipeError("a text has half a character") from error
        return Given(tuple(octets))


def undo_body(plan: Plan, steps: Sequence[Step]) -> Plan:
    """The body before, of the plan of the body after; raises RecipeError where that has fewer lines."""
    before: list[Step] = []
    place, passed = 0, 0  # plan[place] begins behind so many lines
    for step in steps:
        if isinstance(step, Given):
            before.append(step)
            continue
        line = step.start
        while line <= step.end:
            if place == len(plan):
                raise RecipeError(f"line {line} is copied of a body with {passed}")
            part = plan[place]
            last = min(step.end - passed, part.size)
            if line - passed <= last:
                _append(before, part.part(line - passed, last))
                line = passed + last + 1
            if last == part.size:
                passed += part.size
                place += 1
    return tuple(before)


def _append(steps: list[Step], step: Step) -> None:
    """Adds a step, to the one before where it continues that: equal bodies then have equal plans."""
    if steps and isinstance(step, Copied) and isinstance(end := steps[-1], Copied) and end.end + 1 == step.start:
        steps[-1] = Copied(end.start, step.end)
    else:
        steps.append(step)


def undo_values(name: str, values: Sequence[bytes], steps: Sequence[Step]) -> tuple[bytes, ...]:
    """The fields of one name before, of those after; each canonical, the lowest in the header first. Raises
    RecipeError where there are fewer."""
    before: list[bytes] = []
    for step in steps:
        if isinstance(step, Given):
            key = name.encode()
            before += [relaxed_header(HeaderField(key, text)) for text in step.texts]
        elif step.end > len(values):
            raise RecipeError(f"field {step.end} of {ascii_printable(name, 80)} is copied, and there are {len(values)}")
        else:
            before += values[step.start - 1 : step.end]
    return tuple(before)
