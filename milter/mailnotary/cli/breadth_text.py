"""How many addresses SPF lets in, in words."""

from mailnotary.escape import printable
from mailnotary.spf.breadth import Breadth, of_term

MANY_IPV4 = 1 << 20  # addresses; the senders of the largest providers together have half of that
_BITS_64 = 64  # of an IPv6 address, one subscriber's: RFC 6177 gives nobody less


def in_words(found: Breadth) -> str:
    """The sum of a record, on one line."""
    if found.everybody:
        return "lets in every address"
    parts = [f"lets in {found.ipv4:,} IPv4 address{'es' * (found.ipv4 != 1)}"]
    if found.ipv6:
        parts.append(_ipv6(found.ipv6))
    text = " and ".join(parts)
    if found.open_ended:
        text += f", and whatever {', '.join(printable(term, 80) for term in found.open_ended[:5])} matches"
    return text + (f"; not complete: {printable(found.incomplete)}" if found.incomplete else "")


def advice(found: Breadth) -> list[str]:
    """What is dangerous about it."""
    if found.everybody or found.ipv4 < MANY_IPV4:
        return []  # who lets in everybody is told that elsewhere
    text = f"{found.ipv4:,} IPv4 addresses may send as you: whoever gets hold of one passes SPF and DMARC (BreakSPF)"
    return [f"{text}; name the networks of your own servers, and let others sign with DKIM instead"]


def of_mechanism(term: str) -> str:
    """What is worth telling of the term that matched; "" where it is narrow, or of another kind."""
    count = of_term(term)
    if term.lower().lstrip("+").startswith("ip4:"):
        return f"{printable(term, 80)} lets in {count:,} addresses" if count >= 1 << 16 else ""
    return f"{printable(term, 80)} lets in {_ipv6(count)}" if count >= 1 << (128 - 32) else ""


def _ipv6(count: int) -> str:
    if count < 1 << _BITS_64:
        return f"{count:,} IPv6 address{'es' * (count != 1)}"
    networks = count >> _BITS_64
    return f"{networks:,} IPv6 network{'s' * (networks != 1)} of 64 bits"
