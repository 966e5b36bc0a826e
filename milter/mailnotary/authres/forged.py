"""Whether an Authentication-Results field pretends to be ours (RFC 8601 section 5: such are removed at the border)."""

import re
import unicodedata
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache

import idna

from mailnotary.authres.parse import parse
from mailnotary.authres.types import AuthresError
from mailnotary.domain import to_ascii
from mailnotary.mail import cfws
from mailnotary.mail import encoded_word as encodedword

# What a sloppy reader may skip inside an identifier: white space, controls, quoting, comment marks, broken UTF-8, and
# what shows nothing (Default_Ignorable_Code_Point).
_NOISE = re.compile(
    '[\\s\x00-\x20\x7f-\xa0"()\\\\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f'
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]+"
)
# Ligatures that NFKC makes into whole phrases, up to 18 characters of one: no part of an identifier, but of an attack.
_LIGATURES = re.compile("[\ufb50-\ufdff]+")
_PIECE = 256  # characters normalized at a time
_COMMENT_PART = re.compile(r"\\.|[()]|[^()\\]++|\\", re.DOTALL)


def claims(value: bytes, ids: Collection[str]) -> bool:
    """Whether the field speaks in the name of one of the authserv-ids. They are compared as domain names are: without
    regard to case, U-labels as A-labels, a trailing dot ignored. A field that can't be parsed is read by others in
    ways that nobody knows: it claims every id that it contains anywhere, in whatever disguise."""
    if not ids or (value.isascii() and not _contains(value, ids)):
        return False  # most fields are others', and this is quicker than to parse them
    try:
        found = _same(parse(value).authserv_id)
    except AuthresError:
        return _contains(value, ids)
    return any(found == _same(own) for own in ids)


def _same(authserv_id: str) -> str:
    """The identifier in the form in which all its spellings are equal."""
    return (to_ascii(authserv_id) or _plain(authserv_id)).rstrip(".")


def _contains(value: bytes, ids: Collection[str]) -> bool:
    text = cfws.decode(value)
    haystacks = [_plain(text)]
    if "(" in text:
        haystacks.append(_plain(_without_comments(text)))
    if words := encodedword.words(text):
        haystacks.append(_plain("".join(words)))
    return any(needle in haystack for own in ids for needle in _needles(own) for haystack in haystacks)


@lru_cache(maxsize=256)
def _needles(own: str) -> tuple[str, ...]:
    """One of our ids as A-labels and as U-labels, as `_plain` leaves them."""
    ascii_form = _same(own)
    forms = [ascii_form]
    with suppress(idna.IDNAError, UnicodeError, ValueError):
        forms.append(idna.decode(ascii_form))
    return tuple(plain for form in forms if (plain := _plain(form)))


def _plain(text: str) -> str:
    if text.isascii():
        return _NOISE.sub("", text.lower())
    folded = _compatible(_LIGATURES.sub("", text)).replace("\u3002", ".").casefold()
    return _NOISE.sub("", folded)


def _compatible(text: str) -> str:
    """The text in the normal form KC, made piece by piece: a run of combining marks is put in order in a time that
    grows with its square. A piece ends before a character that combines with none before it, if one is near."""
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + _PIECE
        while end < min(len(text), start + 2 * _PIECE) and unicodedata.combining(text[end]):
            end += 1
        pieces.append(unicodedata.normalize("NFKC", text[start:end]))
        start = end
    return "".join(pieces)


def _without_comments(text: str) -> str:
    kept: list[str] = []
    depth = 0
    for match in _COMMENT_PART.finditer(text):
        part = match.group()
        if part == "(":
            depth += 1
        elif part == ")":
            depth = max(depth - 1, 0)
        elif depth == 0:
            kept.append(part)
    return "".join(kept)
