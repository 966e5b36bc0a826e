"""SPF records (RFC 7208 sections 3 to 6 and 12): the text of a record, parsed to typed terms.

record    = version terms *SP
version   = "v=spf1"
terms     = *( 1*SP ( directive / modifier ) )
directive = [ qualifier ] mechanism
modifier  = redirect / explanation / unknown-modifier
"""

import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv6Address
from socket import inet_aton
from typing import ClassVar

from mailnotary.errors import MailSyntaxError
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.remember import Remembering
from mailnotary.spf.macro import MacroError, MacroString, parse_domain_spec, parse_macro_string
from mailnotary.status import SpfStatus

# Octets. RFC 7208 section 3.4 advises to stay below 450, so that a reply fits in a datagram of 512; the longest records
# of those who list all their networks have about 2000.
MAX_RECORD = 8_192
_MEMORY = 4 * 1024 * 1024  # octets, of parsed records that are kept: some thousand of usual size
_TERM = 400  # octets, about: what a parsed term takes

_VERSION = b"v=spf1"
_ALMOST = re.compile(rb"[^0-9A-Za-z]{0,16}v[^0-9A-Za-z]{0,8}spf[^0-9A-Za-z]{0,4}1(?![0-9])", re.IGNORECASE)
_QUALIFIERS = {
    "+": SpfStatus.PASS,
    "-": SpfStatus.FAIL,
    "~": SpfStatus.SOFTFAIL,
    "?": SpfStatus.NEUTRAL,
}  # RFC 7208 section 4.6.2
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=")  # name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )
_NAME_END = re.compile(r"[:/]")
_DUAL_CIDR = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_QNUM = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IP4 = re.compile(rf":({_QNUM}(?:\.{_QNUM}){{3}})(?:/(0|[1-9][0-9]?))?\Z")
_IP6 = re.compile(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?\Z")


class SpfRecordError(MailSyntaxError):
    """A syntax error anywhere in a record, which makes it a permerror (4.6). `position` is the octet, from 0, of the
    term or of the place in it."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} (octet {position + 1} of the record)")
        self.reason = reason
        self.position = position


@frozen
class All:
    """all = "all" (5.1)"""


@frozen
class Include:
    """include = "include" ":" domain-spec (5.2)"""

    target: MacroString


@frozen
class A:
    """a = "a" [ ":" domain-spec ] [ dual-cidr-length ] (5.3)"""

    target: MacroString | None
    prefix4: int
    prefix6: int


@frozen
class Mx:
    """mx = "mx" [ ":" domain-spec ] [ dual-cidr-length ] (5.4)"""

    target: MacroString | None
    prefix4: int
    prefix6: int


@frozen
class Ptr:
    """ptr = "ptr" [ ":" domain-spec ] (5.5)"""

    target: MacroString | None


@frozen
class Ip4:
    """ip4 = "ip4" ":" ip4-network [ ip4-cidr-length ] (5.6)"""

    version: ClassVar = 4
    network: int
    mask: int


@frozen
class Ip6:
    """ip6 = "ip6" ":" ip6-network [ ip6-cidr-length ] (5.6)"""

    version: ClassVar = 6
    network: int
    mask: int


@frozen
class Exists:
    """exists = "exists" ":" domain-spec (5.7)"""

    target: MacroString


Mechanism = All | Include | A | Mx | Ptr | Ip4 | Ip6 | Exists


@frozen
class Directive:
    """A mechanism, the result that its match gives, and both as written."""

    text: str
    result: SpfStatus
    mechanism: Mechanism


@frozen
class Modifier:
    """redirect= or exp= (section 6), and as written."""

    text: str
    target: MacroString


@frozen
class SpfRecord:
    """A record without syntax errors. `redirect` is None too where an "all" makes it void (5.1). `asking` is
    how many terms ask DNS."""

    directives: tuple[Directive, ...]
    redirect: Modifier | None
    explanation: Modifier | None
    asking: int


def is_spf_record(text: bytes) -> bool:
    """Whether a TXT record is an SPF record: its version section is exactly "v=spf1", ended by a space or by the end of
    the record (4.5). Literals of the grammar match without regard to case (section 12)."""
    return text[:6].lower() == _VERSION and text[6:7] in (b"", b" ")


def almost_spf(text: bytes) -> bool:
    """Whether a TXT record that is not an SPF record was meant as one: with blanks or quotes in front or within, or
    with something other than a space after the version."""
    return not is_spf_record(text) and _ALMOST.match(text) is not None


def ignored_mechanisms(text: bytes) -> list[str]:
    """The terms of a record that have "=" where a mechanism has ":", such as include=example.org: unknown modifiers,
    which every check silently ignores (section 6)."""
    terms = text[:MAX_RECORD].decode("ascii", "replace").split(" ")
    names = ((term, match[1].lower()) for term in terms if (match := _MODIFIER.match(term)))
    return [term for term, name in names if name in _MECHANISMS or name in ("ip", "ipv4", "ipv6")]


def parse_record(text: bytes) -> SpfRecord:
    """Parses a record for which `is_spf_record` holds; raises SpfRecordError."""
    return _parse_remembering(text)


def _parse(text: bytes) -> SpfRecord:
    if len(text) > MAX_RECORD:
        raise SpfRecordError(f"more than {MAX_RECORD} octets", MAX_RECORD)
    if not text.isascii():  # 3.1: "The character content of the record is encoded as [US-ASCII]"
        position = next(i for i, octet in enumerate(text) if octet > 0x7F)
        raise SpfRecordError(f"{_character(text[position : position + 4])} is not US-ASCII", position)
    directives: list[Directive] = []
    known: dict[str, Directive] = {}  # a hostile record says the same thing again and again
    modifiers: dict[str, Modifier] = {}
    position = len(_VERSION) + 1
    for term in text[position:].decode("ascii").split(" "):  # spaces alone separate terms, no other white space
        if term:
            try:
                if match := _MODIFIER.match(term):
                    _add_modifier(modifiers, match[1].lower(), term, match.end())
                else:
                    directive = known.get(term) or known.setdefault(term, _directive(term))
                    directives.append(directive)
            except MacroError as error:
                raise SpfRecordError(f"{_shown(term)}: {error.reason}", position + error.offset) from None
        position += len(term) + 1
    has_all = any(isinstance(directive.mechanism, All) for directive in known.values())
    # 5.1: 'Any "redirect" modifier MUST be ignored when there is an "all" mechanism in the record, regardless of the
    # relative ordering of the terms.'
    redirect = None if has_all else modifiers.get("redirect")
    asking = sum([not isinstance(directive.mechanism, (All, Ip4, Ip6)) for directive in directives])
    return SpfRecord(tuple(directives), redirect, modifiers.get("exp"), asking + (redirect is not None))


_parse_remembering = Remembering(_parse, _MEMORY, lambda record: _TERM * (2 + len(record.directives)))


def _character(octets: bytes) -> str:
    """The character that octets begin with, in fixed words: what a word processor makes of a hyphen or a quote."""
    character = octets.decode("utf-8", "ignore")[:1]
    if not character or not octets.startswith(character.encode()):
        return f"octet 0x{octets[0]:02x}"
    kind = unicodedata.category(character)
    what = "a dash" if kind == "Pd" else "a quotation mark" if kind in ("Pi", "Pf") else "a character"
    return f"{what} (U+{ord(character):04X})"


def _add_modifier(modifiers: dict[str, Modifier], name: str, term: str, start: int) -> None:
    try:
        if name not in ("redirect", "exp"):
            # Section 6: "Unrecognized modifiers MUST be ignored no matter where, or how often"; their value still has
            # to be a macro-string (12). A known name with a bad value is not an unknown modifier, but an error.
            parse_macro_string(term[start:])
            return
        if name in modifiers:  # section 6: "MUST NOT appear in a record more than once each"
            raise MacroError(f"{name}= is duplicated", -start)
        modifiers[name] = Modifier(term, parse_domain_spec(term[start:]))
    except MacroError as error:
        raise MacroError(error.reason, start + error.offset) from None


def _directive(term: str) -> Directive:
    result = _QUALIFIERS.get(term[0])
    start = 0 if result is None else 1
    end = _NAME_END.search(term, start)
    name_end = len(term) if end is None else end.start()
    name = term[start:name_end].lower()
    parse = _MECHANISMS.get(name)
    if parse is None:
        raise MacroError(f"unknown mechanism{_hint(name, term[start:])}", start)
    try:
        return Directive(term, result or SpfStatus.PASS, parse(term[name_end:]))
    except MacroError as error:
        raise MacroError(error.reason, name_end + error.offset) from None


def _hint(name: str, term: str) -> str:
    """What was meant by a term whose mechanism is unknown; `term` without its qualifier."""
    if name in ("redirect", "exp"):
        return f' ("{name}" is a modifier: {name}=)'
    if name in ("ip", "ipv4", "ipv6"):
        return " (ip4 or ip6)"
    if _IP4.match(":" + term):
        return f" (ip4:{term})"
    if _is_network6(term):
        return f" (ip6:{term})"
    if name.partition("=")[0] in _MECHANISMS:
        return ' (":" goes before its argument, not "=")'
    return ""


def _is_network6(text: str) -> bool:
    try:
        _ip6(":" + text)
    except MacroError:
        return False
    return ":" in text


def _all(argument: str) -> All:
    if argument:
        raise MacroError('"all" takes no argument', 0)
    return All()


def _target(argument: str, length: str = "") -> MacroString:
    """ ":" domain-spec; `length` is the prefix length that followed it."""
    if not argument.startswith(":"):
        raise MacroError('":" and a domain are missing' if not argument else "a prefix length is not allowed here", 0)
    try:
        return parse_domain_spec(argument[1:])
    except MacroError as error:
        hint = f" (ip4{argument}{length}?)" if _IP4.match(argument + length) else ""
        raise MacroError(error.reason + hint, error.offset + 1) from None


def _ptr(argument: str) -> Ptr:
    return Ptr(_target(argument) if argument else None)


def _hosts(argument: str) -> tuple[MacroString | None, int, int]:
    """[ ":" domain-spec ] [ dual-cidr-length ]; a "/" may occur in a domain-spec too, but never in its last label."""
    if "/" not in argument:
        return _target(argument) if argument else None, 32, 128
    cidr = _DUAL_CIDR.search(argument)
    assert cidr is not None  # noqa: S101 - it matches the empty end
    target = argument[: cidr.start()]
    if target[:1] == "/":
        raise MacroError("not a valid prefix length", 0)
    return (
        _target(target, argument[cidr.start() :]) if target else None,
        _prefix(cidr[1], 32, cidr.start()),
        _prefix(cidr[2], 128, cidr.start()),
    )


def _prefix(digits: str | None, longest: int, offset: int) -> int:
    """A CIDR prefix length; its value range is 0-32 and 0-128 (5.6)."""
    prefix = longest if digits is None else int(digits)
    if prefix > longest:
        raise MacroError(f"a prefix length of {prefix}, where {longest} is the longest", offset)
    return prefix


def _ip4(argument: str) -> Ip4:
    match = _IP4.match(argument)
    if match is None:
        raise MacroError("not an IPv4 network such as ip4:192.0.2.0/24", 0)
    mask = _mask(_prefix(match[2], 32, match.start(2)), 32)
    return Ip4(int.from_bytes(inet_aton(match[1])) & mask, mask)


def _ip6(argument: str) -> Ip6:
    match = _IP6.match(argument)
    if match is None or len(match[1]) > 45:
        raise MacroError("not an IPv6 network such as ip6:2001:db8::/32", 0)
    try:
        address = int(IPv6Address(match[1]))
    except ValueError:
        raise MacroError("not an IPv6 address", 1) from None
    mask = _mask(_prefix(match[2], 128, match.start(2)), 128)
    return Ip6(address & mask, mask)


def _mask(prefix: int, bits: int) -> int:
    return ((1 << prefix) - 1) << (bits - prefix)


_MECHANISMS: dict[str, Callable[[str], Mechanism]] = {
    "all": _all,
    "include": lambda argument: Include(_target(argument)),
    "a": lambda argument: A(*_hosts(argument)),
    "mx": lambda argument: Mx(*_hosts(argument)),
    "ptr": _ptr,
    "ip4": _ip4,
    "ip6": _ip6,
    "exists": lambda argument: Exists(_target(argument)),
}


def _shown(term: str) -> str:
    return ascii_printable(term, 100)
