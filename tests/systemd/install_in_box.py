"""An installation from the sources: renewed while mail flows, after a distribution upgrade, removed. The tests run in
their order, after those of the service; tests/systemd/inside.sh installed with a umask of 077, and with the module
STALE."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.box import CONFIG, journal, processes, run, shown, wait_for
from support.box_mail import KEY, SOCKET, Box, Load, set_up

SRC = Path("/src")
VERSION = SRC / "milter/mailnotary/__init__.py"
STALE = SRC / "milter/mailnotary/stale.py"
PREFIX = Path("/opt/mailnotary")
SELECTORS = ["rsa2026", "ed2026"]


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    yield set_up()
    print("\n--- the journal's end\n" + journal()[-3000:])


def make(what: str, *variables: str, check: bool = True) -> str:
    said = run("sh", "-c", f"umask 077; exec make -C {SRC} {what} {' '.join(variables)}", check=check, seconds=500)
    print(said)
    return said


def installed(name: str) -> list[Path]:
    return list(PREFIX.glob(f"lib/python3.*/site-packages/{name}"))


def test_everybody_may_run_it_whatever_the_umask_was(box: Box) -> None:
    for command in (["mailnotary", "--version"], ["man", "-w", "mailnotary.yaml"]):
        if command[0] != "man" or Path("/usr/bin/man").exists():
            run("runuser", "-u", "nobody", "--", *command)
    for path in Path("/usr/local").rglob("*mailnotary*"):
        assert path.stat().st_mode & 0o444 == 0o444, path


def test_the_daemon_may_read_the_directory_of_the_keys_and_not_write_to_it(box: Box) -> None:
    keys = KEY.parent
    assert (keys.owner(), keys.group(), keys.stat().st_mode & 0o7777) == ("root", "mailnotary", 0o750)


def test_the_directory_of_the_socket_is_made_where_postfix_was_installed_later(box: Box) -> None:
    run("systemctl", "stop", "mailnotary")
    SOCKET.parent.rmdir()
    run("systemctl", "start", "mailnotary")
    assert box.signatures() == SELECTORS


def test_a_newer_version_takes_over_under_load_and_no_message_is_lost(box: Box) -> None:
    assert installed("mailnotary/stale.py")
    STALE.unlink()
    VERSION.write_text(re.sub(r'"[0-9.]+"', '"99.1"', VERSION.read_text()))
    before = shown("MainPID")
    with Load(box) as load:
        load.wait(10)
        said = make("install")
        load.wait(20)
    load.check(SELECTORS)
    assert "the service was restarted" in said
    assert shown("MainPID") != before
    assert run("mailnotary", "--version").strip() == "mailnotary 99.1"
    assert [one.name for one in installed("mailnotary-*")] == ["mailnotary-99.1.dist-info"]
    assert not installed("mailnotary/stale.py"), "what is not in the sources any more"


def test_with_a_faulty_configuration_the_old_version_runs_on_and_that_is_said(box: Box) -> None:
    good, before = CONFIG.read_text(), shown("MainPID")
    CONFIG.write_text(good + "workerz: 3\n")
    said = make("install", check=False)
    assert "still runs the old version" in said
    assert shown("MainPID") == before
    CONFIG.write_text(good)
    assert box.signatures() == SELECTORS


def test_for_another_python_it_says_what_to_do(box: Box) -> None:
    (library,) = PREFIX.glob("lib/python3.*")
    library.rename(library.with_name("python3.0"))
    said = run("mailnotary", "--version", check=False)
    assert "another Python" in said
    assert "`make install`" in said
    library.with_name("python3.0").rename(library)
    assert box.signatures() == SELECTORS


def test_it_is_removed_and_configuration_and_keys_stay(box: Box) -> None:
    said = make("uninstall")
    assert "Postfix still hands its mail" in said
    assert shown("LoadState") == "not-found"
    assert processes("mailnotary") == []
    left = run("find", "/usr", "/opt", "/etc/systemd", "-xdev", "-name", "*mailnotary*").split()
    assert left == []
    for path in (CONFIG, CONFIG.with_name("keystore.yaml"), KEY, Path("/var/lib/mailnotary")):
        assert path.exists()


def test_it_can_be_installed_again_with_what_stayed(box: Box) -> None:
    with box.dns.aside():
        make("install")
    run("systemctl", "enable", "--now", "mailnotary")
    wait_for(lambda: box.signatures() == SELECTORS, "it signs with the keys of before")


def test_a_purge_leaves_the_keys_alone(box: Box) -> None:
    make("uninstall", "PURGE=yes")
    assert {str(path) for path in CONFIG.parent.rglob("*") if path.is_file()} == {
        f"{KEY.parent}/example.org.{selector}.pem" for selector in SELECTORS
    }
    assert not Path("/var/lib/mailnotary").exists()
    assert not SOCKET.parent.exists()
