"""The keys as the page shows them: without ever opening one."""

import json
import os
import time
from pathlib import Path
from time import time as now

import pytest

from mailnotary.config import keystore_file
from mailnotary.config.publishing import RotationSettings
from mailnotary.config.settings import Mode, Settings
from mailnotary.config.source import SourceSettings
from mailnotary.keys import progress
from mailnotary.keys.histories import KEEP_RECORD, KeyHistory, KeyId, save
from mailnotary.keys.progress import Phase, Progress, Step
from mailnotary.keys.rotate import due
from mailnotary.sources.asker import Asker
from mailnotary.web import keys as web_keys
from mailnotary.web.application import Site, create_app
from mailnotary.web.keys import KeyPage, KeyRow
from support.mail import ed_pem

DAY = 86400
KEYSTORE = """
domains:
  example.org:
    keys:
      - {selector: old, file: keys/old.pem, retire_after: new}
      - {selector: new, file: keys/new.pem, state: auto}
  shop.example:
    keys:
      - {selector: main, file: keys/main.pem}
"""


def rows(directory: Path, seen: dict[tuple[str, str], KeyHistory], **settings: object) -> dict[str, KeyRow]:
    (directory / "keystore.yaml").write_text(KEYSTORE)
    save(directory, {KeyId(*name, "f"): history for name, history in seen.items()})
    page = KeyPage(Settings(state_dir=directory, keystore=directory / "keystore.yaml", **settings))  # type: ignore[arg-type]
    return {row.selector: row for row in page.keys().rows}


def test_no_key_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "keystore.yaml").write_text(KEYSTORE)
    (tmp_path / "keys").mkdir()
    for name in ("old", "new", "main"):
        os.mkfifo(tmp_path / f"keys/{name}.pem")  # whoever opens it is noticed: it is not a key
    keystore = keystore_file.load_without_keys(tmp_path / "keystore.yaml")
    keys = [key for entry in keystore.entries.values() for key in entry.keys]
    assert [(key.selector, key.pem, key.fault) for key in keys] == [
        ("old", b"", ""),
        ("new", b"", ""),
        ("main", b"", ""),
    ]


def test_a_key_signs_as_the_daemon_says(tmp_path: Path) -> None:
    before = rows(tmp_path, {})
    assert [before[name].signs for name in ("old", "new", "main")] == [True, False, True]
    assert before["new"].note == "It waits for its record: mailnotary dns example.org"
    seen = KeyHistory(signing=True, first_good=now() - 9, last_good=now() - 9, last_look=now() - 9, result="match")
    after = rows(tmp_path, {("example.org", "new"): seen})
    assert [after[name].signs for name in ("old", "new", "main")] == [False, True, True]
    assert after["old"].why == "old is retired, for new signs"
    assert not any(row.signs for row in rows(tmp_path, {}, mode=Mode.VERIFY).values())


def test_what_is_wrong_comes_first(tmp_path: Path) -> None:
    wrong = KeyHistory(
        bad_looks=2, last_look=now(), result="missing", reason="main._domainkey.shop.example does not exist"
    )
    found = rows(tmp_path, {("shop.example", "main"): wrong})
    assert next(iter(found)) == "main"
    assert found["main"].urgent
    assert found["main"].note == "Receivers cannot verify its signatures: mailnotary dns shop.example"


def test_a_rotation_is_due_after_some_months(tmp_path: Path) -> None:
    old = KeyHistory(first_good=now() - 181 * DAY, last_good=now(), last_look=now(), result="match")
    young = KeyHistory(first_good=now() - 179 * DAY, last_good=now(), last_look=now(), result="match")
    found = rows(tmp_path, {("shop.example", "main"): old, ("example.org", "old"): young})
    assert [found[name].due for name in ("main", "old")] == [True, False]
    assert found["main"].note == "Older than 180 days: mailnotary rotate shop.example"


@pytest.mark.parametrize(
    ("passed", "note"), [(KEEP_RECORD, "Its record can be removed."), (DAY, "Its record can be removed on ")]
)
def test_the_record_of_a_retired_key_stays_for_a_while(tmp_path: Path, passed: float, note: str) -> None:
    past = KeyHistory(first_good=1.0, last_good=now(), last_look=now(), result="match", idle_since=now() - passed)
    signs = KeyHistory(signing=True, first_good=now(), last_good=now(), last_look=now(), result="match")
    assert rows(tmp_path, {("example.org", "old"): past, ("example.org", "new"): signs})["old"].note.startswith(note)


def test_nothing_of_a_private_key_that_dns_serves_is_shown(tmp_path: Path) -> None:
    bad = KeyHistory(last_look=now(), result="exposed", reason='a private key; DNS serves "MIIEvQIBADANBg"')
    found = rows(tmp_path, {("shop.example", "main"): bad})
    assert found["main"].urgent
    settings = Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml")
    page = create_app(Site(settings)).test_client().get("/keys").text
    assert "a private key" in page
    assert "Replace it at once: mailnotary rotate shop.example" in page
    assert "MIIEvQ" not in page


def test_files_that_change_are_read_anew_and_mistakes_in_them_are_said(tmp_path: Path) -> None:
    rows(tmp_path, {})
    page = KeyPage(Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml"))
    assert len(page.keys().rows) == 3
    assert page.keys() is page.keys()
    (tmp_path / "keystore.yaml").write_text("domains: [x]\n")
    (tmp_path / "keys.json").write_text("{")
    found = page.keys()
    assert found.rows == []
    assert "The keystore cannot be shown: " in found.problem
    assert "What DNS serves is not known: " in found.problem


def test_many_keys_are_shown_in_pages(tmp_path: Path) -> None:
    entries = [f"  d{n:03}.example: {{keys: [{{selector: s, file: keys/{n}.pem}}]}}" for n in range(120)]
    (tmp_path / "keystore.yaml").write_text("domains:\n" + "\n".join(entries) + "\n")
    client = create_app(Site(Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml"))).test_client()
    first, last = client.get("/keys").text, client.get("/keys?page=3").text
    assert (first.count("_domainkey"), last.count("_domainkey")) == (50, 20)
    assert "More keys" in first
    assert "More keys" not in last
    assert client.get("/keys?domain=d119").text.count("_domainkey") == 1
    for odd in ("-1", "x", "99999999999", "0", "99999"):
        assert client.get(f"/keys?page={odd}").status_code == 200


def test_what_a_rotation_waits_for_and_when_a_key_is_replaced_is_said(tmp_path: Path) -> None:
    rotation = RotationSettings(rotate_every=100 * DAY)
    good = KeyHistory(first_good=now(), last_good=now(), last_look=now(), result="match")
    (tmp_path / "keys").mkdir()
    before = rows(tmp_path, {("shop.example", "main"): good}, rotation=rotation)
    date = time.strftime("%Y-%m-%d", time.gmtime(due("shop.example", good.first_good or 0, 100 * DAY)))
    assert before["main"].note == f"It is replaced on {date}."
    step = Step("shop.example", "shop.example", "main", Phase.SERVE, now(), servers={"192.0.2.1": None})
    progress.save(tmp_path, Progress(now(), (step,)))
    during = rows(tmp_path, {("shop.example", "main"): good}, rotation=rotation)
    assert during["main"].note == "Waits for 192.0.2.1 to serve its record."
    (tmp_path / progress.FILE).write_text("garbage")
    page = KeyPage(Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml", rotation=rotation))
    assert "How far the rotation of keys is, is not known" in page.keys().problem
    assert len(page.keys().rows) == 3


def test_a_source_is_shown_with_its_keys_and_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keystore.yaml"
    path.write_text(KEYSTORE)
    program, answer = tmp_path / "program", tmp_path / "answer"
    program.write_text(f"#!/bin/sh\ncat {answer}\n")
    program.chmod(0o755)
    good = {"domain": "src.example", "selector": "s1", "key": ed_pem().decode(), "state": "active"}
    answer.write_text("".join(json.dumps(row) + "\n" for row in (good, good | {"domain": "bad.example", "key": "<b>"})))
    settings = Settings(state_dir=tmp_path, keystore=path, source=SourceSettings(program=(str(program),)))
    asker, page = Asker(settings), KeyPage(settings)
    assert page.keys().source == f"{program} has not answered yet"
    asker.look()
    asker.keep()
    found = page.keys()
    bad, *others = found.rows
    assert (bad.domain, bad.signs, bad.urgent) == ("bad.example", False, True)
    assert bad.note == "Mail of its domain waits: correct its row in the source."
    assert [row.signs for row in others if row.domain == "src.example"] == [True]
    assert f"{program}: 2 domains, 1 of them wait, as of " in found.source
    assert found.faults[0].startswith("bad.example: ")
    text = create_app(Site(settings)).test_client().get("/keys").get_data(as_text=True)
    assert "Keys come from" in text
    assert "bad.example: " in text
    monkeypatch.setattr(web_keys, "MOST_OF_SOURCE", 1)
    answer.unlink()
    asker.look()
    found = page.keys()
    assert "src.example" not in {row.domain for row in found.rows}
    assert "more than 1 are not listed here" in found.source
    assert "; no answer since " in found.source
    (tmp_path / "source.json").write_text("[")
    assert "The keys of the source cannot be shown" in page.keys().problem
