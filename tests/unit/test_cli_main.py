"""The command line as a newcomer and as a script meets it: help, hints, exit status, pipes, terminals."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mailnotary.cli import COMMANDS, main
from mailnotary.cli.common import CheckStatus, worst
from mailnotary.cli.output import Folded, Text
from mailnotary.crypto import generate_private_key
from support.dns_server import DnsServer
from support.mail import MESSAGE

SPF = ["spf", "--ip", "192.0.2.1", "--helo", "a.example", "--mail-from", "u@a.example"]


def usage(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_without_arguments_it_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(f"    {command} " in captured.err for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["doktor"], "did you mean doctor?"),
        (["key"], "did you mean keys?"),
        (["xyzzy"], "there is no command 'xyzzy'\n"),
        (["\x1b[2J"], r"'\x1b[2J'"),
        (["-c", "x", "verify"], "options follow the command"),
        (["verify", "x", "--jsn"], "did you mean --json?"),
        (["verify", "x", "--zune=y"], "did you mean --zone?"),
        (["verify", "x", "y"], "there is no argument 'y'\nTry `mailnotary verify --help`"),
        (["verify"], "Try `mailnotary verify --help`"),
    ],
)
def test_wrong_usage_gets_a_hint_on_standard_error(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage(*arguments) == 2
    captured = capsys.readouterr()
    assert hint in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert usage(command, "--help") == 0
    text = capsys.readouterr().out
    assert "exit status:" in text
    assert usage("--help") == 0
    for line in (text.partition("example:")[0] + text.partition("options:")[2]).splitlines():
        assert len(line) <= 80, line


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "mailnotary", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.fixture
def zone(tmp_path: Path) -> str:
    path = tmp_path / "zone.yaml"
    networks = " ".join(f"ip4:198.51.100.{number}" for number in range(12))
    path.write_text(f'a.example: [{{TXT: "v=spf1 {networks} ip4:192.0.2.1 -all"}}]\n')
    return str(path)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_leaves_causes_no_trace(zone: str, options: list[str]) -> None:
    command = [sys.executable, "-m", "mailnotary", *SPF, "--zone", zone, *options]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_output_that_cannot_be_written_is_an_error_without_a_trace(zone: str) -> None:
    command = [sys.executable, "-m", "mailnotary", *SPF, "--zone", zone]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mailnotary spf: ")
    assert "Traceback" not in done.stderr


def test_colors_are_for_terminals_and_not_where_no_color_is_set(zone: str) -> None:
    colored = re.compile(r"\x1b\[(\d+;)*3\d")
    arguments = (*SPF, "--zone", zone)
    assert "\x1b" not in python(*arguments, FORCE_COLOR="").stdout
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    assert colored.search(python(*arguments, **terminal).stdout)
    assert not colored.search(python(*arguments, **terminal, NO_COLOR="1").stdout)


def test_a_terminal_of_80_columns_gets_lines_that_fold_between_words(zone: str) -> None:
    shown = re.sub(
        r"\x1b\[[\d;]*m", "", python(*SPF, "--zone", zone, FORCE_COLOR="1", TERM="xterm", COLUMNS="80").stdout
    )
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(shown.count(f"ip4:198.51.100.{number}") >= 2 for number in range(12)), "no word is broken"
    assert max(map(len, python(*SPF, "--zone", zone).stdout.splitlines())) > 200, "one line is one line in a pipe"


def test_a_folded_line_goes_on_below_its_text() -> None:
    console = Console(force_terminal=True, width=30, color_system=None, soft_wrap=True)
    with console.capture() as capture:
        console.print(Folded("key   ", "one two three four five six"))
        console.print(Folded("├─ ", "one two three four five six seven", Text("│    ")))
    assert capture.get() == "key   one two three four five\n      six\n├─ one two three four five\n│    six seven\n"


PARTS = st.tuples(
    st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" ")), st.sampled_from(["", "bold red"])
)


@given(st.lists(PARTS), st.lists(PARTS))
def test_a_pipe_gets_what_a_wide_terminal_shows_without_colors(
    head: list[tuple[str, str]], body: list[tuple[str, str]]
) -> None:
    texts = Text.assemble("! ", Text.assemble(*head)), Text.assemble(*body)
    console = Console(force_terminal=True, width=100_000, color_system=None, soft_wrap=True)
    for line in (*texts, Folded(*texts)):
        with console.capture() as capture:
            console.print(line)
        assert capture.get().rstrip() == str(line).rstrip()


def test_no_column_of_the_keys_is_cut_in_a_pipe_or_on_a_narrow_terminal(tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    config.write_text("user: root\ndns: {nameservers: ['127.0.0.1:1'], timeout: 1}\n")
    domain = "a-long-name-of-a-department.of-a-subsidiary.in-another-country.example.org"
    assert python("keygen", domain, "selector2026b", "--algorithm", "ed25519", "-c", str(config)).returncode == 0
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}
    for environment in ({}, terminal):
        shown = re.sub(r"\x1b\[[\d;]*m", "", python("keys", "-c", str(config), **environment).stdout)
        table = shown.partition("\n\n")[0]
        assert "…" not in table
        assert {"STATE", "auto", "ed25519", "error", "no"} <= set(table.split()), shown
        assert (domain in table) is not bool(environment)
        assert max(map(len, table.splitlines())) <= 80 or not environment


def test_the_worst_of_several_checks_counts_and_a_problem_more_than_doubt() -> None:
    assert worst([]) is CheckStatus.OK
    assert worst([CheckStatus.OK, CheckStatus.UNKNOWN]) is CheckStatus.UNKNOWN
    assert worst([CheckStatus.UNKNOWN, CheckStatus.WARNING]) is CheckStatus.WARNING
    assert worst([CheckStatus.CRITICAL, CheckStatus.UNKNOWN]) is CheckStatus.CRITICAL


def test_every_command_asks_the_configured_nameserver_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.eml").write_bytes(MESSAGE)
    envelope = SPF[1:]
    with DnsServer({"a.example": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]}) as server:
        config = tmp_path / "m.yaml"
        config.write_text(f"user: root\ndns: {{nameservers: ['{server.nameserver}']}}\n")
        assert main(["keygen", "a.example", "s", "--algorithm", "ed25519", "-c", str(config)]) == 0
        message = str(tmp_path / "m.eml")
        for arguments in (SPF, ["verify", message], ["explain", message, *envelope], ["keys"], ["dns", "a.example"]):
            assert main([*arguments, "-c", str(config)]) == 0
            assert f"{server.nameserver} (dns.nameservers of {config})" in capsys.readouterr().out
            assert main([*arguments, "-c", str(config), "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["nameservers"] == [server.nameserver]


NETWORK = "dns.message dns.query ssl http.client concurrent.futures email"
OTHERS = "Crypto flask waitress milter sqlite3 psycopg rich.progress mailnotary.daemon mailnotary.web mailnotary.doctor"
BUDGETS = {
    "spf": f"{NETWORK} {OTHERS} dns cryptography idna rich mailnotary.dkim mailnotary.crypto mailnotary.history"
    " mailnotary.config.settings_file mailnotary.config.keystore",
    "verify": f"{NETWORK} {OTHERS} dns idna rich mailnotary.config.keystore_file mailnotary.session",
    "check-config": f"{NETWORK} {OTHERS} dns idna rich mailnotary.session mailnotary.history",
    "keys": f"{OTHERS} dns.message dns.query ssl email idna mailnotary.session mailnotary.history",
    "dns": f"{NETWORK} {OTHERS} idna rich mailnotary.session mailnotary.history",
    "history": f"{OTHERS} dns idna mailnotary.config.keystore_file".replace("sqlite3 ", ""),
    "source": f"{NETWORK} {OTHERS} idna rich mailnotary.session mailnotary.history",
    # Old releases of cryptography load email themselves.
    "sign": f"{NETWORK} {OTHERS} dns.message idna rich mailnotary.history".replace("email ", ""),
}
"""What a command must not load for the work that most of its calls have."""


@pytest.mark.parametrize("command", BUDGETS)
def test_a_command_waits_for_no_library_that_it_does_not_need(command: str, tmp_path: Path) -> None:
    zone, message, config, key = (str(tmp_path / name) for name in ("zone.yaml", "m.eml", "m.yaml", "key.pem"))
    Path(zone).write_text('a.example: [{TXT: "v=spf1 -all"}]\n')
    Path(message).write_text("From: joe@a.example\nSubject: x\n\nhello\n")
    Path(config).write_text(f"user: root\nstate_dir: {tmp_path}\n")
    Path(key).touch(0o600)
    Path(key).write_bytes(generate_private_key("rsa"))
    (tmp_path / "keystore.yaml").write_text(f"domains: {{a.example: {{keys: [{{selector: s, file: {key}}}]}}}}\n")
    arguments = {
        "spf": [*SPF[1:], "--zone", zone],
        "verify": [message, "--zone", zone],
        "check-config": ["-c", config],
        "keys": ["-c", config, "--zone", zone],
        "dns": ["a.example", "-c", config, "--zone", zone],
        "history": ["-c", config],
        "source": ["-c", config],
        "sign": [message, "-c", config],
    }
    code = (
        "import sys; from mailnotary.cli import main; status = main(sys.argv[2:])\n"
        "print(status, *sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, BUDGETS[command], command, *arguments[command]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    status, *loaded = done.stderr.splitlines()[-1].split()
    assert loaded == []
    assert status == ("1" if command in ("history", "source") else "0"), done.stderr


def test_the_daemon_waits_for_no_library_that_it_does_not_need() -> None:
    unwanted = "rich flask waitress Crypto dns.message dns.query ssl http.server email prometheus_client psycopg"
    code = (
        "import sys, mailnotary.daemon.start\n"
        "sys.exit(' '.join(sorted(set(sys.argv[1].split()) & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, unwanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
