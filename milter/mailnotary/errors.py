"""The roots of this package's exceptions; ARCHITECTURE.md draws the whole tree.

Exceptions that are raised for a caller say in their text what is wrong and, where an administrator can act, what to
write or do instead. Those that the standard library's callers would expect to be a ValueError are that too."""


class MailnotaryError(Exception):
    """Every exception that this package raises on purpose."""


class SetupError(MailnotaryError):
    """Something is wrong with the configuration or the machine, and its administrator can change that."""


class DkimKeyError(MailnotaryError):
    """A DKIM key can't be used, made, stored or remembered, or a message can't be signed with it."""


class DnsError(MailnotaryError):
    """A question to DNS, or to what replaces DNS, got no usable answer."""


class MailSyntaxError(MailnotaryError, ValueError):
    """A text from a message or from DNS is not in the form that its RFC asks for."""


class ProtocolOutcome(MailnotaryError):  # noqa: N818 - it ends an evaluation early and becomes its result
    """A step of SPF, DKIM or DMARC ends early, with a result that the RFCs name."""
