"""From the command line to the supervisor."""

import os
import pwd
import signal
import socket
import stat
import syslog
import threading
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

import mailnotary
from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import Configuration
from mailnotary.config.settings import Settings, SocketSettings
from mailnotary.daemon import privileges, worker
from mailnotary.daemon.start import _never_wait_for_logs, _overridden


@pytest.mark.parametrize(
    ("listen", "peers", "warned"),
    [
        (None, (), False),
        ("inet:8891@127.0.0.1", (), False),
        ("inet:8891@0.0.0.0", (), True),
        ("inet:8891@0.0.0.0", (ip_network("172.16.0.0/12"),), False),
    ],
)
def test_the_command_lines_socket_goes_before_the_files_and_is_warned_of_where_strangers_reach_it(
    listen: str | None, peers: tuple[()], warned: bool
) -> None:
    configuration = Configuration(Settings(socket=SocketSettings(peers=peers)), KeyStore())
    found = _overridden(configuration, listen)
    assert found.settings.listen == (listen or Settings().listen)
    assert [str(warning).partition(" can be")[0] for warning in found.warnings] == [f"--listen: {listen}"] * warned


@pytest.mark.root
def test_a_program_that_the_daemons_user_can_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "opt" / "__init__.py"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr(mailnotary, "__file__", str(program))
    assert privileges.out_of_reach() == ""
    tmp_path.chmod(0o700)
    closed = next(str(way) for way in reversed(program.parents) if not way.stat().st_mode & stat.S_IXOTH)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        text = privileges.out_of_reach()
    finally:
        os.seteuid(0)
    assert text.startswith(f"{program} can't be read by the user nobody: ")
    assert text.endswith(f": let that user enter the directory {closed}")


def test_neither_libmilters_syslog_nor_a_terminal_makes_the_daemon_wait() -> None:
    child = os.fork()
    if child == 0:
        try:
            _never_wait_for_logs()
            silent = syslog.setlogmask(syslog.LOG_UPTO(syslog.LOG_DEBUG)) == syslog.LOG_MASK(syslog.LOG_EMERG)
            ignored = signal.getsignal(signal.SIGTTOU) is signal.SIG_IGN
            os._exit(0 if silent and ignored else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_hosts_name_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mx")
    monkeypatch.setattr(socket, "getfqdn", lambda name: f"{name}.example.org")
    assert worker._hostname() == "mx.example.org"
    monkeypatch.setattr(worker, "HOSTNAME_SECONDS", 0.05)
    over = threading.Event()
    monkeypatch.setattr(socket, "getfqdn", lambda _: over.wait(60))
    began = time.monotonic()
    assert worker._hostname() == "mx"
    assert time.monotonic() - began < 30
    over.set()
