"""Untrusted text made safe to show: on a terminal, in a log line, in an SMTP reply."""

import re

# A backslash that begins no escape of ours. One that does stays: text that was made safe once is not changed again.
_BACKSLASH = r"\\(?!x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
# C0, DEL, C1, the line and paragraph separators and the bidirectional controls (which make a terminal show
# one thing and mean another), lone surrogates (octets that were not UTF-8), and the escape character itself.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]|" + _BACKSLASH
)
_BROKEN = re.compile(r"\\(?:x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7})?\Z")  # an escape of ours that was cut
_NOT_ASCII = re.compile(r"[^\x20-\x7e]|" + _BACKSLASH)


def _code(match: re.Match[str]) -> str:
    point = ord(match.group())
    if 0xDC80 <= point <= 0xDCFF:  # one octet that surrogateescape kept
        point -= 0xDC00
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def printable(text: str | bytes, limit: int = 1000) -> str:
    r"""The text on one line, with every octet or character that could act on a terminal or a log as \xNN; octets
    are taken as UTF-8 where they are. What was made safe before is not escaped again. At most `limit` characters are
    shown, which end with a whole word where one ends near; the rest is given as a count."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    head = _head(text, limit)
    shown = head if _is_plain(head) else _UNSAFE.sub(_code, head)
    return f"{shown}[... {len(text) - len(head)} more]" if len(head) < len(text) else shown


def ascii_printable(text: str | bytes, limit: int = 1000) -> str:
    """The first `limit` characters like `printable`, in US-ASCII alone, the last of them "..." where there are more."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    text = shortened(text, limit)
    return text if _is_plain(text) else _NOT_ASCII.sub(_code, text)


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of a text that was made safe, the last of them "..." where there are more. It is cut
    between two words, or in a word that is very long, but never in an escape."""
    return text if len(text) <= limit else _head(text, limit - 3) + "..."


def _head(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    space = text.rfind(" ", limit // 2, limit + 1)
    return text[:space].rstrip(" ") if space >= 0 else _BROKEN.sub("", text[:limit])


def _is_plain(text: str) -> bool:
    """Whether the text is printable US-ASCII without the escape character: nearly all is, and this check is faster
    than to substitute nothing."""
    return text.isascii() and text.isprintable() and "\\" not in text
