"""The fields Message-Instance (draft-ietf-dkim-dkim2-spec-06 section 7) and DKIM2-Signature (section 8).

Whatever does not follow their grammar is an error of the whole chain: "Verifiers MUST meticulously validate the format
and values" (11.2). Of the grammar, one thing is not asked for: the ";" after the last tag, which signers leave out."""

import re
from typing import NamedTuple

from mailnotary.dkim.signature import MAX_SIGNATURE_OCTETS
from mailnotary.dkim.tags import TagError, TagList, decode_base64, parse_tags
from mailnotary.dkim2.recipe import Recipe, RecipeError, parse_recipe
from mailnotary.domain import is_domain_name
from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable
from mailnotary.mail.message import HeaderField
from mailnotary.status import Dkim2Status

MAX_NONCE = 64  # characters: "MUST NOT exceed" (8.3)
MAX_PATH = 512  # octets of an address in mf= or rt=; RFC 5321 4.5.3.1.3 has 256
MAX_RECIPIENTS = 1000  # in rt=; Postfix takes as many of one client (smtpd_recipient_limit)
MAX_VALUES = 16  # in s= or h=: two of each algorithm that there may ever be
MAX_FLAGS = 32
HASHES = ("sha256", "sha512")  # 3.1: "Verifiers MUST implement all four algorithms"
KEY_TYPES = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}

_WSP = b" \t\r\n"
_NUMBER = re.compile(rb"[0-9]+\Z")
_TEXT = re.compile(rb"[A-Za-z0-9_-]+\Z")  # textstring (2.14)
_NONCE = re.compile(rb"[!-:<-~]*\Z")
_PATH = re.compile(r"<[^\x00-\x1f\x7f]*>\Z")


class Dkim2Error(ProtocolOutcome):
    """The chain cannot be verified; `status`, `reason` and `brief` are its result, `hop` the i= that it is about (0 if
    it is about none)."""

    def __init__(self, reason: str, brief: str, hop: int = 0, status: Dkim2Status = Dkim2Status.PERMERROR) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.brief = brief
        self.hop = hop


class Hashes(NamedTuple):
    """One item of h= (7.3) whose algorithm is known."""

    algorithm: str
    header: bytes
    body: bytes


class Instance(NamedTuple):
    """A valid Message-Instance field."""

    field: HeaderField
    number: int
    hashes: tuple[Hashes, ...]
    recipe: Recipe | None


class Path(NamedTuple):
    """An address of the envelope with its angle brackets: `text` as it is compared, its domain in lower case (11.4)."""

    text: str
    domain: str


class Value(NamedTuple):
    """One item of s= (8.9); `octets` is empty where the algorithm is unknown."""

    selector: str
    algorithm: str
    octets: bytes


class Signature(NamedTuple):
    """A valid DKIM2-Signature field. Domains are in lower case. `unsigned` is the field without the values of s=."""

    field: HeaderField
    number: int
    revision: int
    timestamp: int
    domain: str
    mail_from: Path | None
    rcpt_to: tuple[Path, ...]
    next_domain: str
    values: tuple[Value, ...]
    flags: tuple[str, ...]
    unsigned: HeaderField


class _Reader:
    """The tags of one field. `what` names the field in errors, once its number is known."""

    def __init__(self, field: HeaderField, name: str, number_tag: str) -> None:
        self.what = f"{name} {number_tag}=unknown"
        self.brief = f"{name} is malformed"
        self.hop = 0
        self._tags = self._parse(field.value)
        self.number = self.integer(number_tag, 4)
        if not self.number:
            raise self.syntax(f"{number_tag}=0")
        self.what = f"{name} {number_tag}={self.number}"
        if number_tag == "i":
            self.hop = self.number

    def _parse(self, value: bytes) -> TagList:
        """Names of tags in lower case: they are "case insignificant", and there "MUST be only one of each kind"."""
        if len(value) > MAX_SIGNATURE_OCTETS:
            raise self.syntax(f"larger than {MAX_SIGNATURE_OCTETS} octets")
        if not value.isascii():  # internationalized mail is still to be specified (section 14)
            raise self.syntax("not in US-ASCII")
        try:
            tags = parse_tags(value)
        except TagError as error:
            raise self.syntax(str(error)) from error
        lower = TagList()
        for name, text in tags.items():
            if name.lower() in lower:
                raise self.syntax(f"tag {name.lower()}= is duplicated")
            lower[name.lower()] = text
            lower.spans[name.lower()] = tags.spans[name]
        return lower

    def syntax(self, detail: str) -> Dkim2Error:
        return Dkim2Error(f"{self.what} syntax error: {detail}", self.brief, self.hop)

    def error(self, text: str, brief: str = "") -> Dkim2Error:
        return Dkim2Error(f"{self.what} {text}", brief or self.brief, self.hop)

    def get(self, name: str) -> bytes | None:
        return self._tags.get(name)

    def span(self, name: str) -> tuple[int, int]:
        return self._tags.spans[name]

    def need(self, name: str) -> bytes:
        value = self._tags.get(name)
        if value is None:
            raise self.error(f"tag={name} missing")
        return value

    def integer(self, name: str, digits: int) -> int:
        value = self.need(name)
        if not _NUMBER.match(value):
            raise self.syntax(f"{name}={_shown(value)} is not a number")
        if len(value) > digits:
            raise self.syntax(f"{name}= has more than {digits} digits")
        return int(value)

    def items(self, name: str, value: bytes, limit: int) -> list[bytes]:
        """The parts of a list with commas."""
        parts = value.split(b",", limit)
        if len(parts) > limit:
            raise self.syntax(f"{name}= has more than {limit} items")
        return [part.strip(_WSP) for part in parts]

    def base64(self, name: str, value: bytes) -> bytes:
        # "MUST be padded" (2.14)
        packed = value.translate(None, _WSP)
        octets = decode_base64(packed) if len(packed) % 4 == 0 else None
        if octets is None:
            raise self.syntax(f"{name}= is not base64")
        return octets

    def domain(self, name: str, value: bytes) -> str:
        text = value.decode("ascii").lower()
        if "." not in text or not is_domain_name(text):
            raise self.syntax(f"{name}={_shown(value)} is not a domain name")
        return text

    def path(self, name: str, value: bytes) -> Path:
        octets = self.base64(name, value)
        path = read_path(octets.decode("utf-8", "surrogateescape")) if len(octets) <= MAX_PATH else None
        if path is None:
            raise self.syntax(f"{name}= is not an address in angle brackets")
        return path


def read_path(text: str) -> Path | None:
    """A path of RFC 5321 with its angle brackets; None if it is not one. The domain is lower-cased alone: "the case of
    the local part of an email address is assumed to matter" (11.4)."""
    if not _PATH.match(text):
        return None
    local_part, at, domain = text[1:-1].rpartition("@")
    domain = domain.lower() if at else ""
    return Path(f"<{local_part}@{domain}>" if at else text, domain)


def parse_instance(field: HeaderField) -> Instance:
    """Reads a Message-Instance field; raises Dkim2Error."""
    tags = _Reader(field, "Message-Instance", "m")
    hashes: list[Hashes] = []
    seen: set[bytes] = set()
    for item in tags.items("h", tags.need("h"), MAX_VALUES):
        parts = [part.strip(_WSP) for part in item.split(b":", 3)]
        if len(parts) != 3 or not _TEXT.match(parts[0]):
            raise tags.syntax(f"h= has {_shown(item) or 'nothing'}, which is not a name and two hashes")
        if parts[0] in seen:
            raise tags.error("has a duplicate hash algorithm")
        seen.add(parts[0])
        header, body = tags.base64("h", parts[1]), tags.base64("h", parts[2])
        if (name := parts[0].decode()) in HASHES:
            hashes.append(Hashes(name, header, body))
    if not hashes:
        raise tags.error("has no supported hash algorithm", "unknown hash algorithm")
    recipe = None
    if (value := tags.get("r")) is not None:
        try:
            recipe = parse_recipe(tags.base64("r", value))
        except RecipeError as error:
            raise tags.error(f"contains invalid JSON: {error}", "a recipe is malformed") from error
    return Instance(field, tags.number, tuple(hashes), recipe)


def parse_signature(field: HeaderField) -> Signature:
    """Reads a DKIM2-Signature field; raises Dkim2Error."""
    tags = _Reader(field, "DKIM2-Signature", "i")
    revision, timestamp = tags.integer("m", 4), tags.integer("t", 15)
    domain = tags.domain("d", tags.need("d"))
    next_domain = ""
    mail_from: Path | None = None
    rcpt_to: tuple[Path, ...] = ()
    if (value := tags.get("nd")) is not None:
        for name in ("mf", "rt"):  # "both mf= and rt= MUST be omitted" (8.7)
            if tags.get(name) is not None:
                raise tags.error(f"tag={name} was unexpected")
        next_domain = tags.domain("nd", value)
    else:
        mail_from = tags.path("mf", tags.need("mf"))
        rcpt_to = tuple([tags.path("rt", item) for item in tags.items("rt", tags.need("rt"), MAX_RECIPIENTS)])
    nonce = tags.get("n") or b""
    if len(nonce) > MAX_NONCE or not _NONCE.match(nonce):
        raise tags.syntax(f"n= is not a text of at most {MAX_NONCE} characters")
    values, unsigned = _values(tags, field)
    return Signature(
        field=field,
        number=tags.number,
        revision=revision,
        timestamp=timestamp,
        domain=domain,
        mail_from=mail_from,
        rcpt_to=rcpt_to,
        next_domain=next_domain,
        values=values,
        flags=_flags(tags),
        unsigned=unsigned,
    )


def _flags(tags: _Reader) -> tuple[str, ...]:
    value = tags.get("f")
    if value is None:
        return ()
    flags = tags.items("f", value, MAX_FLAGS)
    for flag in flags:
        if not _TEXT.match(flag):
            raise tags.syntax(f"f= has {_shown(flag)}, which is not a flag")
    return tuple([flag.decode() for flag in flags])


def _values(tags: _Reader, field: HeaderField) -> tuple[tuple[Value, ...], HeaderField]:
    """The items of s=, and the field with each signature value "set to the null string" (9.6)."""
    need = tags.need("s")
    values: list[Value] = []
    heads: list[bytes] = []
    used: dict[str, int] = {}
    for item in tags.items("s", need, MAX_VALUES):
        parts = [part.strip(_WSP) for part in item.split(b":", 3)]
        if len(parts) != 3 or not _TEXT.match(parts[1]):
            raise tags.syntax(
                f"s= has {_shown(item) or 'nothing'}, which is not a selector, an algorithm and a signature"
            )
        selector = parts[0].decode("ascii").lower()
        if not is_domain_name(selector):
            raise tags.syntax(f"s= has {_shown(parts[0])}, which is not a selector")
        if any(value.selector == selector for value in values):
            raise tags.error("has a duplicate selector")
        algorithm = parts[1].decode("ascii")
        octets = tags.base64("s", parts[2])
        used[algorithm] = used.get(algorithm, 0) + 1
        if used[algorithm] > 2:  # "One additional signature using the same algorithm MAY be present" (8.9)
            raise tags.error("has more selectors than allowed")
        values.append(Value(selector, algorithm, octets if algorithm in KEY_TYPES else b""))
        heads.append(parts[0] + b":" + parts[1] + b":")
    if not any(value.octets for value in values):  # 3.4 has the others ignored: nothing is left that could be verified
        raise tags.error("has no supported signature algorithm", "unknown algorithm")
    start, end = tags.span("s")
    unsigned = HeaderField(field.name, field.value[:start] + b",".join(heads) + field.value[end:])
    return tuple(values), unsigned


def _shown(value: bytes) -> str:
    return ascii_printable(value, limit=80)
