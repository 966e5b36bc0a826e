"""A signer of DKIM2, and what draft-ietf-dkim-dkim2-spec-06 hashes and undoes, as it words it: slow, plain, and written
apart from the package's own, so that each checks the other."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from mailnotary import crypto
from mailnotary.mail.message import HeaderField, Message, parse
from mailnotary.resolver import ZoneResolver
from support.dkim import canonical_body, canonical_header, key, key_record

NOW = 1_780_000_000
SELECTOR = "sel"
SENDER, LIST, READER = "<joe@example.org>", "<list@lists.example.net>", "<ann@reader.example>"
BOUNCES = "<bounces@lists.example.net>"

MESSAGE = (
    b"From: Joe <joe@example.org>\r\n"
    b"To: A list <list@lists.example.net>\r\n"
    b"Subject: Lunch  on\r\n"
    b" Friday\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Hi all,\r\n"
    b"\r\n"
    b"meet at noon?\r\n"
)
_UNSIGNED = re.compile(
    rb"(?:apparently-to|arc-authentication-results|arc-message-signature|arc-seal|authentication-results|auto-submitted"
    rb"|delivered-to|dkim-signature|dl-expansion-history|original-recipient|received|received-.*|return-path"
    rb"|sio-label-history|vbr-info|x-.*|x400-received|x400-trace|message-instance|dkim2-signature)\Z"
)


def zone(*domains: str, private: crypto.PrivateKey | None = None, selector: str = SELECTOR) -> ZoneResolver:
    """A resolver that has the key of each domain."""
    record = key_record(private or key("ed25519"))
    return ZoneResolver({f"{selector}._domainkey.{domain}": [{"TXT": record}] for domain in domains})


ZONE = zone("example.org", "lists.example.net", "example.net", "relay.example", "other.example", "reader.example")


def _base64(text: bytes) -> str:
    return b64encode(text).decode()


def header_text(message: Message) -> bytes:
    """What the header hash goes over (6.2)."""
    fields = [field for field in reversed(message.fields) if not _UNSIGNED.match(field.key)]
    fields.sort(key=lambda field: field.key)
    return b"".join(canonical_header(field, True) + b"\r\n" for field in fields)


def hashes(message: Message, algorithms: Sequence[str] = ("sha256",)) -> str:
    """h= of an instance (7.3)."""
    header, body = header_text(message), canonical_body(message.body, False)
    return ",".join(
        f"{name}:{_base64(hashlib.new(name, header).digest())}:{_base64(hashlib.new(name, body).digest())}"
        for name in algorithms
    )


def with_instance(message: bytes, number: int, recipe: Any = ..., **tags: Any) -> bytes:
    """The message with a Message-Instance on top. A tag is replaced or added by keyword, or left out (None)."""
    values: dict[str, Any] = {"m": number, "h": tags["h"] if "h" in tags else hashes(parse(message))}
    if recipe is not ...:
        values["r"] = _base64(recipe if isinstance(recipe, bytes) else json.dumps(recipe).encode())
    return b"Message-Instance:" + _tag_list(values | tags) + b"\r\n" + message


def _tag_list(tags: dict[str, Any]) -> bytes:
    return "".join(f" {name}={value};" for name, value in tags.items() if value is not None).encode()


def signed_text(message: bytes, number: int, revision: int) -> bytes:
    """The fields that a signature covers besides itself (9.6)."""
    covered: list[tuple[bytes, int, bytes]] = []
    for field in parse(message).fields:
        if field.key in (b"message-instance", b"dkim2-signature"):
            tag, last = (b"m", revision) if field.key == b"message-instance" else (b"i", number - 1)
            found = re.search(rb"(?:^|;)\s*" + tag + rb"\s*=\s*(\d+)", field.value, re.IGNORECASE)
            if found and int(found[1]) <= last:
                covered.append((field.key, int(found[1]), _line(field)))
    covered.sort(key=lambda one: (one[0] == b"dkim2-signature", one[1]))
    return b"".join(line for _, _, line in covered)


def _line(field: HeaderField) -> bytes:
    return field.key + b":" + re.sub(rb"\s", b"", field.value) + b"\r\n"


def with_signature(
    message: bytes,
    number: int,
    domain: str,
    mail_from: str | None = SENDER,
    rcpt_to: Sequence[str] | None = (LIST,),
    *,
    revision: int = 1,
    keys: Sequence[tuple[str, crypto.PrivateKey]] = (),
    more_values: Sequence[str] = (),
    fold: str = " ",
    **tags: Any,
) -> bytes:
    """The message with a DKIM2-Signature on top: by the keys, with further values of s= as they are given. A tag is
    replaced or added by keyword, or left out (None)."""
    keys = keys or ((SELECTOR, key("ed25519")),)
    values: dict[str, Any] = {"i": number, "m": revision, "t": NOW - 60, "d": domain}
    if mail_from is not None and rcpt_to is not None:
        values |= {"mf": _base64(mail_from.encode()), "rt": ",".join(_base64(path.encode()) for path in rcpt_to)}
    values |= tags
    heads = [f"{selector}:{private.algorithm}-sha256:" for selector, private in keys]
    empty = [re.sub("[^:]*$", "", text) for text in more_values]
    unsigned = HeaderField(b"DKIM2-Signature", _tag_list({**values, "s": ",".join([*heads, *empty])}))
    digest = hashlib.sha256(signed_text(message, number, values["m"]) + _line(unsigned)).digest()
    made = [head + _base64(one.sign(digest)) for head, (_, one) in zip(heads, keys, strict=True)]
    text = _tag_list({**values, "s": ",".join([*made, *more_values])}).decode().replace("; ", ";" + fold)
    return b"DKIM2-Signature:" + text.encode() + b"\r\n" + message


def original(message: bytes = MESSAGE, **options: Any) -> bytes:
    """A message as its originator sends it to the list."""
    return with_signature(with_instance(message, 1), 1, "example.org", **options)


def retold(message: bytes, subject: str, footer: Sequence[bytes]) -> bytes:
    """A message as a mailing list changes it."""
    parsed = parse(message)
    head = b"".join(
        (b"Subject: " + subject.encode() if field.key == b"subject" else field.raw) + b"\r\n" for field in parsed.fields
    )
    return head + b"\r\n" + parsed.body + b"".join(line + b"\r\n" for line in footer)


FOOTER = (b"-- ", b"To leave: https://lists.example.net/leave")
LIST_RECIPE = {"h": {"subject": [{"d": ["Lunch on Friday"]}]}, "b": [{"c": [1, 3]}]}


def through_list(**options: Any) -> bytes:
    """The original as a list sends it on, with a tag in its subject and a footer."""
    changed = retold(original(), "[list] Lunch on Friday", FOOTER)
    return with_signature(
        with_instance(changed, 2, LIST_RECIPE), 2, "lists.example.net", BOUNCES, (READER,), revision=2, **options
    )


def undone(lines: Sequence[bytes], steps: Sequence[dict[str, Any]]) -> list[bytes]:
    """What a body recipe makes of lines (5.2), or a header recipe of values, the lowest first (5.1)."""
    found: list[bytes] = []
    for step in steps:
        if "c" in step:
            found += lines[step["c"][0] - 1 : step["c"][1]]
        else:
            found += [text.encode() for text in step["d"]]
    return found
