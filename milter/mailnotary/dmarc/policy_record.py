"""DMARC policy records (RFC 9989 sections 4.7 and 4.8).

dmarc-record  = dmarc-version *(dmarc-sep dmarc-tag) [dmarc-sep]
dmarc-version = "v" equals %s"DMARC1"
dmarc-sep     = *WSP ";" *WSP
dmarc-tag     = 1*ALPHA equals 1*dmarc-value
dmarc-value   = %x20-3A / %x3C-7E
"""

import re
from collections.abc import Iterable
from enum import StrEnum

from mailnotary.dmarc.result import Policy
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.remember import Remembering, size

_MEMORY = 4 * 1024 * 1024  # octets, of parsed records that are kept: some two thousand of usual size

# What is read of a record; real ones have some 200 octets, 8 tags and 2 URIs. What follows is discarded like any
# other error after the version (4.8), and noted: the tags before it are followed. Were the whole record discarded, its
# domain would have no policy.
MAX_TEXT = 8_192  # octets
MAX_TAGS = 100
MAX_URIS = 100  # of one tag
MAX_FO = 7  # characters of fo=: each of its values once

# The version is the first tag and its value is case-sensitive; only then is a text a DMARC record at all (4.7, "v").
# No white space comes before it (4.8; but see `policy_records`), and ABNF's "v" is either case (RFC 5234 section 2.3).
_VERSION = re.compile(rb"[vV][ \t]*=[ \t]*DMARC1[ \t\r\n\xc2\xa0\xef\xbb\xbf]*(?:;|\Z)")
_NAME = re.compile(rb"[A-Za-z]+\Z")
_VALUE = re.compile(rb"[\t -:<-~]+\Z")  # HTAB: around the commas of a dmarc-urilist

# What may surround names and values. The grammar has WSP alone. A line end, a no-break space (in UTF-8 or Latin-1) or a
# byte order mark comes in when the record is pasted into a form, where it cannot be seen. Other receivers trim it, so
# the owner gets reports about a policy that works; to ignore it here would leave the owner unprotected because of
# something that no sender could have put there.
_BLANK = b" \t\r\n\xc2\xa0\xef\xbb\xbf"

# URI by RFC 3986, with "," and "!" encoded, and the obsolete "!10m" after it (4.8). Of a mailto: an address is
# demanded (RFC 6068 section 2), for a report has to go somewhere.
_URI = re.compile(
    r"(?P<uri>(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9A-Fa-f]{2})+))"
    r"(?:![0-9]+[kmgtKMGT]?)?\Z"
)
_MAILTO = re.compile(r"[^@?]+@[^@?]+(?:\?.*)?\Z")
_FO = re.compile(r"(?!.*0.*1|.*1.*0)[01ds](?::[01ds])*\Z")  # "0" and "1" are mutually exclusive (4.7, "fo")


class Alignment(StrEnum):
    """How an identifier has to match the author domain (tags adkim and aspf)."""

    RELAXED = "r"
    STRICT = "s"


class Psd(StrEnum):
    """Whether a record is at a public suffix domain (tag psd): yes, no, or to be found out by the walk."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


@frozen
class PolicyRecord:
    """One record, read leniently as section 4.8 demands: a tag in error is as if absent, and noted in `problems`.

    `usable` is False where the record asks for nothing that can be followed: no valid p=, or an invalid sp= or np=,
    and no reporting address either (4.10.1). Policies are what is to be applied: with such an error and a valid
    rua= all of them are none."""

    text: str  # made safe to show
    policy: Policy
    subdomain_policy: Policy  # sp, or p
    nonexistent_policy: Policy  # np, or sp, or p
    usable: bool = True
    psd: Psd = Psd.UNKNOWN
    testing: bool = False  # t=y
    dkim_alignment: Alignment = Alignment.RELAXED
    spf_alignment: Alignment = Alignment.RELAXED
    rua: tuple[str, ...] = ()
    fo: str = "0"  # which failures the owner wants to be told of, 0, 1, d and s between colons; "0" without a ruf=
    problems: tuple[str, ...] = ()


def is_record(text: bytes) -> bool:
    """Whether a TXT record is a DMARC policy record; all others at its name are discarded (4.10 steps 2 and 6)."""
    return _VERSION.match(text) is not None


def policy_records(texts: Iterable[bytes]) -> list[bytes]:
    """The policy records among the TXT records at a name. Where none is one to the letter, these are those with blanks
    before the version, which OpenDMARC takes, too (see `_BLANK`). Beside a right one they are discarded, lest there be
    several, which are all discarded (4.10)."""
    texts = list(texts)
    return [text for text in texts if is_record(text)] or [
        trimmed for text in texts if is_record(trimmed := text.lstrip(_BLANK))
    ]


def parse(text: bytes) -> PolicyRecord:
    """Reads a text that `is_record`; never fails."""
    return _parse_remembering(text[: MAX_TEXT + 1])


class _Tags:
    """The tags of one record, and what was wrong with them."""

    def __init__(self, text: bytes) -> None:
        self.problems: list[str] = []
        self.values: dict[str, str | None] = {}  # None: present, but in error
        if len(text) > MAX_TEXT:
            self.problems.append(f"it has more than {MAX_TEXT} octets, the rest was not read")
            text = text[:MAX_TEXT].rpartition(b";")[0]
        specs = text.split(b";", MAX_TAGS + 1)
        if len(specs) > MAX_TAGS + 1:
            self.problems.append(f"it has more than {MAX_TAGS} tags, the rest was not read")
            del specs[-1]
        for number, spec in enumerate(specs[1:], 2):
            if not spec.strip(_BLANK):
                continue
            raw_name, equals, raw_value = spec.partition(b"=")
            raw_name, raw_value = raw_name.strip(_BLANK), raw_value.strip(_BLANK)
            if not equals or not _NAME.match(raw_name):
                self.problems.append(f"tag {number} is not name=value")
                continue
            name = raw_name.decode("ascii")
            value = raw_value.decode("ascii") if _VALUE.match(raw_value) else None
            if value is None:
                self.problems.append(f"{ascii_printable(name, 20)}= is empty or has an octet that is not allowed")
            if name in self.values:
                # RFC 6376 3.2 has the whole list ignored; RFC 9989 4.8 says that errors after the version are
                # discarded. Neither of the two values can be believed, the other tags can.
                self.problems.append(f"{ascii_printable(name, 20)}= is duplicated")
                value = None
            self.values[name] = value
        self._fold_case()

    def _fold_case(self) -> None:
        """Tag names are case-sensitive (RFC 6376 section 3.2), and the one in lower case counts. Where there is none,
        the owner of P=reject takes it for a policy, as some receivers do: nobody is protected by its being ignored."""
        for name in [name for name in self.values if not name.islower()]:
            value = self.values.pop(name)
            if self.values.setdefault(name.lower(), value) is not value:
                self.problems.append(f"{ascii_printable(name, 20)}= is ignored because there is a {name.lower()[:20]}=")

    def word(self, name: str, words: type[StrEnum]) -> str | None:
        """The tag's value if it is one of the words (in any case: RFC 5234 2.3), else None."""
        value = self.values.get(name)
        if value is None:
            return None
        value = value.lower()
        if value in list(words):
            return value
        self.problems.append(f"{name}={ascii_printable(value, 40)} is not one of {', '.join(words)}")
        self.values[name] = None
        return None

    def invalid(self, name: str) -> bool:
        """Whether the tag is present but in error."""
        return name in self.values and self.values[name] is None

    def uris(self, name: str) -> tuple[str, ...]:
        """The valid URIs of a list of them."""
        value = self.values.get(name)
        if value is None:
            return ()
        uris = []
        items = value.split(",", MAX_URIS)
        if len(items) > MAX_URIS:
            self.problems.append(f"{name}= has more than {MAX_URIS} URIs, the rest was not read")
            del items[-1]
        for item in items:
            match = _URI.match(item.strip(" \t"))
            if match and (match["scheme"].lower() != "mailto" or _MAILTO.match(match["rest"])):
                uris.append(match["uri"])
            else:
                self.problems.append(f"{name}={ascii_printable(item, 80)} is not a URI")
        return tuple(uris)

    def failure_options(self) -> str:
        """fo=, which counts only if there is a ruf= (4.7)."""
        value = self.values.get("fo")
        if value is None or "ruf" not in self.values:
            return "0"
        value = re.sub(r"[ \t]*:[ \t]*", ":", value.lower())
        if _FO.match(value) and len(value) <= MAX_FO:
            return value
        self.problems.append(
            f"fo={ascii_printable(value, 40)} is not one of 0, 1, d, s, or several with colons between"
        )
        return "0"


class _YesNo(StrEnum):
    YES = "y"
    NO = "n"


def _parse(text: bytes) -> PolicyRecord:
    tags = _Tags(text)
    policy = tags.word("p", Policy)
    subdomain_policy = tags.word("sp", Policy)
    nonexistent_policy = tags.word("np", Policy)
    rua = tags.uris("rua")
    usable = True
    if policy is None or tags.invalid("sp") or tags.invalid("np"):
        if "p" not in tags.values:
            tags.problems.append("there is no p=")
        # "act as if a record containing "p=none" was retrieved", or no DMARC at all (4.10.1). 4.7 says of an absent
        # p= only that it means none; but it refers to 4.10.1, which makes that depend on rua=.
        policy, subdomain_policy, nonexistent_policy = Policy.NONE, None, None
        usable = bool(rua)
    return PolicyRecord(
        text=ascii_printable(text, 500),
        policy=Policy(policy),
        subdomain_policy=Policy(subdomain_policy or policy),
        nonexistent_policy=Policy(nonexistent_policy or subdomain_policy or policy),
        usable=usable,
        psd=Psd(tags.word("psd", Psd) or Psd.UNKNOWN),
        testing=tags.word("t", _YesNo) == _YesNo.YES,
        dkim_alignment=Alignment(tags.word("adkim", Alignment) or Alignment.RELAXED),
        spf_alignment=Alignment(tags.word("aspf", Alignment) or Alignment.RELAXED),
        rua=rua,
        fo=tags.failure_options(),
        problems=_first(tags.problems),
    )


_parse_remembering = Remembering(_parse, _MEMORY, size)


def _first(problems: Iterable[str], limit: int = 10) -> tuple[str, ...]:
    return tuple(text for _, text in zip(range(limit), problems, strict=False))
