"""The message under way, what it is judged with, and what its header makes of it."""

import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from mailnotary import arc, authres, dkim
from mailnotary.authres import Results
from mailnotary.config.keystore import KeyStore, Published
from mailnotary.config.settings import Settings
from mailnotary.frozen import frozen
from mailnotary.mail.address import Author
from mailnotary.mail.message import HeaderField
from mailnotary.resolver import Resolver
from mailnotary.session.budget import Budget, readable
from mailnotary.session.comparison import Comparison
from mailnotary.session.experiment import Recipients, is_observed
from mailnotary.session.inbound import Inbound, Traces
from mailnotary.session.outbound import Client, Origin, SigningPlan
from mailnotary.session.outcome import MessageMode, MessageRecord
from mailnotary.session.policy import DeleteHeader, DmarcVerdict, Reply, must_be_reached, reply

AUTHENTICATION_RESULTS = "Authentication-Results"  # RFC 8601 section 2.2


@frozen
class Environment:
    """What messages are judged with. A message keeps the one that it began with."""

    settings: Settings
    keystore: KeyStore
    resolver: Resolver
    log: Callable[[MessageRecord], None]
    hostname: str  # the authserv-id where neither the configuration nor the MTA gives one
    clock: Callable[[], float] = time.time
    published: Published = frozenset()
    traces: Traces | None = None
    replayed: Container[bytes] = ()  # ids of signatures


@dataclass(slots=True)
class Message:
    """The message under way, from MAIL FROM to its end."""

    env: Environment
    client: Client
    helo: str
    origin: Origin
    mode: MessageMode
    why: str
    authserv_id: str
    budget: Budget
    untouched: bool  # it passes as it is, and its header is not wanted
    relayed: bool = False  # and its header has not yet said by whom
    fields: list[HeaderField] = field(default_factory=list)
    inbound: Inbound | None = None
    signing: SigningPlan | None = None
    signer: dkim.MessageSigner | None = None
    sealer: arc.MessageSealer | None = None
    required: Inbound | None = None  # the checks that it must pass to be signed
    author: Author | None = None
    early_reply: Reply | None = None
    unrefusable: bool | None = None  # whether all recipients must be reached; None before the first
    recipients: Recipients = field(default_factory=Recipients)  # kept where DKIM2 is observed
    error: str = ""
    header_ended: bool = False
    seconds: float = 0.0  # of our own work
    # its outcome so far
    queue_id: str = ""
    results: Results = field(default_factory=Results)
    verdict: DmarcVerdict | None = None
    signed: tuple[tuple[str, str], ...] = ()  # (domain, selector) of each signature made
    algorithms: tuple[str, ...] = ()  # of those signatures
    compared: tuple[Comparison, ...] = ()  # with other filters

    def add_recipient(self, address: str) -> None:
        """A recipient, without angle brackets."""
        settings = self.env.settings
        if self.unrefusable is not False:
            self.unrefusable = must_be_reached(settings, address)
        if is_observed(settings):
            self.recipients.add(address)

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, for whatever hashes it."""
        if self.signer is not None:
            self.signer.body(chunk)
        if self.sealer is not None:
            self.sealer.body(chunk)
        for checks in (self.inbound, self.required):
            if checks is not None and checks.wants_body:
                checks.body(chunk)


def wants_recipients(settings: Settings) -> bool:
    """Whether the MTA has to pass the recipients on: it is one more round trip for each."""
    return bool(settings.reachable_recipients) or is_observed(settings)


def own_ids(message: Message) -> tuple[str, ...]:
    """The authserv-ids of this host and of the others that are ours."""
    settings = message.env.settings
    others = [name for name in settings.authentication_results.remove_from if name not in settings.history.compare_with]
    return (message.authserv_id, *others)


def deletions(message: Message) -> tuple[DeleteHeader, ...]:
    """The fields that claim to be ours (RFC 8601 section 5), the highest index first: an MTA renumbers the rest at
    once, and a deletion from the top down would then hit the wrong ones (CVE-2022-48521)."""
    values = [field.value for field in message.fields if field.key == b"authentication-results"]
    if not values:
        return ()
    ids = own_ids(message)
    read = readable(values)
    claiming = [index for index, value in enumerate(values, 1) if index > read or authres.claims(value, ids)]
    return tuple(DeleteHeader(AUTHENTICATION_RESULTS, index) for index in reversed(claiming))


def too_large(message: Message) -> Reply:
    """The refusal of a message whose header is beyond its budget."""
    # RFC 3463 3.4, X.3.4: too big for this system. Unread, it can be neither verified nor signed.
    return reply(552, "3.4", f"the message header {message.budget.too_large}")


def forged(message: Message, how_many: str) -> Reply:
    """The refusal of a message whose forged results cannot be deleted, or `how_many` (with a space after it) are."""
    text = f"{how_many}Authentication-Results fields in the name of {message.authserv_id}"
    return reply(550, "7.1", f"{text}, which it did not write; send the message without them")
