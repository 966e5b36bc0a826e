"""A message out of a mailbox as it was when it arrived: who handed it over, and which of its fields it had then.

The Received field of the host that took it in says who its client was (RFC 5321 section 4.4), and all that is above it
was added later. The envelope sender is in Return-Path, which the delivering host puts on top.
"""

import re
from typing import Final

from mailnotary.frozen import frozen
from mailnotary.mail.message import HeaderField, Message, unfold
from mailnotary.session import received
from mailnotary.session.received import Sender

_BY: Final = re.compile(rb"\sby\s+([^\s;()]+)", re.IGNORECASE)
_PATH: Final = re.compile(rb"<([^<>\r\n]{0,320})>")


@frozen
class Arrival:
    """`client` and its HELO name, `mail_from` without angle brackets, the `fields` from that time."""

    client: Sender
    mail_from: bytes
    fields: tuple[HeaderField, ...]


def arrival(message: Message, host: str) -> Arrival | str:
    """How a message came to `host`: by its topmost Received field that names another client than the host itself (a
    content filter there hands mail back over loopback). Or why that is not known, as a sentence for an admin."""
    own = False
    for place, field in enumerate(message.fields):
        if field.key != b"received" or not _is_by(field.value, host):
            continue
        own = True
        client = received.parse(field.value)
        if client is None or client.address.is_loopback:
            continue
        sender = _return_path(message.fields[:place])
        if sender is None:
            return "it has no Return-Path above that Received field, so its envelope sender is not known"
        return Arrival(client, sender, tuple(message.fields[place + 1 :]))
    if own:
        return f"no Received field of {host} names a client other than this host itself"
    return f"it has no Received field of {host}"


def _is_by(value: bytes, host: str) -> bool:
    match = _BY.search(unfold(value))
    return match is not None and match[1].lower().rstrip(b".") == host.lower().rstrip(".").encode()


def _return_path(fields: tuple[HeaderField, ...] | list[HeaderField]) -> bytes | None:
    for field in fields:
        if field.key == b"return-path" and (match := _PATH.search(unfold(field.value))):
            return match[1]
    return None
