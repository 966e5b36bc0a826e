"""A daemon that may have few files open."""

import signal
import sys
import time
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.milter_client import MilterClient, MilterTimeoutError

MESSAGE = b"From: a@x.example\n\nhello\n"


def test_idle_sessions_make_room_for_others_and_messages_are_served(tmp_path: Path) -> None:
    script = tmp_path / "daemon.py"
    script.write_text(
        "import sys\n"
        "from mailnotary.cli import main\n"
        "from mailnotary.daemon import worker\n"
        "worker.LONG_IDLE = 4.0\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = (sys.executable, str(script), "run")
    clients: list[MilterClient] = []

    def fill() -> None:
        while len(clients) < 100:
            clients.append(MilterClient(daemon.address, timeout=0.5))

    with Daemon(tmp_path, command=command, workers=1, stop_seconds=20, preface="ulimit -n 64;") as daemon:
        assert "limit=64" in daemon.wait_for("few files may be open")[0]
        busy = MilterClient(daemon.address)
        busy.macros = {"j": "mx.rcpt.example"}
        busy.connect()
        busy.mail("<a@x.example>")
        busy.header("From", b" a@x.example")
        busy.flush()
        with pytest.raises(MilterTimeoutError):
            fill()
        assert len(clients) > 20
        daemon.wait_for("nearly all files are open")
        daemon.wait_for("ending the idle sessions")
        time.sleep(1.5)  # longer than one that has just become idle is waited for
        busy.eoh()
        assert busy.eom().verdict == "c"
        busy.close()
        with MilterClient(daemon.address, timeout=20) as client:
            assert client.send_message(MESSAGE).reply is None
        for client in clients:
            client.close()
        daemon.signal(signal.SIGTERM)
        assert daemon.process is not None
        assert daemon.process.wait(20) == 0
