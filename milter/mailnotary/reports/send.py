"""Makes and sends the reports of one period, each mail once, spread over time."""

import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from mailnotary import dkim
from mailnotary.config.settings import Settings
from mailnotary.history.database import StoreError
from mailnotary.history.store import Store
from mailnotary.mail.envelope import mailbox_of
from mailnotary.reports import message
from mailnotary.reports.destinations import Consent, recipients
from mailnotary.reports.gather import gathering
from mailnotary.reports.ledger import LeaseError, Ledger, Progress, State
from mailnotary.reports.names import Reporter
from mailnotary.reports.outgoing import Outgoing, messages_of, only, outgoing, search_of
from mailnotary.reports.period import Period
from mailnotary.reports.submit import SubmitError, submit
from mailnotary.resolver import Resolver

LONGEST_PAUSE: Final = 30.0  # seconds between two mails, however few there are
MAX_FAILING: Final = 10  # mails in a row that the mail server does not take now: then it is left alone for an hour
PATIENCE: Final = 60.0  # seconds for which a store that is busy is asked again

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mailed:
    """What became of one mail, or of a destination that could not be looked up."""

    domain: str
    destination: str
    state: State
    reason: str
    by_mail_server: bool = False  # it is our own mail server that did not take it


@dataclass(frozen=True, slots=True)
class Office:
    """What is needed to send reports. `track(items, total, what)` may show how far one is; `sleep` is `time.sleep`."""

    settings: Settings
    reporter: Reporter
    signers: Sequence[dkim.Signer]
    store: Store
    ledger: Ledger
    resolver: Resolver
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    track: Callable[[Iterable[Any], int, str], Iterator[Any]] = lambda items, _total, _what: iter(items)

    def send(self, period: Period, domains: Sequence[str] = ()) -> Iterator[Mailed]:
        """Sends what is due of a period, unless another host does; only to some policy domains if `domains` are given.
        Raises StoreError, and LeaseError if another host takes over."""
        progress = self.ledger.claim(period.begin)
        if progress is None:
            return
        begun = progress is Progress.TRYING
        try:
            wanted = self.ledger.due(period.begin) if begun else []
            if domains:
                wanted = [domain for domain in domains if not begun or domain in wanted]
            if wanted or not begun:
                went_through = yield from self._send_all(period, wanted)
                begun = begun or (went_through and not domains)
        finally:
            with suppress(StoreError):
                self.ledger.release(period.begin, begun=begun)

    def _send_all(self, period: Period, domains: Sequence[str]) -> Generator[Mailed, None, bool]:
        """Whether it went through all of them: where the mail server takes none, it stops."""
        failing = 0
        with gathering(only(domains)) as gatherer:
            messages = self.store.count(search_of(period))
            gatherer.add(self.track(messages_of(self.store, period), messages, f"messages of {period}"))
            count = gatherer.finish()
            pause = min(self.settings.reports.spread_seconds / max(count, 1), LONGEST_PAUSE)
            reports = outgoing(gatherer, period, self.settings.reports, self.resolver)
            for one in self.track(reports, count, f"reports of {period}"):
                for mailed in self._send_one(one):
                    yield mailed
                    if mailed.state is State.SENT:
                        failing = 0
                        self.sleep(pause)
                    elif mailed.by_mail_server:
                        failing += 1
                if failing >= MAX_FAILING:
                    return False
        return True

    def _send_one(self, one: Outgoing) -> Iterator[Mailed]:
        begin, domain = one.period.begin, one.report.domain
        for destination in one.destinations:
            uri = destination.uri
            if destination.consent is not Consent.UNKNOWN:
                self._patiently(partial(self.ledger.settle, begin, domain, uri))
            elif self._patiently(partial(self.ledger.begin, begin, domain, uri, "")) is not None:
                yield self._note(one, uri, State.LATER, f"DNS did not answer: {destination.reason}")
        for recipient in map(str, recipients(one.destinations)):
            if reason := self._patiently(partial(self.ledger.refused, recipient)):
                yield Mailed(domain, recipient, State.FAILED, f"nothing is sent there for a while: {reason}")
                continue
            new = self._new_message_id(one)
            if message_id := self._patiently(partial(self.ledger.begin, begin, domain, recipient, new)):
                yield self._mail(one, recipient, message_id)

    def _mail(self, one: Outgoing, recipient: str, message_id: str) -> Mailed:
        """A defect of ours in one report costs that one."""
        try:
            self._submit(one, recipient, message_id)
        except SubmitError as error:
            if error.for_good:
                self._patiently(partial(self.ledger.refuse, recipient, str(error)))
            state = State.FAILED if error.for_good else State.LATER
            return self._note(one, recipient, state, str(error), by_mail_server=not error.for_good)
        except (StoreError, OSError):
            raise
        except Exception as error:
            return self._note(one, recipient, State.LATER, f"{type(error).__name__}: {error}")
        return self._note(one, recipient, State.SENT, "")

    def _submit(self, one: Outgoing, recipient: str, message_id: str) -> None:
        reports = self.settings.reports
        sender = str(reports.from_)
        now = self.clock()
        text = message.compose(
            one.report, one.period, self.reporter, sender=sender, recipient=recipient, message_id=message_id, now=now
        )
        submit(
            reports.submit_to,
            message.signed(text, self.signers, now),
            sender=reports.bounces_to or "",
            recipient=recipient,
            hostname=mailbox_of(sender).domain,
        )

    def _note(
        self, one: Outgoing, destination: str, state: State, reason: str, *, by_mail_server: bool = False
    ) -> Mailed:
        begin, domain = one.period.begin, one.report.domain
        self._patiently(partial(self.ledger.note, begin, domain, destination, state, reason))
        return Mailed(domain, destination, state, reason, by_mail_server)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Does it, even if the store is busy for a while: a mail that is not noted is sent again. Raises StoreError."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return act()
            except LeaseError:
                raise
            except StoreError:
                if time.monotonic() > end:
                    raise
                self.sleep(1)

    def _new_message_id(self, one: Outgoing) -> str:
        """One that nobody can guess: by it a mail that comes back is known to be ours."""
        return f"{one.period.begin}.{secrets.token_hex(12)}@{self.reporter.domain}"
