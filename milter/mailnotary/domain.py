"""Domain names as they are compared and asked for: A-labels in lower case, without a trailing dot."""

import re
from functools import lru_cache

MAX_NAME = 253  # octets of a name in text form without its trailing dot (RFC 1035 section 3.1)
MAX_LABEL = 63  # octets of a label (RFC 1035 section 2.3.4)

# Letters, digits, hyphens (RFC 5321 4.1.2), and the underscore that DKIM and DMARC owner names use.
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\Z")


_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # UTS #46, section 2.3: what else counts as a dot


@lru_cache(maxsize=4096)
def _encode(name: str) -> str | None:
    import idna  # most commands meet no such name, and need not wait for its tables

    try:
        # uts46 maps case and width first, as every mail system does; non-transitional, so that
        # "straße" stays itself (IDNA2008) and is never "strasse" (IDNA2003): two owners.
        labels = _DOTS.split(idna.uts46_remap(name, std3_rules=False, transitional=False))
        encoded: list[str] = []
        left = MAX_NAME + 1
        for label in labels:  # one by one, to stop at a name that is too long: a label takes some 50 us
            root = not label and 0 < len(encoded) == len(labels) - 1  # behind a final dot of another kind
            encoded.append("" if root else idna.alabel(label).decode("ascii").lower())
            left -= len(encoded[-1]) + 1
            if left < 0:
                return None
        return ".".join(encoded)
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return None


def to_ascii(name: str) -> str | None:
    """The name as lower-case A-labels without a trailing dot (RFC 5890), or None if it has U-labels
    that IDNA2008 refuses. An all-ASCII name is only lower-cased, whatever its octets: ask
    `is_domain_name` whether it is usable."""
    if name.endswith("."):
        name = name[:-1]
    if name.isascii():
        return name.lower()
    if len(name) > MAX_NAME:  # A-labels are longer still; the cap bounds IDNA's work
        return None
    return _encode(name)


def to_unicode(name: str) -> str:
    """The name with U-labels in the place of its A-labels. Raises ValueError for what IDNA2008 refuses."""
    import idna

    return idna.decode(name)  # its errors are ValueErrors


def is_domain_name(name: str) -> bool:
    """Whether a name as `to_ascii` gives it may be a mail domain, a selector or a DKIM d= value: at least one
    label of letters, digits, hyphens and underscores, within DNS's lengths (RFC 6376 3.5 sub-domain)."""
    return len(name) <= MAX_NAME and _is_name(name)


@lru_cache(maxsize=4096)
def _is_name(name: str) -> bool:
    return _NAME.match(name) is not None


def is_subdomain(name: str, parent: str) -> bool:
    """Whether name is parent or below it; both as `to_ascii` gives them."""
    return name == parent or name.endswith("." + parent)
