"""What systemd is told, and that its absence is nobody's trouble."""

import os
import socket
from pathlib import Path

import pytest

from mailnotary.daemon.notify import Notifier


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready("x")
    notifier.watchdog()
    assert notifier.watchdog_interval is None


@pytest.mark.parametrize("address", ["/nowhere/notify", "relative", "@mailnotary-test-nobody", "x" * 500])
def test_a_socket_that_does_not_answer_is_ignored(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready("x")


def test_messages_are_those_of_sd_notify(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.ready("serving")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=serving"
        notifier.watchdog()
        assert systemd.recv(1000) == b"WATCHDOG=1"


def test_a_systemd_that_does_not_read_does_not_hold_us_up(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        for _ in range(10_000):
            notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], interval: float | None) -> None:
    assert Notifier(environ).watchdog_interval == interval
