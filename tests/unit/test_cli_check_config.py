"""mailnotary check-config."""

import json
from pathlib import Path

import pytest

from mailnotary.cli import main
from mailnotary.crypto import generate_private_key

KEYS = """\
domains:
  a.example:
    keys:
      - {selector: a, file: a.pem}
      - {selector: b, file: a.pem, state: auto}
      - {selector: c, file: a.pem, state: retired}
  b.example: {keys: [{selector: a, file: a.pem}]}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a.pem").touch(0o600)
    (tmp_path / "a.pem").write_bytes(generate_private_key("ed25519"))
    (tmp_path / "keystore.yaml").write_text(KEYS)
    return tmp_path


def check(directory: Path, text: str) -> int:
    (directory / "m.yaml").write_text(f"{text}\nuser: root\n")  # the account mailnotary may exist, or not
    return main(["check-config", "-c", str(directory / "m.yaml")])


def test_a_good_configuration_is_summed_up(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(directory, "") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{directory}/m.yaml: good",
        "  listens on inet:8891@127.0.0.1",
        "  signs for 2 domains: 2 active keys",
        "  1 auto key: each signs once the daemon has seen its record in DNS",
        "  1 retired key: never sign",
        "  verifies SPF, DKIM and DMARC; rejects nothing for it",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode: sign", "  verifies nothing: mode is sign"),
        ("mode: verify", "  signs nothing: mode is verify"),
        ("dmarc: {mode: off}", "  verifies SPF and DKIM; rejects nothing for it"),
        (
            "dmarc: {mode: enforce, reject: hold}\nspf: {fail: reject}",
            "  verifies SPF, DKIM and DMARC; SPF fail: reject, DMARC p=reject: hold, DMARC p=quarantine: tag",
        ),
        ("listen: inet:[::1]:8891", "  listens on inet6:8891@::1"),
    ],
)
def test_the_summary_says_what_would_happen(
    directory: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    assert check(directory, text) == 0
    assert expected in capsys.readouterr().out.splitlines()


def test_without_domains_nothing_is_signed(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "keystore.yaml").unlink()
    assert check(directory, "") == 0
    assert "  signs nothing: the keystore has no domains" in capsys.readouterr().out.splitlines()


def test_errors_are_lines_with_their_place_and_the_exit_is_1(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "a.pem").chmod(0o644)
    assert check(directory, "lisen: x\nmode: y\n") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[:2] == [
        f"{directory}/m.yaml:1:1: unknown key 'lisen': did you mean 'listen'?",
        f"{directory}/m.yaml:2:7: 'y' is not a known value: write both, sign, verify or observe",
    ]
    assert lines[2].startswith(
        f"{directory}/keystore.yaml:4:29: {directory}/a.pem: everyone has access to it (mode 0644): run"
    )


def test_a_key_that_cant_be_used_fails_the_check_but_not_the_reload(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "b.pem").touch(0o600)
    (directory / "b.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (directory / "keystore.yaml").write_text(KEYS + "  c.example: {keys: [{selector: a, file: b.pem}]}\n")
    assert check(directory, "") == 1
    out, error = capsys.readouterr()
    assert error.startswith(f"{directory}/keystore.yaml:8:42: {directory}/b.pem: ")
    assert out.splitlines()[0] == (
        f"{directory}/m.yaml: the daemon would run, but not sign for c.example: its mail would wait (451) until the "
        "key is fixed"
    )
    assert out.splitlines()[2:4] == ["  signs for 2 domains: 2 active keys", "  1 key that can't be used"]
    assert main(["check-config", "--reload", "-c", str(directory / "m.yaml")]) == 0
    assert capsys.readouterr().err == error
    assert check(directory, "mode: y") == 1
    assert main(["check-config", "--reload", "-c", str(directory / "m.yaml")]) == 1


def test_warnings_do_not_fail(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(directory, "exempt: {networks: [0.0.0.0/0]}") == 0
    assert f"{directory}/m.yaml:1:21: 0.0.0.0/0 includes every client on the Internet" in capsys.readouterr().err


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "-c", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: does not exist: create it, or check the name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: inet:8891@127.0.0.1", ""),
        ("listen: inet:8891@0.0.0.0", "m.yaml:1:9: inet:8891@0.0.0.0 can be reached from other machines"),
        ("listen: inet:8891@0.0.0.0\nsocket: {peers: [192.0.2.1]}", ""),
        ("listen: inet:8891@0.0.0.0\nsocket: {peers: []}", "can be reached from other machines"),
        ("socket: {peers: [0.0.0.0/0]}", "0.0.0.0/0 includes every client on the Internet"),
        ("listen: unix:/run/socket\nsocket: {peers: [192.0.2.1]}", "peers applies to inet and inet6"),
    ],
)
def test_a_socket_that_strangers_reach_is_a_warning(
    directory: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert check(directory, text) == 0
    error = capsys.readouterr().err
    assert (said in error) if said else (error == "")


def test_json_has_what_the_text_says(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "m.yaml").write_text("user: root\n")
    assert main(["check-config", "-c", str(directory / "m.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["errors"]) == (True, [])
    assert "listens on inet:8891@127.0.0.1" in found["summary"]
    (directory / "m.yaml").write_text("workerz: 1\n")
    assert main(["check-config", "-c", str(directory / "m.yaml"), "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["ok"], captured.err) == (False, "")
    [error] = found["errors"]
    assert (error["line"], error["column"]) == (1, 1)
    assert "workerz" in error["message"]
