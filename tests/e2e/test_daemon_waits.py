"""Sessions that wait for DNS, and others that are ready beside them."""

import os
import resource
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from mailnotary.daemon import waker
from mailnotary.daemon.descriptors import Sessions
from support.daemon import Daemon, free_port
from support.dns_server import DnsServer
from support.mail import GOOD_IP, MESSAGE, signed, zone
from support.milter_client import MilterClient

SENDER: dict[str, Any] = {"client_ip": GOOD_IP, "helo": "mail.example.org", "mail_from": "alice@example.org"}


@pytest.mark.parametrize(("workers", "sessions", "messages"), [(2, 10, 30), (1, 20, 3)])
def test_no_session_waits_for_the_dns_of_another(tmp_path: Path, workers: int, sessions: int, messages: int) -> None:
    """libmilter may leave several sessions that are ready to one idle thread, which takes them one after the other. A
    session that waited for another here, where nobody gets an answer before all have asked, would wait for ever."""
    all_have_asked = threading.Barrier(sessions)
    message = signed(MESSAGE)

    def hold(name: str) -> None:
        if name.endswith(".sender.example"):
            with suppress(threading.BrokenBarrierError):
                all_have_asked.wait(60)

    def send(address: str, session: int) -> None:
        with MilterClient(address, timeout=120) as client:
            for number in range(messages):
                sender = SENDER | {"mail_from": f"a@s{session}-{number}.sender.example"}
                client.send_message(message, **sender)

    with DnsServer(zone()) as dns:
        dns.faults.hold = hold
        options = {"nameservers": [dns.nameserver], "timeout": 60, "cache_entries": 1}
        limits = {"spf_seconds": 60, "message_seconds": 60}
        with Daemon(tmp_path, mode="verify", workers=workers, dns=options, limits=limits) as daemon:
            senders = [threading.Thread(target=send, args=(daemon.address, session)) for session in range(sessions)]
            for one in senders:
                one.start()
            for one in senders:
                one.join()
            assert not all_have_asked.broken, "some have waited for others"
            assert len(daemon.wait_for(" message ", count=sessions * messages)) == sessions * messages


@pytest.mark.parametrize("listen", ["unix:{directory}/socket", "inet:{port}@127.0.0.1", "inet6:{port}@[::1]"])
def test_the_first_session_of_a_worker_is_its_own(tmp_path: Path, listen: str) -> None:
    with Daemon(tmp_path, workers=1, listen=listen.format(directory=tmp_path, port=free_port())) as daemon:
        started = time.monotonic()
        with MilterClient(daemon.address) as client:
            assert client.send_message(MESSAGE, **SENDER)
        assert time.monotonic() - started < 4, "libmilter looks by itself every five seconds at what it listens on"
        assert "may have to wait" not in daemon.text()
    assert list(tmp_path.glob("mailnotary-*")) == []


def test_without_a_session_of_its_own_a_worker_serves_and_says_so(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from mailnotary.cli import main\n"
        "from mailnotary.daemon import waker\n"
        "def refuse(*_): raise PermissionError('not allowed here')\n"
        "waker._private_listener = refuse\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    script = tmp_path / "daemon.py"
    script.write_text(program)
    with Daemon(tmp_path, command=(sys.executable, str(script), "run"), workers=1) as daemon:
        with MilterClient(daemon.address) as client:
            assert client.send_message(MESSAGE, **SENDER)
        assert daemon.wait_for('other mail error="not allowed here"')


def test_a_stranger_at_the_private_listener_is_shut_out() -> None:
    with waker._private_listener(socket.AF_INET) as private:
        ours, stranger = (socket.create_connection(private.getsockname(), 5) for _ in range(2))
        taken, intruder = (private.accept()[0] for _ in range(2))
        with ours, stranger, taken, intruder:
            stranger.sendall(b"an event")
            waker._shut_out_strangers(private, ours)
            ours.sendall(b"x")
            assert taken.recv(1) == b"x"
            assert stranger.recv(1) == b""
            with pytest.raises(BrokenPipeError):
                intruder.sendall(b"an answer")


def test_what_is_unread_is_found_although_no_more_files_can_be_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as mta, ExitStack() as rest:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        mta.connect(str(tmp_path / "socket"))
        session, _ = listener.accept()
        rest.enter_context(session)
        mta.sendall(b"half a packet")
        looking = waker.Waker()
        looking._sessions = Sessions(listener)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
        try:
            with suppress(OSError):
                while True:
                    rest.enter_context(open(os.devnull))
            assert looking._unread() == {session.fileno(): 13}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
