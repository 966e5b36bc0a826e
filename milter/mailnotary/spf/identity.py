"""The identities that SPF checks, taken from what an SMTP client said (RFC 7208 sections 2.3, 2.4, 4.3; RFC 8616)."""

import re

from mailnotary.domain import MAX_LABEL, MAX_NAME, to_ascii

POSTMASTER = "postmaster"

# A mail domain is looked up wherever DNS can carry it (labels that are too long or empty are what 4.3 calls malformed,
# and others are strict about nothing else either), but never an address literal, an address without brackets, or
# what holds spaces and controls.
_MAIL_DOMAIN = re.compile(r"(?!\[)(?:[!-\-/-~]{1,63}\.)+(?![0-9]+\Z)[!-\-/-~]{1,63}\Z")


def to_text(value: str | bytes) -> str:
    """What a client said, as characters; octets that are not UTF-8 stay recognizable."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def octets(value: str) -> str:
    """The text's UTF-8 octets, each as one character, as macros and the resolver take them."""
    if value.isascii():
        return value
    try:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # a lone surrogate that does not represent an octet
        return value.encode("utf-8", "replace").decode("latin-1")


def a_labels(domain: str) -> str | None:
    """A domain with its U-labels converted (RFC 8616 section 4) and without its trailing dot; ASCII letters keep their
    case, which an explanation may show. None for what IDNA2008 refuses."""
    return domain.removesuffix(".") if domain.isascii() else to_ascii(domain)


def is_dns_name(name: str) -> bool:
    """Whether DNS can carry the name (RFC 1035 section 2.3.4), each of whose characters stands for an octet."""
    labels = name.split(".")
    return len(name) <= MAX_NAME and "" not in labels and (len(name) <= MAX_LABEL or max(map(len, labels)) <= MAX_LABEL)


def is_mail_domain(name: str) -> bool:
    """Whether an identity's domain, as `a_labels` gives it, can have an SPF record: a well-formed name of several
    labels (4.3)."""
    return len(name) <= MAX_NAME and _MAIL_DOMAIN.match(name) is not None


def strip_path(mail_from: str) -> str:
    """The mailbox of a reverse-path: without its angle brackets and without a source route (RFC 5321 4.1.2 and
    appendix C), which section 2.2 warns of."""
    mailbox = mail_from.strip(" \t\r\n")
    if mailbox.startswith("<") and mailbox.endswith(">"):
        mailbox = mailbox[1:-1]
    if mailbox.startswith("@") and ":" in mailbox and "@" in mailbox.partition(":")[2]:
        mailbox = mailbox.partition(":")[2]
    return mailbox


def local_part(sender: str) -> str:
    """What precedes a <sender>'s last "@" (a "%" or "!" in it routes nothing); "postmaster" where there is
    nothing (4.3), as for HELO."""
    return octets(sender.rpartition("@")[0]) or POSTMASTER


def domain_octets(domain: str) -> str:
    """A domain, or what a client gave for one, as macros take it."""
    return octets(a_labels(domain) or domain)
