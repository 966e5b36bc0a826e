"""The URIs in rua=: those with mailto: name one mailbox (RFC 6068)."""

from urllib.parse import unquote_to_bytes, urlsplit

from mailnotary.domain import to_ascii
from mailnotary.escape import printable
from mailnotary.mail.envelope import Mailbox, mailbox_of


def mailbox_in(uri: str) -> Mailbox:
    """The mailbox of a mailto: URI; header fields that it asks for are left out. Raises ValueError."""
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme.lower() != "mailto":
        raise ValueError(f"{printable(uri, 100)} is not a mailto: URI, and no other kind is supported")
    octets = unquote_to_bytes(rest.partition("?")[0])
    try:
        return mailbox_of(octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{printable(uri, 100)} is not an address in UTF-8") from None


def host_of(uri: str) -> str | None:
    """The host of a URI of any scheme, of mailto: the domain of its mailbox; None where it has none."""
    try:
        if uri[:7].lower() == "mailto:":
            return mailbox_in(uri).domain
        return to_ascii(urlsplit(uri).hostname or "") or None
    except ValueError:
        return None
