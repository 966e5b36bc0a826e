"""DKIM2, EXPERIMENTAL (`dkim2: {mode: observe}`): a check beside the others, that decides nothing. What fails in it
costs its own result, and nothing else of the message."""

from collections.abc import Sequence

from mailnotary import dkim2
from mailnotary.config.settings import Dkim2Mode, Settings
from mailnotary.dkim2 import Dkim2Result
from mailnotary.dkim2.fields import MAX_PATH, MAX_RECIPIENTS
from mailnotary.mail.message import HeaderField
from mailnotary.resolver import Resolver
from mailnotary.status import Dkim2Status


class Recipients:
    """The recipients of one message, each once. Of more than a signature can name, one more than that are kept: not all
    can be in it then, and the envelope does not match."""

    __slots__ = ("_addresses",)

    def __init__(self) -> None:
        self._addresses: dict[str, None] = {}

    def add(self, address: str) -> None:
        """One recipient. What is longer than any address in a signature stays so, and matches none."""
        if len(self._addresses) <= MAX_RECIPIENTS:
            self._addresses[address[: MAX_PATH + 1]] = None

    @property
    def known(self) -> tuple[str, ...] | None:
        """The recipients; None where the MTA has named none."""
        return tuple(self._addresses) or None


class Observed:
    """The chain of one message, in the order in which its parts arrive."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        resolver: Resolver,
        *,
        now: int,
        mail_from: str,
        recipients: Recipients,
    ) -> None:
        self._failed: Exception | None = None
        try:
            self._verifier = dkim2.Verifier(fields, resolver, now=now, mail_from=mail_from, rcpt_to=recipients.known)
        except Exception as error:
            self._failed = error

    @property
    def wants_body(self) -> bool:
        """Whether the body can matter."""
        return self._failed is None and self._verifier.wants_body

    def body(self, chunk: bytes) -> None:
        """The next octets of the body."""
        try:
            if self.wants_body:
                self._verifier.body(chunk)
        except Exception as error:
            self._failed = error

    def finish(self) -> Dkim2Result:
        """The result."""
        if self._failed is None:
            try:
                return self._verifier.finish()
            except Exception as error:
                self._failed = error
        reason = f"defect in mailnotary: {type(self._failed).__name__}: {self._failed}"
        return Dkim2Result(Dkim2Status.PERMERROR, reason=reason, brief="not verified")


def is_observed(settings: Settings) -> bool:
    """Whether chains are looked at."""
    return settings.dkim2.mode is Dkim2Mode.OBSERVE
