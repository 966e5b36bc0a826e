"""What a damaged or hidden author looks like to people: the domains that some mail program may show as the author's.

Where the grammar gives no author, this reads as leniently as programs and people do: encoded words decoded, characters
that can't be seen left out, look-alikes of "@" and "." taken as them, quotes and brackets skipped. What is found is
for policies to be followed and for our own signatures to be demanded; only `one_address` makes an author of it, and
only where nothing else can be seen in the field."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.mail import cfws, encoded_word
from mailnotary.mail.compatible import compatible

MAX_FIELD = 16_384  # octets of From that are looked at; 600 addresses take 12,000
MAX_CLAIMS = 20  # distinct domains that are kept
MAX_SIGNS = 200  # "@" that are looked at, in each reading


class Claims(NamedTuple):
    """`domains` are distinct, as lower-case A-labels, those in angle brackets first. `more`: there may be others, which
    a cap kept from being found."""

    domains: tuple[str, ...]
    more: bool


# Characters that can't be seen, or only as a blank: controls, format characters, spaces but U+0020, and whatever else
# Unicode has programs ignore (Default_Ignorable_Code_Point); private use and non-characters, which have no look of
# their own; and octets that are not UTF-8 (lone surrogates), for Latin-1 has blanks and controls from 0x80 to 0xA0.
_UNSEEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680"
    "\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff\ufdd0-\ufdef"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U0010ffff"
)
UNSEEN = re.compile(f"[{_UNSEEN}]")
# IDNA2008 has valid labels with these two, in Indic scripts and Persian (RFC 5892 appendix A).
_UNSEEN_NO_JOINER = re.compile("(?![\u200c\u200d])" + UNSEEN.pattern)


# An "@", what a reader may skip after it, and a name whose dots may have gaps around them. Nothing here can run over
# the next "@" but a comment, whose end then stops that one: the search takes linear time.
_GAP = r"(?:[\s\"'`\[\]{}\\]|\([^()]*\))*"
_SKIP = r"(?:[\s\"'`\[{}!#$%&*+/=?^|~\\.-]|\([^()]*\))*"
_LABEL = "[A-Za-z0-9_\x80-\U0010ffff-]+"
_RUN = rf"{_LABEL}(?:\.{_LABEL})*"
_CLAIM = re.compile(rf"[<>]|@{_SKIP}({_LABEL}(?:{_GAP}\.{_GAP}{_LABEL})*)")
_UP_TO_GAP = re.compile(_RUN)
_BETWEEN = re.compile(r"\([^()]*\)|[\s\"'`\[\]{}\\]")
_ASCII_LABEL = re.compile(r"[A-Za-z0-9_-]*")


def is_visible(text: str) -> bool:
    """Whether each of an address's characters can be seen, or has a place in a domain name all the same."""
    return text.isascii() or _UNSEEN_NO_JOINER.search(text) is None


def claims(text: str) -> Claims:
    """The domains that a field shows to some reader, in whatever part of it. Never raises."""
    angle: dict[str, None] = {}
    other: dict[str, None] = {}
    # Of one label: no domain of the Internet's, and often no address at all ("Sales @ Acme").
    bare: dict[str, None] = {}
    more = len(text) > MAX_FIELD
    for reading in _readings(text[:MAX_FIELD]):
        inside, signs = False, 0
        more = more or len(reading) > MAX_FIELD
        for match in _CLAIM.finditer(reading[:MAX_FIELD]):
            if match[1] is None:
                inside = match[0] == "<"
                continue
            signs += 1
            if signs > MAX_SIGNS or len(angle) + len(other) > MAX_CLAIMS or len(bare) > MAX_CLAIMS:
                more = True
                break
            for domain in _domains(match[1]):
                group = bare if "." not in domain else angle if inside else other
                group[domain] = None
    domains = tuple({**angle, **other}) or tuple(bare)
    return Claims(domains[:MAX_CLAIMS], more or len(domains) > MAX_CLAIMS)


def _readings(text: str) -> Iterator[str]:
    """The text as it stands and with its encoded words decoded; each without what can't be seen, and with blanks for
    it."""
    seen: set[str] = set()
    for version in (text, encoded_word.decoded(text)):
        for blank in ("", " "):
            reading = version if version.isascii() and version.isprintable() else UNSEEN.sub(blank, version)
            if not reading.isascii():
                # U+3002 is a dot to UTS 46; so is U+FF61, which the normal form makes U+3002.
                reading = compatible(reading, MAX_FIELD).replace("\u3002", ".")
            if reading not in seen:
                seen.add(reading)
                yield reading


def _domains(name: str) -> Iterator[str]:
    """The domain names that begin after an "@": the one up to the first gap, and the one over all gaps."""
    match = _UP_TO_GAP.match(name)
    for run in dict.fromkeys((match[0] if match else "", _BETWEEN.sub("", name))):
        if domain := _longest(run):
            yield domain


def _longest(name: str) -> str:
    """The longest domain name that a text begins with, "" if there is none."""
    domain = to_ascii(name.strip(".-"))
    if domain and is_domain_name(domain):
        return domain
    labels: list[str] = []
    for label in name[: 4 * 253].strip(".-").split(".")[:128]:
        encoded = to_ascii(label) if len(label) <= 63 else None
        whole = bool(encoded) and is_domain_name(encoded or "")
        part = encoded or "" if whole else _ascii_prefix(label)
        if not part or len(".".join([*labels, part])) > 253:
            break
        labels.append(part)
        if not whole:
            break
    return ".".join(labels)


def _ascii_prefix(label: str) -> str:
    match = _ASCII_LABEL.match(label)
    part = match[0].strip("-").lower() if match else ""
    return part if part and is_domain_name(part) else ""


# --- addresses in encoded words -------------------------------------------------------------------------------------

# What makes an address of an encoded word's text in a program that decodes first and parses then.
_STRUCTURE = re.compile(r"[<>\"]|[,;]\s*[^\s,;()@]*@|@[^\s,;@]*\s*[,;]")


def hides_author(text: str, words: Sequence[str], domain: str) -> bool:
    """Whether the encoded words of a field make another author of it for who decodes first and parses then, though RFC
    2047 section 5 has no address in them. An address that is the name's text alone makes none ("a@b.example via
    List"): lists write such names, and what a name says is not an author's address (RFC 9989 section 11.4)."""
    # All together: a comma may be in another word than the address that it ends.
    if not _STRUCTURE.search(compatible("".join(words))):
        return False
    shown = claims(text)
    return shown.more or any(other != domain and "." in other for other in shown.domains)


# --- one address in spite of damage ---------------------------------------------------------------------------------

# No character is in two sets that may follow each other here, for the time would grow with the square of their number:
# so the blanks are US-ASCII's, and a local part within a name has 64 characters at most (RFC 5321 4.5.3.1.1).
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-"
_ADDRESS = rf"(?!\.+@)([{_ATEXT}.]+)@({_RUN})\.?"
_BLANK = r" \t\r\n\f\v"
# A name with whatever in it before the address in angle brackets, or an address alone; signs of a list or a sentence
# after it. (The blanks before an address give none back: some are letters of a local part, too, and the time would grow
# with the square of their number.)
_ONE = re.compile(
    rf"([^<>]*)<\s*+{_ADDRESS}[{_BLANK}]*>(?:[{_BLANK}.,;]|\([^()<>@]*\))*\Z|\s*+{_ADDRESS}[{_BLANK}.,;]*\Z"
)
# An address, or a word that is not one: taken too, lest each quotation mark in it begin the search of the rest again.
_ADDRESS_IN_NAME = re.compile(rf"(?<![^\s\"'(\[,;:])[{_ATEXT}.]++(?:@[A-Za-z0-9_.-]+(?=[\s\"')\],;:]|\Z))?")
_SIGN_IN_NAME = re.compile(r"@ ?[\w-]*(?=[\s\"')\],;:.]|\Z)")  # Sales @ Acme, @joe: `claims` sees what is more


def one_address(text: str) -> tuple[str, str] | None:
    """The local part and the domain (A-labels) of the one address that an unfolded field shows though the grammar does
    not allow it: a name that lacks its quotes, a dot or comma too many. None where any reader could see another domain,
    or something that this does not know to be harmless."""
    author: tuple[str, str] | None = None
    for reading in (text, *_readings(text)):
        match = _ONE.match(reading)
        if match is None:
            return None
        local_part, name = match[2] or match[4], match[3] or match[5]
        domain = to_ascii(name) if is_visible(name) and is_visible(local_part) else None
        if domain is None or not is_domain_name(domain) or author not in (None, (local_part, domain)):
            return None
        author = local_part, domain
        left = _SIGN_IN_NAME.sub("", _ADDRESS_IN_NAME.sub("", match[1] or ""))
        if "@" in left or encoded_word.has_word(local_part + name):
            return None
    shown = claims(text)
    return author if author is not None and shown == Claims((author[1],), False) else None


# --- other fields ---------------------------------------------------------------------------------------------------

# "From:" at the beginning of a continuation line, or after a CR alone, which ends a line for some programs. It is a
# name in the h= tag of a signature if such a list is before it and the rest of one after it, and its line has no "@".
_INDENTED_FROM = re.compile(rb"(?:\n[ \t]+|\r[ \t]*)from[ \t]*:", re.IGNORECASE)
_NAMES_BEFORE = re.compile(rb"\s*h\s*=[A-Za-z0-9_:\s-]*\Z", re.IGNORECASE)
_NAMES_AFTER = re.compile(rb"[A-Za-z0-9_:\s-]*(?:;\s*(?:[A-Za-z]+\s*=|\Z)|\Z)")
_LINE_ENDS = re.compile(rb"[\r\n]+")
_LOWER = bytes(range(256)).lower()
MAX_LISTS = 20  # of names in one field; a signature has one


def indented_authors(values: Sequence[bytes]) -> Claims:
    """The authors that folded fields show to a program that takes an indented line for a field of its own: "To: x", and
    on the next line " From: <ceo@bank.example>". RFC 5322 section 2.2.3 has one field there."""
    domains: dict[str, None] = {}
    more, left = False, MAX_FIELD
    # What `_INDENTED_FROM` finds is this without blanks. All fields at once take a sixth of the time of its search.
    text = b"\0".join(values).translate(_LOWER, b" \t")
    if b"\nfrom:" not in text and b"\rfrom:" not in text:
        return Claims((), False)
    for value in values:
        shown = _indented_from(value)
        if shown is None:
            continue
        left -= len(shown) + MAX_FIELD // MAX_CLAIMS
        if left < 0:
            return Claims(tuple(domains), True)
        claimed = claims(cfws.decode(_LINE_ENDS.sub(b" ", shown)))
        domains.update(dict.fromkeys(claimed.domains))
        more = more or claimed.more
    return Claims(tuple(domains), more)


def _indented_from(value: bytes) -> bytes | None:
    """What follows in a folded field after an indented "From:" that is not a name in a list of fields."""
    match = _INDENTED_FROM.search(value)
    bracket = value.rfind(b"<") if match is not None else 0  # which no tag of a signature has
    left = MAX_LISTS
    while match is not None:
        left -= 1
        before = value[value.rfind(b";", 0, match.start()) + 1 : match.start()]
        names = _NAMES_AFTER.match(value, match.end())
        line = value[match.end() : end if (end := value.find(b"\n", match.end())) >= 0 else None]
        shown = b"@" in line or bracket > match.end()
        if left < 0 or names is None or shown or not _NAMES_BEFORE.match(before):
            return value[match.end() :]
        match = _INDENTED_FROM.search(value, names.end())
    return None
