"""What `mailnotary history` prints."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from mailnotary.arc import ArcResult, ArcSet
from mailnotary.cli import main
from mailnotary.dkim2 import Dkim2Result
from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.session.comparison import Comparison
from mailnotary.session.outcome import MessageRecord
from mailnotary.status import ArcStatus, Dkim2Status
from support.messages import refused, verified

History = Callable[..., tuple[int, str]]


@pytest.fixture
def history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> History:
    """Runs the command over these messages; gives its exit status and output."""

    def run(records: list[MessageRecord], *arguments: str) -> tuple[int, str]:
        number = Numbering()
        store = Store.open(str(tmp_path / "history.db"), host="mx1.example.org")
        store.add([(number(row_of(record)), row_of(record), story_of(record, str)) for record in records])
        store.close()
        config = tmp_path / "mailnotary.yaml"
        config.write_text(f"state_dir: {tmp_path}\nhistory: {{enabled: true, store: {tmp_path}/history.db}}\n")
        status = main(["history", "-c", str(config), *arguments])
        return status, capsys.readouterr().out

    return run


def test_the_list_has_a_line_for_each_message_the_newest_first(history: History) -> None:
    status, text = history([verified(), refused()])
    head, *lines = text.splitlines()
    assert status == 0
    assert head.split()[:3] == ["TIME", "QUEUE", "ID"]
    assert len(lines) == 2
    assert all(word in lines[0] for word in ("4DEF", "reject", "fail", "bank.example"))
    assert all(word in lines[1] for word in ("4ABC", "accept", "pass", "example.org"))


def test_the_story_says_what_was_decided_and_by_what(history: History) -> None:
    status, text = history([verified(), refused()], "4DEF")
    assert status == 0
    for part in (
        "4DEF at ",
        "on mx1.example.org",
        "reject, mode verify",
        "the client is not authenticated",
        "from <alice@bank.example>, client 198.51.100.7, HELO mail.example.org",
        "SPF       fail mailfrom bank.example",
        "DKIM      none, the message has no signature",
        "DMARC     fail bank.example",
        "policy of bank.example: p=reject",
        "550 5.7.1 Email rejected per DMARC policy for bank.example: nothing passed",
    ):
        assert part in text


def test_a_chain_of_dkim2_is_told_of_as_what_it_is(history: History) -> None:
    record = verified()
    found = Dkim2Result(Dkim2Status.FAIL, "example.org", "told in the log alone", (), "body changed")
    status, text = history([replace(record, results=replace(record.results, dkim2=found))], "4ABC")
    assert status == 0
    assert "DKIM2     fail example.org, experimental, by draft-ietf-dkim-dkim2-spec-06, signatures: 0" in text
    assert "body changed" in text
    assert "in the log alone" not in text


def test_an_arc_chain_is_told_of_with_what_would_have_to_be_trusted(history: History) -> None:
    record = refused()
    chain = ArcResult(ArcStatus.PASS, (ArcSet(1, "lists.example", "sel"), ArcSet(2, "b.example", "sel")), 0)
    results = replace(record.results, arc=chain)
    _, text = history([replace(record, results=results, arc_missing=("b.example",))], "4DEF")
    assert "ARC       pass sealed by b.example, lists.example" in text
    assert "would have passed through, were these trusted: b.example" in text


def test_what_is_asked_for_and_not_there_is_status_1(history: History) -> None:
    assert history([verified()], "4DEF") == (1, "")
    assert history([], "--client", "192.0.2.200") == (1, "")
    assert history([], "--replays") == (1, "")
    assert history([], "--disagreements") == (1, "")
    status, text = history([], "--domain", "Example.org")
    assert (status, text.count("4ABC")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["4DEF\x1b"], "there is no message 4DEF\\x1b: the history goes back 30 days"),
        (["--domain", "none.example"], "nothing was found"),
        (["--arc-candidates"], "nothing was found"),
        (["--replays"], "history.replay_networks is 0, so nothing is counted"),
        (["--disagreements"], "history.compare_with names no other filter, so nothing is compared"),
    ],
)
def test_where_nothing_is_found_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    Store.open(str(tmp_path / "history.db"), host="mx1.example.org").close()
    config = tmp_path / "mailnotary.yaml"
    config.write_text(f"history: {{store: {tmp_path}/history.db}}\n")
    assert main(["history", "-c", str(config), *arguments]) == 1
    assert capsys.readouterr() == ("", f"mailnotary history: {said}\n")
    assert main(["history", "-c", str(config), *arguments, "--json"]) == 1
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_story_folds_between_words_below_its_own_text(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    _, text = history([refused()], "4DEF")
    lines = Text.from_ansi(text).plain.splitlines()
    assert max(map(len, lines)) <= 50
    reply = next(number for number, line in enumerate(lines) if line.startswith("Reply"))
    assert lines[reply + 1].startswith("          ")
    folded = " ".join(line[10:].strip() for line in lines[reply : reply + 3])
    assert folded.startswith("550 5.7.1 Email rejected per DMARC policy for bank.example")


def test_a_store_that_is_not_there_is_told_without_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mailnotary.yaml"
    config.write_text(f"history: {{enabled: true, store: {tmp_path}/none.db}}\n")
    assert main(["history", "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mailnotary history: ")
    assert f"{tmp_path}/none.db" in captured.err


def test_text_of_a_message_is_shown_escaped(history: History) -> None:
    _, text = history([verified(helo="x\x1b[31m\u202e", mail_from="a\r\nVerdict   accept")], "4ABC")
    assert not set(text) & {"\x1b", "\u202e", "\r"}
    assert "\nVerdict   accept, mode verify" in text
    assert text.count("\nVerdict") == 1


def test_disagreements_show_both_reasons_and_how_often_both_agree(history: History) -> None:
    same = Comparison("old.example", "spf", "pass", "pass")
    other = Comparison("old.example", "dmarc", "fail", "pass", "too strict")
    status, text = history([verified(compared=(same, other)), verified("4GHI", compared=(same,))], "--disagreements")
    assert status == 0
    assert "old.example spf: the same in 2 of 2 messages (100.0 %)" in text
    assert "old.example dmarc: the same in 0 of 1 messages (0.0 %)" in text
    assert "dmarc  theirs fail: too strict" in text
    assert "ours   pass: example.org pass SPF and DKIM aligned" in text
    assert "4GHI" not in text


def test_how_often_both_agree_is_told_where_they_always_do(history: History) -> None:
    same = Comparison("old.example", "spf", "pass", "pass")
    status, text = history([verified(compared=(same,))], "--disagreements")
    assert (status, text) == (1, "old.example spf: the same in 1 of 1 messages (100.0 %)\n")


def test_the_messages_as_json_have_the_whole_story_of_each(history: History) -> None:
    _, text = history([verified(), refused()], "--json")
    messages = json.loads(text)["messages"]
    assert [message["queue_id"] for message in messages] == ["4DEF", "4ABC"]
    assert messages[0]["reply"]["code"] == 550


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--result", "dmarc", "write dmarc=none, dmarc=pass, dmarc=fail, dmarc=temperror or dmarc=permerror"),
        ("--result", "dmarc=failed", "'dmarc=failed' is not a result: write dmarc=none, "),
        ("--result", "arc=pass", "write one like dmarc=fail"),
        ("--client", "300.1.1.1", "300.1.1.1 is not an IPv4 or IPv6 address"),
        ("--result", "=fail", "write one like dmarc=fail"),
        ("--since", "2w", "write one like 90s, 5m, 12h or 7d"),
    ],
)
def test_a_search_that_is_not_understood_is_wrong_usage(
    option: str, value: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["history", f"{option}={value}"])
    assert exit_.value.code == 2
    assert hint in " ".join(capsys.readouterr().err.split())


def test_a_search_by_result_and_time_finds_what_fits(history: History) -> None:
    messages = [verified(), refused()]
    assert "4DEF" in history(messages, "--result", "dmarc=fail", "--since", "1h")[1]
    assert "4ABC" not in history([], "--result", "dmarc=fail")[1]
    assert history([], "--since", "0s")[1].count("4DEF") == 0
