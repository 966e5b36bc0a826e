"""`mailnotary reports`: the command, on a store in SQLite."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mailnotary.cli import main
from mailnotary.history.store import Store
from mailnotary.reports.ledger import Ledger, State
from support.daemon import free_port
from support.mail import rsa_pem
from support.messages import refused, verified
from support.postfix import Sink
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
    config.write_text(f"history: {{enabled: true, store: {tmp_path}/history.db}}\nauthserv_id: mx.example.net\n")

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
    assert "bank.example 2023-11-14: 1 message; no report: its record asks for none" in said


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


def test_a_day_without_mail_is_told(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--date", "2020-01-01", "--dry-run") == 0
    assert capsys.readouterr().out == "There is nothing to report of 2020-01-01.\n"


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


# --- sending ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        yield server


@pytest.fixture
def sending(tmp_path: Path, sink: Sink) -> Callable[..., int]:
    """Runs the command with a history of yesterday, a key, and a mail server."""
    now = time.time()
    store = Store.open(str(tmp_path / "history.db"), host="mx1")
    fill(store, [verified()], now - now % 86_400 - 3600)
    store.close()
    (tmp_path / "zone.yaml").write_text(ZONE)
    (tmp_path / "k.pem").touch(0o600)
    (tmp_path / "k.pem").write_bytes(rsa_pem())
    (tmp_path / "keystore.yaml").write_text("domains: {example.net: {keys: [{selector: k, file: k.pem}]}}\n")
    reports = f"{{enabled: true, org_name: X, from: d@example.net, submit_to: '127.0.0.1:{sink.port}'}}"
    history = f"{{enabled: true, store: {tmp_path}/history.db}}"
    text = f"user: root\nstate_dir: {tmp_path}\nhistory: {history}\nreports: {reports}\n"
    (tmp_path / "m.yaml").write_text(text)

    def call(*arguments: str) -> int:
        zone = ["--zone", str(tmp_path / "zone.yaml")] if "bounced" not in arguments else []
        return main(["reports", *arguments, "-c", str(tmp_path / "m.yaml"), *zone])

    return call


def test_what_is_due_is_sent_once(sending: Callable[..., int], sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    assert sending("--at-once") == 0
    assert capsys.readouterr().out == "sent: example.org to dmarc@example.org\n"
    [mail] = sink.take_all()
    assert (mail.sender, mail.recipients) == ("", ("dmarc@example.org",))
    assert mail.data.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.net; s=k;")
    assert sending("--at-once", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"mails": []}
    assert sink.take_all() == []


def test_a_mail_that_came_back_is_noted(
    sending: Callable[..., int],
    sink: Sink,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sending("--at-once") == 0
    [mail] = sink.take_all()
    status = b"Reporting-MTA: dns; mx\r\n\r\nAction: failed\r\nDiagnostic-Code: smtp; 550 no such user\r\n\r\n"
    bounce = tmp_path / "bounce.eml"
    bounce.write_bytes(b"Subject: failed\r\nMessage-ID: <other@x>\r\n\r\n" + status + mail.data)
    capsys.readouterr()
    assert sending("bounced", str(bounce)) == 0
    assert capsys.readouterr().out == "dmarc@example.org gets no reports for a week: smtp; 550 no such user\n"
    bounce.write_bytes(bounce.read_bytes().replace(b"Action: failed", b"Action: delayed"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bounce.read_bytes())))
    assert sending("bounced", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"bounced": []}


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("enabled: true, org", "enabled: false, org", "reports.enabled is false in"),
        ("d@example.net", "d@example.com", "no entry of the keystore covers example.com, the domain of reports.from"),
    ],
)
def test_what_is_missing_is_said(
    sending: Callable[..., int], tmp_path: Path, old: str, new: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(file.read_text().replace(old, new))
    assert sending() == 1
    assert error in capsys.readouterr().err


def test_a_key_that_signs_for_everybody_does_not_make_reports_pass(
    sending: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'domains: {"*": {domain: other.example, keys: [{selector: k, file: k.pem}]}}\n'
    (tmp_path / "keystore.yaml").write_text(text)
    assert sending() == 1
    assert "the keystore signs example.net, the domain of reports.from, as other.example" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            ("file: k.pem}", "file: k.pem, state: retired}"),
            "no key of example.net signs, so reports can't be signed",
        ),
        (("k.pem", "nowhere.pem"), "can't be signed: "),
    ],
)
def test_without_a_key_that_signs_nothing_is_sent(
    sending: Callable[..., int],
    tmp_path: Path,
    change: tuple[str, str],
    error: str,
    capsys: pytest.CaptureFixture[str],
    sink: Sink,
) -> None:
    keystore = tmp_path / "keystore.yaml"
    keystore.write_text(keystore.read_text().replace(*change))
    assert sending() == 1
    assert error in capsys.readouterr().err
    assert sink.take_all() == []


def test_what_is_given_up_is_said(
    sending: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path / "history.db"))
    ledger, period = Ledger(store.database, "mx7", lambda: time.time() - 10 * 86_400), int(time.time()) - 11 * 86_400
    ledger.claim(period)
    ledger.begin(period, "a.example", "d@a.example", "1@x")
    ledger.note(period, "a.example", "d@a.example", State.LATER, "451 busy")
    store.close()
    assert sending("--at-once") == 0
    assert "failed: a.example to d@a.example (given up: 451 busy)" in capsys.readouterr().out


def test_where_all_has_to_wait_the_command_fails(
    sending: Callable[..., int], tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(file.read_text().replace(f"127.0.0.1:{sink.port}", f"127.0.0.1:{free_port()}"))
    assert sending("--at-once") == 1
    assert "later: example.org to dmarc@example.org (127.0.0.1:" in capsys.readouterr().out


def test_a_day_that_is_not_over_is_not_sent(
    sending: Callable[..., int], capsys: pytest.CaptureFixture[str], sink: Sink
) -> None:
    assert sending("--date", "today") == 1
    assert "is not over for 10 minutes yet: write --dry-run" in capsys.readouterr().err
    assert sink.take_all() == []


def test_a_day_of_which_nobody_knows_what_was_sent_is_not_sent(
    sending: Callable[..., int], capsys: pytest.CaptureFixture[str], sink: Sink
) -> None:
    assert sending("--date", DAY) == 1
    assert "2023-11-14 is more than 30 days ago" in capsys.readouterr().err
    assert sink.take_all() == []


def test_another_host_at_work_is_left_alone(
    sending: Callable[..., int], capsys: pytest.CaptureFixture[str], sink: Sink, tmp_path: Path
) -> None:
    now = time.time()
    store = Store.open(str(tmp_path / "history.db"))
    Ledger(store.database, "mx7", time.time).claim(int(now - now % 86_400) - 86_400)
    store.close()
    assert sending() == 0
    assert "mx7 is making the reports of" in capsys.readouterr().err
    assert sink.take_all() == []


@pytest.mark.parametrize("arguments", [["nonsense"], ["bounced", "a", "b"], ["--out", "/nowhere"]])
def test_an_unknown_action(sending: Callable[..., int], arguments: list[str]) -> None:
    assert sending(*arguments) == 1
