"""`mailnotary verify`."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mailnotary.cli import main
from support.dkim import KEY_NAME, MESSAGE, NOW, craft, key, key_record
from support.dns_server import DnsServer


@pytest.fixture
def zone(tmp_path: Path) -> str:
    path = tmp_path / "zone.yaml"
    path.write_text(yaml.safe_dump({KEY_NAME: [{"TXT": key_record(key()).decode()}]}))
    return str(path)


def run(message: bytes, tmp_path: Path, *arguments: str) -> int:
    (tmp_path / "message.eml").write_bytes(message)
    return main(["verify", str(tmp_path / "message.eml"), *arguments])


def test_json_has_the_fields_of_each_result(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(craft(craft(), a="rsa-sha1"), tmp_path, "--zone", zone, "--now", str(NOW), "--json") == 0
    output = json.loads(capsys.readouterr().out)
    first, second = output["dkim"]
    assert first["status"] == "policy"
    assert second["signature"]
    del second["signature"]
    assert second == {
        "status": "pass",
        "domain": "example.org",
        "selector": "sel",
        "identity": "@example.org",
        "algorithm": "rsa-sha256",
        "key_bits": 1024,
        "reason": "",
    }


def test_a_file_with_line_ends_of_unix(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(craft().replace(b"\r\n", b"\n"), tmp_path, "--zone", zone) == 0
    assert capsys.readouterr().out == (
        "pass       example.org, selector sel, rsa-sha256 with 1024 bits\n"
        "           does not protect from one more From, To, Subject, Date, Reply-To, Content-Type, "
        "Content-Transfer-Encoding\n"
    )


def test_text_says_why(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(craft(x="100", i="joe@example.org"), tmp_path, "--zone", zone, "--now", "1000000") == 0
    assert capsys.readouterr().out == (
        "permerror  example.org, selector sel, rsa-sha256, for joe@example.org\n"
        "           signature expired 11 days ago\n"
    )


def test_unsigned_mail(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MESSAGE, tmp_path, "--zone", zone) == 0
    assert capsys.readouterr().out == "none  the message has no DKIM signature\n"
    assert run(MESSAGE, tmp_path, "--zone", zone, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"dkim": [], "key_records": [], "evidence": []}


def test_a_message_can_not_write_on_the_terminal(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;pwned\x07\u202e"
    cases: list[dict[str, Any]] = [{"i": f"{evil}@example.org"}, {"d": f"{evil}.org"}, {"c": evil}, {"s": "[red]"}]
    for tags in cases:
        assert run(craft(canon="relaxed/relaxed", **tags), tmp_path, "--zone", zone) == 0
    output = capsys.readouterr().out
    assert output.replace("\n", "").isprintable()


def test_standard_input(zone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(craft())))
    assert main(["verify", "-", "--zone", zone]) == 0
    assert capsys.readouterr().out.startswith("pass")


def test_what_can_not_be_done_is_said(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "absent"), "--zone", zone]) == 1
    assert run(MESSAGE, tmp_path, "--zone", str(tmp_path / "absent")) == 1
    assert capsys.readouterr().err.count("can't be read") == 2


def test_the_command_line(tmp_path: Path, zone: str) -> None:
    (tmp_path / "message.eml").write_bytes(craft())
    command = [sys.executable, "-m", "mailnotary", "verify", str(tmp_path / "message.eml"), "--zone", zone]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout[:5], done.stderr) == ("pass ", "")


def test_it_follows_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "m.yaml"
    with DnsServer({KEY_NAME: [{"TXT": key_record(key()).decode()}]}) as server:
        for verify, said in (("{}", "pass"), ("{min_rsa_bits: 2048}", "policy")):
            config.write_text(f"dns: {{nameservers: ['{server.nameserver}']}}\nverify: {verify}\n")
            assert run(craft(), tmp_path, "-c", str(config), "--now", str(NOW)) == 0
            assert capsys.readouterr().out.startswith(said)
