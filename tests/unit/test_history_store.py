"""The store in SQLite: what is found in it, what goes, and what is not a store of ours."""

import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.files import user_name
from mailnotary.history.database import APPLICATION_ID, CorruptStoreError, shown
from mailnotary.history.schema import METHODS, MIGRATIONS, SHIFT, VERSION
from mailnotary.history.store import DAY, HOUR, Message, Numbering, Search, Store, StoreError, connect
from mailnotary.history.story import row_of, story_of
from mailnotary.session.comparison import Comparison
from mailnotary.session.outcome import MessageRecord
from support.messages import refused, verified

NOW = 1_700_000_000.0
number = Numbering()


def message(record: MessageRecord, seconds: float = NOW) -> Message:
    row = row_of(record, seconds)
    return number(row), row, story_of(record, str)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "history.db"), host="mx1")
    yield opened
    opened.close()


def ids(store: Store, **search: object) -> list[str]:
    return [found["queue_id"] for found in store.newest(Search(**search), 1000)]  # type: ignore[arg-type]


def test_messages_are_found_by_all_that_one_can_ask_for(store: Store) -> None:
    store.add(
        [
            message(verified("A"), NOW),
            message(refused("B"), NOW + 1),
            message(verified("C", client="192.0.2.9"), NOW + 2),
        ]
    )
    assert ids(store) == ["C", "B", "A"]
    assert ids(store, queue_id="B") == ["B"]
    assert ids(store, domain="example.org") == ["C", "A"]
    assert ids(store, client="192.0.2.9") == ["C"]
    assert ids(store, action="reject") == ["B"]
    assert ids(store, action="accept") == ["C", "A"]
    assert ids(store, result=("dmarc", "fail")) == ["B"]
    assert ids(store, result=("dmarc", "pass")) == ["C", "A"]
    assert ids(store, result=("spf", "fail"), since=NOW) == ["B"]
    assert ids(store, since=NOW + 1) == ["C", "B"]
    assert ids(store, until=NOW + 1) == ["A"]
    assert ids(store, domain="other.example") == []
    assert store.count(Search(result=("dkim", "pass"))) == 2
    with pytest.raises(ValueError, match="arc is not a method"):
        Search(result=("arc", "pass")).where()


def test_searches_for_what_is_rare_use_their_index(store: Store, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "history.db")
    for search, index in [
        (Search(queue_id="A"), "message_queue_id"),
        (Search(domain="a.example", day=1), "message_domain"),
        (Search(client="192.0.2.1", day=1), "message_client"),
        (Search(client="192.0.2.1", day=1, since=NOW, until=NOW + 9, before=(1, "mx")), "message_client"),
        (Search(client="192.0.2.1", day=1, result=("dmarc", "fail")), "message_client"),
        (Search(result=("dmarc", "fail")), "message_dmarc"),
        (Search(result=("spf", "softfail")), "message_spf"),
        (Search(result=("dkim", "fail")), "message_dkim"),
        (Search(domain="a.example", result=("dmarc", "fail")), "message_failed"),
        (Search(action="reject"), "message_action"),
        (Search(differs=True), "message_differs"),
    ]:
        condition, parameters = search.where()
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM message WHERE {condition} ORDER BY id DESC LIMIT 9", parameters
        ).fetchall()
        assert index in plan[0][-1], plan
        assert not any("TEMP B-TREE" in step[-1] for step in plan), plan
    connection.close()


def test_all_messages_are_read_in_pieces_in_the_order_of_time(store: Store) -> None:
    store.add([message(verified(f"Q{place}"), NOW + place / 10) for place in range(25)])
    assert [found["queue_id"] for found in store.each(Search(), chunk=10)] == [f"Q{place}" for place in range(25)]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 63, 64, 65, 200])
def test_as_many_messages_as_are_added_at_once_are_stored_and_counted(store: Store, count: int) -> None:
    store.add([message(verified(f"Q{place}"), NOW + place / 1000) for place in range(count)])
    assert [found["queue_id"] for found in store.each(Search())] == [f"Q{place}" for place in range(count)]
    assert sum(row[-1] for row in store.traffic(NOW - DAY, NOW + DAY)) == count


def test_messages_that_are_added_again_are_there_once(store: Store) -> None:
    messages = [message(verified("A")), message(refused("B"))]
    store.add(messages)
    store.add([*messages, message(verified("C"))], again=True)
    assert sorted(ids(store)) == ["A", "B", "C"]
    assert sum(row[-1] for row in store.traffic(NOW - DAY, NOW + DAY)) == 3
    assert store.domains(NOW - DAY, NOW + DAY, "fail", 10) == [("bank.example", 1)]


def test_of_messages_one_of_which_cannot_be_added_none_is(store: Store) -> None:
    first = message(verified("A"))
    with pytest.raises(StoreError):
        store.add([message(verified("B")), first, first])
    assert ids(store) == []
    assert store.traffic(0, NOW + DAY) == []


def test_disagreements_with_another_filter_are_found_and_agreement_is_counted(store: Store) -> None:
    same, other = (
        Comparison("old.example", "dmarc", "pass", "pass"),
        Comparison("old.example", "dmarc", "fail", "pass", "x"),
    )
    store.add(
        [message(verified("A", compared=(same,))), message(verified("B", compared=(other,))), message(verified("C"))]
    )
    assert ids(store, differs=True) == ["B"]
    [found] = store.newest(Search(differs=True), 5)
    assert found["compared"] == [
        {"other": "old.example", "method": "dmarc", "theirs": "fail", "ours": "pass", "reason": "x"}
    ]
    assert store.agreement(NOW - DAY, NOW + DAY) == [
        ("old.example", "dmarc", "fail", "pass", 1),
        ("old.example", "dmarc", "pass", "pass", 1),
    ]


def test_outcomes_are_found_in_the_hours_that_have_them(store: Store) -> None:
    for place in range(30):
        store.add([message((refused if place % 7 == 0 else verified)(f"Q{place}"), NOW - 3600 * place)])
    failed = [f"Q{place}" for place in (28, 21, 14, 7, 0)]
    assert ids(store, result=("dmarc", "fail")) == failed[::-1]
    assert ids(store, result=("dmarc", "fail"), action="reject") == failed[::-1]
    assert ids(store, result=("dmarc", "fail"), action="accept") == []
    assert ids(store, result=("spf", "none")) == []
    assert ids(store, action="reject", since=NOW - 3600 * 21, until=NOW - 3600 * 6) == ["Q7", "Q14", "Q21"]
    seen, before = [], None
    while found := list(store.newest(Search(result=("dmarc", "fail"), before=before), 2)):
        seen += [one["queue_id"] for one in found]
        number, _, host = found[-1]["id"].partition("@")
        before = int(number), host
    assert seen == failed[::-1]


def test_old_messages_go_a_few_at_a_time_and_their_sums_with_them(store: Store) -> None:
    old, young = NOW - 40 * DAY, NOW
    for start in range(0, 12_000, 4000):
        store.add([message(refused(f"O{start + place}"), old + place / 1000) for place in range(4000)])
    store.add([message(refused("Y"), young)])
    removed = []
    while count := store.prune(NOW - 30 * DAY):
        removed.append(count)
    assert sum(removed) == 12_000
    assert max(removed) <= 5001
    assert ids(store) == ["Y"]
    assert [row[0] for row in store.traffic(0, NOW + DAY)] == [int(NOW) - int(NOW) % HOUR]
    assert store.domains(0, NOW + DAY, "fail", 10) == [("bank.example", 1)]


def test_room_is_given_back(store: Store) -> None:
    for _ in range(4):
        store.add([message(verified(f"Q{place}"), NOW + place) for place in range(2000)])
    before = store.shrink()
    assert before is not None
    store.give_back()
    full = store.octets()
    while store.prune(NOW + 1000):
        pass
    store.give_back()
    assert store.octets() < full * 0.7
    assert 0 < before - NOW < 200


def test_an_empty_store_has_nothing_to_shrink(store: Store) -> None:
    assert store.shrink() is None
    assert store.prune(time.time()) == 0
    assert store.one(1, "mx1") is None


def test_a_message_has_an_id_of_its_own(store: Store) -> None:
    at_once = [message(verified(f"Q{place}")) for place in range(3000)]
    store.add(at_once)
    assert len({found["id"] for found in store.newest(Search(), 5000)}) == 3000
    told = store.one(at_once[7][0], "mx1")
    assert told is not None
    assert told["queue_id"] == "Q7"
    assert store.one(at_once[7][0], "mx2") is None


def test_the_file_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    store.add([message(verified())])
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_newer_store_is_refused_with_what_to_do(store: Store, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=rf"schema version {VERSION + 1}.* upgrade mailnotary on this host"):
        Store.open(str(tmp_path / "history.db"))


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cookies (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program: name another file"):
        Store.open(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_database_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.db").write_bytes(content)
    with pytest.raises(CorruptStoreError):
        Store.open(str(tmp_path / "history.db"))


def test_a_reader_says_where_there_is_no_history_yet(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no history yet: is history\.enabled set"):
        Store.open(str(tmp_path / "history.db"), read_only=True)
    assert not (tmp_path / "history.db").exists()
    command = f"install -d -o {user_name(os.geteuid())} {tmp_path}/missing"
    with pytest.raises(StoreError, match=f"No such file or directory: make its directory, as root: `{command}`"):
        Store.open(str(tmp_path / "missing" / "history.db"))


def test_a_reader_changes_nothing(store: Store, tmp_path: Path) -> None:
    store.add([message(verified("A"))])
    reader = Store.open(str(tmp_path / "history.db"), read_only=True)
    assert ids(reader) == ["A"]
    with pytest.raises(StoreError, match="readonly"):
        reader.add([message(verified("B"))])
    reader.close()


def test_a_link_is_not_followed_where_a_store_is_made(tmp_path: Path) -> None:
    (tmp_path / "history.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        Store.open(str(tmp_path / "history.db"))
    assert not (tmp_path / "elsewhere").exists()


def test_the_store_is_known_by_its_number(store: Store, tmp_path: Path) -> None:
    store.add([message(verified("A"))])
    store.give_back()
    assert int.from_bytes((tmp_path / "history.db").read_bytes()[68:72]) == APPLICATION_ID
    assert store.host == "mx1"


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/var/lib/x.db", "/var/lib/x.db"),
        ("postgresql://joe:secret@db:5432/mail", "postgresql://joe:***@db:5432/mail"),
        ("postgresql:///mail?host=/run&password=secret", "postgresql:///mail?host=/run&password=***"),
        ("postgresql://joe:se@cr:et@db/mail", "postgresql://joe:***@db/mail"),
    ],
)
def test_no_password_is_shown(location: str, text: str) -> None:
    assert shown(location) == text


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4 * DAY)), max_size=20),
    st.none() | st.integers(-DAY, 5 * DAY),
    st.none() | st.integers(-DAY, 5 * DAY),
    st.integers(1, 7),
)
@settings(deadline=None)
def test_messages_of_a_domain_are_found_on_whatever_days_they_came(
    came: list[tuple[str, int]], since: int | None, until: int | None, chunk: int
) -> None:
    start = NOW - NOW % DAY
    with TemporaryDirectory() as directory:
        store = Store.open(f"{directory}/h.db", host="mx1")
        store.add([message(verified("Q", domain="a.example"), 5.0)])  # of a clock that was never set
        store.add([message(verified("Q", domain=f"{name}.example"), start + at) for name, at in came])
        search = Search(
            domain="a.example",
            since=None if since is None else start + since,
            until=None if until is None else start + until,
        )
        wanted = [
            at
            for at in sorted([5.0, *(start + at for name, at in came if name == "a")])
            if (search.since is None or at >= search.since) and (search.until is None or at < search.until)
        ]
        found = list(store.each(search, chunk))
        assert [(int(one["id"].partition("@")[0]) >> SHIFT) / 1_000_000 for one in found] == wanted
        assert store.count(search) == len(wanted)
        paged: list[dict[str, Any]] = []
        while page := list(store.newest(search, chunk)):
            paged += page
            last, _, host = page[-1]["id"].partition("@")
            search = replace(search, before=(int(last), host))
        assert paged == found[::-1]
        store.close()


def asked(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store.database.transaction() as cursor:
        store.database.execute(cursor, sql, [])
        return list(cursor.fetchall())


def test_numbers_go_round_within_a_microsecond() -> None:
    numbering = Numbering()
    row = row_of(verified(), NOW)
    assert len({numbering(row) for _ in range(4096)}) == 4096
    assert {numbering(row) >> SHIFT for _ in range(5000)} == {row.time}


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_older_version_is_brought_to_this_one_with_all_that_it_has(tmp_path: Path, version: int) -> None:
    path = str(tmp_path / "h.db")
    old = connect(path)
    old.migrate(MIGRATIONS[:version])
    Store(old, "mx1").add([message(refused("A")), message(verified("B"))])
    old.close()
    with pytest.raises(StoreError, match=rf"schema version {version}, .* restart the daemon"):
        Store.open(path, read_only=True)
    store = Store.open(path, host="mx1")
    store.add([message(refused("C")), message(verified("D"))])
    [(source,)] = asked(store, "SELECT id FROM report_source")
    assert len(source) == 12
    store.close()
    again = Store.open(path, host="mx1")
    assert again.database.version() == VERSION
    assert [found["queue_id"] for found in again.each(Search())] == ["A", "B", "C", "D"]
    for client in ("192.0.2.1", "198.51.100.7"):
        assert again.count(Search(client=client)) == len(list(again.newest(Search(client=client), 9))) == 2
    for method in METHODS[::2]:
        assert [found["queue_id"] for found in again.newest(Search(result=(method, "fail")), 9)] == ["C", "A"]
    assert again.count(Search(domain="bank.example", result=("dmarc", "fail"))) == 2
    new = Store.open(str(tmp_path / "new.db"), host="mx1")
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    assert asked(again, schema) == asked(new, schema)
    assert asked(again, "PRAGMA integrity_check") == [("ok",)]
    again.close()
    new.close()


def test_each_message_since_a_time_is_read_once_in_whatever_pieces(store: Store) -> None:
    store.add([message(verified(f"Q{place}"), NOW + place) for place in range(10)])
    search = Search(evaluated=True, since=NOW + 3, until=NOW + 9)
    for chunk in (1, 2, 5, 6, 7):
        assert [found["queue_id"] for found in store.each(search, chunk)] == [f"Q{place}" for place in range(3, 9)]


def test_several_that_begin_the_same_store_at_once_all_open_it(tmp_path: Path) -> None:
    for attempt in range(10):
        location = str(tmp_path / f"{attempt}.db")
        together = Barrier(6)

        def begin(host: str, location: str = location, together: Barrier = together) -> None:
            together.wait(60)
            Store.open(location, host=host).close()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(begin, [f"mx{number}" for number in range(6)]))  # raises what any of them raised
