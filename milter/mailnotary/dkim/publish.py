"""A key as DNS has it: the name of its record (RFC 6376 section 3.6.2.1) and the record's text (RFC 6376 section 3.6.1,
RFC 8463 section 4.2)."""

from base64 import b64encode

from mailnotary.crypto import PrivateKey

MAX_STRING = 255  # octets of one character string of a TXT record (RFC 1035 section 3.3)
KEY_LABEL = "_domainkey"  # RFC 6376 section 7.5


def key_record_name(domain: str, selector: str) -> str:
    """Where DNS has a key: `<selector>._domainkey.<domain>`, without a trailing dot."""
    return f"{selector}.{KEY_LABEL}.{domain}"


def key_record_text(key: PrivateKey) -> str:
    """The value of a key's TXT record."""
    return f"v=DKIM1; k={key.algorithm}; p={b64encode(key.public).decode()}"


def zone_lines(name: str, text: str, ttl: int | None = None) -> str:
    """A TXT record as lines of a zone file, in strings of at most 255 octets."""
    head = f"{name}. IN TXT" if ttl is None else f"{name}. {ttl} IN TXT"
    strings = [f'"{text[i : i + MAX_STRING]}"' for i in range(0, len(text), MAX_STRING)]
    if len(strings) == 1:
        return f"{head} {strings[0]}"
    return f"{head} (\n" + "\n".join(f"    {string}" for string in strings) + "\n)"
