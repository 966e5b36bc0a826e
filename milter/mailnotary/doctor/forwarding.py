"""Mail that Postfix forwards with the envelope sender that it came with: SPF of that sender fails at the next host."""

import re
from collections.abc import Iterator

from mailnotary.doctor.filters import content
from mailnotary.doctor.finding import Finding, ok, warning
from mailnotary.doctor.instance import Postfix
from mailnotary.domain import to_ascii
from mailnotary.escape import printable

# Where Postfix forwards, and where it knows its own domains (postconf(5)).
_FORWARDING = ("virtual_alias_maps", "alias_maps")
_DOMAINS = (
    "mydestination",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
    "relay_domains",
    "myhostname",
    "myorigin",
)
_REWRITING = ("sender_canonical_maps", "canonical_maps", "smtpd_milters")  # PostSRSd 1 and 2 stand there
FORWARDING_SETTINGS = (*_FORWARDING, *_DOMAINS, *_REWRITING)

_FILE = re.compile(r"(?:hash|btree|lmdb|cdb|dbm|texthash):([^\s,{}]+)")
_PORTS = re.compile(r"(?:tcp|socketmap|inet):[^\s,]*\b(?:10001|10003)\b")  # PostSRSd's
_ADDRESS = re.compile(r"[^\s,:;\"'|/\\<>@]+@([A-Za-z0-9.-]+)")


def check(postfix: Postfix) -> Iterator[Finding]:
    """Forwarding without SRS, as far as the sources of the tables can be read. A domain whose place is in a table
    (`virtual_alias_domains = mysql:...`) cannot be told from another host's: then nothing is said."""
    own = " ".join(postfix[name] for name in _DOMAINS)
    if re.search(r"[a-z]+:\S", own) or "/" in own:
        return
    domains = {to_ascii(name) for name in re.split(r"[\s,]+", own.lower()) if name}
    forwarded = next(_elsewhere(postfix, domains), None)
    if forwarded is None:
        return
    where, domain = forwarded
    rewriting = " ".join(postfix[name] for name in _REWRITING)
    if "srs" in rewriting.lower() or _PORTS.search(rewriting):
        yield ok("forwarding", f"{where} forwards to {domain}, and senders are rewritten (SRS)")
        return
    # RFC 7208 appendix D.1: the "Originating ADMD" cannot know the forwarder, the "Mediators" can change the sender.
    text = (
        f"{where} forwards to {domain} with the sender that mail came with, whose SPF record does not name this host: "
        "SPF fails there, and DMARC, too, where no signature of the author's domain is left"
    )
    advice = (
        "install postsrsd, then: postconf sender_canonical_maps=tcp:localhost:10001 "
        "sender_canonical_classes=envelope_sender recipient_canonical_maps=tcp:localhost:10002 "
        "recipient_canonical_classes=envelope_recipient,header_recipient && postfix reload (PostSRSd 2 has socketmap "
        "tables: see its manual)"
    )
    yield warning("forwarding", text, advice)


def _elsewhere(postfix: Postfix, own: set[str | None]) -> Iterator[tuple[str, str]]:
    """Each table with a domain that it forwards to and that is not ours."""
    for name in _FORWARDING:
        for path in _FILE.findall(postfix[name]):
            for line in content(path).splitlines():
                # "name: a, b" in aliases(5), "pattern a, b" in virtual(5)
                _, _, targets = line.strip().partition(":" if name == "alias_maps" else " ")
                for domain in _ADDRESS.findall(targets.replace("\t", " ")):
                    if (ascii_domain := to_ascii(domain.rstrip("."))) not in own and ascii_domain:
                        yield f"{name} ({printable(path)})", ascii_domain
