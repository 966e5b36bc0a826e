"""tag=value lists (RFC 6376 section 3.2), the syntax of DKIM signatures, DKIM keys and DMARC records.

tag-list  =  tag-spec *( ";" tag-spec ) [ ";" ]
tag-spec  =  [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
tag-name  =  ALPHA *ALNUMPUNC            ; ALPHA / DIGIT / "_"
tag-value =  [ tval *( 1*(WSP / FWS) tval ) ]
tval      =  1*VALCHAR                   ; %x21-3A / %x3C-7E, and UTF-8 (RFC 8616)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TAGS = 64  # a signature has 14 known tags; the cap bounds the work that a header field can cause

_WSP = b" \t\r\n"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
_VALUE = re.compile(rb"[!-:<-~\x80-\xff \t\r\n]*\Z")


class TagError(ValueError):
    """The text is no tag list; the message says what is wrong, for an admin."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: its value without the white space around it, and where that value stands in the text."""

    name: str
    value: bytes
    start: int
    end: int


class TagList:
    """The tags of a text, in order, by name. Tag names are case-sensitive (RFC 6376 3.2)."""

    __slots__ = ("_tags",)

    def __init__(self, tags: dict[str, Tag]) -> None:
        self._tags = tags

    def __contains__(self, name: str) -> bool:
        return name in self._tags

    def __iter__(self) -> Iterator[Tag]:
        return iter(self._tags.values())

    def __len__(self) -> int:
        return len(self._tags)

    def get(self, name: str) -> bytes | None:
        """The value of a tag, or None if it is not there."""
        tag = self._tags.get(name)
        return None if tag is None else tag.value

    def tag(self, name: str) -> Tag | None:
        """The tag itself, with its place in the text."""
        return self._tags.get(name)


def parse_tags(text: bytes) -> TagList:
    """Parses a tag list; raises TagError where the whole list is to be ignored: bad syntax, an octet that no
    value may have, a tag that stands twice (RFC 6376 3.2: "MUST NOT occur more than once")."""
    tags: dict[str, Tag] = {}
    position = 0
    specs = text.split(b";", MAX_TAGS + 1)
    if len(specs) > MAX_TAGS + 1:
        raise TagError(f"more than {MAX_TAGS} tags")
    last = len(specs) - 1
    for number, spec in enumerate(specs):
        start, position = position, position + len(spec) + 1
        if number == last and not spec.strip(_WSP):  # what stands after the optional final ";"
            if number == 0:
                raise TagError("empty tag list")
            break
        name_part, equals, value_part = spec.partition(b"=")
        if not equals:
            raise TagError(f"tag {number + 1} has no '='" if spec.strip(_WSP) else f"tag {number + 1} is empty")
        raw_name = name_part.strip(_WSP)
        if not _NAME.match(raw_name):
            raise TagError(f"tag {number + 1} has no valid name")
        name = raw_name.decode("ascii")
        if not _VALUE.match(value_part):
            raise TagError(f"tag {name}= has an octet that no tag may hold")
        if name in tags:
            raise TagError(f"tag {name}= stands twice")
        value = value_part.strip(_WSP)
        value_start = start + len(name_part) + 1 + (len(value_part) - len(value_part.lstrip(_WSP)))
        tags[name] = Tag(name, value, value_start, value_start + len(value))
    return TagList(tags)
