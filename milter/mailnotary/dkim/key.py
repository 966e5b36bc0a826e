"""Key records (RFC 6376 section 3.6.1) and which signatures they are good for (section 6.1.2, steps 5 to 8)."""

from typing import Protocol

from mailnotary.crypto import KeyLoadError, PublicKey, parse_public_key
from mailnotary.dkim.signature import Labels
from mailnotary.dkim.tags import TagError, TagList, decode_base64, parse_tags
from mailnotary.errors import ProtocolOutcome
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.remember import Remembering

MAX_RECORD_OCTETS = 4096  # of a TXT record; the key of an 8192-bit modulus takes 1416 in base64
_WSP = b" \t\r\n"


class KeyRecordError(ProtocolOutcome):
    """A key record must not be used; the text says why, and `brief` in fixed words."""

    def __init__(self, reason: str, brief: str = "the key record cannot be used") -> None:
        super().__init__(reason)
        self.brief = brief

    def again(self) -> "KeyRecordError":
        """The same error without a traceback: see `DnsTempError.again`."""
        return KeyRecordError(str(self), self.brief)


@frozen
class KeyRecord:
    """A valid key record with its key."""

    public: PublicKey
    hashes: frozenset[str] | None  # h=, those that we know; None: any
    services: frozenset[str]  # s=
    flags: frozenset[str]  # t=

    @property
    def testing(self) -> bool:
        """t=y: the domain is testing DKIM."""
        return "y" in self.flags


def parse_key_record(text: bytes) -> KeyRecord:
    """Parses a TXT record; raises KeyRecordError."""
    return parse_remembering(text)


def _parse(text: bytes) -> KeyRecord:
    if len(text) > MAX_RECORD_OCTETS:
        raise KeyRecordError(f"key record is larger than {MAX_RECORD_OCTETS} octets")
    try:
        tags = parse_tags(text)
    except TagError as error:
        raise KeyRecordError(f"key record syntax: {error}") from error
    version = tags.get("v")
    if version is not None and (version != b"DKIM1" or next(iter(tags)) != "v"):
        # "MUST be the first tag in the record"; compared with regard to case (RFC 6376 3.6.1, its %x44.4B.49.4D.31)
        raise KeyRecordError(f"key record version {_shown(version)}" if version != b"DKIM1" else "v= is not first")
    algorithm = _word(tags.get("k"), "rsa")
    if algorithm not in ("rsa", "ed25519"):
        raise KeyRecordError(f"unknown key type k={ascii_printable(algorithm, limit=80)}")
    data = tags.get("p")
    if data is None:
        raise KeyRecordError("key record has no p= tag")
    if not data:
        raise KeyRecordError("key revoked (empty p=)", "key revoked")  # step 7
    octets = decode_base64(data)
    if octets is None:
        raise KeyRecordError("key record's p= is not base64")
    try:
        public = parse_public_key(algorithm, octets)
    except KeyLoadError as error:
        raise KeyRecordError(f"key record: {error}") from error
    return KeyRecord(
        public=public,
        hashes=_words(tags, "h", ("sha256",)) if "h" in tags else None,
        services=_words(tags, "s", ("*", "email")) if "s" in tags else frozenset("*"),
        flags=_words(tags, "t", ("y", "s")),
    )


# Some 2,300 keys of 2048 bits, each of which takes 2.8 KB with OpenSSL, 3.5 KB with pycryptodome; parsing the key is
# half of what a verification costs.
parse_remembering = Remembering(_parse, 8 * 1024 * 1024, lambda record: record.public.bits + 1024)


class Signed(Protocol):
    """What a key record asks of a signature. Domains are lower-case A-labels."""

    @property
    def labels(self) -> Labels:
        """What a result says about it."""

    @property
    def key_type(self) -> str:
        """ "rsa" or "ed25519"."""

    @property
    def domain(self) -> str:
        """d=."""

    @property
    def identity_domain(self) -> str:
        """The domain of i=, where that is an identity, else d=."""


def check_key(record: KeyRecord, signature: Signed) -> None:
    """Whether the record's owner wants it used for this signature; raises KeyRecordError."""
    if record.hashes is not None and "sha256" not in record.hashes:  # step 6
        raise KeyRecordError("key is not for sha256 (its h=)", "key is not for sha256")
    if record.services.isdisjoint(("*", "email")):  # "MUST ignore this record" (RFC 6376 3.6.1 s=)
        raise KeyRecordError("key is not for email (its s=)", "key is not for email")
    if record.public.algorithm != signature.key_type:  # step 8
        raise KeyRecordError(f"key is for {record.public.algorithm}, the signature is {signature.labels.algorithm}")
    if "s" in record.flags and signature.identity_domain != signature.domain:  # RFC 6376 3.6.1 t=s, 3.10
        raise KeyRecordError(f"key forbids subdomains in i= (t=s): {signature.identity_domain}")


def _words(tags: TagList, name: str, known: tuple[str, ...]) -> frozenset[str]:
    """Those of a tag's words that we know; all others "MUST be ignored" (RFC 6376 3.6.1), and would take memory."""
    words = (tags.get(name) or b"").split(b":")
    return frozenset([word for item in words if (word := _word(item, "")) in known])


def _word(value: bytes | None, default: str) -> str:
    # Words that the ABNF has in quotes match in any case (RFC 5234 2.3).
    return default if value is None else value.strip(_WSP).decode("utf-8", "replace").lower()


def _shown(value: bytes) -> str:
    return ascii_printable(value, limit=80)
