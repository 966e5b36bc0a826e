"""rspamd's form of configuration, the part of UCL that its files have: sections, lists, strings, comments."""

import re
from dataclasses import dataclass
from pathlib import Path

from mailnotary.importing.source import SourceError, read_lines

MAX_DEPTH = 20  # of sections in sections
Section = dict[str, list["Node"]]
"""The values of each key, in order: a key may be repeated."""

_SPACE = re.compile(r"(?:\s+|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_KEY = re.compile(r'"((?:[^"\\\n]|\\.)*)"|([^\s{}\[\]=;,"#:]+)')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_HEREDOC = re.compile(r"<<([A-Z]+)\n(.*?)\n\1(?=\s|;|$)", re.DOTALL)
_PLAIN = re.compile(r"[^\n;,}\]#]*")
_VARIABLES = {"CONFDIR": "/etc/rspamd", "LOCAL_CONFDIR": "/etc/rspamd", "DBDIR": "/var/lib/rspamd"}


@dataclass(frozen=True, slots=True)
class Node:
    """A value: text, a list or a section, and its place (FILE:LINE)."""

    value: "str | list[Node] | Section"
    place: str

    @property
    def text(self) -> str:
        """The text, "" for a list or a section."""
        return self.value if isinstance(self.value, str) else ""


def read_section(path: Path) -> Section:
    """The whole file. Raises SourceError."""
    return _Reader(path, "\n".join(read_lines(path))).section(0, top=True)


class _Reader:
    """Reads a text from its start to its end."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text, self._at = path, text, 0
        self._line, self._counted = 1, 0  # the line of the place up to which lines have been counted

    def _place(self) -> str:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return f"{self._path}:{self._line}"

    def _skip(self) -> str:
        """The next character that is neither white space nor a comment."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _error(self, what: str) -> SourceError:
        return SourceError(f"{self._place()}: {what}")

    def section(self, depth: int, *, top: bool = False) -> Section:
        """Up to the closing brace, or at the top to the end of the file."""
        found: Section = {}
        if depth > MAX_DEPTH:
            raise self._error(f"sections are in each other more than {MAX_DEPTH} deep")
        while (char := self._skip()) != ("" if top else "}"):
            if not char:
                raise self._error("a closing brace is missing")
            if char in ";,":
                self._at += 1
                continue
            place = self._place()
            match = _KEY.match(self._text, self._at)
            if match is None:
                raise self._error(f"{char} is not understood")
            self._at = match.end()
            key = match[1] if match[1] is not None else match[2]
            if key.startswith("."):  # a macro such as .include: it is not followed
                self._at = (self._text + "\n").index("\n", self._at)
                found.setdefault(key.partition("(")[0], []).append(Node("", place))
            else:
                found.setdefault(key, []).append(Node(self._after_key(depth), place))
        self._at += 1
        return found

    def _after_key(self, depth: int) -> "str | list[Node] | Section":
        char = self._skip()
        if char in ("=", ":") and char:
            self._at += 1
        elif char not in ("{", "["):  # a named section: key name {
            match = _KEY.match(self._text, self._at)
            end = match.end() if match is not None else self._at
            after = _SPACE.match(self._text, end)
            if match is not None and self._text[after.end() if after else end :][:1] in ("{", '"'):
                if depth > MAX_DEPTH:
                    raise self._error(f"sections are in each other more than {MAX_DEPTH} deep")
                self._at, place = end, self._place()
                name = match[1] if match[1] is not None else match[2]
                return {name: [Node(self._after_key(depth + 1), place)]}
        return self._value(depth)

    def _value(self, depth: int) -> "str | list[Node] | Section":
        char = self._skip()
        if char == "{":
            self._at += 1
            return self.section(depth + 1)
        if char == "[":
            self._at += 1
            return self._list(depth + 1)
        if match := _STRING.match(self._text, self._at):
            self._at = match.end()
            return _expanded(re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2]))
        if match := _HEREDOC.match(self._text, self._at):
            self._at = match.end()
            return match[2]
        match = _PLAIN.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return _expanded(match[0].strip()) if match else ""

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        if depth > MAX_DEPTH:
            raise self._error(f"lists are in each other more than {MAX_DEPTH} deep")
        while (char := self._skip()) != "]":
            if not char or char in "})":
                raise self._error("a closing bracket is missing")
            if char in ";,":
                self._at += 1
                continue
            items.append(Node(self._value(depth), self._place()))
        self._at += 1
        return items


def _expanded(text: str) -> str:
    return re.sub(r"\$\{?(CONFDIR|LOCAL_CONFDIR|DBDIR)\b\}?", lambda match: _VARIABLES[match[1]], text)
