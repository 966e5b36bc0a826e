"""The callbacks against a context that plays libmilter: what they return is what was negotiated, come what may."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import milter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import Dkim2Mode, Dkim2Settings, Settings, SpfAction, SpfSettings
from mailnotary.daemon import adapter as adapter_module
from mailnotary.daemon.adapter import Adapter, quiet_excepthook
from mailnotary.session.message import Environment
from mailnotary.session.policy import DeleteHeader, InsertHeader, Quarantine, Reply

ALL_ACTIONS = 0x1FF
ALL_PROTOCOL = 0x1FFFFF
NR_FLAGS = (
    milter.P_NR_CONN,
    milter.P_NR_HELO,
    milter.P_NR_MAIL,
    milter.P_NR_HDR,
    milter.P_NR_EOH,
    milter.P_NR_BODY,
)


class FakeContext:
    """libmilter's side of one connection."""

    def __init__(self, macros: dict[str, str | bytes] | None = None) -> None:
        self.macros = macros or {}
        self.priv: Any = None
        self.done: list[tuple[Any, ...]] = []
        self.lists: dict[int, str] = {}
        self.refuses_reply = False

    def getpriv(self) -> Any:
        return self.priv

    def setpriv(self, value: Any) -> None:
        self.priv = value

    def getsymval(self, name: str) -> str | None:
        value = self.macros.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def setsymlist(self, stage: int, names: str) -> None:
        self.lists[stage] = names

    def setreply(self, *args: str) -> None:
        if self.refuses_reply:
            raise milter.error("cannot set reply")
        self.done.append(("reply", *args))

    def addheader(self, *args: Any) -> None:
        self.done.append(("add", *args))

    def chgheader(self, *args: Any) -> None:
        self.done.append(("change", *args))

    def quarantine(self, reason: str) -> None:
        self.done.append(("quarantine", reason))


class FakeSession:
    """A session that does what its test says."""

    def __init__(
        self, _source: object, *, leading_space: bool, mail_replies: bool, may_add: bool, may_delete: bool
    ) -> None:
        self.may_add = may_add
        self.may_delete = may_delete
        self.mail_replies = mail_replies
        self.leading_space = leading_space
        self.actions: tuple[Any, ...] = ()
        self.mail_reply: Reply | None = None
        self.seen: list[tuple[Any, ...]] = []
        self.fails: dict[str, BaseException] = {}
        self.marked: BaseException | None = None

    def _note(self, name: str, *args: Any) -> None:
        self.seen.append((name, *args))
        if name in self.fails:
            raise self.fails[name]

    def connect(self, *args: Any) -> None:
        self._note("connect", *args)

    def helo(self, name: str) -> None:
        self._note("helo", name)

    def mail_from(self, *args: Any) -> Reply | None:
        self._note("mail_from", *args)
        return self.mail_reply

    def header(self, *args: Any) -> None:
        self._note("header", *args)

    def end_of_headers(self) -> None:
        self._note("end_of_headers")

    def rcpt_to(self, recipient: bytes) -> None:
        self._note("rcpt_to", recipient)

    def body(self, chunk: bytes) -> None:
        self._note("body", chunk)

    def end_of_message(self, queue_id: str | None) -> tuple[Any, ...]:
        self._note("end_of_message", queue_id)
        return self.actions

    def broken(self, error: BaseException) -> None:
        self.marked = error

    def internal_error(self, error: BaseException, queue_id: str | None = None) -> tuple[Any, ...]:
        self._note("internal_error", error, queue_id)
        return (Reply(451, "4.3.0", "later"),)

    def abort(self) -> None:
        self._note("abort")

    def close(self) -> None:
        self._note("close")


@pytest.fixture(autouse=True)
def fake_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "Session", FakeSession)


def opened(
    *,
    actions: int = ALL_ACTIONS,
    protocol: int = ALL_PROTOCOL,
    reject: bool = False,
    macros: dict[str, str | bytes] | None = None,
) -> tuple[Adapter, Any, FakeSession]:
    callbacks = Adapter()
    settings = Settings(spf=SpfSettings(fail=SpfAction.REJECT if reject else SpfAction.ACCEPT))
    callbacks.source = lambda: cast(Environment, SimpleNamespace(settings=settings))
    ctx = FakeContext(macros)
    assert callbacks.on_negotiate(cast(Any, ctx), [actions, protocol, 0, 0]) == milter.CONTINUE
    return callbacks, ctx, cast(FakeSession, ctx.priv.session)


def play(callbacks: Adapter, ctx: Any) -> list[int]:
    """One message; what each callback returned."""
    return [
        callbacks.on_connect(ctx, "client", 2, ("192.0.2.1", 1)),
        callbacks.on_helo(ctx, "client.example"),
        callbacks.on_mail(ctx, b"<a@x.example>", b"SIZE=1"),
        callbacks.on_header(ctx, "From", b" a@x.example"),
        callbacks.on_eoh(ctx),
        callbacks.on_body(ctx, b"x"),
        callbacks.on_eom(ctx),
    ]


def test_recipients_are_asked_for_where_a_chain_of_dkim2_is_compared_with_them() -> None:
    for mode in Dkim2Mode:
        callbacks = Adapter()
        settings = Settings(spf=SpfSettings(fail=SpfAction.REJECT), dkim2=Dkim2Settings(mode))
        callbacks.source = lambda settings=settings: cast(Environment, SimpleNamespace(settings=settings))  # type: ignore[misc]
        choice = [ALL_ACTIONS, ALL_PROTOCOL, 0, 0]
        assert callbacks.on_negotiate(cast(Any, FakeContext()), choice) == milter.CONTINUE
        assert bool(choice[1] & milter.P_NORCPT) is (mode is Dkim2Mode.OFF)
        assert bool(choice[1] & milter.P_NR_MAIL) is False, "SPF is answered at MAIL FROM as ever"


def test_recipients_are_asked_for_only_where_some_must_be_reached() -> None:
    for reachable in ((), ("postmaster",)):
        callbacks = Adapter()
        settings = Settings(spf=SpfSettings(fail=SpfAction.REJECT), reachable_recipients=reachable)
        callbacks.source = lambda settings=settings: cast(Environment, SimpleNamespace(settings=settings))  # type: ignore[misc]
        ctx: Any = FakeContext()
        choice = [ALL_ACTIONS, ALL_PROTOCOL, 0, 0]
        assert callbacks.on_negotiate(ctx, choice) == milter.CONTINUE
        assert bool(choice[1] & milter.P_NORCPT) is not bool(reachable)
        assert bool(choice[1] & milter.P_NR_MAIL) is bool(reachable), "the answer waits for the recipients"
        if reachable:
            assert callbacks.on_rcpt(ctx, b"<postmaster>", b"NOTIFY=NEVER") == milter.NOREPLY
            assert ctx.priv.session.seen[-1] == ("rcpt_to", b"<postmaster>")


@given(st.integers(0, ALL_PROTOCOL), st.booleans())
def test_no_reply_is_returned_exactly_where_its_flag_was_granted(offered: int, reject: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter_module, "Session", FakeSession)
        callbacks = Adapter()
        settings = Settings(spf=SpfSettings(fail=SpfAction.REJECT if reject else SpfAction.ACCEPT))
        callbacks.source = lambda: cast(Environment, SimpleNamespace(settings=settings))
        ctx: Any = FakeContext()
        choice = [ALL_ACTIONS, offered, 0, 0]
        assert callbacks.on_negotiate(ctx, choice) == milter.CONTINUE
        assert choice[1] & ~offered == 0
        flags = (
            milter.P_NR_CONN,
            milter.P_NR_HELO,
            milter.P_NR_MAIL,
            milter.P_NR_HDR,
            milter.P_NR_EOH,
            milter.P_NR_BODY,
        )
        expected = [milter.NOREPLY if choice[1] & flag else milter.CONTINUE for flag in flags]
        assert play(callbacks, ctx) == [*expected, milter.CONTINUE]
        assert not (reject and choice[1] & milter.P_NR_MAIL)


ERRORS = [RuntimeError("x"), KeyboardInterrupt(), SystemExit(), MemoryError(), RecursionError()]
METHODS = ["connect", "helo", "mail_from", "header", "end_of_headers", "body", "end_of_message"]


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(), MemoryError(), RecursionError()]
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("protocol", [ALL_PROTOCOL, 0])
def test_a_defect_changes_no_return_value_but_the_last(method: str, error: BaseException, protocol: int) -> None:
    callbacks, ctx, session = opened(protocol=protocol)
    healthy = play(callbacks, ctx)
    session.fails[method] = error
    ctx.done.clear()
    assert play(callbacks, ctx) == [*healthy[:-1], milter.TEMPFAIL]
    assert ctx.done == [("reply", "451", "4.3.0", "later")]
    assert session.marked is error
    session.fails.clear()
    lasting = method in ("connect", "helo")  # the next message of the same client
    again = [callbacks.on_mail(ctx, b"<>"), callbacks.on_eom(ctx)]
    assert again[-1] == (milter.TEMPFAIL if lasting else milter.CONTINUE)


def test_a_defect_in_the_last_resort_is_a_temporary_failure() -> None:
    callbacks, ctx, session = opened()
    session.fails |= {"end_of_message": RuntimeError(), "internal_error": RuntimeError()}
    assert play(callbacks, ctx)[-1] == milter.TEMPFAIL


def test_a_defect_before_the_session_exists_refuses_the_connection() -> None:
    callbacks = Adapter()
    ctx: Any = FakeContext()
    assert callbacks.on_negotiate(ctx, [ALL_ACTIONS, ALL_PROTOCOL, 0, 0]) == milter.REJECT
    assert callbacks.on_close(ctx) == milter.CONTINUE


def test_headers_are_inserted_with_the_space_and_the_folds_that_the_mta_wants() -> None:
    for protocol, expected in ((ALL_PROTOCOL, " a;\n b"), (ALL_PROTOCOL & ~milter.P_HDR_LEADSPC, "a;\n b")):
        callbacks, ctx, session = opened(protocol=protocol)
        session.actions = (DeleteHeader("X", 2), InsertHeader(0, "X", "a;\r\n b"))
        assert play(callbacks, ctx)[-1] == milter.CONTINUE
        assert ctx.done == [("change", "X", 2, ""), ("add", "X", expected, 0)]


@pytest.mark.parametrize(("code", "verdict"), [(550, milter.REJECT), (451, milter.TEMPFAIL)])
def test_a_reply_goes_out_with_the_verdict_of_its_class(code: int, verdict: int) -> None:
    callbacks, ctx, session = opened()
    session.actions = (InsertHeader(0, "X", "y"), Reply(code, f"{code // 100}.7.1", "100% sure\nsecond line"))
    assert play(callbacks, ctx)[-1] == verdict
    assert ctx.done == [("reply", str(code), f"{code // 100}.7.1", "100%% sure", "second line")]


@pytest.mark.parametrize(("code", "verdict"), [(550, milter.REJECT), (451, milter.TEMPFAIL)])
def test_a_reply_that_libmilter_does_not_take_keeps_its_verdict(code: int, verdict: int) -> None:
    callbacks, ctx, session = opened()
    session.actions = (Reply(code, "5.7.1", "x" * 5000),)
    ctx.refuses_reply = True
    assert play(callbacks, ctx)[-1] == verdict


def test_mail_is_refused_at_mail_only_where_a_reply_is_awaited() -> None:
    refusal = Reply(550, "5.7.23", "no")
    callbacks, ctx, session = opened(reject=True)
    session.mail_reply = refusal
    assert callbacks.on_mail(ctx, b"<a@x.example>") == milter.REJECT
    callbacks, ctx, session = opened(reject=False)
    session.mail_reply = refusal
    assert callbacks.on_mail(ctx, b"<a@x.example>") == milter.NOREPLY
    assert ctx.done == []


def test_a_hold_is_a_quarantine_and_without_that_a_temporary_failure() -> None:
    callbacks, ctx, session = opened()
    session.actions = (Quarantine("why"),)
    assert play(callbacks, ctx)[-1] == milter.CONTINUE
    assert ctx.done == [("quarantine", "why")]
    callbacks, ctx, session = opened(actions=ALL_ACTIONS & ~milter.QUARANTINE)
    session.actions = (Quarantine("why"),)
    assert play(callbacks, ctx)[-1] == milter.TEMPFAIL


@pytest.mark.parametrize(
    ("macros", "user"),
    [
        ({}, None),
        ({"{auth_authen}": "us"}, "us"),
        ({"{auth_authen}": "us", "{auth_type}": "PLAIN"}, "us"),
        ({"{auth_type}": "EXTERNAL"}, ""),
        ({"{auth_authen}": "", "{auth_type}": "PLAIN"}, ""),
        ({"{auth_authen}": "", "{auth_type}": ""}, None),
        ({"{auth_authen}": b"\xff"}, ""),
        ({"{auth_type}": b"\xff"}, ""),
    ],
)
def test_who_is_logged_in(macros: dict[str, str | bytes], user: str | None) -> None:
    callbacks, ctx, session = opened(macros=macros)
    callbacks.on_mail(ctx, b"<a@x.example>")
    assert session.seen[-1] == ("mail_from", b"<a@x.example>", user, None, None)


@pytest.mark.parametrize(
    ("macros", "subject"),
    [
        ({}, None),
        ({"{cert_subject}": "mail2.example.org"}, "mail2.example.org"),  # Postfix
        ({"{cert_subject}": "/CN=mail2.example.org", "{verify}": "OK"}, "/CN=mail2.example.org"),  # Sendmail
        ({"{cert_subject}": "/CN=mail2.example.org", "{verify}": "FAIL"}, None),
        ({"{cert_subject}": "/CN=mail2.example.org", "{verify}": b"\xff"}, None),
        ({"{cert_subject}": b"\xff"}, None),
    ],
)
def test_whose_certificate_the_mta_trusts(macros: dict[str, str | bytes], subject: str | None) -> None:
    callbacks, ctx, session = opened(macros=macros)
    callbacks.on_mail(ctx, b"<a@x.example>")
    assert session.seen[-1] == ("mail_from", b"<a@x.example>", None, subject, None)


def test_no_certificate_counts_where_we_can_not_ask_whether_it_is_trusted() -> None:
    macros: dict[str, str | bytes] = {"{cert_subject}": "/CN=mail2.example.org"}
    callbacks, ctx, session = opened(macros=macros, actions=ALL_ACTIONS & ~milter.SETSYMLIST)
    callbacks.on_mail(ctx, b"<a@x.example>")
    assert session.seen[-1] == ("mail_from", b"<a@x.example>", None, None, None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [(("192.0.2.1", 1), "192.0.2.1"), (("2001:db8::1", 1, 0, 0), "2001:db8::1"), ("/socket", None), (None, None)],
)
def test_the_client_s_address_is_taken_from_every_form_of_it(address: Any, expected: str | None) -> None:
    callbacks, ctx, session = opened(macros={"j": "mx", "{daemon_name}": b"\xff"})
    callbacks.on_connect(ctx, "client", 2, address)
    assert session.seen == [("connect", expected, "mx", None)]


def test_a_callback_at_work_shows_and_one_at_rest_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks, ctx, session = opened()
    seen: list[float | None] = []

    def end_of_message(_queue_id: str | None) -> tuple[Any, ...]:
        seen.append(callbacks.live.stuck_since())
        return ()

    monkeypatch.setattr(session, "end_of_message", end_of_message)
    play(callbacks, ctx)
    assert seen[0] is not None
    assert callbacks.live.stuck_since() is None


def test_connections_are_counted_while_they_live() -> None:
    callbacks, ctx, session = opened()
    assert len(callbacks.live) == 1
    callbacks.on_close(ctx)
    assert not callbacks.live
    assert ctx.priv is None
    assert session.seen[-1] == ("close",)


@pytest.mark.parametrize("method", ["abort", "close"])
def test_a_defect_at_the_end_is_nobody_else_s_trouble(method: str) -> None:
    callbacks, ctx, session = opened()
    session.fails[method] = RuntimeError()
    callback: Callable[[Any], int] = getattr(callbacks, f"on_{method}")
    assert callback(ctx) == milter.CONTINUE


def test_a_warning_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    callbacks = Adapter()
    settings = Settings()
    callbacks.source = lambda: cast(Environment, SimpleNamespace(settings=settings))
    for _ in range(3):
        callbacks.on_negotiate(cast(Any, FakeContext()), [ALL_ACTIONS, 0, 0, 0])
    assert len(caplog.records) == 1


def test_text_of_a_client_that_is_no_utf8_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    quiet_excepthook(UnicodeDecodeError, error, None)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    quiet_excepthook(RuntimeError, RuntimeError("x"), None)
    assert [record.levelname for record in caplog.records][-1] == "ERROR"
