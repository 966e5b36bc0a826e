"""A log on a disk that is slow, or frozen as for a snapshot: no message waits for it, and what is lost is told."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, shrink_pipe, wait_until_written
from support.milter_client import MilterClient

MESSAGE = b"From: a@x.example\nTo: b@rcpt.example\nSubject: x\n\nhello\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own. However this process ends, it is thawed and unmounted."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place]).returncode:
        pytest.skip("this container mounts no image")
    words = 'read _; fsfreeze --unfreeze "$0"; umount --lazy "$0"'
    guard = subprocess.Popen(
        ["sh", "-c", words, place], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield place
    finally:
        guard.communicate()


def send(address: str, count: int) -> None:
    with MilterClient(address) as client:
        for _ in range(count):
            assert client.send_message(MESSAGE).reply is None


def wait_until_told(log: Path, count: int, seconds: float = 20.0) -> list[int]:
    """Waits until each of so many messages is in the log or in a count of what was lost. No line has to follow. Gives
    those counts."""
    deadline = time.monotonic() + seconds
    while True:
        text = log.read_text()
        lost = [int(number) for number in re.findall(r"log lines lost count=(\d+)", text)]
        if text.count(" message ") + sum(lost) == count:
            return lost
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


@pytest.mark.root
def test_a_log_on_a_frozen_disk_holds_up_neither_mail_nor_the_end(tmp_path: Path, disk: Path) -> None:
    log = disk / "log"
    with Daemon(tmp_path, stderr=str(log)) as daemon:
        (pump,) = daemon.log_pump()
        send(daemon.address, 1)
        wait_until_written(pump)
        shrink_pipe(pump)
        subprocess.run(["fsfreeze", "--freeze", disk], check=True)
        send(daemon.address, 200)
        assert log.read_text().count(" message ") == 1
        subprocess.run(["fsfreeze", "--unfreeze", disk], check=True)
        assert sum(wait_until_told(log, 201)) > 100
        subprocess.run(["fsfreeze", "--freeze", disk], check=True)
        send(daemon.address, 1)
        assert daemon.stop() == 0


def test_a_log_whose_writer_stands_still_costs_counted_lines_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        (pump,) = daemon.log_pump()
        shrink_pipe(pump)
        os.kill(pump, signal.SIGSTOP)
        send(daemon.address, 200)
        os.kill(pump, signal.SIGCONT)
        assert sum(wait_until_told(daemon.log, 200)) > 100


def test_a_short_stall_of_the_disk_costs_no_line(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        (pump,) = daemon.log_pump()
        os.kill(pump, signal.SIGSTOP)
        send(daemon.address, 500)  # more than 64 KiB of lines
        os.kill(pump, signal.SIGCONT)
        assert not wait_until_told(daemon.log, 500)
