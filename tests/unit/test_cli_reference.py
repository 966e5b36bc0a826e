"""What is made of the commands' parser: help, completion, manual pages."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from mailnotary.cli import COMMANDS, main
from mailnotary.cli.completion import bash, fish, zsh
from mailnotary.cli.reference import commands

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"example: mailnotary {command} " in capsys.readouterr().out.replace(f"{command}\n", f"{command} \n")


def test_every_command_and_option_says_what_it_is() -> None:
    for command in commands():
        assert command.summary
        assert command.text
        assert command.examples
        for argument in command.arguments:
            assert argument.help, (command.name, argument)


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "mailnotary.bash"
    path.write_text(bash(commands()))
    return path


def complete(script: Path, directory: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _mailnotary; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    run = subprocess.run(["/bin/bash", "-uc", code], check=True, capture_output=True, text=True, cwd=directory)
    assert run.stderr == ""
    return sorted(run.stdout.split())


def test_bash_completes_commands_options_values_and_files(bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").touch()
    (tmp_path / "directory").mkdir()
    assert complete(bash_script, tmp_path, "mailnotary", "key") == ["keygen", "keys"]
    assert complete(bash_script, tmp_path, "mailnotary", "keygen", "--a") == ["--algorithm"]
    assert complete(bash_script, tmp_path, "mailnotary", "keygen", "--algorithm", "") == ["ed25519", "rsa"]
    assert complete(bash_script, tmp_path, "mailnotary", "verify", "ma") == ["mail.eml"]
    assert complete(bash_script, tmp_path, "mailnotary", "keys", "-c", "ma") == ["mail.eml"]
    assert complete(bash_script, tmp_path, "mailnotary", "import", "x", "--output", "") == ["directory"]
    assert complete(bash_script, tmp_path, "mailnotary", "dns", "") == []


@pytest.mark.parametrize(("shell", "make"), [("zsh", zsh), ("fish", fish)])
def test_the_scripts_of_other_shells_are_theirs(shell: str, make: object, tmp_path: Path) -> None:
    assert callable(make)
    text = make(commands())
    assert all(name in text for name in COMMANDS)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(text)
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, start in (("bash", "# Completion"), ("zsh", "#compdef mailnotary"), ("fish", "# Completion")):
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out.startswith(start)


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("man_build", ROOT / "config" / "man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_pages_say_all_and_groff_has_no_complaint(tmp_path: Path) -> None:
    pages: dict[str, str] = builder().pages()
    for command in COMMANDS:
        assert f'"mailnotary {command.replace("-", chr(92) + "-")} ' in pages["mailnotary.1"]
    for name, text in pages.items():
        assert text.startswith(".TH ")
        if shutil.which("groff") is None:
            continue
        (tmp_path / name).write_text(text)
        groff = ["groff", "-man", "-ww", "-K", "utf8", "-T", "utf8", str(tmp_path / name)]
        run = subprocess.run(groff, check=True, capture_output=True)
        assert run.stderr == b"", name
        assert run.stdout


def test_the_readme_has_a_row_for_each_command() -> None:
    rows = re.findall(r"^\| `mailnotary ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)
