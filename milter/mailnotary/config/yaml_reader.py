"""Reads a YAML text character by character: its lines, and the scalars in it. `yaml_check` does the rest."""

import re
from typing import NoReturn

from mailnotary.config.yaml_nodes import shown
from mailnotary.errors import SetupError

NO_KEY = "a ':' where no key is allowed: check the indentation, put quotes around a text with ': ' in it"

_BLANK = re.compile(r"[ \n]*")
_SPACES = re.compile(r" *")
_MARKER = re.compile(r"(?:---|\.\.\.)(?=[ \t\n]|\Z)")
_ALIAS = re.compile(r"\*([A-Za-z0-9_-]+)(?=[ \t\n,\]}]|\Z)")
_MARKER_INSIDE = re.compile(r"\n(?:---|\.\.\.)(?=[ \t\n]|\Z)")
_ESCAPE = re.compile(
    r'\\(?:([0abtnvfre "/\\N_LP\n]|x[0-9A-Fa-f]{2}|(?:u|U0000)(?![Dd][89A-Fa-f])[0-9A-Fa-f]{4}|U000[1-9A-Fa-f]'
    r"[0-9A-Fa-f]{4})|.)"
)
_BLOCK_HEADER = re.compile(r"[|>](?:[+-]?([1-9])?|([1-9])[+-])(?: *| +#[^\n]*)(?:\n|\Z)")
QUOTED = {
    "'": re.compile(r"'[^']*(?:''[^']*)*'"),
    '"': re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
}
# A plain scalar: how it begins, and its characters up to the end of the line; in brackets, ',' and brackets end it.
_BEGINS = re.compile(r"""[^ \t\n\-?:,\[\]{}#&*!|>'"%@`]|[-?:](?=[^ \t\n])""")
_BEGINS_IN_BRACKETS = re.compile(r"""[^ \t\n\-?:,\[\]{}#&*!|>'"%@`]|-(?=[^ \t\n,\[\]{}?])""")
_LINE = re.compile(r"(?:(?! #|:(?:[ \t\n]|\Z))[^\t\n])*")
_LINE_IN_BRACKETS = re.compile(r"(?:(?! #|:(?:[ \t\n,\[\]{}]|\Z))[^\t\n,\[\]{}?])*")


def unknown_alias(name: str) -> str:
    """The message for an alias with no anchor before it."""
    return f"alias {shown('*' + name)} has no anchor before it: a text that begins with '*' needs quotes"


class MistakeError(SetupError):
    """The first mistake in the text, at an index."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index, self.message = index, message


class YamlReader:
    """A text, and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.index = 0  # the first character that was not read
        self.line_start = 0  # where its line begins
        self.anchors: set[str] = set()  # of complete values
        self.may_begin = True  # keys or a list may begin: there is nothing but dashes before on this line

    def fail(self, index: int, message: str) -> NoReturn:
        """Ends the check: the first mistake is at this index."""
        raise MistakeError(index, message)

    # -- characters and lines

    def at(self, index: int) -> str:
        """The character at an index, "" at the end."""
        return self.text[index : index + 1]

    def spaces(self, index: int) -> int:
        """Where the spaces that begin at an index end."""
        match = _SPACES.match(self.text, index)
        return match.end() if match else index

    def move(self, index: int) -> None:
        """Moves on to a later index."""
        end = self.text.rfind("\n", self.index, index)
        if end >= 0:
            self.line_start = end + 1
        self.index = index

    def next_token(self) -> bool:
        """Moves on to the next token, over spaces, comments and line ends. False at the end."""
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
        """Moves on over spaces; a tab is a mistake."""
        self.index = self.spaces(self.index)
        if self.at(self.index) == "\t":
            self.fail_at_tab(self.index)

    def fail_at_tab(self, index: int) -> NoReturn:
        """The tab at this index is the first mistake."""
        indents = self.is_blank(self.text.rfind("\n", 0, index) + 1, index)
        self.fail(index, "a tab: indent with spaces" if indents else "a tab: write spaces")

    def is_blank(self, start: int, end: int) -> bool:
        """Whether there are only spaces between two indexes."""
        return not self.text[start:end].strip(" ")

    def marker(self) -> str:
        """The '---' or '...' at this place, or ""."""
        match = _MARKER.match(self.text, self.index) if self.index == self.line_start else None
        return match.group() if match else ""

    # -- scalars

    def scalar(self, column: int, *, in_brackets: bool = False, lines: bool = True) -> None:
        """A scalar of any style, or an alias. `column` is that of the keys or list that it is in, -1 outside of all;
        `lines`: a plain scalar may continue on the next line."""
        character = self.at(self.index)
        if character in QUOTED:
            self._quoted(character)
        elif character == "*":
            self._alias()
        elif character in ("|", ">") and not in_brackets:
            self._block(column)
        else:
            self._plain(column, in_brackets, lines or in_brackets)

    def _quoted(self, quote: str) -> None:
        match = QUOTED[quote].match(self.text, self.index)
        if match is None or _MARKER_INSIDE.search(match.group()):
            self.fail(self.index, "a quote that is never closed: close it")
        for escape in _ESCAPE.finditer(match.group()) if quote == '"' else ():
            if escape[1] is None:
                message = "an unknown escape: write two backslashes, or put the text in single quotes"
                self.fail(match.start() + escape.start(), message)
        self.move(match.end())

    def _alias(self) -> None:
        match = _ALIAS.match(self.text, self.index)
        if match is None:
            self.fail(self.index, "a text that begins with '*' needs quotes: \"*\"")
        if match[1] not in self.anchors:
            self.fail(self.index, unknown_alias(match[1]))
        self.index = match.end()

    def _block(self, column: int) -> None:
        """A block scalar: all lines that are indented at least as deep as its first one."""
        header = _BLOCK_HEADER.match(self.text, self.index)
        if header is None:
            self._fail_at_begin()
        least = max(column + 1, 1)
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

    def _plain(self, column: int, in_brackets: bool, lines: bool) -> None:
        """A plain scalar."""
        begins, line = (_BEGINS_IN_BRACKETS, _LINE_IN_BRACKETS) if in_brackets else (_BEGINS, _LINE)
        if not begins.match(self.text, self.index):
            self._fail_at_begin(in_brackets)
        begin = self.index
        while match := line.match(self.text, begin):
            end = match.end()
            if not lines or self.at(end) != "\n":
                break
            begin = self._text_after(end, column, in_brackets)
            next_line = line.match(self.text, begin)
            if begin == end or next_line is None or next_line.end() == begin:
                break
        self.move(self.index + len(self.text[self.index : end].rstrip(" ")))

    def _text_after(self, end: int, column: int, in_brackets: bool) -> int:
        """Where the next line of a plain scalar begins; the end of this line if there is none."""
        blank = _BLANK.match(self.text, end)
        begin = blank.end() if blank else end
        if self.at(begin) == "\t":
            self.fail_at_tab(begin)
        indent = begin - self.text.rfind("\n", 0, begin) - 1
        is_marker = indent == 0 and _MARKER.match(self.text, begin)
        outside = not in_brackets and indent <= column
        return end if self.at(begin) in ("", "#") or is_marker or outside else begin

    def _fail_at_begin(self, in_brackets: bool = False) -> NoReturn:
        """Nothing can begin with the character at this place."""
        character = self.at(self.index)
        if character == ":" and not in_brackets:
            self.fail(self.index, NO_KEY)
        if character == "?" and not in_brackets:
            self.fail(self.index, "a '?' before a key: write 'key: value'")
        where = "a value in brackets" if in_brackets else "a value"
        self.fail(self.index, f"{where} can't begin with {shown(character)}: put quotes around it")
