"""Sources of keys: real databases, the example programs, hostile answers, and tables of many domains."""

import http.server
import json
import os
import socketserver
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.source import SourceSettings
from mailnotary.crypto import KeyLoadError, Sealer, new_seal
from mailnotary.sources import kept
from mailnotary.sources.asking import Answer, Group, SourceError, grouped
from mailnotary.sources.layers import Layers, SourceEntries
from mailnotary.sources.opening import open_source, origin
from mailnotary.sources.program import Program
from mailnotary.sources.table import Record, Table, TableError, TableWriter, digest_of
from mailnotary.sources.taking import Taken, take
from support.mail import ed_pem
from support.mariadb import MariaDb
from support.postgresql import Postgresql

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
TABLE = "CREATE TABLE dkim (domain VARCHAR(255), selector VARCHAR(63), pem TEXT, changed BIGINT)"
COLUMNS = "domain, selector, pem AS {key}, 'active' AS state, changed"


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with Postgresql(tmp_path_factory.mktemp("pg")) as server:
        yield server


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with MariaDb(tmp_path_factory.mktemp("maria")) as server:
        yield server


class Asked:
    """A source, and what it has said up to now."""

    def __init__(self, settings: SourceSettings, sealer: Sealer | None = None) -> None:
        self.settings = settings
        self.source = open_source(settings, os.geteuid(), (os.getegid(),))
        self.layers: Layers | None = None
        self._sealer = sealer
        self._tables: dict[str, Table] = {}

    def ask(self, *, changes: bool = False) -> Taken:
        answer = self.source.ask(changes=changes)
        taken = take(answer, self.layers, origin(self.settings), self._sealer, may_shrink=True)
        if taken.base is not None:
            self._tables = {"base": Table(taken.base)}
        if taken.changes is not None:
            self._tables["changes"] = Table(taken.changes)
        for descriptor in (taken.base, taken.changes):
            if descriptor is not None:
                os.close(descriptor)
        self.layers = Layers.of(self._tables.get("base"), self._tables.get("changes"))
        return taken

    def selectors(self) -> dict[str, list[str]]:
        assert self.layers is not None
        entries = SourceEntries(self.layers)
        return {name: [key.selector for key in entry.keys if not key.fault] for name, entry in entries.items()}


def check_a_database(asked: Asked, execute: Any, mark: str) -> None:
    """A whole answer, a change, a new row, one that has gone: each alone, and nothing else is looked at."""
    values = ", ".join([mark] * 4)
    for number in range(50):
        execute(f"INSERT INTO dkim VALUES ({values})", f"d{number}.example", "s1", ed_pem().decode(), 1)
    taken = asked.ask()
    assert (taken.counts.added, taken.counts.faults) == (50, 0)
    assert asked.selectors()["d7.example"] == ["s1"]
    execute("UPDATE dkim SET selector = 's2', changed = 2 WHERE domain = 'd7.example'")
    execute(f"INSERT INTO dkim VALUES ({values})", "new.example", "s1", ed_pem().decode(), 3)
    execute(f"INSERT INTO dkim VALUES ({values})", "bad.example", "s1", "no key", 3)
    taken = asked.ask(changes=True)
    assert (taken.base, taken.counts.added, taken.counts.changed) == (None, 2, 1)
    assert taken.counts.problems[0].startswith("bad.example: ")
    found = asked.selectors()
    assert (found["d7.example"], found["new.example"], found["bad.example"]) == (["s2"], ["s1"], [])
    execute("DELETE FROM dkim WHERE domain = 'd9.example'")
    assert asked.ask().counts.removed == 1
    assert "d9.example" not in asked.selectors()
    assert not asked.ask().counts.any


def test_postgresql(postgresql: Postgresql) -> None:
    url = postgresql.empty()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
        query = f"SELECT {COLUMNS.format(key='key')} FROM dkim"
        asked = Asked(SourceSettings(sql=url, query=query))
        check_a_database(asked, lambda sql, *values: connection.execute(sql, values), "%s")
        asked.source.close()


# PyMySQL leaves a socket that could not be connected to the garbage collection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mariadb(mariadb: MariaDb) -> None:
    mariadb.execute(TABLE)
    query = f"SELECT {COLUMNS.format(key='`key`')} FROM dkim"
    asked = Asked(SourceSettings(sql=mariadb.url, query=query))
    check_a_database(asked, mariadb.execute, "%s")
    mariadb.stop()
    with pytest.raises(SourceError, match="mariadb://root@localhost/mail"):
        asked.ask()
    mariadb.start()
    assert not asked.ask().counts.any  # connected anew
    asked.source.close()


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    query = f"SELECT {COLUMNS.format(key='key')} FROM dkim"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(TABLE)
        asked = Asked(SourceSettings(sql=f"sqlite://{path}", query=query))
        check_a_database(asked, lambda sql, *values: database.execute(sql, values), "?")
        asked.source.close()


def test_the_query_for_ispconfig(mariadb: MariaDb) -> None:
    mariadb.execute(
        "CREATE TABLE mail_domain (domain VARCHAR(255), dkim ENUM('n','y'), active ENUM('n','y'), "
        "dkim_selector VARCHAR(63), dkim_private MEDIUMTEXT)"
    )
    for domain, signs in (("a.example", "y"), ("b.example", "n")):
        mariadb.execute("INSERT INTO mail_domain VALUES (%s, %s, 'y', 'default', %s)", domain, signs, ed_pem().decode())
    page = (EXAMPLES.parent / "source.md").read_text()
    query = page.partition("SELECT domain, dkim_selector")[2].partition("\n\n")[0]
    asked = Asked(SourceSettings(sql=mariadb.url, query="SELECT domain, dkim_selector" + query))
    asked.ask()
    assert asked.selectors() == {"a.example": ["default"]}
    asked.source.close()


def test_a_password_is_in_no_error() -> None:
    settings = SourceSettings(sql="postgresql://mail:secret@127.0.0.1:1/mail", query="SELECT 1")
    with pytest.raises(SourceError) as failed:
        Asked(settings).ask()
    assert "secret" not in str(failed.value)
    assert "postgresql://mail:***@127.0.0.1:1/mail" in str(failed.value)


# -- the examples


class Vault(http.server.BaseHTTPRequestHandler):
    """As much of Vault as the example asks for."""

    def do_GET(self) -> None:
        self._answer({"data": {"s1": ed_pem().decode()}, "metadata": {}})

    def do_LIST(self) -> None:
        self._answer({"keys": ["a.example", "b.example"]})

    def _answer(self, data: dict[str, Any]) -> None:
        good = self.headers["X-Vault-Token"] == "hvs.token" and self.path.startswith("/v1/secret/")
        body = json.dumps({"data": data}).encode()
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Redis(socketserver.StreamRequestHandler):
    """As much of Redis as the example asks for."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            match words:
                case [b"HGETALL", b"DKIM_SELECTORS"]:
                    self.wfile.write(b"*2\r\n$9\r\na.example\r\n$4\r\ndkim\r\n")
                case [b"HGET", b"DKIM_PRIV_KEYS", b"dkim.a.example"]:
                    self.wfile.write(b"$%d\r\n%s\r\n" % (len(ed_pem()), ed_pem()))
                case _:
                    self.wfile.write(b"-ERR unknown command\r\n")


def example(tmp_path: Path, name: str, **environment: str) -> Program:
    path = tmp_path / name
    lines = "".join(f"export {key}='{value}'\n" for key, value in environment.items())
    path.write_text(f"#!/bin/sh\n{lines}exec {sys.executable} {EXAMPLES / name}\n")
    path.chmod(0o755)
    return Program((str(path),), 30)


def groups(program: Program) -> dict[str, list[str]]:
    return {group.name: [str(row["selector"]) for row in group.rows] for group in program.ask(changes=False).groups}


def test_the_example_for_vault(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hvs.token\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vault) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        program = example(tmp_path, "source-vault", VAULT_ADDR=address, VAULT_TOKEN_FILE=str(tmp_path / "token"))
        assert groups(program) == {"a.example": ["s1"], "b.example": ["s1"]}
        (tmp_path / "token").write_text("other\n")
        with pytest.raises(SourceError, match="403"):
            groups(program)
        server.shutdown()


def test_the_example_for_mailcow(tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Redis) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        program = example(tmp_path, "source-mailcow", REDIS_SOCKET=f"127.0.0.1:{server.server_address[1]}")
        assert groups(program) == {"a.example": ["dkim"]}
        server.shutdown()


# -- hostile and half answers


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ('echo \'{"domain": "a.example"\'', "line 1"),
        ("echo []", "line 1"),
        ('echo \'{"domain": "a.example", "color": "red"}\'', "unknown field 'color'"),
        ('echo \'{"domain": "a.example", "key": {"a": 1}}\'', "neither a text nor a list"),
        ("head -c 300000 /dev/zero | tr '\\0' x", "line 1 is longer than"),
        ('echo \'{"since": "", "changes": true}\'', "since"),
        ('echo \'{"since": "x", "changes": true}\'', "asked for everything"),
        ("echo complaint >&2; exit 7", "complaint"),
        ('echo \'{"domain": "a.example", "selector": "s", "key": "x"}\'; exit 1', "1"),
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, script: str, error: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(SourceError, match=error):
        list(Program((str(path),), 10).ask(changes=False).groups)


def test_a_program_that_never_ends_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("#!/bin/sh\nsleep 600\n")
    path.chmod(0o755)
    with pytest.raises(SourceError, match="took longer"):
        list(Program((str(path),), 0.3).ask(changes=False).groups)


names = st.sampled_from(["a.example", "A.example", "b.example", "*", "", "a..b", "\x00", "ä.example", "a b"])
rows = st.lists(
    st.fixed_dictionaries(
        {"domain": names},
        optional={
            "selector": st.sampled_from(["s", "", "s" * 70, "a/b", "\n"]) | st.none(),
            "key": st.sampled_from([ed_pem().decode(), "", "sealed:1:AAAA", "\udcff", b"\xff"]) | st.none(),
            "state": st.sampled_from(["active", "auto", "no"]),
            "networks": st.sampled_from([("10.0.0.0/8",), "x", ""]),
            "signs_as": st.text(max_size=5),
        },
    ),
    max_size=8,
)


@given(rows)
def test_no_row_costs_more_than_its_domain(found: list[dict[str, Any]]) -> None:
    good = {"domain": "good.example", "selector": "s", "key": ed_pem().decode(), "state": "active"}
    answer = _whole([good, *found])
    taken = take(answer, None, "test", None)
    assert taken.base is not None
    with closing(os.fdopen(taken.base, "rb")):
        entries = SourceEntries(Layers(Table(taken.base)))
        assert entries["good.example"].faulty is None
        for name in entries:
            assert entries[name].keys


def _whole(found: list[dict[str, Any]]) -> Answer:
    return Answer(True, grouped(iter(found)))


@given(st.binary(max_size=300))
def test_a_table_that_is_none_is_refused(octets: bytes) -> None:
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, octets)
        with pytest.raises((TableError, ValueError)):
            Table(descriptor).check()
    finally:
        os.close(descriptor)


def test_a_table_on_the_disk_that_was_damaged_is_refused(tmp_path: Path) -> None:
    writer = TableWriter()
    writer.add(Record("a.example", bytes(16), 0, b"body"))
    descriptor = writer.finish({"id": "1", "origin": "x", "domains": 1, "waiting": 0, "auto": 0, "time": 1.0})
    table = Table(descriptor)
    assert table.get(digest_of("a.example")) is not None
    data = bytearray(os.pread(descriptor, table.octets, 0))
    os.close(descriptor)
    data[20] ^= 1
    (tmp_path / "source.keys").write_bytes(data)
    (tmp_path / "source.keys").chmod(0o600)
    with pytest.raises(TableError, match="damaged"):
        kept.load(tmp_path)
    (tmp_path / "source.keys").chmod(0o644)
    with pytest.raises(TableError, match="others have access"):
        kept.load(tmp_path)


def test_a_seal() -> None:
    sealer, other = Sealer(new_seal().encode()), Sealer(new_seal().encode())
    sealed = sealer.seal(b"key", "a.example", "s1")
    assert sealer.open(sealed.encode(), "A.example", "S1") == b"key"
    wrong = ((sealer, "b.example", "s1"), (sealer, "a.example", "s2"), (other, "a.example", "s1"))
    for opened, domain, selector in wrong:
        with pytest.raises(KeyLoadError, match="does not open"):
            opened.open(sealed.encode(), domain, selector)
    with pytest.raises(KeyLoadError, match="damaged"):
        sealer.open(b"sealed:1:?", "a.example", "s1")
    with pytest.raises(KeyLoadError, match="not known here"):
        sealer.open(b"sealed:2:AAAA", "a.example", "s1")
    with pytest.raises(KeyLoadError, match="64 hexadecimal digits"):
        Sealer(b"short")


def test_rows_of_a_domain_that_are_apart_cost_it_alone() -> None:
    key = ed_pem().decode()
    found = [{"domain": name, "selector": "s", "key": key} for name in ("a.example", "b.example", "a.example")]
    assert [group.name for group in grouped(iter(found))] == ["a.example", "b.example", "a.example"]
    taken = take(_whole(found), None, "test", None)
    assert taken.base is not None
    with closing(os.fdopen(taken.base, "rb")):
        entries = SourceEntries(Layers(Table(taken.base)))
        assert entries["a.example"].faulty is not None
        assert entries["b.example"].faulty is None


def test_a_name_that_is_none_is_told() -> None:
    assert [group.problem for group in grouped(iter([{"domain": "*"}]))] == [
        "a row is left out: '*' is for the keystore alone: a source names its domains"
    ]
    assert isinstance(next(grouped(iter([{"domain": "a.example"}]))), Group)
