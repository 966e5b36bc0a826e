"""A mailbox as SMTP has it in its commands (RFC 5321 section 4.1.2): a local part and a domain."""

import re
from typing import Final

from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.escape import printable
from mailnotary.frozen import frozen

MAX_LOCAL_PART: Final = 64  # octets (RFC 5321 section 4.5.3.1.1)
MAX_MAILBOX: Final = 254  # octets: those of a path without its brackets (section 4.5.3.1.3)

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LOCAL_PART = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})\Z")


@frozen
class Mailbox:
    """The local part as it is written, and the domain as lower-case A-labels."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


def mailbox_of(text: str) -> Mailbox:
    """Reads an address in US-ASCII but for U-labels; an address literal is not taken. Raises ValueError."""
    local_part, at, name = text.rpartition("@")
    domain = to_ascii(name)
    if not at or not _LOCAL_PART.match(local_part) or len(local_part) > MAX_LOCAL_PART:
        raise ValueError(f"{printable(text, 100)} is not an address")
    if domain is None or not is_domain_name(domain) or len(local_part) + 1 + len(domain) > MAX_MAILBOX:
        raise ValueError(f"{printable(text, 100)} is not an address at a domain name")
    return Mailbox(local_part, domain)
