"""What `mailnotary explain` says of a chain of DKIM2."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailnotary.cli import main
from support.dkim import key, key_record
from support.dkim2 import BOUNCES, LIST, NOW, READER, original, through_list, with_instance, with_signature


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration and a zone with the signers' keys."""
    record = key_record(key("ed25519")).decode()
    domains = ("example.org", "lists.example.net", "relay.example")
    zone = {f"sel._domainkey.{domain}": [{"TXT": record}] for domain in domains}
    (tmp_path / "zone.yaml").write_text(yaml.safe_dump(zone))
    (tmp_path / "mailnotary.yaml").write_text("authserv_id: mx.example.net\nuser: root\ndkim2: {mode: observe}\n")
    return tmp_path


def explain(place: Path, message: bytes, capsys: pytest.CaptureFixture[str], *extra: str) -> Any:
    (place / "message.eml").write_bytes(message.replace(b"\r\n", b"\n"))
    arguments = ["explain", str(place / "message.eml"), "--ip", "192.0.2.9", "--helo", "lists.example.net"]
    arguments += ["--mail-from", BOUNCES, "--zone", str(place / "zone.yaml"), "--now", str(NOW)]
    arguments += ["-c", str(place / "mailnotary.yaml"), *extra]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    return json.loads(output) if "--json" in extra else output


def section(text: str) -> str:
    return "DKIM2" + text.partition("\nDKIM2")[2].partition("\nDNS")[0]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_each_hop_and_what_it_says_it_changed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = section(explain(place, through_list(), capsys, "--rcpt", READER))
    assert text == (
        "DKIM2     pass example.org (experimental, draft-ietf-dkim-dkim2-spec-06)\n"
        "          i=1 pass example.org, signed 2026-05-28 20:25:40 UTC\n"
        "              sent from <joe@example.org> to <list@lists.example.net>\n"
        "              signature sel (ed25519-sha256, 256 bits): pass\n"
        "          i=2 pass lists.example.net, signed 2026-05-28 20:25:40 UTC\n"
        "              sent from <bounces@lists.example.net> to <ann@reader.example>\n"
        "              signature sel (ed25519-sha256, 256 bits): pass\n"
        "              says that subject was: Lunch on Friday; and is now: [list] Lunch on Friday\n"
        "              says that it added lines 4-5 of the body"
    )


def test_what_a_hop_took_out_added_and_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = b"Sender: list@lists.example.net\r\n" + original(
        rcpt_to=(LIST, "<a@x.example>", "<b@x.example>", "<c@x.example>")
    )
    recipe = {
        "h": {"sender": [], "cc": [{"d": ["gone@example.org"]}]},
        "b": [{"c": [1, 1]}, {"d": ["an old line", "another"]}, {"c": [3, 3]}],
    }
    message = with_instance(message, 2, recipe)
    message = with_signature(
        message, 2, "lists.example.net", None, revision=2, nd="relay.example", f="exploded,feedback"
    )
    text = section(explain(place, message, capsys, "--rcpt", READER))
    for line in (
        "sent from <joe@example.org> to <list@lists.example.net>, <a@x.example>, <b@x.example> and 1 more",
        "handed to relay.example, which signs next",
        "flags: exploded, feedback",
        "says that it added sender: list@lists.example.net",
        "says that it removed cc: gone@example.org",
        "says that it added lines 2 of the body; took out of the body: an old line | another",
        "DKIM2-Signature i=2 unexpected nd= tag",
    ):
        assert f"\n              {line}" in text, line
    lost = with_signature(
        with_instance(original(), 2, {"b": None}), 2, "lists.example.net", BOUNCES, (READER,), revision=2
    )
    assert "says that the body before it cannot be recreated" in explain(place, lost, capsys, "--rcpt", READER)


def test_the_result_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = explain(place, through_list(), capsys, "--json", "--rcpt", READER, "--rcpt", "eve@other.example")["dkim2"]
    assert told["draft"] == "draft-ietf-dkim-dkim2-spec-06"
    assert told["status"] == "permerror"
    assert told["reason"] == "DKIM2-Signature i=2 RCPT TO <eve@other.example> did not match"
    assert [hop["status"] for hop in told["hops"]] == ["pass", "permerror"]
    assert told["hops"][1]["changes"][1] == {"name": "", "before": [], "after": ["4-5"]}
    (place / "mailnotary.yaml").write_text("user: root\n")
    assert explain(place, through_list(), capsys, "--json")["dkim2"] is None


def test_hostile_text_is_escaped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"h": {"subject": [{"d": ["\x1b[31mred\u202e"]}]}, "b": [{"d": ["\x1b]0;title\x07"]}]}
    evil = b64encode("<\u202ejoe\x9b@example.org>".encode()).decode()
    message = with_signature(
        with_instance(original(), 2, recipe), 2, "lists.example.net", revision=2, mf=evil, t=10**14
    )
    text = explain(place, message, capsys)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert r"\x1b[31mred\u202e" in text
