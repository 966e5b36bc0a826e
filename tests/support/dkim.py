"""DKIM signatures of any shape, and canonicalization as the RFC words it: slow, plain, and written apart from the
package's own, so that each checks the other."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from mailnotary import crypto
from mailnotary.mail.message import HeaderField, Message, parse
from mailnotary.resolver import ZoneResolver

NOW = 1_700_000_000
DOMAIN, SELECTOR = "example.org", "sel"
KEY_NAME = f"{SELECTOR}._domainkey.{DOMAIN}"

MESSAGE = (
    b"Received: from a by b\r\n"
    b"From: Joe <joe@example.org>\r\n"
    b"To: Ann <ann@example.net>,\r\n"
    b"\tBob <bob@example.net>\r\n"
    b"Subject:  a   test \t of  mail \r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Hi.\r\n"
    b"\r\n"
    b"We  lost\tthe game. \r\n"
    b" Are you hungry yet?\r\n"
    b"\r\n"
    b"\r\n"
)

ED25519_PEM = (
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    b"-----END PRIVATE KEY-----\n"
)


def pem(algorithm: str = "rsa", bits: int = 1024, number: int = 0) -> bytes:
    """A private key, made once in a run."""
    if algorithm == "ed25519" and not number:
        return ED25519_PEM  # RFC 8032 section 7.1, test 1
    return _generate(algorithm, bits, number)


@cache
def _generate(algorithm: str, bits: int, _number: int) -> bytes:
    return crypto.generate_private_key(algorithm, bits)


def key(algorithm: str = "rsa", bits: int = 1024, number: int = 0) -> crypto.PrivateKey:
    """That key, of the backend that is in use now."""
    return crypto.load_private_key(pem(algorithm, bits, number))


def key_record(private: crypto.PrivateKey, extra: str = "") -> bytes:
    """The key record of a key."""
    head = f"v=DKIM1; k={private.algorithm};{extra} p="
    return head.encode() + b64encode(private.public)


def zone(*records: bytes, name: str = KEY_NAME) -> ZoneResolver:
    """A resolver with TXT records at the key's name."""
    return ZoneResolver({name: [{"TXT": record} for record in records]})


def canonical_header(field: HeaderField, relaxed: bool) -> bytes:
    """RFC 6376 3.4.1 and 3.4.2, without the final CRLF."""
    if not relaxed:
        return field.name + b":" + field.value
    value = re.sub(rb"\r\n(?=[ \t])", b"", field.value)
    value = re.sub(rb"[ \t]+", b" ", value)
    return field.name.rstrip(b" \t").lower() + b":" + value.strip(b" ")


def canonical_body(body: bytes, relaxed: bool) -> bytes:
    """RFC 6376 3.4.3 and 3.4.4."""
    if not relaxed:
        return re.sub(rb"(?:\r\n)*\Z", b"", body, count=1) + b"\r\n"
    lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def select(message: Message, names: list[bytes]) -> list[HeaderField]:
    """RFC 6376 5.4.2: from the bottom up, each field once."""
    left = list(message.fields)
    picked = []
    for name in names:
        for field in reversed(left):
            if field.name.strip().lower() == name.strip().lower():
                left = [other for other in left if other is not field]
                picked.append(field)
                break
    return picked


def craft(
    message: bytes = MESSAGE,
    private: crypto.PrivateKey | None = None,
    *,
    canon: str | None = None,
    length: int | None = None,
    layout: str = "; ",
    before_b: str = "",
    after_b: str = "",
    field_name: bytes = b"DKIM-Signature",
    unsigned: bool = False,
    **tags: Any,
) -> bytes:
    """The message with a signature on top. A tag is replaced or added by keyword, or left out (None); b= is the last
    unless other tags are given after it in `after_b`. `canon` and `length` are what is really done, whatever c= and
    l= say. `unsigned`: b= is rubbish."""
    private = private or key()
    values: dict[str, str | None] = {
        "v": "1",
        "a": f"{private.algorithm}-sha256",
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": SELECTOR,
        "h": "from:to:subject:date",
        "bh": "",
    }
    values |= tags
    header, _, body = (canon or (values["c"] or "simple/simple")).partition("/")
    parsed = parse(message)
    text = canonical_body(parsed.body, body == "relaxed")
    if length is None and values.get("l"):
        length = int(values["l"] or 0)
    if values["bh"] == "":
        values["bh"] = b64encode(sha256(text[:length]).digest()).decode()
    shown = layout.join(f"{name}={value}" for name, value in values.items() if value is not None)
    start = f" {shown}{layout}{before_b}b=".encode()
    end = after_b.encode()
    names = (values["h"] or "").encode().split(b":")
    parts = [canonical_header(field, header == "relaxed") for field in select(parsed, names)]
    parts.append(canonical_header(HeaderField(field_name, start + end.lstrip(b" \t\r\n")), header == "relaxed"))
    value = private.sign(sha256(b"\r\n".join(parts)).digest())
    encoded = b64encode(bytes(len(value)) if unsigned else value)
    return field_name + b":" + start + encoded + end + b"\r\n" + message


def status(results: list[Any]) -> list[str]:
    """The result words."""
    return [str(result.status) for result in results]
