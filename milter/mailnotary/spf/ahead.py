"""Which questions the terms of a record will ask, to send them all before the first has its answer.

A check asks its terms one after the other, and ends with the first that matches: over DNS that is far away, each would
take a round trip. What is sent ahead changes no result and no count (RFC 7208 section 4.6.4): a term is counted, and
its answer looked at, when its turn comes. `limits.MAX_AHEAD` bounds what a record has us send in vain."""

from mailnotary.resolver import RecordKind
from mailnotary.spf.client_address import ClientAddress
from mailnotary.spf.identity import is_dns_name
from mailnotary.spf.macro import MacroString
from mailnotary.spf.record import A, All, Exists, Include, Ip4, Ip6, Mechanism, Mx, SpfRecord

Question = tuple[str, RecordKind]


def questions(record: SpfRecord, domain: str, client: ClientAddress, most: int) -> list[Question]:
    """The first questions of at most so many terms, in their order, up to one that is sure to match. Of terms with
    macros there are none: theirs are for one sender alone, often the longest to answer, and seldom in any cache."""
    found: list[Question] = []
    for directive in record.directives:
        mechanism = directive.mechanism
        if isinstance(mechanism, All):
            return found
        if isinstance(mechanism, (Ip4, Ip6)):
            if client.is_in(mechanism):
                return found
        elif len(found) >= most:
            return found
        else:
            found += _question(mechanism.target, _kind(mechanism, client), domain, client)
    if record.redirect is not None and len(found) < most:
        found += _question(record.redirect.target, RecordKind.TXT, domain, client)
    return found


def _kind(mechanism: Mechanism, client: ClientAddress) -> RecordKind:
    match mechanism:
        case Include():
            return RecordKind.TXT
        case A():
            return client.kind
        case Mx():
            return RecordKind.MX
        case Exists():
            return RecordKind.A
        case _:
            return RecordKind.PTR


def _question(target: MacroString | None, kind: RecordKind, domain: str, client: ClientAddress) -> list[Question]:
    if kind is RecordKind.PTR:
        return [(client.reverse_name, kind)]
    if target is None:
        return [(domain, kind)]
    if target.letters:
        return []
    name = target.expand_domain(str)  # it has nothing to expand
    return [(name, kind)] if is_dns_name(name) else []
