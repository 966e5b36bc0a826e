"""tag=value lists (RFC 6376 section 3.2), the syntax of DKIM signatures and DKIM keys.

tag-list  =  tag-spec *( ";" tag-spec ) [ ";" ]
tag-spec  =  [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
tag-name  =  ALPHA *ALNUMPUNC            ; ALPHA / DIGIT / "_"
tag-value =  [ tval *( 1*(WSP / FWS) tval ) ]
tval      =  1*VALCHAR                   ; %x21-3A / %x3C-7E, and UTF-8 (RFC 8616)
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64

from mailnotary.errors import MailSyntaxError

MAX_TAGS = 64  # a signature has 14 known tags; the cap bounds the work that a header field can cause

_WSP = b" \t\r\n"
BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}\Z")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
# A CR or LF that is not part of a fold is not allowed in a tag: it could smuggle in a line.
# (The "++" keeps the match from being tried again in other ways: without it, it takes exponential time. "*+" for the
# group would be right, but Python before 3.11.5 continues after what a group matched before it failed: gh-106052.)
_OCTETS = re.compile(rb"(?:[!-~\x80-\xff \t]++|\r\n(?=[ \t]))*\Z")
_ALLOWED = bytes([*range(0x21, 0x7F), *range(0x80, 0x100), *b" \t"])  # all that _OCTETS takes, but folds


class TagError(MailSyntaxError):
    """The text is not a tag list; the message says what is wrong, for an admin."""


class TagList(dict[str, bytes]):
    """The tags of a text: each name with its value, without the white space around it, in the text's order. Tag names
    are case-sensitive (RFC 6376 3.2). `spans` are the places of the values in the text with that white space, each
    from after the "=" to before the ";"."""

    __slots__ = ("spans",)

    def __init__(self) -> None:
        self.spans: dict[str, tuple[int, int]] = {}


def parse_tags(text: bytes) -> TagList:
    """Parses a tag list; raises TagError where the whole list is to be ignored: bad syntax, an octet that no
    value may have, a duplicated tag (RFC 6376 3.2: "the entire tag-list is invalid")."""
    tags = TagList()
    clean = _has_no_bad_octet(text)
    end = -1
    specs = text.split(b";", MAX_TAGS)
    for number, spec in enumerate(specs, 1):
        end += 1 + len(spec)
        if number == len(specs) > 1 and not spec.strip(_WSP):  # what follows the optional final ";"
            break
        if number > MAX_TAGS:
            raise TagError(f"more than {MAX_TAGS} tags")
        raw_name, equals, value = spec.partition(b"=")
        if not equals:
            raise TagError(f"tag {number} has no '='" if spec.strip(_WSP) else f"tag {number} is empty")
        raw_name = raw_name.strip(_WSP)
        if not (raw_name.isalpha() or _NAME.match(raw_name)):
            raise TagError(f"tag {number} has no valid name")
        name = raw_name.decode()
        if not clean and not _OCTETS.match(spec):
            raise TagError(f"tag {name}= has an octet that is not allowed")
        if name in tags:
            raise TagError(f"tag {name}= is duplicated")
        tags[name] = value.strip(_WSP)
        tags.spans[name] = end - len(value), end
    return tags


def _has_no_bad_octet(text: bytes) -> bool:
    """Whether `_OCTETS` takes all of the text, so each of its tags. (A sixth of the time that asking it for each takes:
    what is left without the octets that are allowed must be as many line ends as there are folds.)"""
    left = text.translate(None, _ALLOWED)
    return not left or left == b"\r\n" * (text.count(b"\r\n ") + text.count(b"\r\n\t"))


def decode_base64(value: bytes) -> bytes | None:
    """A base64string (RFC 6376 2.10), white space anywhere in it, its padding optional; None if it is not one."""
    packed = value.translate(None, _WSP)
    try:
        if packed:
            return a2b_base64(packed, strict_mode=True)  # nearly always: with the padding that it should have
    except Base64Error:
        pass
    if not BASE64.match(packed):
        return None
    packed = packed.rstrip(b"=")
    try:
        return b64decode(packed + b"=" * (-len(packed) % 4))
    except Base64Error:  # one digit over
        return None
