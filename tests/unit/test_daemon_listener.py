"""The listening socket: its group, where the daemon cannot change it (as a plain user, or in a sandbox without chown),
and its making in a directory where somebody else may change everything meanwhile."""

import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from mailnotary.config.listen import Listen
from mailnotary.config.settings import SocketSettings
from mailnotary.daemon.listener import ListenError, open_listener


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)


def test_a_socket_that_has_its_group_from_the_directory_needs_no_chown(tmp_path: Path) -> None:
    mine = grp.getgrgid(tmp_path.stat().st_gid).gr_name
    listener = open_listener(Listen("unix", path=f"{tmp_path}/socket"), SocketSettings(group=mine))
    assert Path(tmp_path, "socket").group() == mine
    listener.shut()


def test_a_group_that_it_may_not_give_is_said_with_the_way_out(tmp_path: Path) -> None:
    other = next(one.gr_name for one in grp.getgrall() if one.gr_gid != tmp_path.stat().st_gid)
    with pytest.raises(ListenError, match=rf"chgrp {other} {tmp_path} && chmod g\+s"):
        open_listener(Listen("unix", path=f"{tmp_path}/socket"), SocketSettings(group=other))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    mine = grp.getgrgid(os.getgid()).gr_name
    path = tmp_path / "not there/socket"
    with pytest.raises(ListenError) as caught:
        open_listener(Listen("unix", path=str(path)), SocketSettings(group=mine), user="root")
    assert f"there is no directory {path.parent}: " in str(caught.value)
    command = str(caught.value).split("`")[1]
    if os.geteuid() == 0:
        subprocess.run(command, shell=True, check=True)
        open_listener(Listen("unix", path=str(path)), SocketSettings(group=mine)).shut()


def test_a_directory_of_postfix_is_made_for_postfix_and_the_user_that_the_daemon_becomes(tmp_path: Path) -> None:
    path = "/var/spool/postfix/not-there/socket"
    with pytest.raises(ListenError, match=r"`install -d -o filter -g postfix -m 2750 /var/spool/postfix/not-there`"):
        open_listener(Listen("unix", path=path), SocketSettings(), user="filter")


def test_without_a_group_in_the_settings_the_directory_gets_that_of_the_user(tmp_path: Path) -> None:
    one = next(entry for entry in pwd.getpwall() if grp.getgrgid(entry.pw_gid).gr_name != entry.pw_name)
    group = grp.getgrgid(one.pw_gid).gr_name
    with pytest.raises(ListenError, match=f"`install -d -o {one.pw_name} -g {group} -m 2750 "):
        open_listener(Listen("unix", path=f"{tmp_path}/none/socket"), SocketSettings(), user=one.pw_name)


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ListenError, match=r"in use: stop the program that listens there \(`ss -ltnp` names it\), or"
        ):
            open_listener(Listen("inet", host="127.0.0.1", port=port), SocketSettings())


# --- the directory of the socket belongs to the service's user, and the daemon is still root's ------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("root's alone")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_the_socket_is_made_with_its_mode(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def chmod(*_: object) -> None:
        raise AssertionError("a mode that is set afterwards is set too late")

    monkeypatch.setattr(os, "chmod", chmod)
    listener = open_listener(Listen("unix", path=f"{tmp_path}/socket"), SocketSettings(mode=mode))
    assert stat.S_IMODE(Path(tmp_path, "socket").stat().st_mode) == mode
    listener.shut()


@pytest.mark.parametrize("swap", ["symlink_to", "hardlink_to"])
def test_a_file_that_is_swapped_in_for_the_socket_keeps_its_mode_and_group(
    tmp_path: Path, secret: Path, swap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # chown does what it does
    home = tmp_path / "home"
    home.mkdir()
    umask, calls = os.umask, []

    def swapped(mask: int) -> int:
        calls.append(mask)
        if len(calls) == 2:  # right after bind
            (made,) = home.iterdir()
            made.unlink()
            getattr(made, swap)(secret)
        return umask(mask)

    before = secret.lstat()
    monkeypatch.setattr(os, "umask", swapped)
    with pytest.raises(ListenError, match="was replaced"):
        open_listener(Listen("unix", path=f"{home}/socket"), SocketSettings(mode=0o666, group="4711"))
    now = secret.lstat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(home.iterdir()) == []


def test_a_directory_that_is_swapped_for_a_link_gets_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "etc").mkdir()
    umask = os.umask

    def swapped(mask: int) -> int:
        if not (tmp_path / "run").is_symlink():  # right before bind
            (tmp_path / "run").rename(tmp_path / "moved")
            (tmp_path / "run").symlink_to("etc")
        return umask(mask)

    monkeypatch.setattr(os, "umask", swapped)
    listener = open_listener(Listen("unix", path=f"{tmp_path}/run/socket"), SocketSettings())
    assert list((tmp_path / "etc").iterdir()) == []
    listener.shut()
    assert list((tmp_path / "moved").iterdir()) == [tmp_path / "moved" / "socket"]  # not by a path that leads elsewhere


@pytest.mark.root
def test_the_services_user_gains_nothing_from_a_race_at_the_start(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with tempfile.TemporaryDirectory() as place:  # where another user gets to
        os.chmod(place, 0o711)
        home = Path(place, "home")
        home.mkdir()
        os.chown(home, 65534, -1)
        target = Path(place, "secret")
        secret.rename(target)
        attacker = os.fork()
        if attacker == 0:
            swap_for_ever(home, target)
        try:
            for _ in range(100):
                with suppress(ListenError):
                    open_listener(
                        Listen("unix", path=f"{home}/socket"), SocketSettings(mode=0o666, group="4711")
                    ).shut()
            status = target.lstat()
            assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 0, 0)
        finally:
            os.kill(attacker, signal.SIGKILL)
            os.waitpid(attacker, 0)


def swap_for_ever(home: Path, target: Path) -> NoReturn:
    """What the service's user would do: put a link in the place of whatever appears in its directory."""
    try:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.chdir(home)
        while True:
            for name in os.listdir("."):
                with suppress(OSError):
                    os.unlink(name)
                    os.symlink(target, name)
    finally:
        os._exit(1)
