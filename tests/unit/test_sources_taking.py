"""Keys from a program or a database: asked, checked, compared with what is in force, and kept."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailnotary.config.keystore import KeyEntry, KeyState
from mailnotary.config.source import SourceSettings
from mailnotary.crypto import KeyLoadError, Sealer, generate_private_key, load_private_key, new_seal
from mailnotary.sources import kept
from mailnotary.sources.asking import Group, Source, SourceError
from mailnotary.sources.layers import Combined, Layers, SourceEntries
from mailnotary.sources.opening import open_sealer, open_source
from mailnotary.sources.table import Table, TableError
from mailnotary.sources.taking import Counts, Taken, take
from support.postgresql import Postgresql

KEY = generate_private_key("ed25519").decode()
OTHER = generate_private_key("ed25519").decode()
TABLE = "CREATE TABLE dkim (domain TEXT, selector TEXT, private_key TEXT, state TEXT, changed BIGINT)"
QUERY = "SELECT domain, selector, private_key AS key, state, changed FROM dkim WHERE domain NOT LIKE '%.ignored?';"


class Taker:
    """Takes answers over, one after the other, as the daemon does."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.layers: Layers | None = None
        self.base: int | None = None
        self.sealer: Sealer | None = None

    def ask(self, *, changes: bool = False, **more: bool) -> Counts:
        taken = take(self.source.ask(changes=changes), self.layers, "origin", self.sealer, **more)
        self.adopt(taken)
        return taken.counts

    def adopt(self, taken: Taken) -> None:
        if taken.base is None and taken.changes is None:
            return
        self.base = taken.base if taken.base is not None else self.base
        self.layers = kept.layers_of(self.base, taken.changes)

    @property
    def entries(self) -> SourceEntries:
        assert self.layers is not None
        return SourceEntries(self.layers)

    def entry(self, name: str) -> KeyEntry:
        entry = self.entries[name]
        assert isinstance(entry, KeyEntry)
        return entry


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with Postgresql(tmp_path_factory.mktemp("pg")) as server:
        yield server


class Rows:
    """A table of keys in one of the databases."""

    def __init__(self, kind: str, directory: Path, server: Postgresql) -> None:
        self._file = directory / "panel.db"
        self._mark = "?" if kind == "sqlite" else "%s"
        self.url = f"sqlite://{self._file}" if kind == "sqlite" else server.empty()
        self.run(TABLE)

    def run(self, sql: str, *values: Any) -> None:
        if self._mark == "?":
            connection = sqlite3.connect(self._file)
            with connection:
                connection.execute(sql, values)
            connection.close()
        else:
            with psycopg.connect(self.url, autocommit=True) as server:
                server.execute(sql.replace("?", "%s").encode(), values or None)

    def add(self, domain: str, key: str = KEY, *, selector: str = "s1", changed: int = 1) -> None:
        self.run("INSERT INTO dkim VALUES (?, ?, ?, 'active', ?)", domain, selector, key, changed)


@pytest.fixture(params=["sqlite", "postgresql"])
def rows(request: pytest.FixtureRequest, tmp_path: Path, server: Postgresql) -> Rows:
    return Rows(request.param, tmp_path, server)


OPENED: list[Source] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def asked(url: str, **more: Any) -> Taker:
    OPENED.append(open_source(SourceSettings(sql=url, query=QUERY.strip(";"), **more), os.geteuid(), ()))
    return Taker(OPENED[-1])


def test_rows_become_entries_and_a_bad_row_costs_its_domain_alone(rows: Rows) -> None:
    for name in ("a.example", "c.example", "x.ignored?"):
        rows.add(name)
    rows.add("b.example", "garbage")
    rows.add("a.example", selector="s2")
    rows.add("*")
    rows.add("no domain")
    taker = asked(rows.url)
    counts = taker.ask()
    assert counts.added == len(taker.entries) == 3
    assert set(taker.entries) == {"a.example", "b.example", "c.example"}
    assert [key.selector for key in taker.entry("a.example").keys] == ["s1", "s2"]
    assert all(load_private_key(key.pem).algorithm == "ed25519" for key in taker.entry("a.example").keys)
    assert taker.entry("a.example").from_source
    faulty = taker.entry("b.example").faulty
    assert faulty is not None
    assert "not a private key" in faulty.fault
    assert counts.faults == len(counts.problems) == 3
    assert any(problem.startswith("b.example: ") for problem in counts.problems)
    assert not taker.ask().any, "the rows are the same"


def test_only_what_has_changed_is_asked_for(rows: Rows) -> None:
    for number in range(20):
        rows.add(f"d{number}.example")
    taker = asked(rows.url)
    taker.ask()
    base = taker.base
    rows.add("new.example", changed=2)
    rows.run("UPDATE dkim SET private_key = ?, changed = 3 WHERE domain = 'd3.example'", OTHER)
    counts = taker.ask(changes=True)
    assert (counts.added, counts.changed, counts.removed) == (1, 1, 0)
    assert taker.base == base, "what is as it was is not written again"
    assert taker.entry("d3.example").keys[0].pem != taker.entry("d4.example").keys[0].pem
    rows.run("DELETE FROM dkim WHERE domain = 'd5.example'")
    assert not taker.ask(changes=True).any
    assert taker.ask().removed == 1
    assert "d5.example" not in taker.entries
    assert len(taker.entries) == 20 == len(list(taker.entries))


def test_changes_come_from_a_query_of_their_own_too(rows: Rows) -> None:
    rows.add("a.example")
    rows.add("b.example")
    rows.run("CREATE TABLE dkim_log (domain TEXT, changed BIGINT)")
    taker = asked(rows.url, changes="SELECT domain, changed FROM dkim_log WHERE changed >= :since AND domain LIKE '%'")
    taker.ask()
    rows.run("DELETE FROM dkim WHERE domain = 'a.example'")
    rows.run("INSERT INTO dkim_log VALUES ('a.example', 5)")
    assert taker.ask(changes=True).removed == 1
    assert set(taker.entries) == {"b.example"}


def test_an_answer_without_most_of_the_domains_counts_as_none(rows: Rows) -> None:
    for number in range(12):
        rows.add(f"d{number}.example")
    taker = asked(rows.url)
    taker.ask()
    rows.run("DELETE FROM dkim WHERE domain <> 'd1.example'")
    with pytest.raises(SourceError, match="may_shrink"):
        taker.ask()
    assert len(taker.entries) == 12
    assert taker.ask(may_shrink=True).removed == 11
    rows.run("DELETE FROM dkim")
    with pytest.raises(SourceError, match="1 of 1 domains"):
        taker.ask()


def test_a_database_that_is_not_what_was_expected_is_an_error_without_the_password(tmp_path: Path) -> None:
    for url, text in [
        (f"sqlite://{tmp_path}/none.db", "can't open it"),
        (f"sqlite://{tmp_path}", "can't open it"),
        ("postgresql://u:geheim@127.0.0.1:1/x", "refused"),
        ("postgresql://u:ge%ZZheim@127.0.0.1:1/x", "can't read this URL"),
    ]:
        with pytest.raises(SourceError, match=text) as caught:
            asked(url).ask()
        assert "heim" not in str(caught.value)
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE dkim (domain TEXT, selector TEXT, private_key TEXT, state TEXT, changed TEXT)")
    connection.close()
    query = "SELECT domain, selector, private_key FROM dkim"
    source = open_source(SourceSettings(sql=f"sqlite://{tmp_path}/other.db", query=query), os.geteuid(), ())
    with pytest.raises(SourceError, match="no column key"):
        Taker(source).ask()


# --- a program -------------------------------------------------------------------------------------------------------


def program(directory: Path, text: str) -> Taker:
    path = directory / "keys"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    OPENED.append(open_source(SourceSettings(program=(str(path),), timeout=5), os.geteuid(), ()))
    return Taker(OPENED[-1])


def line(domain: str, **more: Any) -> str:
    return json.dumps({"domain": domain, "selector": "s1", "key": KEY} | more)


def test_a_program_prints_keys_and_later_only_what_has_changed(tmp_path: Path) -> None:
    whole, later = tmp_path / "whole", tmp_path / "later"
    whole.write_text("\n".join([json.dumps({"since": "t1"}), line("a.example"), line("b.example", state="auto")]))
    gone = json.dumps({"domain": "b.example", "removed": True})
    later.write_text("\n".join([json.dumps({"since": "t2", "changes": True}), line("c.example"), gone]))
    taker = program(tmp_path, f'[ "$MAILNOTARY_SINCE" = t1 ] && exec cat {later}; exec cat {whole}')
    assert taker.ask().added == 2
    assert taker.entry("b.example").keys[0].state is KeyState.AUTO
    assert taker.source.tells_changes
    counts = taker.ask(changes=True)
    assert (counts.added, counts.removed) == (1, 1)
    assert set(taker.entries) == {"a.example", "c.example"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"printf '%s\n' '{line('a.example')}'; echo no vault >&2; exit 3", "ended with status 3: no vault"),
        ("kill -9 $$", "signal 9"),
        ("echo secret-not-json", "line 1 is not a JSON object"),
        ("echo '[1]'", "line 1 is not a JSON object"),
        (f"printf '%s\n' '{line('a.example', selektor='x')}'", "unknown field 'selektor'"),
        (f"printf '%s\n' '{line('a.example', state=1.5)}'", "neither a text nor a list"),
        ("head -c 300000 /dev/zero", "longer than"),
        ('echo \'{"since": "t", "changes": true}\'', "asked for everything"),
    ],
)
def test_half_an_answer_of_a_program_is_none(tmp_path: Path, text: str, problem: str) -> None:
    taker = program(tmp_path, text)
    with pytest.raises(SourceError, match=problem) as caught:
        taker.ask()
    assert "secret" not in str(caught.value)
    assert taker.layers is None


def test_a_program_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"#!/bin/sh\nsleep 1000 & echo $! > {tmp_path}/pid; wait\n")
    path.chmod(0o755)
    source = open_source(SourceSettings(program=(str(path),), timeout=1), os.geteuid(), ())
    with pytest.raises(SourceError, match="longer than 1 s"):
        Taker(source).ask()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while _lives(pid):  # a signal takes its time
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_row_says_of_an_entry_is_checked_as_in_the_file(tmp_path: Path) -> None:
    lines = [
        line("a.example", auth_users="*@a.example, *@b.example", networks=["192.0.2.0/24"], include_subdomains=True),
        line("b.example", networks="192.0.2.1/24"),
        line("c.example", state="maybe"),
        line("d.example", selector="-"),
        line("e.example", signs_as="a.example"),
        line("f.example", retire_after="s9"),
        line("g.example"),
        line("g.example"),
        line("a.example", selector="apart"),
    ]
    (tmp_path / "lines").write_text("\n".join(lines))
    taker = program(tmp_path, f"exec cat {tmp_path}/lines")
    taker.ask()
    faults = {entry.name: entry.faulty.fault for entry in taker.entries.values() if entry.faulty}
    assert set(faults) == {"a.example", "b.example", "c.example", "d.example", "f.example", "g.example"}
    assert "follow one another" in faults["a.example"]
    assert "host bits" in faults["b.example"]
    assert taker.entry("e.example").domain == "a.example"
    (tmp_path / "lines").write_text("\n".join(lines[:-1]))
    taker.ask()
    allow = taker.entry("a.example").allow
    assert taker.entry("a.example").include_subdomains
    assert allow.auth_users == ("*@a.example", "*@b.example")
    assert [str(network) for network in allow.networks] == ["192.0.2.0/24"]


# --- kept, shared, sealed --------------------------------------------------------------------------------------------


def test_the_file_goes_before_the_source(tmp_path: Path) -> None:
    taker = program(tmp_path, f"printf '%s\n' '{line('a.example')}'; printf '%s\n' '{line('b.example')}'")
    taker.ask()
    mine: Any = object()
    both = Combined({"b.example": mine, "*": mine}, taker.entries)
    assert both["b.example"] is mine
    assert list(both) == ["b.example", "*", "a.example"]
    assert len(both) == 3
    assert "a.example" in both


def test_what_is_kept_is_what_was_said_and_the_keys_are_for_the_daemon_alone(
    tmp_path: Path, server: Postgresql
) -> None:
    rows = Rows("sqlite", tmp_path, server)
    for number in range(30):
        rows.add(f"d{number}.example")
    taker = asked(rows.url)
    taker.ask()
    assert taker.layers is not None
    kept.save(tmp_path, taker.base, None, layers=taker.layers)
    rows.add("new.example", changed=2)
    taken = take(taker.source.ask(changes=True), taker.layers, "origin", None)
    taker.adopt(taken)
    kept.save(tmp_path, None, taken.changes, layers=taker.layers)
    found = kept.read(tmp_path, keys=True)
    assert found is not None
    assert dict(SourceEntries(found)) == dict(taker.entries)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("source.keys*")} == {0o600}
    named = kept.read(tmp_path, keys=False)
    assert named is not None
    assert set(SourceEntries(named)) == set(taker.entries)
    assert all(not key.pem for entry in SourceEntries(named).values() for key in entry.keys)
    for octets in (b"", b"x" * 1000, (tmp_path / "source.keys").read_bytes().replace(b"d7.example", b"d8.example")):
        (tmp_path / "source.keys").write_bytes(octets)
        with pytest.raises(TableError):
            kept.read(tmp_path, keys=True)
    (tmp_path / "source.keys").chmod(0o644)
    with pytest.raises(TableError, match="others have access"):
        kept.read(tmp_path, keys=True)


def test_many_changes_become_a_table_of_their_own(tmp_path: Path, server: Postgresql) -> None:
    rows = Rows("sqlite", tmp_path, server)
    rows.add("a.example")
    taker = asked(rows.url)
    taker.ask()
    base = taker.base
    for number in range(1100):
        rows.add(f"d{number}.example", changed=2)
    assert taker.ask(changes=True).added == 1100
    assert taker.base != base
    assert taker.layers is not None
    assert taker.layers.changes is None
    assert len(taker.entries) == 1101 == len(set(taker.entries))
    assert isinstance(taker.base, int)
    assert len(Table(taker.base)) == 1101


def test_a_sealed_key_opens_in_its_row_alone(tmp_path: Path) -> None:
    (tmp_path / "seal").write_text(new_seal())
    (tmp_path / "seal").chmod(0o600)
    sealer = open_sealer(SourceSettings(seal_file=tmp_path / "seal"), os.geteuid(), ())
    assert sealer is not None
    sealed = sealer.seal(KEY.encode(), "a.example", "s1")
    assert sealed != sealer.seal(KEY.encode(), "a.example", "s1")
    lines = [line(f"{name}.example", key=sealed) for name in "ab"] + [line("c.example", key=sealed[:-8])]
    (tmp_path / "lines").write_text("\n".join(lines))
    taker = program(tmp_path, f"exec cat {tmp_path}/lines")
    assert taker.ask().faults == 3
    taker.sealer = sealer
    taker.ask()
    assert taker.entry("a.example").faulty is None
    for name in ("b.example", "c.example"):
        assert "seal does not open" in taker.entry(name).faulty.fault  # type: ignore[union-attr]
    with pytest.raises(KeyLoadError):
        Sealer(b"short")
    (tmp_path / "seal").chmod(0o644)
    with pytest.raises(SourceError, match="everyone has access"):
        open_sealer(SourceSettings(seal_file=tmp_path / "seal"), os.geteuid(), ())


def test_a_group_without_rows_has_gone_and_an_unknown_one_changes_nothing(tmp_path: Path) -> None:
    taker = program(tmp_path, f"printf '%s\n' '{line('a.example')}'")
    taker.ask()
    from mailnotary.sources.asking import Answer

    answer = Answer(False, iter([Group("none.example", [])]))
    assert not take(answer, taker.layers, "origin", None).counts.any
