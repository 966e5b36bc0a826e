"""What may be written in a field that others trust: real names, and words of ours."""

import re
from functools import lru_cache
from ipaddress import ip_address

from mailnotary.domain import MAX_NAME, is_domain_name, to_ascii

_PLAIN = re.compile(r"(?:[A-Za-z0-9-]+[,.:]?(?: |\Z)){1,40}\Z")
_LITERAL = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]{2,45})\]\Z", re.IGNORECASE)


@lru_cache(maxsize=2048)
def _host(name: str) -> str:
    if literal := _LITERAL.match(name):
        try:
            address = ip_address(literal[2])
        except ValueError:
            return ""
        return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
    ascii_name = to_ascii(name)
    return ascii_name if ascii_name is not None and is_domain_name(ascii_name) else ""


def host(name: str) -> str:
    """A domain name as lower-case A-labels, or an address literal (RFC 5321 4.1.3); "" for anything else."""
    return _host(name) if len(name) <= MAX_NAME + 1 else ""


@lru_cache(maxsize=512)
def plain(text: str) -> str:
    """A reason of plain words; "" for anything else, which none of the engines gives."""
    return text if _PLAIN.match(text) else ""
