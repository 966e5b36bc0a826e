"""A message as octets: header fields in order, each with its raw value, and the body (RFC 5322 2.1)."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailnotary.frozen import frozen

# field-name: printable US-ASCII but the colon (RFC 5322 3.6.8). White space before the colon is the
# obsolete syntax (4.5), which a verifier still has to take.
_FIELD = re.compile(rb"([!-9;-~]+)([ \t]*):", re.DOTALL)
_BARE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(slots=True, unsafe_hash=True)
class HeaderField:
    """One header field. Name and value are its octets as they are in the message: the value begins right
    after the colon (its leading space included), folds are CRLF and white space, the final CRLF is left off."""

    name: Final[bytes]
    value: Final[bytes]
    key: Final[bytes]  # the name as it is compared (RFC 5322 1.2.2)

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.key = name.rstrip(b" \t").lower()

    @property
    def raw(self) -> bytes:
        """The whole field without its final CRLF."""
        return self.name + b":" + self.value


@frozen
class Message:
    """Header fields from the top down, and the body's octets."""

    fields: tuple[HeaderField, ...]
    body: bytes


def crlf(data: bytes) -> bytes:
    """The data with every bare LF made CRLF; files on Unix have those, mail on the wire never does (RFC 5321 2.3.8)."""
    return _BARE_LF.sub(b"\r\n", data)


def parse(data: bytes) -> Message:
    """Takes a message apart; never fails. Lines end with CRLF. The header ends at the first empty line, or at
    the first line that is neither a field nor a continuation (it then begins the body, as MTAs do it)."""
    fields: list[HeaderField] = []
    name, parts = b"", []  # the field being collected
    position, end = 0, len(data)
    while position < end:
        line_end = data.find(b"\r\n", position)
        next_line = end if line_end < 0 else line_end + 2
        line = data[position : end if line_end < 0 else line_end]
        if not line:
            position = next_line
            break
        if line[:1] in b" \t" and name:
            parts.append(line)
        else:
            start = _FIELD.match(line)
            if start is None:
                break
            if name:
                fields.append(HeaderField(name, b"\r\n".join(parts)))
            name, parts = line[: start.end() - 1], [line[start.end() :]]
        position = next_line
    if name:
        fields.append(HeaderField(name, b"\r\n".join(parts)))
    return Message(tuple(fields), data[position:])


def first_bad_line(data: bytes) -> tuple[int, bytes] | None:
    """The first line of a header that is neither a field nor a continuation, and its number from 0; None if every line
    is. `parse` ends the header there. Lines end with CRLF."""
    message = parse(data)
    if not message.fields:
        return 0, data.partition(b"\r\n")[0]
    header = data[: len(data) - len(message.body)]
    if header.endswith(b"\r\n\r\n") or not message.body:
        return None
    return header.count(b"\r\n"), message.body.partition(b"\r\n")[0]


class Selection(NamedTuple):
    """What a list of names picks among fields, whatever the fields are: for each naming the name, in lower case, and
    which of its fields from the bottom up, counted from 1 (RFC 6376 5.4.2); and how often it names each."""

    picks: tuple[tuple[bytes, int], ...]
    often: Mapping[bytes, int]


def selection(names: Iterable[bytes]) -> Selection:
    """What these names, in lower case, pick."""
    often: Counter[bytes] = Counter()
    picks = []
    for name in names:
        often[name] += 1
        picks.append((name, often[name]))
    return Selection(tuple(picks), often)


class FieldIndex:
    """The fields of a message by name, for selecting among them again and again."""

    __slots__ = ("_by_name",)

    def __init__(self, fields: Iterable[HeaderField]) -> None:
        by_name: defaultdict[bytes, list[HeaderField]] = defaultdict(list)
        for header in fields:
            by_name[header.key].append(header)
        self._by_name: dict[bytes, list[HeaderField]] = by_name

    def count(self, name: bytes) -> int:
        """How many fields have this name, in lower case."""
        return len(self._by_name.get(name, ()))

    def select(self, wanted: Selection, but: HeaderField | None = None) -> list[HeaderField]:
        """The fields that a list of names picks, in the list's order: each naming of a field takes the next of its
        name from the bottom up, one that is there no more takes nothing (RFC 6376 5.4.2). `but` is this one field
        that counts as absent."""
        by_name = self._by_name
        if but is not None and but.key in wanted.often:
            by_name = by_name | {but.key: [field for field in by_name.get(but.key, ()) if field is not but]}
        return [fields[-number] for name, number in wanted.picks if number <= len(fields := by_name.get(name, ()))]


def unfold(value: bytes) -> bytes:
    """A field's value on one line: the CRLF of each fold removed (RFC 5322 2.2.3)."""
    return value.replace(b"\r\n", b"")
