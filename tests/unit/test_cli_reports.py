"""`mailnotary reports`: the command, on a store in SQLite."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mailnotary.cli import main
from mailnotary.history.store import Store
from support.messages import refused, verified
from support.reports import NAMESPACE, complaints, fill

DAY = "2023-11-14"
ZONE = '_dmarc.example.org: [{TXT: "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"}]\n'


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """Runs the command with a configuration whose history has some messages of DAY, and one of now."""
    store = Store.open(str(tmp_path / "history.db"), host="mx1")
    many = [*[verified()] * 3, verified(domain="other.example"), refused(), verified(domain="a" * 63 + "." + "b" * 63)]
    fill(store, [*many, verified(domain=".".join(["a" * 60] * 4))])
    fill(store, [verified(client="192.0.2.77")], time.time())
    store.close()
    (tmp_path / "zone.yaml").write_text(ZONE)
    config = tmp_path / "m.yaml"
    config.write_text(f"state_dir: {tmp_path}\nhistory: {{enabled: true}}\nauthserv_id: mx.example.net\n")

    def call(*arguments: str) -> int:
        return main(["reports", *arguments, "-c", str(config), "--zone", str(tmp_path / "zone.yaml")])

    return call


def test_a_dry_run_writes_each_report_and_says_where_it_would_go(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--date", DAY, "--dry-run", "--out", str(out)) == 0
    files = sorted(out.iterdir())
    assert len(files) == 4
    assert all(path.suffix == ".xml" for path in files)
    assert complaints(*files) == ""
    [path] = [path for path in files if "!example.org!" in path.name]
    assert path.name.startswith("mx.example.net!example.org!1699920000!1700006399!")
    root = ElementTree.parse(path).getroot()
    assert [root.findtext(f".//d:{name}", "", NAMESPACE) for name in ("org_name", "email", "count")] == [
        *("mx.example.net", "postmaster@mx.example.net", "3")
    ]
    said = capsys.readouterr().out
    assert "example.org 2023-11-14: 3 messages\n  own: dmarc@example.org (within" in said
    assert "refused: mailto:dmarc@example.org (no record at other.example._report._dmarc.example.org confirms" in said
    assert "bank.example 2023-11-14: 1 messages; no report: its record asks for none" in said


def test_the_current_day_works_too(run: Callable[..., int], tmp_path: Path) -> None:
    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    out = tmp_path / "out"
    assert run("--date", today, "--dry-run", "--out", str(out)) == 0
    [path] = out.iterdir()
    assert complaints(path) == ""
    assert "192.0.2.77" in path.read_text()


def test_json_and_one_domain(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--date", DAY, "--dry-run", "--domain", "Example.ORG", "--json") == 0
    [report] = json.loads(capsys.readouterr().out)["reports"]
    assert (report["domain"], report["messages"], report["skipped"], report["file"]) == ("example.org", 3, "", None)
    assert report["report_id"].startswith("2023-11-14_example.org.")
    assert report["destinations"] == [
        {
            "uri": "mailto:dmarc@example.org",
            "consent": "own",
            "reason": "within the organization of example.org",
            "mailboxes": [{"local_part": "dmarc", "domain": "example.org"}],
        }
    ]


def test_the_same_report_has_the_same_name_again(run: Callable[..., int], tmp_path: Path) -> None:
    for name in ("1", "2"):
        assert run("--date", DAY, "--dry-run", "--out", str(tmp_path / name)) == 0
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "2"))
    assert first == second


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("exclude: [example.org]", "it is in reports.exclude"),
        ("min_messages: 4", "it has fewer messages than reports.min_messages (4)"),
    ],
)
def test_who_gets_no_report(
    settings: str, reason: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "m.yaml").open("a") as file:
        file.write(f"reports: {{{settings}}}\n")
    assert run("--date", DAY, "--dry-run", "--domain", "example.org") == 0
    assert f"example.org 2023-11-14: 3 messages; no report: {reason}" in capsys.readouterr().out


def test_parts_of_a_day_are_reports_of_their_own(run: Callable[..., int], tmp_path: Path) -> None:
    with (tmp_path / "m.yaml").open("a") as file:
        file.write("reports: {period_hours: 12}\n")
    assert run("--date", DAY, "--dry-run", "--domain", "example.org", "--out", str(tmp_path / "out")) == 0
    [path] = (tmp_path / "out").iterdir()
    assert "!1699920000!1699963199!" in path.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["--date", "2023-14-11"],
        ["--date", "tomorrow"],
        ["--domain", "no domain"],
        ["--dry-run", "--dat", "2023-11-14x"],
    ],
)
def test_wrong_usage(run: Callable[..., int], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2


def test_without_a_history_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text(f"state_dir: {tmp_path}\n")
    assert main(["reports", "--dry-run", "-c", str(tmp_path / "m.yaml")]) == 1
    assert "there is no history yet: is history.enabled set" in capsys.readouterr().err
