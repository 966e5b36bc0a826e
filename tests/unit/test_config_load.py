"""Both files in one call, as the daemon's user would read them."""

import os
import pickle
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import ConfigError, load_configuration
from mailnotary.crypto import generate_private_key

CONFIG = Path(__file__).parents[2] / "config" / "mailnotary.yaml"
ENTRY = "domains: {a.example: {keys: [{selector: a, file: a.pem}]}}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a.pem").touch(0o600)
    (tmp_path / "a.pem").write_bytes(generate_private_key("ed25519"))
    (tmp_path / "keystore.yaml").write_text(ENTRY)
    (tmp_path / "m.yaml").write_text("user: root\n")
    return tmp_path


def errors(directory: Path, text: str) -> list[str]:
    """Those with this text. It is root who reads, where it names no other: the account mailnotary may exist, or not."""
    (directory / "m.yaml").write_text(text if "user:" in text else f"{text}\nuser: root\n")
    with pytest.raises(ConfigError) as caught:
        load_configuration(directory / "m.yaml")
    return [str(problem).removeprefix(f"{directory}/") for problem in caught.value.problems]


def faults(directory: Path, text: str) -> list[str]:
    """The keys that can't be used."""
    (directory / "m.yaml").write_text(text)
    return [str(fault).removeprefix(f"{directory}/") for fault in load_configuration(directory / "m.yaml").faults]


def test_the_shipped_files_are_valid_and_sign_nothing() -> None:
    assert load_configuration(CONFIG).keystore == KeyStore()


def test_the_default_keystore_is_found_beside_the_settings(directory: Path) -> None:
    assert set(load_configuration(directory / "m.yaml").keystore.entries) == {"a.example"}


def test_the_default_keystore_may_be_missing(directory: Path) -> None:
    (directory / "keystore.yaml").unlink()
    assert load_configuration(directory / "m.yaml").keystore == KeyStore()


def test_a_named_keystore_may_not_be_missing(directory: Path) -> None:
    assert errors(directory, "\nkeystore: none.yaml\n") == [
        f"m.yaml:2:11: {directory}/none.yaml does not exist: create it, or remove this key to sign nothing"
    ]


def test_errors_of_both_files_are_reported_at_once(directory: Path) -> None:
    (directory / "keystore.yaml").write_text("domain: {}\n")
    assert [error.split(": ")[0] for error in errors(directory, "mode: x\nlisten: y\n")] == [
        "m.yaml:1:7",
        "m.yaml:2:9",
        "keystore.yaml:1:1",
    ]


def test_a_configuration_travels_to_other_processes(directory: Path) -> None:
    found = load_configuration(directory / "m.yaml")
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_group_of_a_unix_socket_must_exist(directory: Path) -> None:
    text = "listen: {}\nsocket: {{group: no-such-group}}\n"
    assert errors(directory, text.format("unix:/run/m.sock")) == [
        "m.yaml:2:17: there is no group 'no-such-group' on this machine: create it, or write another"
    ]
    (directory / "m.yaml").write_text(text.format("inet:8891@127.0.0.1") + "user: root\n")
    load_configuration(directory / "m.yaml")


@pytest.mark.root
def test_a_missing_user_is_a_warning_for_not_every_daemon_is_started_by_root(directory: Path) -> None:
    (directory / "m.yaml").write_text("user: no-such-user\n")
    (warning,) = load_configuration(directory / "m.yaml").warnings
    assert str(warning).startswith(f"{directory}/m.yaml:1:7: there is no user 'no-such-user' on this machine")


@pytest.fixture
def open_directory(directory: Path) -> Iterator[Path]:
    """One that another user can enter. Not below pytest's own, which each pytest that starts meanwhile closes."""
    with TemporaryDirectory(prefix="mailnotary-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        for file in directory.iterdir():
            shutil.copy2(file, path)
        yield path


@pytest.mark.root
def test_root_reads_the_keys_as_the_daemons_user(open_directory: Path) -> None:
    user = pwd.getpwnam("nobody")
    (found,) = faults(open_directory, "user: nobody\n")
    key = open_directory / "a.pem"
    command = f"chown nobody {key} && chmod 0600 {key}"
    assert found == f"keystore.yaml:1:50: {key}: the daemon's user nobody can't read it: run `{command}`"
    os.chown(key, user.pw_uid, -1)
    assert load_configuration(open_directory / "m.yaml").warnings == ()
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.root
def test_root_finds_what_the_daemons_user_may_not_enter(open_directory: Path) -> None:
    (open_directory / "keys").mkdir(0o700)
    (open_directory / "a.pem").rename(open_directory / "keys" / "a.pem")
    (open_directory / "keystore.yaml").write_text(ENTRY.replace("a.pem", "keys/a.pem"))
    (found,) = faults(open_directory, "user: nobody\n")
    keys = f"{open_directory}/keys"
    assert f"the daemon's user nobody cannot enter the directory {keys}: run `setfacl -m u:nobody:x {keys}`" in found
    (open_directory / "keystore.yaml").write_text(ENTRY.replace("a.pem", "/root/k/a.pem"))
    (found,) = faults(open_directory, "user: nobody\n")
    command = f"install -D -o nobody -m 0600 /root/k/a.pem {open_directory}/keys/a.pem"
    assert f"cannot enter the directory /root: leave it as it is, run `{command}`, and name the copy" in found


@pytest.mark.root
def test_a_file_that_a_reload_could_not_read_is_a_warning(open_directory: Path) -> None:
    (open_directory / "keystore.yaml").unlink()
    (open_directory / "m.yaml").write_text("user: nobody\n")
    (open_directory / "m.yaml").chmod(0o600)
    (warning,) = load_configuration(open_directory / "m.yaml").warnings
    assert "the user nobody can't read it, so a reload will fail" in str(warning)


@pytest.mark.root
def test_a_keystore_that_the_daemons_user_can_not_read_is_an_error(open_directory: Path) -> None:
    (open_directory / "keystore.yaml").chmod(0o600)
    (found,) = errors(open_directory, "user: nobody\n")
    assert found == (
        "keystore.yaml: can't be read by the user nobody: Permission denied: make it readable for that user"
    )
    (open_directory / "m.d").mkdir(0o700)
    (open_directory / "m.d/keystore.yaml").touch()
    (found,) = errors(open_directory, "user: nobody\nkeystore: m.d/keystore.yaml\n")
    assert found.endswith(f"Permission denied: let that user enter the directory {open_directory}/m.d")


@pytest.mark.root
def test_another_user_is_told_to_run_it_as_root_and_nothing_else(open_directory: Path) -> None:
    """In a process of its own, whose user is neither root nor the daemon's."""
    (open_directory / "m.yaml").write_text("user: root\n")
    code = """
import os, sys
from pathlib import Path
from mailnotary.cli import main
import mailnotary.cli.check_config, mailnotary.cli.keygen, encodings.idna
from mailnotary.config.load import load_configuration
from mailnotary.crypto import generate_private_key
generate_private_key("rsa")  # loads what that user may be unable to read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
print(load_configuration(path).stranger, *load_configuration(path).faults, sep="|")
sys.exit(main(["check-config", "-c", str(path)]) + 2 * main(["keygen", "b.example", "s1", "-c", str(path)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(open_directory / "m.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("nobody|")
    assert first.endswith("you (nobody) can't read it: run this as root, which reads keys as root")
    assert "whether the daemon can use the keys can't be told, because this runs as nobody" in second
    assert "  signs for 1 domain: 1 active key" in done.stdout.splitlines()
    assert "can't be used" not in done.stdout
    assert done.stderr.splitlines()[-1].endswith(": Permission denied: run this as root")
    assert "chown" not in done.stdout + done.stderr


@pytest.mark.root
def test_the_groups_of_the_daemon_count(open_directory: Path) -> None:
    """Kubernetes mounts secrets as root's, with mode 0440 and a supplementary group of the process (fsGroup)."""
    key = open_directory / "a.pem"
    os.chown(key, 0, 54399)
    key.chmod(0o440)
    (open_directory / "m.yaml").write_text("user: nobody\n")
    code = """
import os, sys
from pathlib import Path
import encodings.idna
from mailnotary.config.load import load_configuration
os.setgroups([54399]); os.setgid(65534); os.setuid(65534)
print(*load_configuration(Path(sys.argv[1])).faults)
"""
    run = [sys.executable, "-c", code, str(open_directory / "m.yaml")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("sender", "warned"), [("d@a.example", False), ("d@b.example", True)])
def test_reports_that_cannot_be_signed_are_warned_of_and_hold_up_no_mail(
    directory: Path, sender: str, warned: bool
) -> None:
    reports = f"reports: {{enabled: true, org_name: X, from: {sender}}}\n"
    (directory / "m.yaml").write_text(f"user: root\nhistory: {{enabled: true}}\n{reports}")
    warnings = [str(warning) for warning in load_configuration(directory / "m.yaml").warnings]
    assert any("the keystore has no entry for b.example, so no reports are sent" in one for one in warnings) is warned


@pytest.mark.parametrize(("domain", "warned"), [("a.example", False), ("b.example", True)])
def test_a_seal_without_a_key_is_warned_of(directory: Path, domain: str, warned: bool) -> None:
    (directory / "m.yaml").write_text(f"user: root\narc: {{seal: {domain}}}\n")
    warnings = [str(one) for one in load_configuration(directory / "m.yaml").warnings]
    assert any("the keystore has no entry for b.example, so nothing is sealed" in one for one in warnings) is warned
