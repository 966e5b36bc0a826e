"""Turns nodes of a YAML file into values: small converters, and ways to combine them.

A converter takes a node and returns its value, or raises ValueError with what is wrong and what to write instead.
Sections and lists catch that for each of their parts, so that reading a file once finds all its errors.
"""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Any, Generic, TypeVar

from mailnotary.config.settings import Network
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar, YamlSequence, kind, shown
from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.escape import printable

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Converter = Callable[[YamlNode, Report], T]

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}  # as in YAML 1.1
_OCTAL = re.compile(r"(?:0o)?([0-7]{1,4})\Z")
_INTEGER = re.compile(r"[0-9][0-9_]{0,20}\Z")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)?\Z")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})\Z")
# 192.0.2.53, 192.0.2.53:5353, [::1], [::1]:53 or ::1
_NAMESERVER = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?\Z|(?P<bare>[0-9A-Fa-f:.]+)\Z"
)
_OCTETS = re.compile(r"([0-9][0-9_]{0,20}) ?(?:([KMG])(?:i?B)?)?\Z")
_POWERS = {None: 1, "K": 2**10, "M": 2**20, "G": 2**30}


# --- parts of a file ------------------------------------------------------------------------------------------------


def mapping_of(node: YamlNode, example: str = "key: value") -> YamlMapping:
    """The node as a mapping. No value means an empty one: perhaps all its keys are commented out."""
    if isinstance(node, YamlScalar) and node.is_null:
        return YamlMapping([], node.line, node.column)
    if not isinstance(node, YamlMapping):
        raise ValueError(f"{kind(node)} where keys are expected: write '{example}' lines below it, or {{{example}}}")
    return node


def values(node: YamlNode, report: Report, converters: dict[str, Converter[Any]]) -> dict[str, Any]:
    """The values of a mapping's keys. Those that are unknown or wrong are reported and left out."""
    if not isinstance(node, YamlMapping):
        node = mapping_of(node, f"{next(iter(converters))}: ...")
    read = {}
    for key, value in node.items:
        converter = converters.get(key.text)
        if converter is None:
            report.error(key, _unknown(key.text, converters))
            continue
        try:
            read[key.text] = converter(value, report)
        except ValueError as error:
            report.error(value, str(error))
    return read


def _unknown(key: str, known: dict[str, Converter[Any]]) -> str:
    name, colon, value = key.partition(":")
    if colon and name in known:
        return f"unknown key {shown(key)}: write a space after the ':', like '{name}: {printable(value)}'"
    near = get_close_matches(key.lower().replace("-", "_"), known, 1)
    if near:
        return f"unknown key {shown(key)}: did you mean '{near[0]}'?"
    for name, converter in known.items():
        if isinstance(converter, Section) and key in converter.converters:
            return f"unknown key {shown(key)} here: it belongs below '{name}:'"
    return f"unknown key {shown(key)}: write {in_words(sorted(known))}"


class Section(Generic[T]):
    """Reads a mapping whose keys are all optional: keys that are missing get the defaults of `make`."""

    def __init__(self, make: Callable[..., T], **converters: Converter[Any]) -> None:
        self.converters = converters
        self._make = make

    def __call__(self, node: YamlNode, report: Report) -> T:
        """The section's value; what is wrong with its parts is in the report."""
        return self._make(**values(node, report, self.converters))


def list_of(item: Converter[T], example: str) -> Converter[tuple[T, ...]]:
    """A list whose items all have the same converter."""

    def read(node: YamlNode, report: Report) -> tuple[T, ...]:
        if isinstance(node, YamlScalar) and node.is_null:
            raise ValueError(f"no value: write [] for an empty list, or a list like [{example}]")
        if not isinstance(node, YamlSequence):
            raise ValueError(f"{kind(node)} where a list is expected: write [{example}]")
        items = []
        for part in node.items:
            try:
                items.append(item(part, report))
            except ValueError as error:
                report.error(part, str(error))
        return tuple(items)

    return read


def scalar(parse: Callable[[str], T], example: str) -> Converter[T]:
    """A single value, as written in the file."""

    def read(node: YamlNode, _report: Report) -> T:
        if not isinstance(node, YamlScalar):
            raise ValueError(f"{kind(node)} where one value is expected: write {example}")
        if not node.text:
            raise ValueError(f"no value: write {example}, or remove the key for its default")
        return parse(node.text)

    return read


def optional(converter: Converter[T]) -> Converter[T | None]:
    """`null`, `~` and an empty value are None."""
    return lambda node, report: None if isinstance(node, YamlScalar) and node.is_null else converter(node, report)


# --- values ---------------------------------------------------------------------------------------------------------


def in_words(words: Sequence[str]) -> str:
    """The words as "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def choice(words: type[E]) -> Converter[E]:
    """One of an enumeration's words."""
    known = {str(word): word for word in words}
    instead = in_words(list(known))

    def parse(text: str) -> E:
        if text not in known:
            raise ValueError(f"{shown(text)} is not a known value: write {instead}")
        return known[text]

    return scalar(parse, instead)


def boolean() -> Converter[bool]:
    """true or false, in any spelling of YAML 1.1."""

    def parse(text: str) -> bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{shown(text)} is neither true nor false: write true or false")
        return _BOOLEANS[text.lower()]

    return scalar(parse, "true or false")


def integer(low: int, high: int) -> Converter[int]:
    """A decimal number."""
    instead = f"a number from {low} to {high}"

    def parse(text: str) -> int:
        if not _INTEGER.match(text) or not low <= int(text.replace("_", "")) <= high:
            raise ValueError(f"{shown(text)} does not fit: write {instead}")
        return int(text.replace("_", ""))

    return scalar(parse, instead)


def duration(text: str) -> float:
    """Seconds of a text like 90, 90s, 5m, 12h or 7d. Raises ValueError."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a time span: write one like 90s, 5m, 12h or 7d")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def seconds(low: float, high: float) -> Converter[float]:
    """A duration: seconds, or a number with ms, s, m, h or d."""
    instead = f"seconds from {low:g} to {high:g} (or with a unit, like 90s, 5m, 12h, 7d)"

    def parse(text: str) -> float:
        match = _DURATION.match(text)
        value = float(match[1]) * _SECONDS[match[2] or "s"] if match else -1
        if not low <= value <= high:
            raise ValueError(f"{shown(text)} does not fit: write {instead}")
        return value

    return scalar(parse, instead)


def octets(low: int, high: int) -> Converter[int]:
    """A size: octets, or a number with K, M or G (powers of 1024)."""
    instead = f"octets from {low} to {high} (or with a unit, like 64K, 1M)"

    def parse(text: str) -> int:
        match = _OCTETS.match(text)
        value = int(match[1].replace("_", "")) * _POWERS[match[2]] if match else -1
        if not low <= value <= high:
            raise ValueError(f"{shown(text)} does not fit: write {instead}")
        return value

    return scalar(parse, instead)


def text(example: str) -> Converter[str]:
    """A string of printable characters, as written in the file."""

    def parse(text: str) -> str:
        if not text.isprintable():
            raise ValueError(f"{shown(text)} has unprintable characters: write {example}")
        return text

    return scalar(parse, example)


def host_and_port(text: str) -> str:
    """An IP address with a port, as it is written. Raises ValueError."""
    match = _HOST_AND_PORT.match(text)
    try:
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ValueError
        ip_address(match["v6"] or match["v4"])
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not an address with a port: write one like 127.0.0.1:9891 or [::1]:9891"
        ) from None
    return text


def nameserver(text: str) -> tuple[str, int]:
    """An address of DNS, with its port, which is 53 if it is not written. Raises ValueError."""
    match = _NAMESERVER.match(text)
    try:
        if match is None or not 1 <= (port := int(match["port"] or 53)) <= 65535:
            raise ValueError
        return str(ip_address(match["v6"] or match["v4"] or match["bare"])), port
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a name server: write its address, like 192.0.2.53, 192.0.2.53:5353, ::1 or [::1]:53"
        ) from None


def file_mode() -> Converter[int]:
    """File permissions in octal, with or without quotes (YAML itself reads 0660 as 432)."""

    def parse(text: str) -> int:
        match = _OCTAL.match(text)
        if match is None or not 0o600 <= int(match[1], 8) <= 0o777 or int(match[1], 8) & 0o600 != 0o600:
            raise ValueError(f"{shown(text)} is not a mode that a socket can have: write an octal number like 0660")
        return int(match[1], 8)

    return scalar(parse, "0660")


def domain(text: str) -> str:
    """A domain name as lower-case A-labels."""
    name = to_ascii(text)
    if name is None or not is_domain_name(name):
        raise ValueError(f"{shown(text)} is not a domain name: write one like example.org")
    return name


@lru_cache(maxsize=1024)  # thousands of domains name the same few
def network(text: str) -> Network:
    """A network; a single address is /32 or /128. A network with host bits set is an error, because it is unclear
    whether the network or the address is meant."""
    address, slash, length = text.partition("/")
    try:
        host = ip_address(address)
        if slash and not (length.isascii() and length.isdigit()):
            raise ValueError
        parsed = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a network: write one like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1"
        ) from None
    if host.version == 6 and host.scope_id:
        raise ValueError(f"{shown(text)} has a zone: remove '%{host.scope_id}'")
    if slash and host != parsed.network_address:
        raise ValueError(f"{shown(text)} has host bits set: write {parsed} for the network or {host} for the address")
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= 96 and (mapped := parsed.network_address.ipv4_mapped):
        # IPv4-mapped addresses of clients are compared as IPv4.
        raise ValueError(f"{shown(text)} is an IPv4-mapped network: write {mapped}/{parsed.prefixlen - 96}")
    return parsed


networks = list_of(scalar(network, "a network like 192.0.2.0/24"), "192.0.2.0/24")
