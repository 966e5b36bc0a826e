"""What is wrong with a key record as DNS serves it, for its administrator: misprints of panels and zone files.

Verifiers get the reasons of `dkim.key`; this is only for people who ask (`mailnotary keys`, `dns`, `verify`) and for
the log. The record may be a stranger's: what is shown of it is cut and escaped."""

import binascii
import re
from base64 import b64decode

from mailnotary.crypto.der import kind, missing_octets
from mailnotary.dkim.publish import KEY_LABEL, key_record_name
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.resolver import DnsTempError, RecordKind, Resolver

MAX_SHOWN = 60  # octets of a record
MAX_LOOKED_AT = 8192  # octets of a record
_PUBLIC_OCTETS = 32  # of an Ed25519 key (RFC 8032 section 5.1.5)
_PREFIX = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 section 4)

_P = re.compile(rb"(?:\A|;)\s*p\s*=([^;]*)")
_ED25519 = re.compile(rb"(?:\A|;)\s*k\s*=\s*ed25519\s*(?:;|\Z)", re.IGNORECASE)
_PRIVATE = re.compile(rb"\x30[\x80-\x84].{0,4}?\x02\x01\0", re.DOTALL)
_HOST = re.compile(rb"(?:[A-Za-z0-9_-]{1,63}\.){1,30}[A-Za-z][A-Za-z0-9-]{0,62}\.?\Z")


@frozen
class Misprint:
    """`text` names the mistake and what to do; `exposed` if the record holds a private key."""

    text: str
    exposed: bool = False


def served(text: bytes) -> str:
    """The beginning of a record, in quotes and escaped."""
    shown = ascii_printable(text[:MAX_SHOWN])
    return f'"{shown}"' + (" ..." if len(text) > MAX_SHOWN else "")


def misprint(text: bytes) -> Misprint | None:
    """The mistake in a TXT record that verifiers reject as a key record, as far as it can be recognized."""
    text = text[:MAX_LOOKED_AT]
    if problem := _exposed(text):
        return Misprint(problem, exposed=True)
    problem = _form(text) or _key(text)
    return Misprint(problem) if problem else None


def misplaced(resolver: Resolver, domain: str, selector: str) -> str:
    """Where the record is instead, if nothing is at its name: panels add the domain to a name that already has it.
    Never raises."""
    name = key_record_name(domain, selector)
    for wrong, mistake in (
        (f"{name}.{domain}", f"the panel has added {domain} to the name: enter {selector}.{KEY_LABEL} there"),
        (f"{selector}.{domain}", f"the name lacks .{KEY_LABEL}"),
    ):
        try:
            texts = resolver.lookup(wrong, RecordKind.TXT).texts
        except DnsTempError:
            continue
        if any(_P.search(text[:MAX_LOOKED_AT]) for text in texts):
            return f"the record is at {wrong} instead: {mistake}"
    return ""


def _exposed(text: bytes) -> str:
    octets = _decoded(re.sub(rb"[\"'\\\\()]", b"", text))
    # RFC 8017 appendix A.1.2, RFC 5958 section 2: both begin with the version, which no public key has; it may be cut.
    private = kind(octets) in ("pkcs1", "pkcs8", "encrypted") or _PRIVATE.match(octets)
    if b"PRIVATE KEY" not in text and not private and not octets.startswith(b"openssh-key-v1"):
        return ""
    return (
        "ALARM: this is a private key, and whoever has read it can sign as this domain: remove the record, make a new "
        "key with `mailnotary keygen`, publish its record, and set the old key to `state: retired`"
    )


def _form(text: bytes) -> str:
    """What is wrong with the text as a whole."""
    stripped = text.strip()
    if re.search(rb"\sIN\s+TXT\s|\A\S+\." + KEY_LABEL.encode() + rb"\S*\s", text, re.IGNORECASE):
        return "the whole line of a zone file was entered as the value: enter only the text between the quotes"
    if re.match(rb'["\'(]', stripped) and b"=" in text:
        return "it has literal quotes: quotes are for zone files, so enter the value without them"
    if re.search(rb'"\s*"', text):
        return 'p= has `" "` in it, where a zone file divides a long text: remove the quotes and the space'
    if b"\\;" in text:
        return "it has a backslash before the semicolon, which only zone files may need: enter the value without it"
    if b"-----" in text or b"BEGIN PUBLIC KEY" in text:
        what = "a certificate" if b"CERTIFICATE" in text else "a PEM file"
        return f"it holds {what}: enter the record as `mailnotary dns` prints it"
    if re.search(rb"ssh-(rsa|ed25519)\s", text):
        return "it holds a public key of SSH: enter the record as `mailnotary dns` prints it"
    if stripped.lower().startswith((b"v=spf1", b"v=dmarc1")):
        return f"it is a record of {'SPF' if stripped[2:5].lower() == b'spf' else 'DMARC'}, at the wrong name"
    if _HOST.match(stripped):
        return "it is a host name: to refer to a record of somebody else, publish a CNAME instead of a TXT record"
    if re.search(rb"[^\x20-\x7e\t\r\n]", text):
        return "it has characters that are not ASCII, such as typographic quotes: enter it again as plain text"
    if re.match(rb"\s*v\s*=\s*DKIM1\s*[,:\s]\s*[a-z]\s*=", text, re.IGNORECASE):
        return "a semicolon is missing between its tags: write v=DKIM1; k=rsa; p=..."
    if re.fullmatch(rb"[A-Za-z0-9+/\s]{40,}={0,2}", stripped):
        return "it has the key alone: put v=DKIM1; k=rsa; p= (or k=ed25519) before it"
    return ""


def _key(text: bytes) -> str:
    """What is wrong with p=."""
    match = _P.search(text)
    if match is None:
        return "it has no p=, which holds the key: enter the record as `mailnotary dns` prints it"
    value, octets = b"".join(match[1].split()), _decoded(text)
    if not value:
        return ""  # a revoked key (RFC 6376 section 3.6.1), which is not a mistake
    if kind(octets) == "certificate":
        return "p= holds a certificate: it must hold the public key alone"
    if octets.startswith((b"\0\0\0\x07ssh-rsa", b"\0\0\0\x0bssh-ed25519")):
        return "p= holds a public key of SSH: enter the record as `mailnotary dns` prints it"
    ed25519 = _ED25519.search(text) is not None
    if not ed25519 and len(octets) == _PUBLIC_OCTETS:
        return "p= holds an Ed25519 key, so k=ed25519 is missing"
    if not ed25519 and octets.startswith(_PREFIX):
        return "p= holds an Ed25519 key in DER: write k=ed25519, and in p= only the base64 of its last 32 octets"
    if ed25519 and octets.startswith(_PREFIX):
        return "with k=ed25519, p= holds only the base64 of the last 32 octets of this DER (RFC 8463 section 4)"
    if missing := missing_octets(octets):
        at = " at 255 characters, the most that one string of a TXT record can hold" if len(text) == 255 else ""
        return f"the key is cut{at}: {missing} of its octets are missing; enter it whole, or divided into strings"
    return "" if octets else "p= is not base64: enter it again"


def _decoded(text: bytes) -> bytes:
    """The octets of p=, or of a text that is only base64; as much as can be decoded."""
    match = _P.search(text)
    packed = b"".join((match[1] if match else text).split()).rstrip(b"=")
    if not re.fullmatch(rb"[A-Za-z0-9+/]+", packed):
        return b""
    packed = packed[: len(packed) - (len(packed) % 4 == 1)]
    try:
        return b64decode(packed + b"=" * (-len(packed) % 4))
    except binascii.Error:
        return b""
