"""The history of a real daemon: each message is there soon, and nothing that happens to it holds up mail."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, children
from support.dns_server import DnsServer
from support.mail import MESSAGE as MESSAGE_TO_SIGN
from support.mail import signed, zone
from support.milter_client import MilterClient

MESSAGE = b"From: alice@example.org\r\nSubject: x\r\n\r\nhi\r\n"


def daemon(directory: Path, **config: Any) -> Daemon:
    return Daemon(directory, state_dir=str(directory), history={"enabled": True}, **config)


def send(at: Daemon, queue_id: str) -> None:
    with MilterClient(at.address) as client:
        assert client.send_message(MESSAGE, queue_id=queue_id).reply is None


def history(at: Daemon, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "mailnotary", "history", "--json", "-c", str(at.file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return []
    found: list[dict[str, Any]] = json.loads(done.stdout)["messages"]
    return found


def wait_for(at: Daemon, count: int, seconds: float = 20) -> list[str]:
    deadline = time.monotonic() + seconds
    while len(found := history(at)) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return sorted(message["queue_id"] for message in found)


def recorder(at: Daemon) -> int:
    """The process of the recorder; 0 where there is none."""
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children(at.pid)}
    return next((pid for pid, name in names.items() if name == "mailnotary-hist"), 0)


def test_each_message_is_in_the_history_with_its_results(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        send(running, "FIRST")
        send(running, "SECOND")
        assert wait_for(running, 2) == ["FIRST", "SECOND"]
        newest, first = history(running)
        assert [newest["queue_id"], first["queue_id"]] == ["SECOND", "FIRST"]
        assert first["mail_from"] == "sender@example.org"
        assert first["dmarc"]["status"] == "temperror"
        assert history(running, "FIRST") == [first]
        assert history(running, "--result", "dmarc=fail") == []
    assert "subject" not in json.dumps(first).lower()


def test_what_was_handed_over_is_stored_when_the_daemon_stops(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        for number in range(20):
            send(running, f"Q{number:02}")
    assert len(history(running)) == 20


def test_a_recorder_that_is_killed_is_replaced_and_mail_goes_on(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        send(running, "BEFORE")
        assert wait_for(running, 1) == ["BEFORE"]
        first = recorder(running)
        os.kill(first, signal.SIGKILL)
        send(running, "DURING")
        running.wait_for("the recorder has ended; restarting it")
        assert wait_for(running, 2) == ["BEFORE", "DURING"]
        assert recorder(running) not in (0, first)


def test_a_recorder_that_stands_still_holds_up_no_mail_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    with daemon(tmp_path, workers=1) as running:
        send(running, "BEFORE")
        assert wait_for(running, 1) == ["BEFORE"]
        stopped = recorder(running)
        os.kill(stopped, signal.SIGSTOP)
        try:
            helo, sender = "h" * 250, "m" * 300 + "@" + ".".join(["d" * 60] * 4)
            with MilterClient(running.address) as client:
                for number in range(5000):  # more than the socket holds
                    outcome = client.send_message(MESSAGE, queue_id=f"Q{number}", helo=helo, mail_from=sender)
                    assert outcome.reply is None
        finally:
            os.kill(stopped, signal.SIGCONT)
        running.wait_for("messages are missing in the history")
        send(running, "AFTER")
        deadline = time.monotonic() + 30
        while not history(running, "AFTER") and time.monotonic() < deadline:
            time.sleep(0.3)
        assert history(running, "AFTER")


@pytest.mark.root
def test_a_full_disk_holds_up_no_mail(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=66m", "none", str(small)], check=True)
    try:
        with Daemon(
            tmp_path, state_dir=str(tmp_path), history={"enabled": True, "store": str(small / "h.db")}
        ) as running:
            send(running, "BEFORE")
            assert wait_for(running, 1) == ["BEFORE"]
            filler = small / "filler"
            filler.write_bytes(bytes(60 * 1024 * 1024))
            send(running, "DURING")
            running.wait_for("the history cannot be written; mail is not affected")
            filler.unlink()
            assert wait_for(running, 2) == ["BEFORE", "DURING"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.root
def test_a_read_only_file_system_holds_up_no_mail(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,ro", "none", str(small)], check=True)
    try:
        store = {"enabled": True, "store": str(small / "h.db")}
        with Daemon(tmp_path, state_dir=str(tmp_path), history=store) as running:
            send(running, "DURING")
            running.wait_for("the history cannot be written; mail is not affected")
            subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
            send(running, "AFTER")
            assert wait_for(running, 2) == ["AFTER", "DURING"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_recorder_that_is_killed_at_any_moment_leaves_a_sound_store(tmp_path: Path) -> None:
    with daemon(tmp_path, workers=1) as running:
        for turn in range(8):
            send(running, f"T{turn}")
            time.sleep(0.05 * turn)
            if pid := recorder(running):
                os.kill(pid, signal.SIGKILL)
        send(running, "LAST")
        deadline = time.monotonic() + 60
        while not history(running, "LAST") and time.monotonic() < deadline:
            time.sleep(0.3)
        found = [message["queue_id"] for message in history(running)]
    assert "LAST" in found
    assert len(found) == len(set(found))
    with sqlite3.connect(tmp_path / "history" / "history.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_reload_turns_the_history_on_and_off(tmp_path: Path) -> None:
    with Daemon(tmp_path, state_dir=str(tmp_path)) as running:
        assert recorder(running) == 0
        running.write_config(history={"enabled": True})
        running.reload()
        send(running, "ON")
        assert wait_for(running, 1) == ["ON"]
        running.write_config(history={"enabled": False})
        running.reload()
        send(running, "OFF")
        deadline = time.monotonic() + 10
        while recorder(running) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert recorder(running) == 0
        assert wait_for(running, 2, seconds=1) == ["ON"]


def test_a_replayed_signature_is_counted_told_and_tagged(tmp_path: Path) -> None:
    message = signed(MESSAGE_TO_SIGN)
    with DnsServer(zone()) as dns:
        at = Daemon(
            tmp_path,
            state_dir=str(tmp_path),
            dns={"nameservers": [dns.nameserver]},
            history={"enabled": True, "replay_networks": 3, "replay_tag": True},
        )
        with at:
            for network in range(5):
                assert "policy.replay" not in _authres(at, message, f"198.51.{network}.7")
                at.wait_for("message", count=network + 1)
            at.wait_for("a signature is replayed")
            os.kill(recorder(at), signal.SIGKILL)  # what is known stays known
            assert "policy.replay=yes" in _authres(at, message, "198.51.77.7")
            command = [sys.executable, "-m", "mailnotary", "history", "--replays", "--json", "-c", str(at.file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            [found] = json.loads(done.stdout)["replays"]
            assert found["networks"] > 3
            assert (found["domain"], found["selector"]) == ("example.org", "rsa")


def _authres(at: Daemon, message: bytes, client: str) -> str:
    with MilterClient(at.address) as mta:
        answer = mta.send_message(message, client_ip=client)
    return answer.headers("Authentication-Results")[0]
