"""From the command line to the supervisor."""

import os
import signal
import socket
import syslog
import threading
import time
from ipaddress import ip_network

import pytest

from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import Configuration
from mailnotary.config.settings import Settings, SocketSettings
from mailnotary.daemon import worker
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
