"""The result words of the mail authentication methods (RFC 8601 section 2.7 and its IANA registry).

Each is a string, so a status compares equal to its word and prints as it is written in
Authentication-Results: ``SpfStatus.PASS == "pass"``.
"""

from enum import StrEnum


class SpfStatus(StrEnum):
    """RFC 7208 section 2.6; RFC 8601 section 2.7.2."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimStatus(StrEnum):
    """RFC 8601 section 2.7.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Dkim2Status(StrEnum):
    """draft-ietf-dkim-dkim2-spec-06 section 11.1: its four words, and "none" for a message without DKIM2's fields."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DmarcStatus(StrEnum):
    """RFC 9989 section 9.2 (its registration of the "dmarc" method)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class AuthStatus(StrEnum):
    """RFC 8601 section 2.7.4: SMTP AUTH."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class ArcStatus(StrEnum):
    """RFC 8617 section 10.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result word, not a password
    FAIL = "fail"
