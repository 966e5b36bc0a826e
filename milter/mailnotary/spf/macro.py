"""SPF macros (RFC 7208 section 7): parsing a macro-string, and expanding one.

domain-spec   = macro-string domain-end
domain-end    = ( "." toplabel [ "." ] ) / macro-expand
explain-string= *( macro-string / SP )
macro-string  = *( macro-expand / macro-literal )
macro-expand  = ( "%{" macro-letter transformers *delimiter "}" ) / "%%" / "%_" / "%-"
macro-literal = %x21-24 / %x26-7E
transformers  = *DIGIT [ "r" ]
delimiter     = "." / "-" / "+" / "," / "/" / "_" / "="
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from mailnotary.domain import MAX_NAME
from mailnotary.errors import MailSyntaxError
from mailnotary.frozen import frozen

MAX_DOMAIN_SPEC = 2048  # octets as written; only 253 of its expansion ever count (RFC 7208 7.3)

_LETTERS = "slodiphcrtv"
_EXPLANATION_LETTERS = frozenset("crt")  # "allowed only in "exp" text" (7.2)
_MACRO = re.compile(r"%(?:\{([a-zA-Z])([0-9]*)([rR]?)([-.+,/_=]*)\}|([%_-]))")
_ESCAPED = {"%": "%", "_": " ", "-": "%20"}  # 7.1, "Some special cases"
_NO_LETTERS: frozenset[str] = frozenset()

Values = Callable[[str], str]
"""Gives the value of a macro letter (in lower case). Each character stands for one octet."""


class MacroError(MailSyntaxError):
    """The text is not a macro-string; `offset` says where in it."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@frozen
class Macro:
    """One "%{...}": the letter in lower case; whether it was upper case (URL-escaped, 7.3); how many right-hand parts
    to keep (0: all); whether to reverse; the delimiters that split the value ("": it is not split at all)."""

    letter: str
    escaped: bool
    keep: int
    reverse: bool
    delimiters: str

    def expand(self, values: Values) -> str:
        """The macro's expansion (7.3)."""
        value = values(self.letter)
        if self.delimiters:
            first = self.delimiters[0]
            for other in self.delimiters[1:]:
                value = value.replace(other, first)
            parts = value.split(first)
            if self.reverse:
                parts.reverse()
            value = ".".join(parts[-self.keep :] if self.keep else parts)
        # 7.3: "URL escaping MUST be performed for characters not in the unreserved set" of RFC 3986: what
        # quote leaves alone is just that set.
        return quote_from_bytes(value.encode("latin-1"), safe="") if self.escaped else value


@dataclass(frozen=True, slots=True, eq=False)  # by identity: it is a key of what was filled in
class MacroString:
    """A parsed macro-string: literals and macros in order, and which letters it uses."""

    text: str
    parts: tuple[str | Macro, ...]
    letters: frozenset[str]

    def expand(self, values: Values, limit: int) -> str:
        """The expansion as text, its first `limit` characters."""
        pieces: list[str] = []
        left = limit
        for part in self.parts:
            if left <= 0:
                break
            piece = (part if isinstance(part, str) else part.expand(values))[:left]
            pieces.append(piece)
            left -= len(piece)
        return "".join(pieces)

    def filled_in(self, letters: Container[str], values: Values) -> "MacroString":
        """The domain-spec with what the macros of some letters expand to in their place; `expand_domain` gives the
        same. What that cuts off in any case is left out."""
        parts: list[str | Macro] = []
        length = 0  # at least, of what they expand to
        for part in reversed(self.parts):
            if length > MAX_NAME + 1:
                break
            piece = part.expand(values) if isinstance(part, Macro) and part.letter in letters else part
            last = parts[-1] if parts else None
            if isinstance(piece, str):
                length += len(piece)
                if isinstance(last, str):
                    parts.pop()
                    piece += last
            parts.append(piece)
        rest = frozenset([part.letter for part in parts if isinstance(part, Macro)])
        return MacroString(self.text, tuple(reversed(parts)), rest)

    def expand_domain(self, values: Values) -> str:
        """The expansion as a domain name (4.8): without its trailing dot, and with labels removed from the left until
        it has 253 characters at most (7.3). Not necessarily a name that DNS can carry; "" where nothing is left."""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            name = self.parts[0]
        else:
            pieces: list[str] = []
            length = 0
            for part in reversed(self.parts):  # what is cut off on the left is not even expanded
                piece = part if isinstance(part, str) else part.expand(values)
                pieces.append(piece)
                length += len(piece)
                if length > MAX_NAME + 1:
                    break
            name = "".join(reversed(pieces))
        name = name.removesuffix(".")
        if len(name) > MAX_NAME:
            name = name[-MAX_NAME - 1 :].partition(".")[2]
        return name


def parse_macro_string(text: str, *, spaces: bool = False) -> MacroString:
    """Parses a macro-string, with `spaces` an explain-string; raises MacroError."""
    return _parse(text, spaces)[0]


def parse_domain_spec(text: str) -> MacroString:
    """Parses a domain-spec; raises MacroError."""
    if not text:
        raise MacroError("a domain is missing", 0)
    if len(text) > MAX_DOMAIN_SPEC:
        raise MacroError(f"a domain-spec of more than {MAX_DOMAIN_SPEC} octets", MAX_DOMAIN_SPEC)
    spec, end = _parse(text, False)
    if not spec.letters.isdisjoint(_EXPLANATION_LETTERS):  # 7.2
        raise MacroError("the macros c, r and t are for explanations only", 0)
    if end < len(text):  # what ends in a macro-expand is right as it is, whatever it will expand to
        _check_toplabel(text, end)
    return spec


def _parse(text: str, spaces: bool) -> tuple[MacroString, int]:
    """The parsed text, and where its last macro-expand ends."""
    if not (text.isascii() and text.isprintable()) or (not spaces and " " in text):
        bad = next(i for i, char in enumerate(text) if not "!" <= char <= "~" and not (spaces and char == " "))
        raise MacroError(f"octet 0x{ord(text[bad]):02x} is not allowed here", bad)
    if "%" not in text:
        return MacroString(text, (text,) if text else (), _NO_LETTERS), 0
    parts: list[str | Macro] = []
    letters: set[str] = set()
    end = 0
    while (percent := text.find("%", end)) >= 0:
        if percent > end:
            parts.append(text[end:percent])
        match = _MACRO.match(text, percent)
        if match is None:  # 7.3: a "%" not followed by one of "{%-_" is a syntax error
            raise MacroError(f"{text[percent : percent + 12]!r} does not begin a valid macro", percent)
        if match[5]:
            parts.append(_ESCAPED[match[5]])
        else:
            macro = _macro(match)
            parts.append(macro)
            letters.add(macro.letter)
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return MacroString(text, tuple(parts), frozenset(letters)), end


def _macro(match: re.Match[str]) -> Macro:
    letter, digits, reverse, delimiters, _ = match.groups()
    lower = letter.lower()
    if lower not in _LETTERS:
        raise MacroError(f"%{{{letter}}} is not a macro", match.start())
    significant = digits.lstrip("0")
    if digits and not significant:  # 7.3: "If a DIGIT is specified, the value MUST be nonzero"
        raise MacroError(f"{match.group()[:12]} keeps zero parts", match.start())
    # A count beyond what any identity can have means all parts; it is not converted, because that is expensive.
    keep = int(significant) if significant and len(significant) < 6 else 0
    transforms = bool(significant or reverse)
    return Macro(lower, letter != lower, keep, bool(reverse), delimiters or ("." if transforms else ""))


def _check_toplabel(text: str, literal: int) -> None:
    """Checks ( "." toplabel [ "." ] ) at the end of the last literal, which begins at `literal`.

    toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum )"""
    name = text.removesuffix(".")
    dot = name.rfind(".", literal)
    label = name[dot + 1 :]
    if dot < 0:
        raise MacroError(f"{text[:80]!r} does not end in a dot and a top-level label", 0)
    if not label.replace("-", "").isalnum() or label[0] == "-" or label[-1] == "-":
        raise MacroError(f"{label[:80]!r} is not a top-level label", dot + 1)
    if label.isdigit():
        raise MacroError(f"{label[:80]!r} is all digits, which a top-level label cannot be", dot + 1)
