"""The store in PostgreSQL, which several hosts share: a real server, on a unix socket."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mailnotary.config.history import HistorySettings
from mailnotary.config.settings import Settings
from mailnotary.history import keeper as keeper_module
from mailnotary.history.database import SlowStoreError
from mailnotary.history.keeper import SPOOL, Keeper, Waiting
from mailnotary.history.rows import pack, packet
from mailnotary.history.schema import MIGRATIONS, VERSION
from mailnotary.history.store import DAY, Message, Numbering, Search, Store, StoreError, connect
from mailnotary.history.story import row_of, story_of
from mailnotary.history.uses import Use, Uses
from mailnotary.web.application import Site, create_app
from support.messages import refused, verified
from support.postgresql import Postgresql

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with Postgresql(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture
def server(running: Postgresql) -> Postgresql:
    """The server with an empty database."""
    running.empty()
    return running


def messages(prefix: str, count: int, number: Numbering, seconds: float = NOW) -> list[Message]:
    records = [refused(f"{prefix}{place}") if place % 2 else verified(f"{prefix}{place}") for place in range(count)]
    rows = [row_of(record, seconds + place) for place, record in enumerate(records)]
    return [(number(row), row, story_of(record, str)) for row, record in zip(rows, records, strict=True)]


def test_it_is_the_same_store(server: Postgresql) -> None:
    store = Store.open(server.url, host="mx1")
    added = messages("Q", 6, Numbering())
    store.add(added)
    store.add(added, again=True)
    assert [found["queue_id"] for found in store.newest(Search(), 3)] == ["Q5", "Q4", "Q3"]
    assert [found["queue_id"] for found in store.each(Search(result=("dmarc", "fail")), chunk=2)] == ["Q1", "Q3", "Q5"]
    assert store.count(Search(action="reject")) == 3
    assert store.domains(NOW - DAY, NOW + DAY, "fail", 5) == [("bank.example", 3)]
    assert sum(row[-1] for row in store.traffic(NOW - DAY, NOW + DAY)) == 6
    assert store.octets() > 0
    assert store.prune(NOW + 2) == 2
    before = store.shrink()
    assert before is not None
    assert NOW < before < NOW + 4
    store.close()
    reader = Store.open(server.url, read_only=True)
    assert reader.count(Search()) == 4
    with pytest.raises(StoreError, match="read-only"):
        reader.add(added)
    reader.close()


def test_a_message_with_any_text_is_stored(server: Postgresql) -> None:
    store = Store.open(server.url, host="mx1")
    record = verified("Q\0\udc80", helo="\0\udcff\ud800\U0001f600", mail_from="ä\udc80@x")
    row = row_of(record)
    store.add([(Numbering()(row), row, story_of(record, str))])
    [found] = store.newest(Search(), 1)
    assert found["queue_id"] == "Q\\x00\\x80"
    store.close()


def test_ten_hosts_that_begin_and_write_at_once_lose_nothing(server: Postgresql) -> None:
    hosts, rounds, each = 10, 8, 50
    errors: list[BaseException] = []
    barrier = threading.Barrier(hosts)

    def write(host: int) -> None:
        try:
            barrier.wait()
            store = Store.open(server.url, host=f"mx{host}")
            number = Numbering()
            for turn in range(rounds):
                store.add(messages(f"{host}-{turn}-", each, number, NOW + turn))
            store.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(host,)) for host in range(hosts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    reader = Store.open(server.url, read_only=True)
    assert reader.count(Search()) == hosts * rounds * each
    assert sum(row[-1] for row in reader.traffic(0, NOW + DAY)) == hosts * rounds * each
    assert {found["host"] for found in reader.each(Search())} == {f"mx{host}" for host in range(hosts)}
    reader.close()


def test_each_host_removes_its_own_messages_alone(server: Postgresql) -> None:
    first, second = Store.open(server.url, host="mx1"), Store.open(server.url, host="mx2")
    first.add(messages("A", 3, Numbering()))
    second.add(messages("B", 3, Numbering()))
    while first.prune(NOW + DAY):
        pass
    assert [found["queue_id"] for found in second.each(Search())] == ["B0", "B1", "B2"]
    first.close()
    second.close()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_older_version_is_brought_to_this_one_with_all_that_it_has(
    server: Postgresql, version: int
) -> None:
    old = connect(server.url)
    old.migrate(MIGRATIONS[:version])
    assert old.version() == version
    added = messages("Q", 4, Numbering())
    Store(old, "mx1").add(added)
    old.close()
    with pytest.raises(StoreError, match=rf"schema version {version}, .* restart the daemon"):
        Store.open(server.url, read_only=True)
    store = Store.open(server.url, host="mx1")
    assert store.database.version() == VERSION
    assert store.count(Search(result=("spf", "fail"))) == 2
    assert store.count(Search(domain="bank.example")) == store.count(Search(client="192.0.2.1")) == 2
    assert [found["queue_id"] for found in store.newest(Search(domain="example.org"), 9)] == ["Q2", "Q0"]
    Uses(store.database).add([Use("00" * 8, "192.0.2.0/24", "example.org", "s1")], int(NOW))
    assert [replay.messages for replay in Uses(store.database).replays(0, 5)] == [1]
    store.close()


def test_a_newer_store_is_refused(server: Postgresql) -> None:
    Store.open(server.url).close()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("UPDATE mailnotary_schema SET version = %s", [VERSION + 1])
    with pytest.raises(StoreError, match=f"schema version {VERSION + 1}"):
        Store.open(server.url)


def test_a_server_that_is_away_is_an_error_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        Store.open(f"postgresql://joe:secret@/mail?host={tmp_path}")
    assert "secret" not in str(raised.value)
    assert "joe" in str(raised.value)


def test_what_comes_while_the_server_is_away_waits_on_the_disk_and_arrives_once(
    server: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RETRY", 0.2)
    waiting = Waiting()
    keeper = Keeper(HistorySettings(enabled=True, store=server.url), tmp_path, waiting)

    def add(first: int, count: int) -> None:
        for place in range(first, first + count):
            record = verified(f"Q{place}")
            waiting.add(packet([pack(row_of(record), story_of(record, str))]))
        keeper.step()

    add(0, 10)
    server.stop()
    try:
        for first in range(10, 110, 10):
            add(first, 10)
        assert keeper.failing
        assert len(waiting) == 0
        assert (tmp_path / SPOOL).exists()
        keeper.finish(1)  # the daemon is restarted meanwhile
        keeper = Keeper(HistorySettings(enabled=True, store=server.url), tmp_path, waiting)
        add(110, 10)
    finally:
        server.start()
    deadline = time.monotonic() + 20
    while (tmp_path / SPOOL).exists() and time.monotonic() < deadline:
        keeper.step()
        time.sleep(0.05)
    keeper.finish(5)
    assert not list(tmp_path.glob("history-spool*"))
    reader = Store.open(server.url, read_only=True)
    found = sorted(int(message["queue_id"][1:]) for message in reader.each(Search()))
    assert found == list(range(120))
    assert sum(row[-1] for row in reader.traffic(0, time.time() + DAY)) == 120
    reader.close()


def test_a_role_that_may_only_read_is_enough_for_the_page(server: Postgresql) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS page")
        connection.execute("CREATE ROLE page LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA public TO page")
        connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO page")
        store = Store.open(server.url, host="mx1")
        store.add(messages("Q", 60, Numbering()))
        url = server.url.replace("test@", "page@")
        site = Site(
            Settings(history=HistorySettings(store=url), keystore=Path("/nowhere.yaml")), clock=lambda: NOW + 99
        )
        client = create_app(site).test_client()
        for path in ("/", "/?period=month", "/messages", "/messages?q=bank.example", "/disagreements"):
            assert client.get(path).status_code == 200, path
        first = client.get("/messages?result=dmarc%3Dfail&action=reject").text
        assert first.count("/message/") == 30
        other = Store.open(url, host="mx1")
        with pytest.raises(StoreError, match="permission denied"):
            other.add(messages("X", 1, Numbering(9)))
        other.close()
        store.close()
        connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM page")
        connection.execute("DROP OWNED BY page")
        connection.execute("DROP ROLE page")


def test_a_question_has_an_end(server: Postgresql) -> None:
    Store.open(server.url, host="mx1").close()
    reader = Store.open(server.url, read_only=True, seconds=0.05)
    with pytest.raises(SlowStoreError, match="took too long"):
        reader._all("SELECT pg_sleep(60)", [])
    reader.close()
