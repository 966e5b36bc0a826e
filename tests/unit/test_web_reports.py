"""What others report about our domains, as the page shows it."""

import gzip
import os
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from mailnotary.config.settings import Settings
from mailnotary.web import incoming
from mailnotary.web.application import Site, create_app
from mailnotary.web.incoming import newest
from support.hostile import HOSTILE
from support.incoming import report


def client(directory: Path) -> FlaskClient:
    settings = Settings(state_dir=directory, keystore=directory / "keystore.yaml")
    return create_app(Site(settings, reports=directory)).test_client()


def page(asked: FlaskClient) -> str:
    """The page once all files are read."""
    deadline = time.monotonic() + 30
    while "see how far" in (html := asked.get("/reports").text) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "see how far" not in html
    return html


def test_reports_are_summed_up_and_their_cost_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(report("1"))
    (tmp_path / "b.xml.gz").write_bytes(gzip.compress(report("2", org="s.example")))
    (tmp_path / "c.xml").write_bytes(report("1"))  # the same again
    html = " ".join(page(client(tmp_path)).split())
    assert "2 reports from 2 organizations" in html
    assert "<dt>Messages</dt><dd>2,468</dd>" in html
    assert "<dt>Failed</dt><dd>68</dd>" in html
    assert "p=reject would refuse 68 of 2468 messages" in html
    assert html.index("203.0.113.9") < html.index("192.0.2.1"), "those that fail come first"
    assert "list.example" in html


def test_a_maildir_is_read(tmp_path: Path) -> None:
    for part in ("cur", "new", "tmp"):
        (tmp_path / part).mkdir()
    (tmp_path / "cur" / "1:2,S").write_bytes(report("1"))
    (tmp_path / "new" / "2").write_bytes(report("2", domain="b.example"))
    (tmp_path / "tmp" / "3").write_bytes(report("3", domain="c.example"))
    html = page(client(tmp_path))
    assert "a.example" in html
    assert "b.example" in html
    assert "c.example" not in html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_reports_are_shown_as_text(tmp_path: Path, text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    (tmp_path / "a.xml").write_bytes(report("1", org=escaped, domain=escaped, source=escaped, end="9" * 40))
    name = "".join(character for character in text if character not in "/\0")[:60]
    (tmp_path / f"{name}.xml").write_text("<!DOCTYPE x>")
    html = page(client(tmp_path))
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert not set("\u202e\u2066\u200f\u061c\u200b\u2060") & set(html)
    assert len(html) < 30_000


def test_what_cannot_be_read_is_named_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "good.xml").write_bytes(report("1"))
    (tmp_path / "bad.xml").write_bytes(b"<feedback>")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".hidden").write_bytes(b"x")
    html = page(client(tmp_path))
    assert "1 file cannot be read" in html
    assert "bad.xml" in html
    assert "<dt>Messages</dt><dd>1,234</dd>" in html


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "No such file or directory" in page(client(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    assert "No report is there." in page(client(tmp_path / "empty"))


def test_the_newest_files_are_read_if_there_are_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_FILES", 2)
    for number in range(4):
        (tmp_path / str(number)).touch()
        os.utime(tmp_path / str(number), (number, number))
    assert [file.name for file in newest(tmp_path)] == ["3", "2"]


def test_without_a_directory_there_is_no_such_page(tmp_path: Path) -> None:
    asked = create_app(Site(Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml"))).test_client()
    assert asked.get("/reports").status_code == 404
    assert "Reports" not in asked.get("/keys").text
