"""What the MTA's macros say of a client. pymilter decodes them as UTF-8, and raises where they are not."""

from typing import Protocol


class Macros(Protocol):
    """The macros of an event."""

    def getsymval(self, name: str) -> str | None:
        """A macro's value. Raises UnicodeDecodeError."""
        ...


def macro(macros: Macros, name: str) -> str | None:
    """A macro's value; None where it is absent, empty or no UTF-8."""
    try:
        return macros.getsymval(name) or None
    except UnicodeDecodeError:
        return None


def auth_user(macros: Macros) -> str | None:
    """The login name; "" for a client that is authenticated under a name that can't be had (it is not UTF-8, or the MTA
    gives the mechanism alone); None for one that is not authenticated."""
    try:
        user = macros.getsymval("{auth_authen}")
    except UnicodeDecodeError:
        return ""
    if user:
        return str(user)
    try:
        return "" if macros.getsymval("{auth_type}") else None
    except UnicodeDecodeError:
        return ""


def cert_subject(macros: Macros, *, asked: bool) -> str | None:
    """The subject of the client's TLS certificate, None without one that the MTA trusts. Postfix gives it for such
    alone, and knows no {verify} (MILTER_README); Sendmail gives every one's, and says "OK" in {verify} of those that it
    has verified. It does so if asked for it, so without having `asked`, no subject counts."""
    if not asked:
        return None
    try:
        verified = (macros.getsymval("{verify}") or "OK") == "OK"
    except UnicodeDecodeError:
        return None
    return macro(macros, "{cert_subject}") if verified else None
