"""Writing Authentication-Results (RFC 8601 section 2.2), so that nothing untrusted gets out of its place."""

import re
from collections.abc import Sequence
from functools import lru_cache

from mailnotary.authres.types import AuthenticationResults, AuthresError, MethodResult
from mailnotary.mail import cfws

LINE = 78  # characters (RFC 5322 section 2.1.1)
MAX_TEXT = 450  # octets of one value, reason or comment; quoted it stays within the 998 octets that a line may have

_KEYWORD = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\Z")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\u0080-\U0010ffff]+\Z")
# [[local-part] "@"] domain-name, the local part a dot-atom or a quoted string (RFC 5322 3.4.1, RFC 6532)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_LABEL = r"[A-Za-z0-9_\-\u0080-\U0010ffff]+"
_ADDRESS = re.compile(rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\]|\\.)*")?@{_LABEL}(?:\.{_LABEL})*\Z')
_USUAL = re.compile(
    r"(?:[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+|@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\Z"
)  # of those in US-ASCII
# All that could end a line, hide text or turn it around: controls (C0, DEL, C1), line and paragraph separators,
# bidirectional marks, octets that were not UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
_WIDE_SPACE = re.compile(r"(?![\x00-\x7f])\s")  # white space to some readers, so never outside quotes
_COMMENT_SPECIAL = re.compile(r"[()\\]")
_QUOTED_PAIR = r"\\\g<0>"
_BREAK = re.compile(r"(?<! ) (?! )")


def format(results: AuthenticationResults) -> str:
    """The field's value, without a leading space, folded by CRLF and a space (libmilter wants LF alone: the caller
    replaces it). Unfolded it is one line, so a fold adds and takes nothing.

    Values, reasons and comments may be anything: what a field can't carry in them comes out as "?", and all but
    the first `MAX_TEXT` octets are left out. Keywords are the program's own: an invalid one raises AuthresError."""
    return assemble(results.authserv_id, results.version, [line(result) for result in results.results])


def line(result: MethodResult) -> str:
    """One result, folded."""
    return fold(unfolded(result))


def assemble(authserv_id: str, version: int, lines: Sequence[str]) -> str:
    """The field's value with these results."""
    head = _value(authserv_id)
    if version != 1:
        head += f" {version}"
    return ";\r\n ".join([head, *lines]) if lines else f"{head}; none"


def safe(text: str) -> str:
    """The text as a value can carry it."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_TEXT:
        return text  # nearly always
    text = _UNSAFE.sub("?", text)
    if len(text.encode()) > MAX_TEXT:
        text = text.encode()[:MAX_TEXT].decode("utf-8", "ignore")
    return text


def unfolded(result: MethodResult) -> str:
    """One result on one line."""
    text = f"{_keyword(result.method)}={_keyword(result.result)}"
    if result.method_version != 1:
        text = f"{_keyword(result.method)}/{result.method_version}={_keyword(result.result)}"
    if result.comment:
        text += f" ({_COMMENT_SPECIAL.sub(_QUOTED_PAIR, safe(result.comment))})"
    if result.reason:
        text += f" reason={cfws.quote(safe(result.reason))}"
    for ptype, name, value in result.properties:
        text += f" {_keyword(ptype)}.{_keyword(name)}={pvalue(value)}"
    return text


@lru_cache(maxsize=256)  # a few dozen, of our own
def _keyword(text: str) -> str:
    if not _KEYWORD.match(text):
        raise AuthresError(f"{text!r} is not a keyword")
    return text


def _value(text: str) -> str:
    text = safe(text)
    return text if _TOKEN.match(text) and not _has_wide_space(text) else cfws.quote(text)


def pvalue(text: str) -> str:
    """A property's value, in quotes where it needs them."""
    if len(text) <= MAX_TEXT and _USUAL.match(text):
        return text
    text = safe(text)
    plain = (_TOKEN.match(text) or _ADDRESS.match(text)) and not _has_wide_space(text)
    return text if plain else cfws.quote(text)


def _has_wide_space(text: str) -> bool:
    return not text.isascii() and _WIDE_SPACE.search(text) is not None


def fold(text: str) -> str:
    """One result over as many lines as it takes. A line breaks before a single space, never within a run of them:
    so none ends with a blank or has only blanks. The space stays: it may be a quoted string's."""
    lines = []
    start = 0
    while len(text) - start > LINE - 1:
        end = _last_break(text, start + 1, start + LINE)
        if end < 0:
            match = _BREAK.search(text, start + LINE)
            if match is None:
                break
            end = match.start()
        lines.append(text[start:end])
        start = end
    lines.append(text[start:])
    return "\r\n".join(lines)


def _last_break(text: str, start: int, end: int) -> int:
    """The last place before `end` where a line may break, -1 if there is none."""
    while (place := text.rfind(" ", start, end)) >= 0:
        if text[place - 1] != " " and text[place + 1 : place + 2] != " ":
            return place
        end = place
    return -1
