"""Reading Authentication-Results (RFC 8601 section 2.2), others' too."""

import re
from typing import NoReturn

from mailnotary.authres.types import AuthenticationResults, AuthresError, MethodResult, Property
from mailnotary.escape import printable
from mailnotary.mail import cfws

MAX_VALUE = 65_536  # characters; more than MTAs pass on

# Keyword is RFC 5321's (4.1.2); underscores are not in it, but in the field they are seen.
_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_DIGITS = re.compile(r"[0-9]{1,9}(?![0-9])")
# token (RFC 2045 5.1), with what is not US-ASCII (RFC 8601 section 5: domains and local parts of EAI messages)
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\u0080-\ud7ff\ue000-\U0010ffff]+")
# A pvalue that is not quoted ends at white space, a comment or the next resinfo. Many write "/" or "<>" there without
# the quotes that a token would need, or base64 with its "="; within an address "=" is an atom's. Anywhere else it is
# a sign that the value was left out, and what follows is the next property.
_ENDS = r'\x00-\x20\x7f"();\\,\ud800-\udfff'
_BARE = re.compile(rf"[^{_ENDS}@]*@[^{_ENDS}]+|[^{_ENDS}=]+=*")
_DOMAIN = re.compile(r"@[A-Za-z0-9._\-\u0080-\ud7ff\ue000-\U0010ffff]+")


def parse(value: bytes | str, *, untyped: bool = False) -> AuthenticationResults:
    """Reads a field's value. Raises AuthresError if it is malformed or ambiguous. `untyped`: a property may
    come without its type, and is passed over, as in Microsoft's "dmarc=pass action=none"."""
    if len(value) > MAX_VALUE:
        raise AuthresError(f"longer than {MAX_VALUE} octets")
    try:
        return _Parser(cfws.unfold(cfws.decode(value)), untyped).field()
    except cfws.CfwsError as error:
        raise AuthresError(str(error)) from error


class _Parser:
    def __init__(self, text: str, untyped: bool) -> None:
        self._text = text
        self._untyped = untyped
        self._at = 0

    def field(self) -> AuthenticationResults:
        self.skip()
        authserv_id = self.value("authserv-id")
        version = 1
        if self.skip() and (digits := self._match(_DIGITS)):
            version = int(digits)
        self.skip()
        results: list[MethodResult] = []
        none = False
        while not self._at_end():
            self._expect(";", "the authserv-id" if not results else "a result")
            self.skip()
            if self._at_end() and (results or none):
                break  # a final ";" is not in the grammar, but common
            method = self._keyword("a method")
            self.skip()
            if method == "none" and not results and not self._text.startswith(("=", "/"), self._at):
                none = True
            elif none:
                self._fail("results after none")
            else:
                results.append(self._result(method))
        if not results and not none:
            self._fail("there is no result")
        return AuthenticationResults(authserv_id, tuple(results), version)

    def _result(self, method: str) -> MethodResult:
        method_version = 1
        if self._take("/"):
            self.skip()
            digits = self._match(_DIGITS)
            if digits is None:
                self._fail("a method's version that is not a number")
            method_version = int(digits)
            self.skip()
        self._expect("=", "a method")
        self.skip()
        result = self._keyword("a result")
        reason = ""
        properties: list[Property] = []
        spaced = self.skip()
        while not self._at_end() and not self._text.startswith(";", self._at):
            if not spaced:
                self._fail("no white space between two properties")
            name = self._keyword("a property type")
            self.skip()
            if name == "reason" and not reason and self._take("="):  # some write it last
                self.skip()
                reason = self.value("a reason")
                spaced = self.skip()
                continue
            if self._untyped and self._take("="):
                self.skip()
                self._pvalue()
                spaced = self.skip()
                continue
            self._expect(".", "a property type")
            self.skip()
            prop = self._keyword("a property")
            self.skip()
            self._expect("=", "a property")
            self.skip()
            properties.append(Property(name, prop, self._pvalue()))
            spaced = self.skip()
        return MethodResult(method, result, tuple(properties), reason, method_version)

    def value(self, what: str) -> str:
        """value (RFC 2045 5.1): a token or a quoted string."""
        if self._text.startswith('"', self._at):
            content, self._at = cfws.quoted_string(self._text, self._at)
            return content
        token = self._match(_TOKEN)
        if token is None:
            self._fail(f"{what} is missing")
        return token

    def _pvalue(self) -> str:
        if not self._text.startswith('"', self._at):
            return self._match(_BARE) or ""  # "smtp.mailfrom=" with nothing after it is how some write a null sender
        start = self._at
        content, self._at = cfws.quoted_string(self._text, self._at)
        return content if self._match(_DOMAIN) is None else self._text[start : self._at]

    def skip(self) -> bool:
        """Skips comments and white space; whether there were any."""
        start, self._at = self._at, cfws.skip(self._text, self._at)
        return self._at > start

    def _at_end(self) -> bool:
        return self._at == len(self._text)

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group()

    def _take(self, character: str) -> bool:
        if self._text.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def _keyword(self, what: str) -> str:
        keyword = self._match(_KEYWORD)
        if keyword is None:
            self._fail(f"{what} is missing")
        return keyword.lower()

    def _expect(self, character: str, after: str) -> None:
        if not self._take(character):
            self._fail(f"no '{character}' after {after}")

    def _fail(self, what: str) -> NoReturn:
        rest = self._text[self._at : self._at + 20]
        raise AuthresError(f"{what}, at {printable(rest)!r}" if rest else f"{what}, at the end")
