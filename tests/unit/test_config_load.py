"""Both files in one call, as the daemon's user would read them."""

import os
import pickle
import pwd
from pathlib import Path

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
def open_directory(directory: Path) -> Path:
    """One that another user can enter."""
    path = directory
    while path.stat().st_uid == os.geteuid() and path != path.parent and path.name != "tmp":
        path.chmod(0o755)
        path = path.parent
    return directory


@pytest.mark.root
def test_root_reads_the_keys_as_the_daemons_user(open_directory: Path) -> None:
    user = pwd.getpwnam("nobody")
    (found,) = faults(open_directory, "user: nobody\n")
    key = open_directory / "a.pem"
    assert found == (f"keystore.yaml:1:50: {key}: nobody can't read it: run `chown nobody {key} && chmod 0600 {key}`")
    os.chown(key, user.pw_uid, -1)
    assert load_configuration(open_directory / "m.yaml").warnings == ()
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.root
def test_root_finds_what_the_daemons_user_may_not_enter(open_directory: Path) -> None:
    (open_directory / "keys").mkdir(0o700)
    (open_directory / "a.pem").rename(open_directory / "keys" / "a.pem")
    (open_directory / "keystore.yaml").write_text(ENTRY.replace("a.pem", "keys/a.pem"))
    (found,) = faults(open_directory, "user: nobody\n")
    assert f"nobody cannot enter its directory: run `chown -R nobody {open_directory}/keys`" in found


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
    assert found.startswith("keystore.yaml: can't be read: Permission denied")
