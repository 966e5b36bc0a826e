"""The lexical ground of structured header fields: folding, comments, quoted strings (RFC 5322 section 3.2).

Octets are read as UTF-8 with `surrogateescape`, so that each that is none is one lone surrogate, and each structural
character is itself. Every function takes time in proportion to the text."""

import re

from mailnotary.errors import MailSyntaxError

MAX_COMMENT_DEPTH = 32  # comments in comments; people write one

# Controls have no place in a header field; the obsolete syntax (RFC 5322 4.1) has some in comments and quoted strings.
# A reader in C stops at NUL, terminals and ISO-2022 decoders act on ESC, SO and SI: readers would disagree.
# A fold is a line end before white space (LF alone is how some MTAs hand CRLF on), any other line end is damage.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\n(?![ \t])")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_CFWS = (" ", "\t", "(")
_WSP = re.compile(r"[ \t]*")
_COMMENT_TEXT = re.compile(r"(?:[^()\\]++|\\.)*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)


class CfwsError(MailSyntaxError):
    """The text can't be taken apart; the message says why."""


def decode(value: bytes | str) -> str:
    """A field's value as text, whatever its octets."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def unfold(text: str) -> str:
    """The text on one line, without the line ends of folds (RFC 5322 2.2.3). Raises CfwsError if it has controls or
    other line ends."""
    control = _CONTROL.search(text)
    if control is not None:
        raise CfwsError(f"control character 0x{ord(control.group()):02x}")
    return _FOLD.sub("", text)


def skip(text: str, position: int) -> int:
    """The position after the comments and white space there (CFWS), the same if there are none. Raises CfwsError."""
    while text.startswith(_CFWS, position):
        position = _end(_WSP, text, position)
        if text.startswith("(", position):
            position = _skip_comment(text, position)
    return position


def _skip_comment(text: str, position: int) -> int:
    depth = 0
    while True:
        character = text[position : position + 1]
        if character == "(":
            depth += 1
            if depth > MAX_COMMENT_DEPTH:
                raise CfwsError(f"comments are nested deeper than {MAX_COMMENT_DEPTH}")
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position + 1
        else:
            raise CfwsError("a comment is not closed")
        position = _end(_COMMENT_TEXT, text, position + 1)


def quoted_string(text: str, position: int) -> tuple[str, int]:
    """The quoted string at a position: what it stands for, and the position after it. Raises CfwsError."""
    match = _QUOTED.match(text, position)
    if match is None:
        raise CfwsError("a quoted string is not closed")
    return unquote(match[1]), match.end()


def unquote(text: str) -> str:
    """The text with each quoted pair as the character it stands for (RFC 5322 3.2.1)."""
    return _PAIR.sub(r"\1", text) if "\\" in text else text


def quote(text: str) -> str:
    """The text as a quoted string. It must be free of controls (`unfold` says so)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()
