"""The values that Amavis's configuration, a Perl program, mostly consists of: strings, numbers, lists, hashes. Nothing
is run: whatever else is in a value makes it unreadable."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mailnotary.errors import SetupError

Value = str | int | list["Value"] | dict[str, "Value"] | None
MAX_DEPTH = 20  # of lists in lists
MAX_LINES = 2000  # of one statement
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
      | (?P<single>'(?:[^'\\]|\\.)*') | (?P<double>"(?:[^"\\]|\\.)*")
      | qw\s*(?:\((?P<w1>[^)]*)\)|\[(?P<w2>[^\]]*)\]|\{(?P<w3>[^}]*)\}|/(?P<w4>[^/]*)/|<(?P<w5>[^>]*)>)
      | (?P<number>[0-9][0-9_]*) | (?P<word>-?[A-Za-z_]\w*) | (?P<variable>\$[A-Za-z_]\w*)
      | (?P<sign>=>|[-()\[\]{},;*+])""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class PerlError(SetupError):
    """The value is none of those that are understood."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that begins a line: the number of that line, and the text from there to the line that ends it."""

    line: int
    text: str


def statements(lines: list[str], start: re.Pattern[str]) -> Iterator[tuple[re.Match[str], Statement]]:
    """Those whose first line matches, outside of comments and documentation (perlpod)."""
    documentation = False
    for number, line in enumerate(lines, 1):
        if line.startswith("__END__"):
            return
        if re.match(r"=[a-zA-Z]", line):
            documentation = not line.startswith("=cut")
        elif not documentation and (match := start.match(line)):
            end = next(
                (at for at, text in enumerate(lines[number - 1 : number + MAX_LINES], number) if _ends(text)), number
            )
            yield match, Statement(number, "\n".join([line[match.end() :], *lines[number:end]]))


def _ends(line: str) -> bool:
    """Whether a statement ends with a line."""
    return line.partition("#")[0].rstrip().endswith(";")


def read_value(text: str, variables: Mapping[str, str]) -> Value:
    """The value that a text begins with, up to the semicolon or bracket that ends it. Raises PerlError."""
    return _Reader(text, variables).value(0)


class _Reader:
    """Reads values, one after the other."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text, self._place, self._variables = text, 0, variables
        self._kind, self._word = "", ""
        self._next()

    def _next(self) -> None:
        while match := _TOKEN.match(self._text, self._place):
            self._place = match.end()
            if match.lastgroup is not None:
                self._kind, self._word = match.lastgroup, match[match.lastgroup]
                return
        self._kind, self._word = "end", self._text[self._place : self._place + 10]

    def value(self, depth: int) -> Value:
        """One value; numbers may be a product or a sum."""
        if depth > MAX_DEPTH:
            raise PerlError("lists in lists, too deep")
        found = self._single(depth)
        while self._kind == "sign" and self._word in "*+-" and isinstance(found, int):
            sign = self._word
            self._next()
            other = self._single(depth)
            if not isinstance(other, int) or abs(found) > 1 << 40 or abs(other) > 1 << 40:
                raise PerlError("not a number")
            found = found * other if sign == "*" else found + (other if sign == "+" else -other)
        return found

    def _single(self, depth: int) -> Value:
        kind, word = self._kind, self._word
        if kind == "sign" and word in _CLOSING:
            self._next()
            items = self._items(_CLOSING[word], depth)
            return _pairs(items) if word == "{" else items
        self._next()
        if kind == "single":
            return re.sub(r"\\(['\\])", r"\1", word[1:-1])
        if kind == "double":
            return self._interpolated(word[1:-1])
        if kind.startswith("w") and kind != "word":
            return list(word.split())
        if kind == "number":
            return int(word.replace("_", "")[:18])
        if kind == "variable" and word[1:] in self._variables:
            return self._variables[word[1:]]
        if kind == "word" and word == "undef":
            return None
        if kind == "word" and self._word == "=>":
            return word
        raise PerlError(f"{word[:20]} is not understood")

    def _items(self, closing: str, depth: int) -> list[Value]:
        items: list[Value] = []
        while (self._kind, self._word) != ("sign", closing):
            words = self._kind.startswith("w") and self._kind != "word"
            found = self.value(depth + 1)
            if words and isinstance(found, list):
                items += found
            else:
                items.append(found)
            if self._kind == "sign" and self._word in (",", "=>"):
                self._next()
            elif (self._kind, self._word) != ("sign", closing):
                raise PerlError(f"{self._word[:20]} is not understood")
        self._next()
        return items

    def _interpolated(self, text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            if match[1]:
                return match[1]
            if match[2] not in self._variables:
                raise PerlError(f"${match[2]} is not known")
            return self._variables[match[2]]

        found = re.sub(r"\\(\W)|\$\{?([A-Za-z_]\w*)\}?", replace, text)
        if "\\" in text and re.search(r"\\\w", text):
            raise PerlError("an escape sequence")
        return found


def _pairs(items: list[Value]) -> dict[str, Value]:
    if len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
        raise PerlError("not pairs")
    return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
