"""Who the author of a message is: the From field (RFC 5322 sections 3.4, 3.6.2 and 4.4; RFC 6532; RFC 6854).

The parser is strict. Mail programs guess at what no grammar allows, each in its own way, and an attacker who has one
program verify this author and another show that one has won (Chen, Paxson and Jiang, "Composition Kills", 2020;
CVE-2019-16378). So a From field that two readers may read as different domains has no author domain at all. One that
is only damaged, and shows a single domain whoever reads it, has that (`claims`)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple, TypeVar

from mailnotary.domain import MAX_NAME, is_domain_name, to_ascii
from mailnotary.errors import MailSyntaxError
from mailnotary.escape import ascii_printable
from mailnotary.mail import cfws, encoded_word
from mailnotary.mail.claims import (
    MAX_CLAIMS,
    MAX_FIELD,
    Claims,
    claims,
    hides_author,
    indented_authors,
    is_visible,
    one_address,
)
from mailnotary.mail.compatible import compatible
from mailnotary.mail.message import HeaderField

MAX_TOKENS = 4096  # of one From field; some six hundred plain addresses
MAX_FROM_FIELDS = 20  # that are looked at; one is allowed


_T = TypeVar("_T")
_FOLDED = re.compile(rb"[\r\n]")


class AuthorProblem(StrEnum):
    """Why a message has no author domain that could be verified."""

    NO_FROM = "no-from"  # no From field
    SEVERAL_FROM = "several-from"  # several From fields
    NO_DOMAIN = "no-domain"  # no address, an address without a domain, an IP address for a domain
    SEVERAL_DOMAINS = "several-domains"  # authors of several domains
    UNPARSABLE = "unparsable"  # not in the grammar
    AMBIGUOUS = "ambiguous"  # in the grammar, but known to be read differently


@dataclass(frozen=True, slots=True)
class AddrSpec:
    """One author's address: the local part without its quotes, the domain as lower-case A-labels."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


@dataclass(frozen=True, slots=True)
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
    shown = indented_authors([field.value for field in fields if _FOLDED.search(field.value)])
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
    mailboxes = _Mailboxes()
    try:
        text, words = _checked(value)
    except (_FromError, cfws.CfwsError) as error:
        return _without_author((), value, error)
    try:
        mailboxes.read(text)
    except (_FromError, cfws.CfwsError) as error:
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
        hidden = _FromError(AuthorProblem.AMBIGUOUS, "an encoded word in From hides an address of another domain")
        return _without_author(addresses, value, hidden)
    if not text.isascii() and _is_other_folded(text, domains[0]):
        reason = "look-alikes of <, > or @ in From show an address of another domain"
        return _without_author(addresses, value, _FromError(AuthorProblem.AMBIGUOUS, reason))
    return Author(addresses, domains)


def _is_other_decoded(text: str, domain: str) -> bool:
    """Whether who decodes first and parses then finds an author of another domain: encoded words may open a comment
    around the address, or close one that another address is in."""
    decoded = encoded_word.decoded(text)
    if decoded.count("@") < 2:
        return False
    mailboxes = _Mailboxes()
    try:
        mailboxes.read(decoded)
    except (_FromError, cfws.CfwsError):
        return False
    return any(address.domain != domain for address in mailboxes.addresses)


def _is_other_folded(text: str, domain: str) -> bool:
    """Whether an author of another domain is found by who takes a sign's look-alike for the sign (Unicode's NFKC), as
    people do: U+FF1C and U+FF20 make one of a name, where the grammar has letters (RFC 6532 section 3.2)."""
    folded = compatible(text, MAX_FIELD)
    if _SIGN.findall(folded) == _SIGN.findall(text):
        return False
    mailboxes = _Mailboxes()
    try:
        mailboxes.read(folded)
    except (_FromError, cfws.CfwsError):
        shown = claims(text)
        return shown.more or any(other != domain and "." in other for other in shown.domains)
    return any(address.domain != domain for address in mailboxes.addresses)


def _without_author(addresses: Iterable[AddrSpec], value: bytes, error: Exception) -> Author:
    if isinstance(error, _FromError):
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


class _FromError(MailSyntaxError):
    """The From field has no author domain; `problem` says in which way. `more`: it was not read to its end."""

    def __init__(self, problem: AuthorProblem, reason: str, *, more: bool = False) -> None:
        super().__init__(reason)
        self.problem = problem
        self.more = more


def _unparsable(what: str) -> _FromError:
    return _FromError(AuthorProblem.UNPARSABLE, f"the From field can't be parsed: {what}")


class _Kind(StrEnum):
    ATOM = "atom"
    QUOTED = "quoted string"
    LITERAL = "domain literal"
    SPECIAL = "special"
    END = "end"


class _Token(NamedTuple):
    kind: _Kind
    text: str  # of a quoted string: what it stands for
    spaced: bool  # comments or white space come before it


# atext (RFC 5322 3.2.3) and all that is not US-ASCII (RFC 6532 3.2; octets that are not UTF-8 too, for display names)
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+")
_LITERAL = re.compile(r"\[((?:[^\[\]\\]++|\\.)*)\]")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(r"[\x00\r\n]")
_SIGN = re.compile(r"[<>()\[\]@,;:\\\"]")  # specials (RFC 5322 3.2.3) but the dot


def _checked(value: bytes) -> tuple[str, list[str]]:
    """A field's value as a text on one line, and what its encoded words stand for. Raises _FromError and CfwsError for
    what is known to mislead programs before they reach any address."""
    if len(value) > MAX_FIELD:
        raise _unparsable(f"longer than {MAX_FIELD} octets")
    text = cfws.unfold(cfws.decode(value))
    if "\\" in text and _NOT_UTF8.search(text):
        # In GBK, Big5 and Shift JIS a backslash may be a character's second octet: a reader that takes the field
        # for one of these ends a quoted string elsewhere than we.
        raise _FromError(AuthorProblem.AMBIGUOUS, "the From field has a backslash in a text that is not UTF-8")
    words = encoded_word.words(text)
    if any(_LINE_END.search(word) for word in words):
        # Programs that decode first and parse then have been cut short by a NUL, or sent to another line.
        raise _FromError(AuthorProblem.AMBIGUOUS, "an encoded word in From hides a NUL or the end of a line")
    return text, words


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    for _ in range(MAX_TOKENS):
        start, position = position, cfws.skip(text, position)
        spaced = position > start
        if position == len(text):
            yield _Token(_Kind.END, "", spaced)
            return
        character = text[position]
        if character == '"':
            content, position = cfws.quoted_string(text, position)
            yield _Token(_Kind.QUOTED, content, spaced)
        elif character in "<>,:;@.":
            position += 1
            yield _Token(_Kind.SPECIAL, character, spaced)
        elif match := _ATOM.match(text, position):
            position = match.end()
            yield _Token(_Kind.ATOM, match.group(), spaced)
        elif match := _LITERAL.match(text, position):
            position = match.end()
            yield _Token(_Kind.LITERAL, match[1], spaced)
        else:
            raise _unparsable(f"'{character}' out of place")
    raise _unparsable(f"more than {MAX_TOKENS} words and signs")


class _Mailboxes:
    """The parser: an address-list with groups (RFC 6854 section 2.1), obsolete syntax included.

    address-list =  *([CFWS] ",") address *("," [address / CFWS])
    address      =  mailbox / group
    group        =  display-name ":" [group-list] ";"
    mailbox      =  [display-name] "<" [obs-route] addr-spec ">" / addr-spec
    display-name =  word *(word / ".") / addr-spec
    addr-spec    =  word *("." word) "@" (atom *("." atom) / domain-literal)
    obs-route    =  *"," "@" domain *("," ["@" domain]) ":"
    """

    def __init__(self) -> None:
        self.addresses: list[AddrSpec] = []
        self._domains: set[str] = set()  # of the addresses
        self._tokens: Iterator[_Token] = iter(())
        self._next = _Token(_Kind.END, "", False)

    def read(self, text: str) -> None:
        """Parses a field's text; raises _FromError and CfwsError."""
        self._tokens = _tokens(text)
        self._advance()
        self._list()
        if not self.addresses:
            raise _FromError(AuthorProblem.NO_DOMAIN, "the From field has no address")

    def _advance(self) -> _Token:
        """Takes the next token."""
        taken, self._next = self._next, next(self._tokens, self._next)
        return taken

    def _at_end(self) -> bool:
        return self._next.kind is _Kind.END

    def _is(self, special: str) -> bool:
        return self._next.kind is _Kind.SPECIAL and self._next.text == special

    def _take(self, special: str) -> bool:
        if self._is(special):
            self._advance()
            return True
        return False

    def _list(self) -> None:
        while not self._at_end():
            if self._take(","):  # an empty element, of the obsolete syntax
                continue
            words = self._words()
            if words and self._take(":"):
                self._phrase(words)
                self._group()
            else:
                self._mailbox(words)
            if not self._at_end() and not self._take(","):
                raise _unparsable(f"{_shown(self._next)} out of place")

    def _group(self) -> None:
        while not self._take(";"):
            if self._take(","):
                continue
            self._mailbox(self._words())
            if not self._is(";") and not self._take(","):
                raise _unparsable(f"{_shown(self._next)} in a group")

    def _mailbox(self, words: list[_Token]) -> None:
        if self._take("<"):
            self._phrase(words)
            self._angle_addr()
        elif words or self._is("@"):
            self._addr_spec(words)
            if self._take("<"):
                self._named_by_address()
        else:
            raise _unparsable(f"{_shown(self._next)} out of place")

    def _named_by_address(self) -> None:
        """joe@example.org <joe@example.org>: the name would need quotes, which many programs forget. Whichever of the
        two a reader takes, the domain must be the same."""
        name = self.addresses.pop()
        self._angle_addr()
        if name.domain != self.addresses[-1].domain:
            shown = ascii_printable(str(name), 320)
            raise _FromError(AuthorProblem.AMBIGUOUS, f"the author's name is an address of another domain: {shown}")

    def _words(self) -> list[_Token]:
        words = []
        while self._next.kind in (_Kind.ATOM, _Kind.QUOTED) or self._is("."):
            words.append(self._advance())
        return words

    def _phrase(self, words: list[_Token]) -> None:
        if words and words[0].kind is _Kind.SPECIAL:
            raise _unparsable("'.' out of place")

    def _angle_addr(self) -> None:
        route = self._route()
        self._addr_spec(self._words())
        if not self._take(">"):
            raise _unparsable(f"{_shown(self._next)} where '>' must be")
        foreign = [domain for domain in route if domain != self.addresses[-1].domain]
        if foreign:
            # "the route portion SHOULD be ignored" (4.4), but there are programs that show its first domain instead.
            shown = ascii_printable(foreign[0], 100)
            raise _FromError(AuthorProblem.AMBIGUOUS, f"the author's address has a source route through {shown}")

    def _route(self) -> list[str]:
        domains: list[str] = []
        if not self._is("@") and not self._is(","):
            return domains
        while not self._take(":"):
            if self._take("@"):
                domains.append(self._domain())
                if not self._is(",") and not self._is(":"):
                    raise _unparsable(f"{_shown(self._next)} in a source route")
            elif not self._take(","):
                raise _unparsable(f"{_shown(self._next)} in a source route")
        if not domains:
            raise _unparsable("a source route without a domain")
        return domains

    def _addr_spec(self, words: list[_Token]) -> None:
        if words and not self._is("@"):
            shown = ascii_printable(" ".join(word.text for word in words[:10]), 60)
            raise _FromError(AuthorProblem.NO_DOMAIN, f"the From field has a name where an address must be: {shown}")
        local_part = self._local_part(words)
        self._advance()
        domain = self._domain()
        self.addresses.append(AddrSpec(local_part, domain))
        self._domains.add(domain)
        if len(self._domains) > MAX_CLAIMS:
            reason = f"the From field has authors of more than {MAX_CLAIMS} domains"
            raise _FromError(AuthorProblem.SEVERAL_DOMAINS, reason, more=True)

    def _local_part(self, words: list[_Token]) -> str:
        # Dots too many are not in the grammar, but in addresses that Japanese providers have given out; the domain is
        # the same to every reader.
        if any(_Kind.SPECIAL not in (word.kind, after.kind) for word, after in pairwise(words)):
            raise _unparsable("a local part that is not word.word")
        if all(word.kind is _Kind.SPECIAL for word in words):
            raise _unparsable("an empty local part")
        text = "".join(word.text for word in words)
        if _NOT_UTF8.search(text):
            raise _unparsable("a local part that is not UTF-8")
        if not is_visible(text):
            raise _FromError(AuthorProblem.AMBIGUOUS, "the author's address has a character that can't be seen")
        if encoded_word.has_word(text):  # which must never occur in an addr-spec (RFC 2047 section 5)
            raise _FromError(AuthorProblem.AMBIGUOUS, "the author's address has an encoded word")
        return text

    def _domain(self) -> str:
        if self._next.kind is _Kind.LITERAL:
            shown = ascii_printable(self._next.text, 60)
            raise _FromError(AuthorProblem.NO_DOMAIN, f"the author has an IP address for a domain: [{shown}]")
        name = self._label()
        while self._is("."):
            # obs-domain has white space and comments anywhere (4.4), but "admin@bank.example .evil.example" is read
            # by many programs only up to the space. Harmless is what is not a domain yet there ("test . example").
            broken = self._next.spaced
            self._advance()
            if self._at_end() or self._next.text in ("<", ">", ",", ";", ":"):
                break  # not in the grammar, but the same domain to every reader, as an absolute name (RFC 1034 3.1)
            if "." in name and (broken or self._next.spaced):
                raise _FromError(AuthorProblem.AMBIGUOUS, "white space or a comment breaks the author's domain")
            name = f"{name}.{self._label()}"
            if len(name) > MAX_NAME:
                raise _FromError(AuthorProblem.NO_DOMAIN, f"the author's domain is longer than {MAX_NAME} characters")
        domain = to_ascii(name) if is_visible(name) else None  # UTS 46 would drop or map what can't be seen
        if domain is None or not is_domain_name(domain):
            shown = ascii_printable(name, 253)
            raise _FromError(AuthorProblem.NO_DOMAIN, f"the author's domain is not a domain name: {shown}")
        return domain

    def _label(self) -> str:
        if self._next.kind is not _Kind.ATOM:
            raise _unparsable(f"{_shown(self._next)} in a domain")
        return self._advance().text


def _shown(token: _Token) -> str:
    return "the end" if token.kind is _Kind.END else f"{token.kind} '{ascii_printable(token.text, 40)}'"
