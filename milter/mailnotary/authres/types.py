"""The content of one Authentication-Results field (RFC 8601 section 2.2)."""

from dataclasses import field
from typing import NamedTuple

from mailnotary.errors import MailSyntaxError
from mailnotary.frozen import frozen


class AuthresError(MailSyntaxError):
    """The value is not an Authentication-Results; the message says why."""


class Property(NamedTuple):
    """One `ptype.property=value`. Keywords are in lower case. A value in address form keeps the quotes of its local
    part (`"a b"@example.org`), any other is unquoted."""

    ptype: str
    property: str
    value: str


@frozen
class MethodResult:
    """One method's result, such as dkim=pass. `comment` is written for people and not read again."""

    method: str
    result: str
    properties: tuple[Property, ...] = ()
    reason: str = ""
    method_version: int = 1
    comment: str = field(default="", compare=False)

    def get(self, ptype: str, name: str) -> str | None:
        """The first value of a property."""
        for item in self.properties:
            if item.ptype == ptype and item.property == name:
                return item.value
        return None


@frozen
class AuthenticationResults:
    """The whole field; without results it says "none"."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()
    version: int = 1
