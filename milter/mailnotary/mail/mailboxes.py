"""The grammar of the From field (RFC 5322 sections 3.4, 3.6.2 and 4.4; RFC 6532; RFC 6854): strict, see `address`."""

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from mailnotary.domain import MAX_NAME, is_domain_name, to_ascii
from mailnotary.errors import MailSyntaxError
from mailnotary.escape import ascii_printable
from mailnotary.frozen import frozen
from mailnotary.mail import cfws, encoded_word
from mailnotary.mail.claims import MAX_CLAIMS, MAX_FIELD, is_visible

MAX_TOKENS = 4096  # of one From field; some six hundred plain addresses


class AuthorProblem(StrEnum):
    """Why a message has no author domain that could be verified."""

    NO_FROM = "no-from"  # no From field
    SEVERAL_FROM = "several-from"  # several From fields
    NO_DOMAIN = "no-domain"  # no address, an address without a domain, an IP address for a domain
    SEVERAL_DOMAINS = "several-domains"  # authors of several domains
    UNPARSABLE = "unparsable"  # not in the grammar
    AMBIGUOUS = "ambiguous"  # in the grammar, but known to be read differently


@frozen
class AddrSpec:
    """One author's address: the local part without its quotes, the domain as lower-case A-labels."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


class FromError(MailSyntaxError):
    """The From field has no author domain; `problem` says in which way. `more`: it was not read to its end."""

    def __init__(self, problem: AuthorProblem, reason: str, *, more: bool = False) -> None:
        super().__init__(reason)
        self.problem = problem
        self.more = more


def _unparsable(what: str) -> FromError:
    return FromError(AuthorProblem.UNPARSABLE, f"the From field can't be parsed: {what}")


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


def checked(value: bytes) -> tuple[str, list[str]]:
    """A field's value as a text on one line, and what its encoded words stand for. Raises FromError and CfwsError for
    what is known to mislead programs before they reach any address."""
    if len(value) > MAX_FIELD:
        raise _unparsable(f"longer than {MAX_FIELD} octets")
    text = cfws.unfold(cfws.decode(value))
    if "\\" in text and _NOT_UTF8.search(text):
        # In GBK, Big5 and Shift JIS a backslash may be a character's second octet: a reader that takes the field
        # for one of these ends a quoted string elsewhere than we.
        raise FromError(AuthorProblem.AMBIGUOUS, "the From field has a backslash in a text that is not UTF-8")
    words = encoded_word.words(text)
    if any(_LINE_END.search(word) for word in words):
        # Programs that decode first and parse then have been cut short by a NUL, or sent to another line.
        raise FromError(AuthorProblem.AMBIGUOUS, "an encoded word in From hides a NUL or the end of a line")
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


class Mailboxes:
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
        """Parses a field's text; raises FromError and CfwsError."""
        self._tokens = _tokens(text)
        self._advance()
        self._list()
        if not self.addresses:
            raise FromError(AuthorProblem.NO_DOMAIN, "the From field has no address")

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
            raise FromError(AuthorProblem.AMBIGUOUS, f"the author's name is an address of another domain: {shown}")

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
            raise FromError(AuthorProblem.AMBIGUOUS, f"the author's address has a source route through {shown}")

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
            raise FromError(AuthorProblem.NO_DOMAIN, f"the From field has a name where an address must be: {shown}")
        local_part = self._local_part(words)
        self._advance()
        domain = self._domain()
        self.addresses.append(AddrSpec(local_part, domain))
        self._domains.add(domain)
        if len(self._domains) > MAX_CLAIMS:
            reason = f"the From field has authors of more than {MAX_CLAIMS} domains"
            raise FromError(AuthorProblem.SEVERAL_DOMAINS, reason, more=True)

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
            raise FromError(AuthorProblem.AMBIGUOUS, "the author's address has a character that can't be seen")
        if encoded_word.has_word(text):  # which must never occur in an addr-spec (RFC 2047 section 5)
            raise FromError(AuthorProblem.AMBIGUOUS, "the author's address has an encoded word")
        return text

    def _domain(self) -> str:
        if self._next.kind is _Kind.LITERAL:
            shown = ascii_printable(self._next.text, 60)
            raise FromError(AuthorProblem.NO_DOMAIN, f"the author has an IP address for a domain: [{shown}]")
        name = self._label()
        while self._is("."):
            # obs-domain has white space and comments anywhere (4.4), but "admin@bank.example .evil.example" is read
            # by many programs only up to the space. Harmless is what is not a domain yet there ("test . example").
            broken = self._next.spaced
            self._advance()
            if self._at_end() or self._next.text in ("<", ">", ",", ";", ":"):
                break  # not in the grammar, but the same domain to every reader, as an absolute name (RFC 1034 3.1)
            if "." in name and (broken or self._next.spaced):
                raise FromError(AuthorProblem.AMBIGUOUS, "white space or a comment breaks the author's domain")
            name = f"{name}.{self._label()}"
            if len(name) > MAX_NAME:
                raise FromError(AuthorProblem.NO_DOMAIN, f"the author's domain is longer than {MAX_NAME} characters")
        domain = to_ascii(name) if is_visible(name) else None  # UTS 46 would drop or map what can't be seen
        if domain is None or not is_domain_name(domain):
            shown = ascii_printable(name, 253)
            raise FromError(AuthorProblem.NO_DOMAIN, f"the author's domain is not a domain name: {shown}")
        return domain

    def _label(self) -> str:
        if self._next.kind is not _Kind.ATOM:
            raise _unparsable(f"{_shown(self._next)} in a domain")
        return self._advance().text


def _shown(token: _Token) -> str:
    return "the end" if token.kind is _Kind.END else f"{token.kind} '{ascii_printable(token.text, 40)}'"
