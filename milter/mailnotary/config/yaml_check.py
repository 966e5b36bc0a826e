"""The first mistake of a text that is not good YAML, in our words and at our place.

YAML libraries differ in what they refuse, in where they see it and in how they say it, from one release to the next. So
where one refuses a text, or another might, this decides. It knows what configuration files are made of: keys, lists,
words with and without quotes, brackets, blocks of text, anchors, comments. What it knows, every library reads alike;
what it does not know, it refuses.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from mailnotary.errors import SetupError
from mailnotary.escape import printable

MAX_DEPTH = 20  # the deepest key of our files is at 6
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels: check the indentation and the brackets"
SECOND_DOCUMENT = "a second document: a file has one, so remove the '---' and what is not wanted"

_MAX_KEY = 1024  # characters from the beginning of a key to its ':' (YAML 1.1, section 7.2.3)
_NO_KEY = "a ':' where no key may stand: check the indentation, put quotes around a text with ': ' in it"
_CLOSING = {"[": "]", "{": "}"}

# What libraries read in different ways: tabs, directives, escapes of half a character; and outside of comment lines
# '?', tags, blocks of text, and a ':' at the end of a word in brackets.
_DISPUTED = re.compile(r"\t|^%|\\[uU]|^(?! *#).*(?:[?!|>]|:[,\[\]{}])", re.MULTILINE)
_BLANK = re.compile(r"[ \n]*")
_SIGNS = ("\t", "%", "\\", "?", "!", "|", ">", ":,", ":[", ":]", ":{", ":}")  # without one of these, nothing is
_SPACES = re.compile(r" *")
_MARKER = re.compile(r"(?:---|\.\.\.)(?=[ \t\n]|\Z)")
_PROPERTY = re.compile(r"(?:&([A-Za-z0-9_-]+)|!|!!str)(?=[ \t\n]|\Z)")
_ALIAS = re.compile(r"\*([A-Za-z0-9_-]+)(?=[ \t\n,\]}]|\Z)")
_MARKER_INSIDE = re.compile(r"\n(?:---|\.\.\.)(?=[ \t\n]|\Z)")
_QUOTED = {
    "'": re.compile(r"'[^']*(?:''[^']*)*'"),
    '"': re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
}
_ESCAPE = re.compile(
    r'\\(?:([0abtnvfre "/\\N_LP\n]|x[0-9A-Fa-f]{2}|(?:u|U0000)(?![Dd][89A-Fa-f])[0-9A-Fa-f]{4}|U000[1-9A-Fa-f]'
    r"[0-9A-Fa-f]{4})|.)"
)
_BLOCK_HEADER = re.compile(r"[|>](?:[+-]?([1-9])?|([1-9])[+-])(?: *| +#[^\n]*)(?:\n|\Z)")
# A word without quotes: how it begins, and its characters up to the end of the line; in brackets they end it, too.
_BEGINS = re.compile(r"""[^ \t\n\-?:,\[\]{}#&*!|>'"%@`]|[-?:](?=[^ \t\n])""")
_BEGINS_IN_BRACKETS = re.compile(r"""[^ \t\n\-?:,\[\]{}#&*!|>'"%@`]|-(?=[^ \t\n,\[\]{}?])""")
_LINE = re.compile(r"(?:(?! #|:(?:[ \t\n]|\Z))[^\t\n])*")
_LINE_IN_BRACKETS = re.compile(r"(?:(?! #|:(?:[ \t\n,\[\]{}]|\Z))[^\t\n,\[\]{}?])*")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Line and column count from 1."""

    line: int
    column: int
    message: str


# For a text that a parser refuses and first_mistake does not; none is known.
UNKNOWN = Mistake(1, 1, "not YAML: look for a quote or bracket that is not closed, and at the indentation of all lines")


def disputed(text: str) -> bool:
    """Whether there is anything in a text that YAML libraries might not agree on."""
    return any(sign in text for sign in _SIGNS) and _DISPUTED.search(text) is not None


def first_mistake(text: str) -> Mistake | None:
    """What has to be changed first in a text with LF line ends, None if nothing has. Takes time in proportion to the
    length of the text."""
    try:
        _Check(text).document()
    except _FoundError as found:
        line = text.count("\n", 0, found.index) + 1
        return Mistake(line, found.index - text.rfind("\n", 0, found.index), found.message)
    return None


def shown(text: str) -> str:
    """A word of the file as a message quotes it."""
    return f"'{printable(text, limit=80)}'"


def unknown_alias(name: str) -> str:
    """The message for an alias whose anchor does not stand before it."""
    return f"{shown('*' + name)} stands for nothing before it: a text that begins with '*' needs quotes"


class _FoundError(SetupError):
    """The first mistake of the text, at an index of it."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index, self.message = index, message


class _In(Enum):
    """Where in brackets something stands."""

    ENTRY = "at the beginning of an entry"
    VALUE = "after the ':' of a key"
    END = "after a value"


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    kind: str  # "keys", "list", the bracket that began it, or "pair" for a key in [brackets]
    column: int  # of its keys or dashes; in brackets, of what is around them
    start: int  # where it begins
    anchors: tuple[str, ...]
    may_be_key: bool = False  # brackets: what ends with them can be a key


class _Check:
    """Goes through a text once, token by token, without recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.index = 0  # the first character that was not looked at
        self.line_start = 0  # where its line begins
        self.stack: list[_Open] = []
        self.anchors: set[str] = set()  # of values that are complete
        self.waiting: tuple[str, ...] = ()  # the anchor and tag of a value that comes on a later line
        self.waiting_start = 0
        self.wants_value = True  # a value may come: at the beginning, after a ':' and after a '-'
        self.may_begin = True  # keys or a list may: nothing but dashes stands before on this line

    def fail(self, index: int, message: str) -> NoReturn:
        raise _FoundError(index, message)

    # -- characters and lines

    def at(self, index: int) -> str:
        """The character there, "" at the end."""
        return self.text[index : index + 1]

    def spaces(self, index: int) -> int:
        """Where the spaces from there on end."""
        found = _SPACES.match(self.text, index)
        return found.end() if found else index

    def move(self, index: int) -> None:
        """Goes on to a later place."""
        end = self.text.rfind("\n", self.index, index)
        if end >= 0:
            self.line_start = end + 1
        self.index = index

    def next_token(self) -> bool:
        """Goes on to the next one, over spaces, comments and ends of lines. False at the end."""
        while True:
            self.skip_spaces()
            character = self.at(self.index)
            if character == "#":
                end = self.text.find("\n", self.index)
                self.index = end if end >= 0 else len(self.text)
            elif character == "\n":
                self.move(self.index + 1)
                self.may_begin = True
            else:
                return bool(character)

    def skip_spaces(self) -> None:
        self.index = self.spaces(self.index)
        if self.at(self.index) == "\t":
            self.fail_at_tab(self.index)

    def fail_at_tab(self, index: int) -> NoReturn:
        indents = self.is_blank(self.text.rfind("\n", 0, index) + 1, index)
        self.fail(index, "a tab: indent with spaces" if indents else "a tab: write spaces")

    def is_blank(self, start: int, end: int) -> bool:
        return not self.text[start:end].strip(" ")

    def marker(self) -> str:
        """The '---' or '...' at this place, or ""."""
        found = _MARKER.match(self.text, self.index) if self.index == self.line_start else None
        return found.group() if found else ""

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
        """That of the innermost keys or list, -1 outside of all."""
        return self.stack[-1].column if self.stack else -1

    def goes_on(self, kind: str, column: int) -> bool:
        """Whether a key or a dash in this column goes on with the innermost collection."""
        return bool(self.stack) and self.stack[-1].kind == kind and self.stack[-1].column == column

    def dedent(self, column: int, dash: bool) -> None:
        """What a new line in this column closes, and whether it fits what is left."""
        while self.column > column:
            self.complete()
            self.close()
        if self.goes_on("list", column) and not dash:  # a list may stand in the column of its key
            if len(self.stack) < 2 or self.stack[-2].column != column:
                self.fail(self.index, "expected a '-': check the indentation")
            self.complete()
            self.close()
        if self.goes_on("keys", column) and dash and not self.wants_value:
            self.fail(self.index, "a '-' where a key is expected: check the indentation")
        if self.column < column and not self.wants_value:
            self.fail(self.index, "this belongs to nothing before it: check the indentation")

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
        """A value is, be it empty."""
        self.anchors.update(self.waiting)
        self.waiting = ()
        self.wants_value = False

    def dash(self, column: int) -> None:
        if not self.may_begin:
            self.fail(self.index, "a list can't begin here: begin it on the next line, or put quotes around the text")
        if self.goes_on("list", column):
            self.complete()
        else:
            self.open("list", column, self.index)
        self.index += 1
        self.wants_value = True

    def content(self, column: int) -> None:
        """A key with its ':', or a value; or what stands before one that comes on a later line."""
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
            self.scalar(lines=not self.goes_on("keys", column))
        colon = self.spaces(self.index)
        if self.at(colon) == ":" and self.at(colon + 1) in ("", " ", "\t", "\n"):
            if not self.may_begin or not self.fits_key(start, colon):
                self.fail(colon, _NO_KEY)
            self.key(start, column)
            self.index = colon + 1
        else:
            self.expect_value(start, column)
            if self.waiting and (names or is_alias):
                self.fail(start, "a second anchor or tag for one value: remove one")
            self.complete()
        self.anchors.update(names)
        self.may_begin = self.index == self.line_start  # behind a block of text

    def fits_key(self, start: int, colon: int) -> bool:
        return colon - start <= _MAX_KEY and "\n" not in self.text[start:colon]

    def key(self, start: int, column: int) -> None:
        if self.goes_on("keys", column):
            self.complete()
        else:
            self.open("keys", column, start)
        self.wants_value = True

    def expect_value(self, start: int, column: int) -> None:
        if self.goes_on("keys", column) and self.is_blank(self.line_start, start):
            self.fail(start, "a key without its ':': write 'key: value'")
        if not self.wants_value:
            self.fail(start, "expected a key: check the indentation, put quotes around the whole value")

    def properties(self) -> tuple[str, ...]:
        """Takes the anchor (its name) and the tag ("") before a value, as far as they stand on this line."""
        names: tuple[str, ...] = ()
        while self.at(self.index) in ("&", "!"):
            found = _PROPERTY.match(self.text, self.index)
            if found is None and self.at(self.index) == "&":
                self.fail(self.index, "a text that begins with '&' needs quotes")
            if found is None:
                tag = re.split(r"[ \t\n]", self.text[self.index : self.index + 100])[0]
                self.fail(self.index, f"tag {shown(tag)} is not understood: leave it out")
            name = found[1] or ""
            if names and bool(name) in map(bool, names):
                self.fail(self.index, "a second anchor or tag for one value: remove one")
            names += (name,)
            self.index = found.end()
            self.skip_spaces()
        if names and self.at(self.index) == "*":
            self.fail(self.index, "an anchor or tag before an alias: remove it")
        return names

    # -- brackets

    def brackets(self, start: int) -> None:
        """All from a bracket to the one that closes it. `start`: with what stands before it."""
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
                self.fail(start, "an anchor or tag with no value behind it: remove it")
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
                self.scalar(in_brackets=True)
                self.anchors.update(names)
                place = self.after_value(start, may_be_key=place is _In.ENTRY, closed=character in _QUOTED)

    def after_value(self, start: int, *, may_be_key: bool, closed: bool) -> _In:
        """Where what follows a value stands: behind its ':' if it is a key. `closed`: by a quote or bracket, so that
        the ':' needs no space behind it."""
        colon = self.spaces(self.index)
        if self.at(colon) != ":":
            return _In.END
        if not may_be_key or not self.fits_key(start, colon):
            self.fail_in_brackets(colon)
        if not closed and self.at(colon + 1) not in ("", " ", "\t", "\n"):
            self.fail(colon, "a ':' with no space behind it: write a space, or put quotes around the text")
        if self.stack[-1].kind == "[":
            self.open("pair", self.column, start)
        self.index = colon + 1
        return _In.VALUE

    def close_pair(self) -> None:
        if self.stack[-1].kind == "pair":
            self.close()

    def fail_in_brackets(self, index: int) -> NoReturn:
        opened = next(one for one in reversed(self.stack) if one.kind in _CLOSING)
        line = self.text.count("\n", 0, opened.start) + 1
        self.fail(index, f"expected ',' or the end of what the bracket in line {line} begins: close it")

    # -- words

    def scalar(self, *, in_brackets: bool = False, lines: bool = True) -> None:
        """A word, or a text. `lines`: it may go on behind the end of its line."""
        character = self.at(self.index)
        if character in _QUOTED:
            self.quoted(character)
        elif character == "*":
            self.alias()
        elif character in ("|", ">") and not in_brackets:
            self.block()
        else:
            self.plain(in_brackets, lines or in_brackets)

    def quoted(self, quote: str) -> None:
        found = _QUOTED[quote].match(self.text, self.index)
        if found is None or _MARKER_INSIDE.search(found.group()):
            self.fail(self.index, "a quote that is never closed: close it")
        for escape in _ESCAPE.finditer(found.group()) if quote == '"' else ():
            if escape[1] is None:
                said = "a backslash that stands for nothing: write two, or put the text in single quotes"
                self.fail(found.start() + escape.start(), said)
        self.move(found.end())

    def alias(self) -> None:
        found = _ALIAS.match(self.text, self.index)
        if found is None:
            self.fail(self.index, "a text that begins with '*' needs quotes: \"*\"")
        if found[1] not in self.anchors:
            self.fail(self.index, unknown_alias(found[1]))
        self.index = found.end()

    def block(self) -> None:
        """A block of text: all lines that are indented as deep as its first one."""
        header = _BLOCK_HEADER.match(self.text, self.index)
        if header is None:
            self.fail_at_begin()
        least = max(self.column + 1, 1)
        given = header[1] or header[2]
        indent = least + int(given) - 1 if given else 0
        deepest = least  # of the empty lines at the beginning
        index = header.end()
        while index < len(self.text):
            begin = self.spaces(index)
            if self.at(begin) == "\t":
                self.fail_at_tab(begin)
            if self.at(begin) not in ("", "\n"):
                indent = indent or max(deepest, begin - index)
                if begin - index < indent:
                    break
            deepest = max(deepest, begin - index)
            end = self.text.find("\n", begin)
            index = end + 1 if end >= 0 else len(self.text)
        self.move(index)

    def plain(self, in_brackets: bool, lines: bool) -> None:
        """A word without quotes."""
        begins, line = (_BEGINS_IN_BRACKETS, _LINE_IN_BRACKETS) if in_brackets else (_BEGINS, _LINE)
        if not begins.match(self.text, self.index):
            self.fail_at_begin(in_brackets)
        begin = self.index
        while found := line.match(self.text, begin):
            end = found.end()
            if not lines or self.at(end) != "\n":
                break
            begin = self.text_after(end, in_brackets)
            next_line = line.match(self.text, begin)
            if begin == end or next_line is None or next_line.end() == begin:
                break
        self.move(self.index + len(self.text[self.index : end].rstrip(" ")))

    def text_after(self, end: int, in_brackets: bool) -> int:
        """Where the next line of a word without quotes begins; the end of this line if there is none."""
        blank = _BLANK.match(self.text, end)
        begin = blank.end() if blank else end
        if self.at(begin) == "\t":
            self.fail_at_tab(begin)
        column = begin - self.text.rfind("\n", 0, begin) - 1
        is_marker = column == 0 and _MARKER.match(self.text, begin)
        outside = not in_brackets and column <= self.column
        return end if self.at(begin) in ("", "#") or is_marker or outside else begin

    def fail_at_begin(self, in_brackets: bool = False) -> NoReturn:
        """What stands here can't begin a word."""
        character = self.at(self.index)
        if character == ":" and not in_brackets:
            self.fail(self.index, _NO_KEY)
        if character == "?" and not in_brackets:
            self.fail(self.index, "a '?' before a key: write 'key: value'")
        where = "a value in brackets" if in_brackets else "a value"
        self.fail(self.index, f"{where} can't begin with {shown(character)}: put quotes around it")
