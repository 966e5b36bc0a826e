"""One SMTP connection as a milter sees it, free of libmilter: events in, actions out.

The order of events is connect, helo, then for each message mail_from, header..., end_of_headers, body...,
end_of_message; abort ends a message early. Nothing in a message raises here except through a defect of ours; the
caller hands such an exception to `broken` and the end of the message answers it (`on_internal_error`)."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from mailnotary import authres
from mailnotary.authres import Results
from mailnotary.config.settings import InternalError, Mode
from mailnotary.mail.address import author
from mailnotary.mail.message import HeaderField
from mailnotary.mail.report import is_report
from mailnotary.session import received, sealing, signing
from mailnotary.session.budget import MAX_DELETIONS, Budget
from mailnotary.session.comparison import compare
from mailnotary.session.forwarded import is_overridden, missing, overridden
from mailnotary.session.inbound import Inbound
from mailnotary.session.message import (
    AUTHENTICATION_RESULTS,
    Environment,
    Message,
    deletions,
    forged,
    too_large,
)
from mailnotary.session.outbound import Client, Origin, bare_address, mode_of, origin, relay
from mailnotary.session.outcome import MessageMode, MessageRecord
from mailnotary.session.policy import (
    Action,
    DeleteHeader,
    DmarcVerdict,
    InsertHeader,
    Reply,
    containing,
    message_verdict,
    observed,
    reply,
    spf_may_refuse,
    spf_reply,
)
from mailnotary.session.replayed import marked


class Session:
    """One connection. `leading_space`: the MTA passes header values with the space after the colon (HDR_LEADSPC).
    `mail_replies`: it waits for an answer to MAIL FROM. `may_add`, `may_delete`: it lets fields be added, deleted."""

    def __init__(
        self,
        source: Callable[[], Environment],
        *,
        leading_space: bool = True,
        mail_replies: bool = True,
        may_add: bool = True,
        may_delete: bool = True,
    ) -> None:
        self._source = source
        self.leading_space = leading_space
        self.mail_replies = mail_replies
        self.may_add = may_add
        self.may_delete = may_delete
        self._address: IPv4Address | IPv6Address | None = None
        self._mta_name: str | None = None
        self._daemon_name: str | None = None
        self._helo = ""
        self._message: Message | None = None

    # --- events ---

    def connect(self, address: str | None, mta_name: str | None, daemon_name: str | None) -> None:
        """A client has connected; `mta_name` is the macro {j}, `daemon_name` {daemon_name}. Its name from reverse DNS
        proves nothing and decides nothing here."""
        self._address = received.client_address(address)
        self._mta_name = mta_name
        self._daemon_name = daemon_name

    def helo(self, name: str) -> None:
        """HELO or EHLO; "" where its name could not be had."""
        self._helo = name

    def mail_from(
        self, sender: bytes, auth_user: str | None, cert_subject: str | None = None, queue_id: str | None = None
    ) -> Reply | None:
        """A message begins; `cert_subject` is that of the client's TLS certificate, if it has one that the MTA trusts;
        `queue_id` is for the log, and may come only at the end. A reply refuses the message here; None goes on."""
        started = time.perf_counter()
        env = self._source()
        client = Client(self._address, auth_user, self._daemon_name, bare_address(sender), cert_subject)
        whose, why = origin(env.settings, client)
        mode, why = mode_of(env.settings.mode, whose, why)
        if whose is not Origin.EXEMPT and (through := relay(env.settings, client)):
            whose, mode, why = Origin.FOREIGN, MessageMode.SIGN, through  # it may turn out to be ours, and wait then
        else:
            through = ""
        message = Message(
            env,
            client,
            self._helo,
            whose,
            mode,
            why,
            env.settings.authserv_id or self._mta_name or env.hostname,
            Budget(
                env.resolver,
                header_bytes=env.settings.limits.header_bytes,
                max_signatures=env.settings.verify.max_signatures,
            ),
            _passes_untouched(whose, mode, auth_user),
            bool(through),
            queue_id=queue_id or "",
        )
        self._message = message
        if mode is MessageMode.VERIFY:
            self._begin_verifying(message)
        message.seconds += time.perf_counter() - started
        if message.early_reply is None or not self.mail_replies or env.settings.reachable_recipients:
            return None  # where MAIL can't be answered any more, the end of message gives the same reply
        self._finish(message, (message.early_reply,))
        return message.early_reply

    def rcpt_to(self, recipient: bytes) -> None:
        """A recipient. The MTA is asked for them only where `wants_recipients` says so."""
        if self._message is not None:
            self._message.add_recipient(bare_address(recipient))

    def header(self, name: bytes, value: bytes) -> None:
        """One header field as libmilter gives it: folds are LF, the colon is neither in the name nor in the value."""
        message = self._message
        if message is None or message.untouched:
            return
        if not message.budget.take_field(len(name) + len(value) + 3):
            message.fields.clear()
            return
        if _LF in value:
            value = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        message.fields.append(HeaderField(name, value if self.leading_space else b" " + value))

    def end_of_headers(self) -> None:
        """The header is whole: decide who signs, or parse what others signed."""
        message = self._message
        if message is None or message.error or message.budget.too_large:
            return
        if message.early_reply is not None and not message.unrefusable:
            return
        message.header_ended = True
        started = time.perf_counter()
        if message.relayed:
            self._look_behind_relay(message)
        if message.early_reply is not None and message.unrefusable:
            message.why += f"; not refused, for {_REACHABLE}: {message.early_reply.text}"
            message.early_reply = None
        if message.mode is MessageMode.VERIFY and message.inbound is not None:
            message.author = author(message.fields)
            message.inbound.end_of_headers(message.fields, message.author, message.recipients)
            sealing.begin(message)
        elif message.mode is MessageMode.SIGN:
            message.author = author(message.fields)
            signing.begin(message, message.author, relaxed_only=not self.leading_space)
        message.seconds += time.perf_counter() - started

    def body(self, chunk: bytes) -> None:
        """The next octets of the body."""
        message = self._message
        if message is not None and not message.error:
            message.body(chunk)

    def end_of_message(self, queue_id: str | None) -> tuple[Action, ...]:
        """The message is whole: what the MTA is to do. Deletions come first, the highest index first."""
        message = self._message
        if message is None:
            return ()
        started = time.perf_counter()
        message.queue_id = queue_id or message.queue_id
        actions = self._decided(message)
        message.seconds += time.perf_counter() - started
        return self._finish(message, actions)

    def broken(self, error: BaseException) -> None:
        """An event before the end of the message failed by a defect of ours; the end of the message will say so."""
        if self._message is not None:
            self._message.error = f"{type(error).__name__}: {error}"

    def internal_error(self, error: BaseException, queue_id: str | None = None) -> tuple[Action, ...]:
        """What the MTA is to do after `end_of_message` itself failed."""
        message = self._message
        if message is None:
            return (_TEMPORARY,)
        self.broken(error)
        message.queue_id = queue_id or message.queue_id
        return self._finish(message, self._internal_error(message))

    def abort(self) -> None:
        """The message under way ends without an answer."""
        self._message = None

    def close(self) -> None:
        """The connection ends."""
        self._message = None

    # --- mail from elsewhere ---

    def _look_behind_relay(self, message: Message) -> None:
        """Puts the client of the trusted relay in the relay's place: from here on all is as if it had called itself."""
        settings = message.env.settings
        networks = settings.trusted_relays.networks
        sender, of_relay = received.sender(message.fields, lambda address: containing(networks, address) is not None)
        if not of_relay:  # else the relay's address and name are the right ones
            address, message.helo = (sender.address, sender.helo) if sender else (None, "")
            message.client = Client(address, None, None, message.client.mail_from)
        whose, why = origin(settings, message.client)
        message.origin = whose
        message.mode, why = mode_of(settings.mode, whose, why)
        unknown = "; no Received field says from whom" if sender is None and not of_relay else ""
        message.why += f"{unknown}; {why}"
        if message.mode is MessageMode.VERIFY:
            self._begin_verifying(message)

    def _begin_verifying(self, message: Message) -> None:
        env = message.env
        inbound = Inbound(
            env.settings,
            message.budget,
            message.client.address,
            message.helo,
            message.client.mail_from,
            receiver=message.authserv_id,
            now=env.clock(),
            traces=env.traces,
        )
        message.inbound = inbound
        inbound.start()
        if spf_may_refuse(env.settings):
            message.results = Results(spf=inbound.check_spf())
            message.early_reply = spf_reply(env.settings.spf, message.results.spf, message.client.address)

    def _verified(self, message: Message, inbound: Inbound) -> tuple[Action, ...]:
        settings = message.env.settings
        who = message.author or author(message.fields)
        message.results = results = marked(inbound.finish(), message.env.replayed)
        verdict = message_verdict(settings, who, results.dmarc, results.signatures, message.client.address)
        verdict = overridden(verdict, who, results.dmarc, results.passage, settings.arc.trusted_sealers)
        if message.unrefusable and verdict.action != "accept":
            verdict = DmarcVerdict("tag", verdict.would or verdict.action, _REACHABLE)
        message.compared = compare(message.fields, settings.history.compare_with, results)
        if settings.mode is Mode.OBSERVE:
            verdict = observed(verdict, spf_reply(settings.spf, results.spf, message.client.address))
        message.verdict = verdict
        if verdict.reply is not None:
            return (verdict.reply,)
        value = authres.field_value(
            message.authserv_id,
            results,
            mail_from=message.client.mail_from,
            helo=message.helo,
            both_spf=settings.authentication_results.helo,
            replays=settings.history.replay_tag,
            remote_ip="" if results.arc is None else str(message.client.address or ""),
            override=is_overridden(verdict),
        )
        hold = (verdict.hold,) if verdict.hold is not None else ()
        return (
            *deletions(message),
            InsertHeader(0, AUTHENTICATION_RESULTS, value),
            *sealing.finish(message, value),
            *hold,
        )

    # --- the end ---

    def _decided(self, message: Message) -> tuple[Action, ...]:
        """What is to be done at the end of a message."""
        if message.error:
            return self._internal_error(message)
        if message.budget.too_large:
            return (too_large(message),)
        if message.early_reply is not None:
            return (message.early_reply,)
        if not message.header_ended:  # nobody has decided yet whether it must be signed
            message.error = "the MTA never said that the header had ended"
            return self._internal_error(message)
        if message.inbound is not None:
            return self._verified(message, message.inbound)
        return signing.finish(message, may_add=self.may_add)

    def _internal_error(self, message: Message) -> tuple[Action, ...]:
        """Mail that must be signed waits, whatever the admin says of the rest."""
        if message.budget.too_large:  # what it holds in our name could not be removed
            return (too_large(message),)
        env = message.env
        may_be_signed = message.mode is MessageMode.SIGN and env.keystore.signs
        if may_be_signed or env.settings.on_internal_error is InternalError.TEMPFAIL:
            return (_TEMPORARY,)
        if message.mode is not MessageMode.VERIFY:
            return ()
        # "none": no check was made (RFC 8601 section 2.2). Without a field of ours, mail that a content filter hands
        # back would look like our own and be signed: see `reinjected`.
        value = authres.field_value(message.authserv_id, Results())
        return (*deletions(message), InsertHeader(0, AUTHENTICATION_RESULTS, value))

    def _finish(self, message: Message, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        self._message = None
        regardless = bool(message.error or message.budget.too_large)
        if sum(isinstance(action, DeleteHeader) for action in actions) > (MAX_DELETIONS if self.may_delete else 0):
            # RFC 8601 section 5: such a field must not stay.
            actions = (forged(message, f"more than {MAX_DELETIONS} " if self.may_delete else ""),)
            regardless = True
        if not self.may_add:
            actions = tuple([action for action in actions if not isinstance(action, InsertHeader)])
        if message.env.settings.mode is Mode.OBSERVE:
            actions = ()
        record = MessageRecord(
            queue_id=message.queue_id,
            client=message.client.address,
            helo=message.helo,
            mail_from=message.client.mail_from,
            auth_user=message.client.auth_user,
            mode=message.mode,
            why=message.why,
            author=message.author,
            results=message.results,
            verdict=message.verdict,
            signed=message.signed,
            algorithms=message.algorithms,
            compared=message.compared,
            actions=actions,
            reachable=bool(message.unrefusable),
            regardless=regardless,
            is_report=message.mode is MessageMode.VERIFY and is_report(message.fields),
            error=message.error,
            arc_missing=missing(message.results.passage, message.env.settings.arc.trusted_sealers),
            milliseconds=message.seconds * 1000,
            questions=message.budget.questions,
        )
        message.env.log(record)
        return actions


_LF = 10  # bytes tell ten times as fast whether this is in them as an octet of type bytes
_REACHABLE = "its recipients are in reachable_recipients"
_TEMPORARY = reply(451, "3.0", "mailnotary could not process this message, please try again later")


def _passes_untouched(whose: Origin, mode: MessageMode, auth_user: str | None) -> bool:
    """Whether a message passes as it is, whatever its header holds. (What a user hands in may hold forged results.)"""
    return whose is Origin.EXEMPT or (mode is MessageMode.NONE and auth_user is None)
