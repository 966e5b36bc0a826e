"""The results of all methods for one message, in one value."""

from mailnotary.arc.result import ArcResult
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import Dkim2Result
from mailnotary.dmarc.result import DmarcResult
from mailnotary.frozen import frozen
from mailnotary.spf.result import SpfResult


@frozen
class Passage:
    """What an intact ARC chain says for a message that fails DMARC: `sealers` are those from the newest set back to the
    one that says dmarc=pass, each once, the newest first: its word counts if all of them are trusted. `first_client`
    is the address of the client in the oldest set ("" if it is not told)."""

    sealers: tuple[str, ...]
    first_client: str = ""


@frozen
class Results:
    """The results of one message, method by method; a method that was not run has its default. `auth` is the login
    name of a client that has authenticated itself ("" where it is not known), `spf` one result for each identity,
    `dkim` one for each signature from the top down: empty if there was none, None if nobody looked."""

    auth: str | None = None
    spf: tuple[SpfResult, ...] = ()
    dkim: tuple[DkimResult, ...] | None = None
    dmarc: DmarcResult | None = None
    dkim2: Dkim2Result | None = None  # experimental
    arc: ArcResult | None = None  # None for a message without a chain, too
    passage: Passage | None = None

    @property
    def signatures(self) -> tuple[DkimResult, ...]:
        """The results of all signatures that were looked at."""
        return self.dkim or ()
