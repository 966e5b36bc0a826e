"""The reports of a period on their way to the mail server: each once, and errors of one cost that one."""

import email
import gzip
import socketserver
import threading
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.policy import default
from email.utils import unquote
from pathlib import Path
from typing import Any, cast

import pytest

from mailnotary import dkim
from mailnotary.config.settings import ReportsSettings, Settings
from mailnotary.crypto import load_private_key
from mailnotary.history.store import Store, StoreError
from mailnotary.reports import message as message_module
from mailnotary.reports.facts import Fact, fact_of
from mailnotary.reports.gather import Gathered
from mailnotary.reports.ledger import FIRST_PAUSE, LEASE, Ledger, State, unique_id_of
from mailnotary.reports.names import Reporter
from mailnotary.reports.outgoing import reporter_of
from mailnotary.reports.period import DAY, Period
from mailnotary.reports.send import MAX_FAILING, Mailed, Office
from mailnotary.reports.submit import SubmitError, submit
from mailnotary.resolver import ZoneResolver
from support.daemon import free_port
from support.mail import record_of, rsa_pem
from support.messages import refused, verified
from support.postfix import Delivered, Sink
from support.postgresql import Postgresql
from support.reports import BEGIN, asking, complaints, fill
from support.reports import told as entry

PERIOD = Period(BEGIN, BEGIN + DAY)
ZONE: dict[str, Any] = {
    "_dmarc.a.example": [{"TXT": "v=DMARC1; p=none"}],
    "_dmarc.b.example": [{"TXT": "v=DMARC1; p=none"}],
    "rsa._domainkey.example.org": [{"TXT": record_of(rsa_pem())}],
    "a.example._report._dmarc.slow.example": "TIMEOUT",
}


class Clock:
    """A time of day that stands until it is moved, by `sleep` too."""

    def __init__(self) -> None:
        self.now = BEGIN + DAY + 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with Postgresql(tmp_path_factory.mktemp("postgresql")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "history.db")
    server: Postgresql = request.getfixturevalue("server")
    return server.empty()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Hosts:
    """Hosts that share a store, and send to one mail server."""

    def __init__(self, location: str, port: int, clock: Clock) -> None:
        self.location, self.port, self.clock = location, port, clock
        self.zone = dict(ZONE)
        self.stores: list[Store] = []

    def office(self, host: str = "mx1", **changes: Any) -> Office:
        store = Store.open(self.location, host=host)
        self.stores.append(store)
        reports: dict[str, Any] = {
            "enabled": True,
            "org_name": "Org",
            "from_": "dmarc@example.org",
            "spread_seconds": 0.0,
        }
        settings = Settings(reports=ReportsSettings(**(reports | {"submit_to": f"127.0.0.1:{self.port}"} | changes)))
        signer = dkim.Signer("example.org", "rsa", load_private_key(rsa_pem()))
        return Office(
            settings,
            reporter_of(settings, unique_id_of(store.database)),
            [signer],
            store,
            Ledger(store.database, host, self.clock),
            ZoneResolver(self.zone),
            clock=self.clock,
            sleep=self.clock.sleep,
        )


@pytest.fixture
def hosts(location: str, sink: Sink, clock: Clock) -> Iterator[Hosts]:
    """With one message of a.example and two of b.example in the store."""
    made = Hosts(location, sink.port, clock)
    store = Store.open(location, host="mx1")
    fill(store, [asking(verified(domain="a.example"), "mailto:d@a.example")])
    fill(store, [asking(refused(domain="b.example"), "mailto:d@b.example")] * 2, BEGIN + 100)
    store.close()
    yield made
    for store in made.stores:
        store.close()


def told(mails: list[Mailed]) -> list[tuple[str, State]]:
    return [(mailed.destination, mailed.state) for mailed in mails]


def arrived(sink: Sink) -> list[tuple[str, ...]]:
    return sorted(mail.recipients for mail in sink.take_all())


def test_each_report_is_sent_and_a_rerun_sends_nothing(hosts: Hosts, sink: Sink, tmp_path: Path) -> None:
    mails = list(hosts.office().send(PERIOD))
    assert told(mails) == [("d@a.example", State.SENT), ("d@b.example", State.SENT)]
    first, second = sink.take_all()
    for place, mail in enumerate((first, second)):
        path = tmp_path / f"{place}.xml"
        path.write_bytes(report_in(mail))
        assert complaints(path) == ""
        verifier = [result.status for result in dkim.verify(mail.data, ZoneResolver(ZONE), now=int(hosts.clock()))]
        assert verifier == ["pass"]
    assert list(hosts.office("mx1").send(PERIOD)) == list(hosts.office("mx2").send(PERIOD)) == []
    assert sink.take_all() == []


def report_in(mail: Delivered) -> bytes:
    parsed = email.message_from_bytes(mail.data, policy=default)
    [part] = parsed.iter_attachments()
    return gzip.decompress(part.get_content())


def test_two_hosts_at_once_send_each_once(hosts: Hosts, sink: Sink) -> None:
    one, other = hosts.office("mx1").send(PERIOD), hosts.office("mx2").send(PERIOD)
    mails = [next(one), *other, *one]
    assert told(mails) == [("d@a.example", State.SENT), ("d@b.example", State.SENT)]
    assert arrived(sink) == [("d@a.example",), ("d@b.example",)]


class Crash(BaseException):
    """The host loses its power."""


def test_a_crash_between_sending_and_noting_sends_that_one_again_as_the_same(
    hosts: Hosts, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = hosts.office("mx1")

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(crashing.ledger, "note", crash)
        patch.setattr(crashing.ledger, "release", crash)
        with pytest.raises(Crash):
            list(crashing.send(PERIOD))
    [before] = sink.take_all()
    assert list(hosts.office("mx2").send(PERIOD)) == []  # it may be alive
    hosts.clock.now += LEASE + 1
    mails = list(hosts.office("mx2").send(PERIOD))
    assert told(mails) == [("d@a.example", State.SENT), ("d@b.example", State.SENT)]
    after = next(mail for mail in sink.take_all() if mail.recipients == before.recipients)
    for name in ("Message-ID", "Subject"):
        assert email.message_from_bytes(before.data)[name] == email.message_from_bytes(after.data)[name]
    assert file_name_of(before) == file_name_of(after)
    assert report_in(before) == report_in(after)


def file_name_of(mail: Delivered) -> str | None:
    [part] = email.message_from_bytes(mail.data, policy=default).iter_attachments()
    return part.get_filename()


def test_a_mail_server_that_is_away_is_tried_again_later(hosts: Hosts, sink: Sink) -> None:
    away = hosts.office(submit_to=f"127.0.0.1:{free_port()}")
    assert {mailed.state for mailed in away.send(PERIOD)} == {State.LATER}
    assert list(hosts.office().send(PERIOD)) == []
    hosts.clock.now += FIRST_PAUSE + 1
    assert {mailed.state for mailed in hosts.office("mx2").send(PERIOD)} == {State.SENT}
    assert len(arrived(sink)) == 2
    assert list(hosts.office().send(PERIOD)) == []


def test_a_mail_server_that_takes_nothing_is_left_alone_until_the_next_run(hosts: Hosts, sink: Sink) -> None:
    store = hosts.office().store
    fill(
        store, [asking(verified(domain=f"{n:02}.example"), f"mailto:d@{n:02}.example") for n in range(40)], BEGIN + 900
    )
    away = hosts.office(submit_to=f"127.0.0.1:{free_port()}")
    assert len(list(away.send(PERIOD))) == MAX_FAILING
    hosts.clock.now += FIRST_PAUSE + 1
    assert {mailed.state for mailed in hosts.office().send(PERIOD)} == {State.SENT}
    assert len(arrived(sink)) == 42


@pytest.mark.parametrize(
    ("answer", "for_good"),
    [
        ("550 5.1.1 No such user", True),
        ("550 5.2.1 Mailbox disabled", True),
        ("554 5.7.1 Relay access denied", False),
        ("550 No", False),
        ("450 4.2.0 Greylisted", False),
    ],
)
def test_only_a_destination_that_does_not_exist_is_given_up_at_once(answer: str, for_good: bool) -> None:
    with Answering(answer) as port, pytest.raises(SubmitError) as raised:
        submit(f"127.0.0.1:{port}", compose(), sender="", recipient="d@example.org", hostname="example.net")
    assert (raised.value.for_good, answer in str(raised.value)) == (for_good, True)


def test_a_message_that_was_taken_is_sent_whatever_comes_of_quit() -> None:
    with Answering("250 2.1.5 Ok") as port:
        submit(f"127.0.0.1:{port}", compose(), sender="", recipient="d@example.org", hostname="example.net")


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 x\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"QUIT":
                return  # without an answer
            answer = cast(Answering, self.server).answer if verb == b"RCPT" else "250 2.0.0 Ok"
            if verb == b"DATA":
                self.wfile.write(b"354 Go on\r\n")
                while self.rfile.readline() != b".\r\n":
                    pass
            self.wfile.write(answer.encode() + b"\r\n")


class Answering(socketserver.ThreadingTCPServer):
    """An SMTP server with one answer to every recipient, which hangs up at QUIT."""

    daemon_threads = True

    def __init__(self, answer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.answer = answer

    def __enter__(self) -> int:  # type: ignore[override]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return int(self.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def test_a_refused_destination_is_not_tried_again_and_the_others_are_sent(hosts: Hosts, sink: Sink) -> None:
    fill(hosts.office().store, [asking(verified(domain="a.example"), "mailto:refuse@a.example")], BEGIN + 500)
    mails = list(hosts.office().send(PERIOD))
    assert told(mails) == [("refuse@a.example", State.FAILED), ("d@b.example", State.SENT)]
    assert "550 5.1.1 No such user" in mails[0].reason
    hosts.clock.now += DAY
    assert list(hosts.office().send(PERIOD)) == []
    assert hosts.office().ledger.refused("refuse@a.example")
    assert arrived(sink) == [("d@b.example",)]


def test_a_destination_whose_dns_does_not_answer_is_asked_again(hosts: Hosts, sink: Sink) -> None:
    fill(hosts.office().store, [asking(verified(domain="a.example"), "mailto:d@slow.example")], BEGIN + 500)
    assert told(list(hosts.office().send(PERIOD))) == [
        *(("mailto:d@slow.example", State.LATER), ("d@b.example", State.SENT))
    ]
    hosts.zone["a.example._report._dmarc.slow.example"] = [{"TXT": "v=DMARC1"}]
    hosts.clock.now += FIRST_PAUSE + 1
    assert told(list(hosts.office().send(PERIOD))) == [("d@slow.example", State.SENT)]
    hosts.clock.now += DAY
    assert list(hosts.office().send(PERIOD)) == []
    assert len(arrived(sink)) == 2


def test_a_store_that_is_busy_is_waited_for(hosts: Hosts, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    office = hosts.office()
    note, busy = office.ledger.note, iter([True, True, False, True])

    def noting(*arguments: Any) -> None:
        if next(busy, False):
            raise StoreError("database is locked")
        note(*arguments)

    monkeypatch.setattr(office.ledger, "note", noting)
    assert {mailed.state for mailed in office.send(PERIOD)} == {State.SENT}
    assert len(arrived(sink)) == 2
    assert list(hosts.office().send(PERIOD)) == []


def test_an_error_of_ours_in_one_report_costs_that_one(
    hosts: Hosts, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = message_module.compose

    def breaking(report: Gathered, *more: Any, **named: Any) -> bytes:
        if report.domain == "a.example":
            raise RuntimeError("a defect")
        return compose(report, *more, **named)

    monkeypatch.setattr(message_module, "compose", breaking)
    mails = list(hosts.office().send(PERIOD))
    assert told(mails) == [("d@a.example", State.LATER), ("d@b.example", State.SENT)]
    assert mails[0].reason == "RuntimeError: a defect"


def test_one_domain_alone_leaves_the_others_for_later(hosts: Hosts, sink: Sink) -> None:
    assert told(list(hosts.office().send(PERIOD, ["b.example"]))) == [("d@b.example", State.SENT)]
    assert told(list(hosts.office().send(PERIOD))) == [("d@a.example", State.SENT)]
    assert list(hosts.office().send(PERIOD, ["b.example"])) == []


def test_mails_are_spread(hosts: Hosts) -> None:
    list(hosts.office(spread_seconds=20.0).send(PERIOD))
    assert hosts.clock.slept == [10.0, 10.0]


# --- the message ------------------------------------------------------------------------------------------------------


def compose(domain: str = "example.org", reporter: Reporter | None = None, **more: Any) -> bytes:
    published = asked().published
    report = Gathered(published._replace(domain=domain), 1, 1, lambda: iter([(asked().record, 1)]))
    who = reporter or Reporter('A "quoted" name', "example.net", "dmarc@example.net", "", "0a1b")
    named: dict[str, Any] = {
        "sender": "dmarc@example.net",
        "recipient": "d@example.org",
        "message_id": "1.2@example.net",
        "now": 0.0,
    }
    return message_module.compose(report, PERIOD, who, **(named | more))


def asked() -> Fact:
    found = fact_of(entry(verified()))
    assert found is not None
    return found


def test_the_message_has_what_the_rfc_asks_for() -> None:
    text = compose()
    assert text.isascii()
    assert all(len(line) <= 78 for line in text.split(b"\r\n"))
    assert b"\n" not in text.replace(b"\r\n", b"")
    parsed = email.message_from_bytes(text, policy=default)
    assert str(parsed["From"]) == '"A \\"quoted\\" name" <dmarc@example.net>'
    assert parsed["To"] == "d@example.org"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Subject"] == (
        "Report Domain: example.org Submitter: example.net Report-ID: <2023-11-14_example.org.0a1b@example.net>"
    )
    assert parsed.get_content_type() == "multipart/mixed"
    [people, part] = parsed.iter_parts()
    assert "about example.org, made by" in people.get_content()
    assert (part.get_content_type(), part.get_content_disposition()) == ("application/gzip", "attachment")
    assert part.get_filename() == "example.net!example.org!1699920000!1700006399!0a1b.xml.gz"


@pytest.mark.parametrize("name", ["Bücher & Söhne", "日本" * 60, "x" * 200, "a\\b", '"'])
def test_any_name_of_an_organization_comes_back(name: str) -> None:
    reporter = Reporter(name, "example.net", "dmarc@example.net", "https://example.net", "0a1b")
    text = compose(reporter=reporter)
    assert text.isascii()
    field = email.message_from_bytes(text)["From"]
    shown, _, address = field.rpartition(" ")
    assert address == "<dmarc@example.net>"
    if shown.startswith('"'):
        assert unquote(shown) == name
    else:
        assert str(make_header(decode_header(shown))) == name
    people = next(iter(email.message_from_bytes(text, policy=default).iter_parts()))
    assert name in people.get_content()


def test_the_longest_domain_fits() -> None:
    long = ".".join(["a" * 60] * 4)
    parsed = email.message_from_bytes(compose(long), policy=default)
    assert long in parsed["Subject"]
    assert all(len(line) <= 998 for line in compose(long).split(b"\r\n"))


@pytest.mark.parametrize(
    ("where", "for_good", "text"),
    [("127.0.0.1:1", False, "127.0.0.1:1: "), ("[::1]:1", False, "[::1]:1: ")],
)
def test_a_mail_server_that_is_not_there(where: str, for_good: bool, text: str) -> None:
    with pytest.raises(SubmitError) as raised:
        submit(where, compose(), sender="", recipient="d@example.org", hostname="example.net")
    assert (raised.value.for_good, str(raised.value).startswith(text)) == (for_good, True)
