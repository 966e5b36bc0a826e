"""Whether an Authentication-Results field pretends to be ours (RFC 8601 section 5: such are removed at the border)."""

import re
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache

from mailnotary.authres.parse import parse
from mailnotary.authres.types import AuthresError
from mailnotary.domain import is_domain_name, to_ascii, to_unicode
from mailnotary.mail import cfws, encoded_word
from mailnotary.mail.compatible import compatible

# What is not part of a name, so that a sloppy reader may skip it or stop at it: white space, controls, quotes of every
# kind and other punctuation, broken UTF-8, and what shows nothing. The four are invisible, though Unicode has them as
# letters (Default_Ignorable_Code_Point).
_NOISE = re.compile("[^\\w.-]+|[\u115f\u1160\u3164\uffa0]+")
# Ligatures that NFKC makes into whole phrases, up to 18 characters of one: not part of any identifier, only of attacks.
# The signs and brackets among them separate words like any other.
_LIGATURES = re.compile("[\ufb50-\ufdff]+")
_COMMENT_PART = re.compile(r"\\.|[()]|[^()\\]++|\\", re.DOTALL)


def claims(value: bytes, ids: Collection[str]) -> bool:
    """Whether the field speaks in the name of one of the authserv-ids. They are compared as domain names are: without
    regard to case, U-labels as A-labels, a trailing dot ignored. An authserv-id that is not a domain name is read by
    others in ways that nobody knows: it claims each id that it has in it as a whole word. So is a field that can't be
    parsed: it claims every id that it contains anywhere, in whatever disguise."""
    if not ids or (value.isascii() and not _contains(value, ids)):
        return False  # most fields are others', and this is quicker than to parse them
    try:
        authserv_id = parse(value).authserv_id
    except AuthresError:
        return _contains(value, ids)
    words = _words(authserv_id)
    has_ours = any(needle.strip(".") in words for own in ids for needle in _needles(own))
    # Where none of our ids has a U-label, IDNA finds no id that is not among the words. It is slow: half a second for
    # the fields of one header.
    if not has_ours and not authserv_id.isascii() and not any("xn--" in _same(own) for own in ids):
        return False
    if any(_same(authserv_id) == _same(own) for own in ids):
        return True
    return has_ours and not _is_name(authserv_id.rstrip("."))


def _same(authserv_id: str) -> str:
    """The identifier in the form in which all its spellings are equal."""
    return (to_ascii(authserv_id) or _plain(authserv_id)).rstrip(".")


def _is_name(written: str) -> bool:
    """Whether it is a domain name as written; IDNA's mapping (UTS 46) drops what shows nothing."""
    name = to_ascii(written)
    if name is None or not is_domain_name(name):
        return False
    return written.isascii() or to_unicode(name) == _folded(written)


def _words(authserv_id: str) -> set[str]:
    """What an identifier is to those who stop at what is not part of a name, and to those who skip it."""
    words = _NOISE.split(_folded(authserv_id))
    return {word.strip(".") for word in (*words, "".join(words))}


def _contains(value: bytes, ids: Collection[str]) -> bool:
    text = cfws.decode(value)
    haystacks = [_plain(text)]
    if "(" in text:
        haystacks.append(_plain(_without_comments(text)))
    if words := encoded_word.words(text):
        haystacks.append(_plain("".join(words)))
    return any(needle in haystack for own in ids for needle in _needles(own) for haystack in haystacks)


@lru_cache(maxsize=256)
def _needles(own: str) -> tuple[str, ...]:
    """One of our ids as A-labels and as U-labels, as `_plain` leaves them."""
    ascii_form = _same(own)
    forms = [ascii_form]
    with suppress(ValueError):
        forms.append(to_unicode(ascii_form))
    return tuple(plain for form in forms if (plain := _plain(form)))


def _plain(text: str) -> str:
    return _NOISE.sub("", _folded(text))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return compatible(_LIGATURES.sub(" ", text)).replace("\u3002", ".").casefold()


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
