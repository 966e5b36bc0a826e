"""Answers from a zone in memory: for tests, for `--zone`, for programs that bring their own data."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from mailnotary.domain import to_ascii
from mailnotary.errors import DnsError
from mailnotary.escape import printable
from mailnotary.resolver.types import MAX_CNAMES, Answer, DnsTempError, MxRecord, RecordData, RecordKind

_FAULTS = ("TIMEOUT", "SERVFAIL")
_NXDOMAIN = "NXDOMAIN"
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


class ZoneError(DnsError, ValueError):
    """The zone's data is not in the form that `ZoneResolver` takes; the message names the place."""


class _Node:
    """All that the zone has at one name."""

    __slots__ = ("cname", "fault", "faults", "nonexistent", "records")

    def __init__(self) -> None:
        self.records: dict[RecordKind, list[RecordData]] = {}
        self.faults: dict[RecordKind, str] = {}
        self.fault: str | None = None  # for every type that has no records
        self.cname: str | None = None
        self.nonexistent = False


class ZoneResolver:
    """A resolver over a mapping: name -> list of one-key maps, or "TIMEOUT", "SERVFAIL", "NXDOMAIN".

    A one-key map is {type: data}: TXT (a string, or a list of the record's character strings), A, AAAA, PTR, CNAME (a
    string), MX ([preference, name]). A type SPF stands for TXT too, unless the name has a TXT of its own ({TXT: NONE}
    only suppresses that copy). One of the words in a list, or as a type's data, is the fault of every type
    without records there, or of that type. Names match without regard to case, a character is an octet (latin-1);
    a name with U-labels is found by its A-labels. Raises ZoneError for data in any other form."""

    def __init__(self, zone: Mapping[str, Any]) -> None:
        self._nodes: dict[str, _Node] = {}
        self._ancestors: set[str] = set()  # names that exist for having names below them (RFC 8020 section 2)
        for raw_name, data in zone.items():
            key = _key(str(raw_name))
            node = _node(str(raw_name), data)
            self._nodes[key] = node
            if not key.isascii() and (ascii_name := to_ascii(key)) is not None:
                self._nodes[ascii_name] = node
                key = ascii_name
            if not node.nonexistent:
                labels = key.split(".")
                self._ancestors.update(".".join(labels[i:]) for i in range(1, len(labels)))

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        owner = name
        for _ in range(MAX_CNAMES + 1):
            step = self.step(owner, kind)
            if isinstance(step, Answer):
                return step
            owner = step
        raise DnsTempError(f"{kind} {printable(name, limit=255)}: a loop, or more than {MAX_CNAMES} CNAMEs")

    def step(self, name: str, kind: RecordKind) -> Answer | str:
        """What the zone has at this very name: the answer, or the name that its CNAME leads to. Raises DnsTempError."""
        node = self._nodes.get(key := _key(name))
        if node is None:
            return Answer((), exists=key in self._ancestors)
        if node.nonexistent:
            return Answer((), exists=False)
        if records := node.records.get(kind):
            return Answer(tuple(records), octets=sum(map(_octets, records)))
        if fault := node.faults.get(kind) or (None if node.cname is not None else node.fault):
            raise DnsTempError(f"{kind} {printable(name, limit=255)}: {fault}", fault)
        return Answer(()) if node.cname is None else node.cname


def _octets(record: RecordData) -> int:
    """About what a record takes on the wire: 12 octets before its data (RFC 1035 section 4.1.3)."""
    return 12 + (len(record) if isinstance(record, bytes | str) else 16)


def _key(name: str) -> str:
    name = name.removesuffix(".")
    return name.lower() if name.isascii() else name.translate(_LOWER)  # only A to Z have case (RFC 4343 section 3)


def _node(name: str, data: Any) -> _Node:
    node = _Node()
    spf_copies: list[RecordData] = []
    own_txt = False
    for entry in [data] if isinstance(data, str) else _list(name, data):
        if isinstance(entry, str):
            if entry in _FAULTS:
                node.fault = entry
            elif entry == _NXDOMAIN:
                node.nonexistent = True
            else:
                raise ZoneError(
                    f"{name}: {entry!r} is neither a map such as {{TXT: v=spf1 -all}} nor TIMEOUT, SERVFAIL or NXDOMAIN"
                )
            continue
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ZoneError(f"{name}: {entry!r} is not a one-key map such as {{TXT: v=spf1 -all}}")
        kind_word, value = next(iter(entry.items()))
        if kind_word == "SPF":
            if value not in _FAULTS:
                spf_copies.append(_text(name, value))
        elif kind_word == "CNAME":
            node.cname = _key(_host(name, value))
        elif kind_word not in RecordKind.__members__:
            raise ZoneError(f"{name}: unknown record type {kind_word!r}")
        else:
            kind = RecordKind(kind_word)
            own_txt = own_txt or kind is RecordKind.TXT
            if value in _FAULTS:
                node.faults[kind] = value
            elif not (kind is RecordKind.TXT and value == "NONE"):
                node.records.setdefault(kind, []).append(_record(name, kind, value))
    if spf_copies and not own_txt:
        node.records[RecordKind.TXT] = spf_copies
    return node


def _list(name: str, data: Any) -> Iterable[Any]:
    if not isinstance(data, list | tuple):
        raise ZoneError(f"{name}: a list is needed, not {data!r}")
    return data


def _record(name: str, kind: RecordKind, value: Any) -> RecordData:
    try:
        match kind:
            case RecordKind.TXT:
                return _text(name, value)
            case RecordKind.A:
                return IPv4Address(str(value))
            case RecordKind.AAAA:
                return IPv6Address(str(value))
            case RecordKind.PTR:
                return _host(name, value)
            case RecordKind.MX:
                preference, host = _list(name, value)
                return MxRecord(int(preference), _host(name, host))
    except (TypeError, ValueError) as error:
        raise ZoneError(f"{name}: {value!r} is not a record of type {kind}: {error}") from error


def _host(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ZoneError(f"{name}: {value!r} is not a name")
    return value.removesuffix(".")


def _text(name: str, value: Any) -> bytes:
    if isinstance(value, list | tuple):
        return b"".join(_text(name, part) for part in value)
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | int | float):
        raise ZoneError(f"{name}: {value!r} is not a TXT record")
    text = str(value)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
