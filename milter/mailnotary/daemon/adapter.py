"""libmilter's callbacks, made into the events of a `Session` and back. The only module that imports pymilter.

What a callback may return follows from the flags that its own connection negotiated. Where "no reply" was agreed,
anything but NOREPLY makes libmilter drop the rest of the message while the MTA waits five minutes; where it was not,
NOREPLY does. So each connection keeps its return values from the negotiation, and no exception leaves a callback: it
marks the message, and the end of the message, which always has a reply, answers for it.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import milter

from mailnotary.daemon import macros
from mailnotary.daemon.connection import Connection, Connections, Replies
from mailnotary.daemon.stack import on_any_thread
from mailnotary.session.message import Environment, wants_recipients
from mailnotary.session.policy import Action, DeleteHeader, InsertHeader, Quarantine, Reply, wants_mail_reply
from mailnotary.session.session import Session

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from milter import Context  # pymilter does not export it

_WANTED_ACTIONS: Final = milter.ADDHDRS | milter.CHGHDRS | milter.QUARANTINE | milter.SETSYMLIST
# Events that are not ours, and replies that we never give. A MAIL command's reply is decided at the negotiation.
_WANTED_PROTOCOL: Final = (
    milter.P_NORCPT
    | milter.P_NODATA
    | milter.P_NOUNKNOWN
    | milter.P_NR_CONN
    | milter.P_NR_HELO
    | milter.P_NR_HDR
    | milter.P_NR_EOH
    | milter.P_NR_BODY
    | milter.P_HDR_LEADSPC
)

# Such a list takes the place of the MTA's own for its stage; at the others it sends what it always does, which costs us
# as much as an empty list. {j} at MAIL FROM, which an MTA always has: libmilter ignores a list without any values, and
# would go on with the login of the message before. Sendmail gives the queue id {i} at MAIL FROM, Postfix at the end of
# the message.
_MACROS: Final = (
    (milter.M_CONNECT, "j {daemon_name}"),
    (milter.M_ENVFROM, "i j {auth_type} {auth_authen} {cert_subject} {verify}"),
    (milter.M_EOM, "i"),
)

_MAX_REPLY_LINES: Final = 32  # smfi_setmlreply(3)


class Adapter:
    """All connections of this process. `source` gives the newest environment; a worker sets it before it serves, for
    the callbacks are handed to libmilter before there are workers."""

    def __init__(self) -> None:
        self.source: Callable[[], Environment] = _no_environment
        self._negotiated = (_WANTED_ACTIONS, milter.P_HDR_LEADSPC)  # by the newest connection
        self._warned: set[str] = set()
        self.live = Connections()
        self.most = sys.maxsize  # connections: with the last of them `on_full` is called
        self.on_full: Callable[[], object] = lambda: None
        self.on_open: Callable[[], object] = lambda: None  # is called for each new connection
        self.gate = threading.Event()  # while it is not set, sessions wait before they are served
        self.gate.set()

    def register(self) -> None:
        """Hands the callbacks to libmilter; before `milter.opensocket`, and so before the workers are forked."""
        milter.set_flags(_WANTED_ACTIONS)
        milter.set_connect_callback(on_any_thread(self.on_connect))
        milter.set_helo_callback(on_any_thread(self.on_helo))
        milter.set_envfrom_callback(on_any_thread(self.on_mail))
        milter.set_envrcpt_callback(on_any_thread(self.on_rcpt))
        milter.set_header_callback(on_any_thread(self.on_header))
        milter.set_eoh_callback(on_any_thread(self.on_eoh))
        milter.set_body_callback(on_any_thread(self.on_body))
        milter.set_eom_callback(on_any_thread(self.on_eom))
        milter.set_abort_callback(on_any_thread(self.on_abort))
        milter.set_close_callback(on_any_thread(self.on_close))
        # For what fails inside pymilter before our code runs (a HELO or a header's name that is not UTF-8): that event
        # is as good as not sent. libmilter itself turns the CONTINUE into no reply where none is due.
        milter.set_exception_policy(milter.CONTINUE)
        milter.register("mailnotary", negotiate=on_any_thread(self.on_negotiate))

    # -- callbacks

    def on_negotiate(self, ctx: "Context", offer: list[int]) -> int:
        """Chooses from what the MTA offers: [actions, protocol flags, 0, 0], changed in place."""
        try:
            settings = self.source().settings
            actions, protocol = offer[0] & _WANTED_ACTIONS, offer[1] & _WANTED_PROTOCOL
            if wants_recipients(settings):
                protocol = protocol & ~milter.P_NORCPT | offer[1] & milter.P_NR_RCPT
            if not actions & milter.ADDHDRS:
                self._warn(
                    "the MTA does not let milters add header fields: "
                    "no results are written, and mail that must be signed waits"
                )
            if not actions & milter.CHGHDRS:
                self._warn(
                    "the MTA does not let milters remove header fields: "
                    "mail with Authentication-Results fields in our name is refused"
                )
            if not wants_mail_reply(settings):
                protocol |= offer[1] & milter.P_NR_MAIL
            if not protocol & milter.P_HDR_LEADSPC:
                self._warn(
                    "the MTA hides the space after a header's colon (Postfix: milter_protocol below 6): "
                    "signing with relaxed header canonicalization alone"
                )
            if actions & milter.SETSYMLIST:
                for stage, names in _MACROS:
                    ctx.setsymlist(stage, names)
            self._open(ctx, actions, protocol, mail_replies=not protocol & milter.P_NR_MAIL)
            self._negotiated = (actions, protocol)
            offer[:2] = [actions, protocol]
        except BaseException as error:
            log.error("defect in the negotiation", exc_info=error)
            return milter.REJECT
        return milter.CONTINUE

    def _open(self, ctx: "Context", actions: int, protocol: int, *, mail_replies: bool) -> Connection:
        self.gate.wait()
        session = Session(
            self.source,
            leading_space=bool(protocol & milter.P_HDR_LEADSPC),
            mail_replies=mail_replies,
            may_add=bool(actions & milter.ADDHDRS),
            may_delete=bool(actions & milter.CHGHDRS),
        )
        connection = Connection(session, actions, _replies(protocol))
        ctx.setpriv(connection)
        self.live.add(connection)
        self.on_open()
        if len(self.live) >= self.most:
            self.on_full()
        return connection

    def _reopen(self, ctx: "Context") -> Connection:
        """An MTA may end a connection and begin a new one over the same socket, without negotiating again, and pymilter
        has forgotten the flags. They are those of the MTA's other connections, but for the replies: going on is safe
        in any case, for libmilter drops that word where no reply was agreed, and to refuse at MAIL FROM is not."""
        actions, protocol = self._negotiated
        return self._open(ctx, actions, protocol & milter.P_HDR_LEADSPC, mail_replies=False)

    def on_connect(self, ctx: "Context", _name: str, _family: int, address: Any) -> int:
        """A client has connected; `address` is (ip, port...), a path, or None."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        try:
            ip = address[0] if isinstance(address, tuple) else None
            connection.session.connect(ip, macros.macro(ctx, "j"), macros.macro(ctx, "{daemon_name}"))
        except BaseException as error:
            connection.fail("connect", error)
            connection.defect = error
        return connection.replies.connect

    def on_helo(self, ctx: "Context", name: str) -> int:
        """HELO or EHLO."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        try:
            connection.session.helo(name)
        except BaseException as error:
            connection.fail("helo", error)
            connection.defect = error
        return connection.replies.helo

    def on_mail(self, ctx: "Context", sender: bytes, *_parameters: bytes) -> int:
        """MAIL FROM. An answer other than to go on is given here only where the MTA waits for one."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        connection.busy_since = time.monotonic()
        connection.begin_message()
        try:
            subject = macros.cert_subject(ctx, asked=bool(connection.actions & milter.SETSYMLIST))
            reply = connection.session.mail_from(sender, macros.auth_user(ctx), subject, macros.macro(ctx, "i"))
            connection.busy_since = 0.0
            if reply is not None and connection.error is None and connection.session.mail_replies:
                connection.end_message()
                return _send_reply(ctx, reply)
        except BaseException as error:
            connection.fail("mail", error)
        return connection.replies.mail

    def on_rcpt(self, ctx: "Context", recipient: bytes, *_parameters: bytes) -> int:
        """RCPT TO: asked for only where recipients matter."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        try:
            connection.session.rcpt_to(recipient)
        except BaseException as error:
            connection.fail("rcpt", error)
        return connection.replies.rcpt

    def on_header(self, ctx: "Context", name: str, value: bytes) -> int:
        """One header field."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        try:
            connection.session.header(name.encode(), value)
        except BaseException as error:
            connection.fail("header", error)
        return connection.replies.header

    def on_eoh(self, ctx: "Context") -> int:
        """The end of the header."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        connection.busy_since = time.monotonic()
        try:
            connection.session.end_of_headers()
            connection.busy_since = 0.0
        except BaseException as error:
            connection.fail("eoh", error)
        return connection.replies.eoh

    def on_body(self, ctx: "Context", chunk: bytes) -> int:
        """Some of the body."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        try:
            connection.session.body(chunk)
        except BaseException as error:
            connection.fail("body", error)
        return connection.replies.body

    def on_eom(self, ctx: "Context") -> int:
        """The end of the message: the one event that is always answered."""
        connection: Connection = ctx.getpriv() or self._reopen(ctx)
        connection.busy_since = time.monotonic()
        queue_id = None
        try:
            queue_id = macros.macro(ctx, "i")
            if connection.error is None:
                actions = connection.session.end_of_message(queue_id)
            else:
                actions = connection.session.internal_error(connection.error, queue_id)
            return _perform(ctx, connection, actions)
        except BaseException as error:
            connection.fail("eom", error)
            return _perform_defect(ctx, connection, error, queue_id)
        finally:
            connection.end_message()

    def on_abort(self, ctx: "Context") -> int:
        """The message under way ends without an answer."""
        connection: Connection | None = ctx.getpriv()
        if connection is None:
            return milter.CONTINUE
        connection.end_message()
        try:
            connection.session.abort()
        except BaseException as error:
            log.error("defect in abort()", exc_info=error)
        return milter.CONTINUE

    def on_close(self, ctx: "Context") -> int:
        """The connection ends."""
        connection: Connection | None = ctx.getpriv()
        if connection is None:  # the negotiation failed
            return milter.CONTINUE
        try:
            self.live.discard(connection)
            ctx.setpriv(None)
            connection.session.close()
        except BaseException as error:
            log.error("defect in close()", exc_info=error)
        return milter.CONTINUE

    def _warn(self, text: str) -> None:
        """Once in a worker's life."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text)


def _replies(protocol: int) -> Replies:
    """What to return after each event under these protocol flags."""
    flags = (
        milter.P_NR_CONN,
        milter.P_NR_HELO,
        milter.P_NR_MAIL,
        milter.P_NR_RCPT,
        milter.P_NR_HDR,
        milter.P_NR_EOH,
        milter.P_NR_BODY,
    )
    return Replies(*(milter.NOREPLY if protocol & flag else milter.CONTINUE for flag in flags))


def _no_environment() -> Environment:
    raise RuntimeError("no worker has begun to serve")


def quiet_excepthook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    """pymilter prints what fails inside it, which is text of the client's that is not UTF-8: not worth a traceback."""
    if isinstance(value, UnicodeDecodeError):
        log.debug("the MTA passed text that is not UTF-8: left out", extra={"fields": {"error": str(value)}})
    else:
        log.error("defect outside of a callback", exc_info=(kind, value, trace))


def run() -> None:
    """libmilter's main loop; returns or raises only when libmilter can't go on."""
    sys.excepthook = quiet_excepthook
    milter.main()


def open_socket(spec: str) -> None:
    """Lets libmilter open the socket that takes the place of the real one until `dup2` puts that there."""
    milter.setconn(spec)
    milter.opensocket(False)


def _perform(ctx: "Context", connection: Connection, actions: tuple[Action, ...]) -> int:
    """Carries the actions out, in their order. A reply, where there is one, makes the others moot."""
    for action in actions:
        if isinstance(action, Reply):
            return _send_reply(ctx, action)
    for action in actions:
        match action:
            case DeleteHeader():
                ctx.chgheader(action.name, action.index, "")
            case InsertHeader():
                # Once HDR_LEADSPC is taken, the space after the colon is ours to give. libmilter wants folds as LF.
                space = " " if connection.session.leading_space else ""
                ctx.addheader(action.name, space + action.value.replace("\r\n", "\n"), action.index)
            case Quarantine():
                if not connection.actions & milter.QUARANTINE:
                    raise RuntimeError("the MTA does not let milters hold a message")
                ctx.quarantine(action.reason)
    return milter.CONTINUE


def _perform_defect(ctx: "Context", connection: Connection, error: BaseException, queue_id: str | None) -> int:
    """What the configuration wants for a message on which we failed; if even that fails, the message waits."""
    try:
        return _perform(ctx, connection, connection.session.internal_error(error, queue_id))
    except BaseException as second:
        connection.fail("internal_error", second)
        return milter.TEMPFAIL


def _send_reply(ctx: "Context", reply: Reply) -> int:
    """Our own words to the client. libmilter sends them only with the answer of their class."""
    lines = reply.text.replace("%", "%%").split("\n")[:_MAX_REPLY_LINES]  # the MTA takes "%%" for "%", "%" for nothing
    try:
        ctx.setreply(str(reply.code), reply.enhanced_code, *lines)
    except (milter.error, ValueError) as error:  # the MTA's standard words then
        log.error("a reply that libmilter does not take", extra={"fields": {"text": reply.text, "error": str(error)}})
    return milter.REJECT if reply.code >= 500 else milter.TEMPFAIL
