"""Finds the first mistake in a text that is not valid YAML, with our own message and place.

YAML libraries, and their releases, differ in what they reject, where they report it, and how. So if a library rejects a
text, or another one might, this module decides. It supports what configuration files are made of: keys, lists, scalars
with and without quotes, brackets, block scalars, anchors, comments. What it supports, all libraries read alike; it
rejects everything else.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from mailnotary.config.yaml_nodes import shown
from mailnotary.config.yaml_reader import NO_KEY, QUOTED, MistakeError, YamlReader

MAX_DEPTH = 20  # the deepest key of our files is at 6
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels: check the indentation and the brackets"
SECOND_DOCUMENT = "a second document, but a file must have only one: remove the '---' and what you don't need"

_MAX_KEY = 1024  # characters from the beginning of a key to its ':' (YAML 1.1, section 7.2.3)
_CLOSING = {"[": "]", "{": "}"}

# What libraries read in different ways: tabs, directives, escapes of half a character; and outside of comment lines
# '?', tags, block scalars, and a ':' at the end of a plain scalar in brackets.
_DISPUTED = re.compile(r"\t|^%|\\[uU]|^(?! *#).*(?:[?!|>]|:[,\[\]{}])", re.MULTILINE)
_SIGNS = (
    "\t",
    "%",
    "\\",
    "?",
    "!",
    "|",
    ">",
    ":,",
    ":[",
    ":]",
    ":{",
    ":}",
)  # a text without any of these is not disputed
_NO_SPACE = re.compile(r"([A-Za-z_]+):[^\S\n]*([^\s#][^\n]*)")  # to YAML a no-break space is a letter
_PROPERTY = re.compile(r"(?:&([A-Za-z0-9_-]+)|!|!!str)(?=[ \t\n]|\Z)")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Line and column count from 1."""

    line: int
    column: int
    message: str


# For a text that a parser rejects and first_mistake accepts; none is known.
UNKNOWN = Mistake(
    1, 1, "not valid YAML: look for a quote or bracket that is not closed, and check the indentation of all lines"
)


def disputed(text: str) -> bool:
    """Whether a text has anything that YAML libraries might read differently."""
    return any(sign in text for sign in _SIGNS) and _DISPUTED.search(text) is not None


def first_mistake(text: str) -> Mistake | None:
    """The first mistake in a text with LF line ends, or None. Takes time in proportion to the length of the text."""
    try:
        _Check(text).document()
    except MistakeError as error:
        line = text.count("\n", 0, error.index) + 1
        return Mistake(line, error.index - text.rfind("\n", 0, error.index), error.message)
    return None


class _In(Enum):
    """A position in brackets."""

    ENTRY = "at the beginning of an entry"
    VALUE = "after the ':' of a key"
    END = "after a value"


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been reached."""

    kind: str  # "keys", "list", the bracket that began it, or "pair" for a key in [brackets]
    column: int  # of its keys or dashes; in brackets, of what is around them
    start: int  # where it begins
    anchors: tuple[str, ...]
    may_be_key: bool = False  # brackets: the value in them can be a key


class _Check(YamlReader):
    """Goes through a text once, token by token, without recursion."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.stack: list[_Open] = []
        self.waiting: tuple[str, ...] = ()  # the anchor and tag of a value on a later line
        self.waiting_start = 0
        self.wants_value = True  # a value may follow: at the beginning, after a ':' and after a '-'

    # -- the document

    def document(self) -> None:
        begun = False
        while self.next_token():
            marker = self.marker()
            if marker and begun:
                break
            if marker == "...":
                self.fail(self.index, "a '...' at the beginning: remove it")
            if marker:
                self.index += 3
                self.may_begin = False
            elif self.index == self.line_start and self.at(self.index) == "%":
                self.fail(
                    self.index, "a '%' at the beginning of a line: remove the line, or put quotes around the text"
                )
            else:
                self.token()
            begun = True
        while self.next_token():
            if self.marker() != "...":
                self.fail(self.index, SECOND_DOCUMENT)
            self.index += 3

    def token(self) -> None:
        """A dash, a key with its ':', or a value."""
        column = self.index - self.line_start
        dash = self.at(self.index) == "-" and self.at(self.index + 1) in ("", " ", "\t", "\n")
        if self.is_blank(self.line_start, self.index):
            self.dedent(column, dash)
        if dash:
            self.dash(column)
        else:
            self.content(column)

    # -- keys and lists in lines

    @property
    def column(self) -> int:
        """The column of the innermost keys or list, -1 outside of all."""
        return self.stack[-1].column if self.stack else -1

    def continues(self, kind: str, column: int) -> bool:
        """Whether a key or a dash in this column continues the innermost collection."""
        return bool(self.stack) and self.stack[-1].kind == kind and self.stack[-1].column == column

    def dedent(self, column: int, dash: bool) -> None:
        """Closes what a new line in this column ends, and checks that the line fits what is left."""
        while self.column > column:
            self.complete()
            self.close()
        if self.continues("list", column) and not dash:  # a list may have the column of its key
            if len(self.stack) < 2 or self.stack[-2].column != column:
                self.fail(self.index, "expected a '-': check the indentation")
            self.complete()
            self.close()
        if self.continues("keys", column) and dash and not self.wants_value:
            self.fail(self.index, "a '-' where a key is expected: check the indentation")
        if self.column < column and not self.wants_value:
            self.fail(self.index, "this line belongs to nothing before it: check the indentation")

    def open(self, kind: str, column: int, start: int) -> _Open:
        if self.waiting:
            start = self.waiting_start
        if len(self.stack) >= MAX_DEPTH:
            self.fail(start, TOO_DEEP)
        self.stack.append(_Open(kind, column, start, self.waiting))
        self.waiting = ()
        return self.stack[-1]

    def close(self) -> _Open:
        done = self.stack.pop()
        self.anchors.update(done.anchors)
        return done

    def complete(self) -> None:
        """The value that was expected is complete, or empty."""
        self.anchors.update(self.waiting)
        self.waiting = ()
        self.wants_value = False

    def dash(self, column: int) -> None:
        if not self.may_begin:
            self.fail(self.index, "a list can't begin here: begin it on the next line, or put quotes around the text")
        if self.continues("list", column):
            self.complete()
        else:
            self.open("list", column, self.index)
        self.index += 1
        self.wants_value = True

    def content(self, column: int) -> None:
        """A key with its ':', or a value, or the anchor and tag of a value on a later line."""
        start = self.index
        names = self.properties()
        if self.at(self.index) in ("", "\n", "#"):
            self.expect_value(start, column)
            if self.waiting:
                self.fail(start, "a second anchor or tag for one value: remove one")
            self.waiting, self.waiting_start, self.may_begin = names, start, False
            return
        is_alias = self.at(self.index) == "*"
        if self.at(self.index) in _CLOSING:
            self.brackets(start)
        else:
            self.scalar(self.column, lines=not self.continues("keys", column))
        colon = self.spaces(self.index)
        if self.at(colon) == ":" and self.at(colon + 1) in ("", " ", "\t", "\n"):
            if not self.may_begin or not self.fits_key(start, colon):
                self.fail(colon, NO_KEY)
            self.key(start, column)
            self.index = colon + 1
        else:
            self.expect_value(start, column)
            if self.waiting and (names or is_alias):
                self.fail(start, "a second anchor or tag for one value: remove one")
            self.complete()
        self.anchors.update(names)
        self.may_begin = self.index == self.line_start  # after a block scalar

    def fits_key(self, start: int, colon: int) -> bool:
        return colon - start <= _MAX_KEY and "\n" not in self.text[start:colon]

    def key(self, start: int, column: int) -> None:
        if self.continues("keys", column):
            self.complete()
        else:
            self.open("keys", column, start)
        self.wants_value = True

    def expect_value(self, start: int, column: int) -> None:
        if self.continues("keys", column) and self.is_blank(self.line_start, start):
            if no_space := _NO_SPACE.match(self.text, start):
                right = shown(f"{no_space[1]}: {no_space[2]}")
                self.fail(start, f"no space after the ':' of a key: write it, like {right}")
            self.fail(start, "a key without its ':': write 'key: value'")
        if not self.wants_value:
            self.fail(start, "expected a key: check the indentation, put quotes around the whole value")

    def properties(self) -> tuple[str, ...]:
        """Reads the anchor (its name) and the tag ("") before a value, if they are on this line."""
        names: tuple[str, ...] = ()
        while self.at(self.index) in ("&", "!"):
            match = _PROPERTY.match(self.text, self.index)
            if match is None and self.at(self.index) == "&":
                self.fail(self.index, "a text that begins with '&' needs quotes")
            if match is None:
                tag = re.split(r"[ \t\n]", self.text[self.index : self.index + 100])[0]
                self.fail(self.index, f"tag {shown(tag)} is not supported: remove it")
            name = match[1] or ""
            if names and bool(name) in map(bool, names):
                self.fail(self.index, "a second anchor or tag for one value: remove one")
            names += (name,)
            self.index = match.end()
            self.skip_spaces()
        if names and self.at(self.index) == "*":
            self.fail(self.index, "an anchor or tag before an alias: remove it")
        return names

    # -- brackets

    def brackets(self, start: int) -> None:
        """Everything from a bracket to its closing one. `start` includes an anchor or tag before it."""
        around, place = len(self.stack), _In.ENTRY
        while True:
            if not self.next_token() or self.marker():
                self.fail_in_brackets(self.index)
            names: tuple[str, ...] = ()
            if place is not _In.END and len(self.stack) > around:
                start = self.index
                names = self.properties()
            character = self.at(self.index)
            if names and character in ("", "\n", "#", ",", ":", "]", "}"):
                self.fail(start, "an anchor or tag with no value after it: remove it")
            if character == ",":
                if place is _In.ENTRY:
                    self.fail(self.index, "a ',' with nothing before it: remove it")
                self.close_pair()
                self.index += 1
                place = _In.ENTRY
            elif character in ("]", "}"):
                self.close_pair()
                if character != _CLOSING[self.stack[-1].kind]:
                    self.fail_in_brackets(self.index)
                self.index += 1
                done = self.close()
                if len(self.stack) == around:
                    return
                place = self.after_value(done.start, may_be_key=done.may_be_key, closed=True)
            elif place is _In.END and character == "?":
                self.fail(self.index, "a text with '?' in brackets needs quotes")
            elif place is _In.END:
                self.fail_in_brackets(self.index)
            elif character in _CLOSING:
                opened = self.open(character, self.column, start)
                opened.may_be_key = place is _In.ENTRY
                opened.anchors += names
                self.index += 1
                place = _In.ENTRY
            else:
                self.scalar(self.column, in_brackets=True)
                self.anchors.update(names)
                place = self.after_value(start, may_be_key=place is _In.ENTRY, closed=character in QUOTED)

    def after_value(self, start: int, *, may_be_key: bool, closed: bool) -> _In:
        """The position after a value: if it is a key, after its ':'. `closed`: the value ends with a quote or bracket,
        so the ':' needs no space after it."""
        colon = self.spaces(self.index)
        if self.at(colon) != ":":
            return _In.END
        if not may_be_key or not self.fits_key(start, colon):
            self.fail_in_brackets(colon)
        if not closed and self.at(colon + 1) not in ("", " ", "\t", "\n"):
            self.fail(colon, "a ':' with no space after it: write a space, or put quotes around the text")
        if self.stack[-1].kind == "[":
            self.open("pair", self.column, start)
        self.index = colon + 1
        return _In.VALUE

    def close_pair(self) -> None:
        if self.stack[-1].kind == "pair":
            self.close()

    def fail_in_brackets(self, index: int) -> NoReturn:
        opened = next(collection for collection in reversed(self.stack) if collection.kind in _CLOSING)
        line = self.text.count("\n", 0, opened.start) + 1
        self.fail(index, f"expected ',' or the end of the brackets that begin in line {line}: close them")
