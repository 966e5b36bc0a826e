"""A daemon that may have few files open: `ulimit -n 64`."""

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.milter_client import MilterClient, MilterClosedError, MilterTimeoutError

MESSAGE = b"From: a@x.example\n\nhello\n"
CLIENTS = 120


def daemon_that_ends_after(seconds: dict[str, float], tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "daemon.py"
    patience = "".join(f"room.{name} = {value}\n" for name, value in seconds.items())
    script.write_text(
        "import sys\nfrom mailnotary.cli import main\nfrom mailnotary.daemon import room\n"
        f"{patience}sys.exit(main(sys.argv[1:]))\n"
    )
    return sys.executable, str(script), "run"


def begin(daemon: Daemon) -> MilterClient:
    busy = MilterClient(daemon.address)
    busy.macros = {"j": "mx.rcpt.example"}
    busy.connect()
    busy.mail("<a@x.example>")
    busy.header("From", b" a@x.example")
    busy.flush()
    return busy


def end(busy: MilterClient) -> None:
    busy.eoh()
    assert busy.eom().verdict == "c"
    busy.close()


def is_open(client: MilterClient) -> bool:
    client.timeout = 1.0
    client.sock.settimeout(1.0)
    client.macros = {"j": "mx.rcpt.example"}
    try:
        client.connect()
        client.mail("<a@x.example>")
        client.header("From", b" a@x.example")
        client.eoh()
        return client.eom().verdict == "c"
    except MilterClosedError:
        return False


def test_the_idlest_sessions_make_room_for_others_and_no_more_of_them_than_that_takes(tmp_path: Path) -> None:
    command = daemon_that_ends_after({"LEAST_IDLE": 0.5}, tmp_path)
    with ExitStack() as stack, Daemon(tmp_path, command=command, workers=1, preface="ulimit -n 64;") as daemon:
        assert "limit=64" in daemon.wait_for("few files may be open")[0]
        (worker,) = daemon.workers()
        busy = begin(daemon)
        clients, slowest = [], 0.0
        for _ in range(CLIENTS):
            started = time.monotonic()
            clients.append(MilterClient(daemon.address, timeout=20))
            stack.callback(clients[-1].close)
            slowest = max(slowest, time.monotonic() - started)
        assert "limit=64" in daemon.wait_for("nearly all files are open")[0]
        assert slowest < 5
        end(busy)
        assert daemon.workers() == [worker]
        assert clients[0].sock.recv(1) == b""
        left = [number for number, client in enumerate(clients) if is_open(client)]
        assert len(left) > 20
        # No session outlives others that are much younger: those that began between two looks can't be told apart.
        assert CLIENTS - left[0] < 2 * len(left)


def test_whoever_connects_and_says_nothing_makes_room_too(tmp_path: Path) -> None:
    command = daemon_that_ends_after({"LEAST_IDLE": 0.5}, tmp_path)
    with ExitStack() as stack, Daemon(tmp_path, command=command, workers=1, preface="ulimit -n 64;") as daemon:
        for _ in range(CLIENTS):
            stack.callback(MilterClient(daemon.address, negotiate=False).close)
        with MilterClient(daemon.address, timeout=20) as client:
            assert client.send_message(MESSAGE).reply is None


def test_sessions_in_a_message_are_never_ended_and_new_ones_wait(tmp_path: Path) -> None:
    command = daemon_that_ends_after({"LEAST_IDLE": 0.2}, tmp_path)
    with ExitStack() as stack, Daemon(tmp_path, command=command, workers=1, preface="ulimit -n 64;") as daemon:
        busy: list[MilterClient] = []

        def fill() -> None:
            while len(busy) < CLIENTS:
                busy.append(begin(daemon))
                stack.callback(busy[-1].close)

        with pytest.raises(MilterTimeoutError):
            fill()
        assert len(busy) > 20
        with MilterClient(daemon.address, timeout=30, negotiate=False) as waiting:
            for client in busy:
                end(client)
            waiting.negotiate()
            assert waiting.send_message(MESSAGE).reply is None


def test_idle_sessions_that_cannot_be_told_from_others_are_ended_with_their_worker(tmp_path: Path) -> None:
    command = daemon_that_ends_after({"LEAST_IDLE": 1000.0, "LONG_IDLE": 4.0}, tmp_path)
    clients: list[MilterClient] = []

    def fill() -> None:
        while len(clients) < 100:
            clients.append(MilterClient(daemon.address, timeout=0.5))

    with Daemon(tmp_path, command=command, workers=1, stop_seconds=20, preface="ulimit -n 64;") as daemon:
        busy = begin(daemon)
        with pytest.raises(MilterTimeoutError):
            fill()
        assert len(clients) > 20
        daemon.wait_for("a new worker takes over")
        time.sleep(1.5)  # longer than one that has just become idle is waited for
        end(busy)
        with MilterClient(daemon.address, timeout=20) as client:
            assert client.send_message(MESSAGE).reply is None
        for client in clients:
            client.close()
        daemon.signal(signal.SIGTERM)
        assert daemon.process is not None
        assert daemon.process.wait(20) == 0
