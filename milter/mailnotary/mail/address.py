"""Who the author of a message is: the From field (RFC 5322 sections 3.4, 3.6.2 and 4.4; RFC 6532; RFC 6854).

The parser is strict. Mail programs guess at what no grammar allows, each in its own way, and an attacker who has one
program verify this author and another show that one has won (Chen, Paxson and Jiang, "Composition Kills", 2020;
CVE-2019-16378). So a From field that two readers may read as different domains has no author domain at all. One that
is only damaged, and shows a single domain whoever reads it, has that (`claims`)."""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mailnotary.domain import is_domain_name
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.mail import cfws, encoded_word
from mailnotary.mail.claims import (
    MAX_CLAIMS,
    MAX_FIELD,
    Claims,
    claims,
    hides_author,
    indented_authors,
    one_address,
)
from mailnotary.mail.compatible import compatible
from mailnotary.mail.mailboxes import AddrSpec, AuthorProblem, FromError, Mailboxes, checked
from mailnotary.mail.message import HeaderField

MAX_FROM_FIELDS = 20  # that are looked at; one is allowed


_T = TypeVar("_T")
_SIGN = re.compile(r"[<>()\[\]@,;:\\\"]")  # specials (RFC 5322 3.2.3) but the dot


@frozen
class Author:
    """The authors of a message. `domains` are distinct, in order; with several authors of one domain it has one entry
    (RFC 9989 section 5.3.1). Only without a `problem` there is exactly one domain, and only then may DMARC pass;
    with one, `addresses` are those that could be read, and `domains` all that some program may show as the author's,
    the likeliest first, as far as they can be made out: with `more` there may be others, which a cap kept from being
    found. `reason` says what the problem is."""

    addresses: tuple[AddrSpec, ...] = ()
    domains: tuple[str, ...] = ()
    problem: AuthorProblem | None = None
    reason: str = ""
    more: bool = False

    @property
    def domain(self) -> str | None:
        """The author domain, None where there is a problem."""
        return self.domains[0] if self.problem is None else None


def author(fields: Sequence[HeaderField]) -> Author:
    """The author by a message's header fields. Never raises."""
    values = [field.value for field in fields if field.key == b"from"]
    if not values:
        read = Author(problem=AuthorProblem.NO_FROM, reason="there is no From field")
    elif len(values) == 1:
        read = author_of(values[0])
    else:
        read = _several_fields(values)
    shown = indented_authors([field.value for field in fields])
    if not shown.more and all(domain in read.domains for domain in shown.domains):
        return read
    reason = "an indented line in the header begins with From: and shows another author"
    return _with_claims(read, shown, read.problem or AuthorProblem.AMBIGUOUS, read.reason or reason)


def _several_fields(values: Sequence[bytes]) -> Author:
    """Which of several From fields a mail program shows is its own choice, so not even equal ones are taken (RFC 5322
    3.6: one)."""
    read = Author()
    left = MAX_FIELD  # octets: for all of them together
    more = len(values) > MAX_FROM_FIELDS
    for value in values[:MAX_FROM_FIELDS]:
        if len(value) > left or len(read.domains) > MAX_CLAIMS:
            more = True
            continue
        left -= len(value)
        of_field = author_of(value)
        addresses = (*read.addresses, *of_field.addresses)
        read = Author(addresses, _distinct((*read.domains, *of_field.domains)), more=read.more or of_field.more)
    reason = f"there are {len(values)} From fields, not one"
    return Author(_distinct(read.addresses), read.domains, AuthorProblem.SEVERAL_FROM, reason, more or read.more)


def author_of(value: bytes) -> Author:
    """The author by one From field's value. Never raises."""
    return _plain_author(value) or _parsed_author(value)


# Name <local.part@domain>, "Name" <...>, <...> or the address alone, in US-ASCII on one line, nothing in it that the
# parser looks at twice: nearly all mail. It comes out as from the parser, in a twentieth of the time.
_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ADDR_SPEC = rb"(%b++(?:\.%b++)*)@([A-Za-z0-9_.-]++)" % (_ATEXT, _ATEXT)
_PLAIN = re.compile(
    rb'[ \t]*+(?:(?:%b[A-Za-z0-9!#$%%&\'*+/=?^_`{|}~. \t-]*+|"[ !#-\[\]-~]*+"[ \t]*+)?<%b>|%b)[ \t]*+\Z'
    % (_ATEXT, _ADDR_SPEC, _ADDR_SPEC)
)
_MAX_PLAIN = 1000  # octets


def _plain_author(value: bytes) -> Author | None:
    """The author of a plain From field, None for any other."""
    if len(value) > _MAX_PLAIN or b"=?" in value:  # which may begin an encoded word
        return None
    match = _PLAIN.match(value)
    if match is None:
        return None
    local_part, name = match[1] or match[3], match[2] or match[4]
    domain = name.decode("ascii").lower()
    if not is_domain_name(domain):
        return None
    return Author((AddrSpec(local_part.decode("ascii"), domain),), (domain,))


def _parsed_author(value: bytes) -> Author:
    mailboxes = Mailboxes()
    try:
        text, words = checked(value)
    except (FromError, cfws.CfwsError) as error:
        return _without_author((), value, error)
    try:
        mailboxes.read(text)
    except (FromError, cfws.CfwsError) as error:
        if (address := one_address(text)) is not None:
            return Author((AddrSpec(*address),), (address[1],))
        return _without_author(mailboxes.addresses, value, error)
    addresses = tuple(mailboxes.addresses)
    domains = _distinct(address.domain for address in addresses)
    if len(domains) > 1:
        shown = ascii_printable(", ".join(domains[:10]), 300)
        reason = f"the From field has authors of {len(domains)} domains: {shown}"
        return Author(addresses, domains, AuthorProblem.SEVERAL_DOMAINS, reason)
    if words and (hides_author(text, words, domains[0]) or _is_other_decoded(text, domains[0])):
        # espoofer's a15: "decode, then parse" is wrong (RFC 2047 section 5), but done.
        hidden = FromError(AuthorProblem.AMBIGUOUS, "an encoded word in From hides an address of another domain")
        return _without_author(addresses, value, hidden)
    if not text.isascii() and _is_other_folded(text, domains[0]):
        reason = "look-alikes of <, > or @ in From show an address of another domain"
        return _without_author(addresses, value, FromError(AuthorProblem.AMBIGUOUS, reason))
    return Author(addresses, domains)


def _is_other_decoded(text: str, domain: str) -> bool:
    """Whether who decodes first and parses then finds an author of another domain: encoded words may open a comment
    around the address, or close one that another address is in."""
    decoded = encoded_word.decoded(text)
    if decoded.count("@") < 2:
        return False
    mailboxes = Mailboxes()
    try:
        mailboxes.read(decoded)
    except (FromError, cfws.CfwsError):
        return False
    return any(address.domain != domain for address in mailboxes.addresses)


def _is_other_folded(text: str, domain: str) -> bool:
    """Whether an author of another domain is found by who takes a sign's look-alike for the sign (Unicode's NFKC), as
    people do: U+FF1C and U+FF20 make one of a name, where the grammar has letters (RFC 6532 section 3.2)."""
    folded = compatible(text, MAX_FIELD)
    if _SIGN.findall(folded) == _SIGN.findall(text):
        return False
    mailboxes = Mailboxes()
    try:
        mailboxes.read(folded)
    except (FromError, cfws.CfwsError):
        shown = claims(text)
        return shown.more or any(other != domain and "." in other for other in shown.domains)
    return any(address.domain != domain for address in mailboxes.addresses)


def _without_author(addresses: Iterable[AddrSpec], value: bytes, error: Exception) -> Author:
    if isinstance(error, FromError):
        problem, reason, more = error.problem, str(error), error.more
    else:
        problem, reason, more = AuthorProblem.UNPARSABLE, f"the From field can't be parsed: {error}", False
    return _with_claims(Author(tuple(addresses), more=more), claims(cfws.decode(value)), problem, reason)


def _with_claims(author: Author, shown: Claims, problem: AuthorProblem, reason: str) -> Author:
    """The author with further domains that some program may show."""
    read = (*author.domains, *(address.domain for address in author.addresses))
    domains = _distinct((*shown.domains, *read))
    return Author(author.addresses, domains, problem, reason, author.more or shown.more)


def _distinct(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))
