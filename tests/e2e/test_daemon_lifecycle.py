"""The daemon's start, its socket, its end, as an admin and an MTA see them."""

import errno
import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.daemon import FAULTY, Daemon, children, free_port, may_filter, name_of
from support.milter_client import ALL_PROTOCOL, P_NR_HDR, MilterClient, MilterClosedError, open_socket

MESSAGE = b"From: a@x.example\nTo: b@rcpt.example\nSubject: x\n\nhello\n"


def served(address: str) -> bool:
    with MilterClient(address) as client:
        return client.send_message(MESSAGE).reply is None


def failed_start(daemon: Daemon) -> str:
    """The text of a start that does not come about: exit status 1, and no traceback."""
    daemon.start(ready=False)
    assert daemon.process is not None
    assert daemon.process.wait(20) == 1
    assert "Traceback" not in daemon.text()
    return daemon.text()


# --- the socket -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["0660", "0600", "0666"])
def test_a_unix_socket_has_the_configured_mode_and_group_and_goes_with_the_daemon(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "milter.sock"
    config = {"mode": mode} | ({"group": "mail"} if os.geteuid() == 0 else {})
    with Daemon(tmp_path, listen=f"unix:{path}", socket=config) as daemon:
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == int(mode, 8)
        if os.geteuid() == 0:
            assert status.st_gid == 8
        assert served(daemon.address)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mailnotary.yaml", "stderr.log"]


def test_a_unix_socket_never_has_a_wrong_mode_at_its_name(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):
                seen.add(path.stat().st_mode)

    watcher = threading.Thread(target=watch)
    watcher.start()
    old = os.umask(0)
    try:
        for _ in range(3):
            with Daemon(tmp_path, listen=f"unix:{path}", socket={"mode": "0600"}):
                pass
    finally:
        os.umask(old)
        done.set()
        watcher.join()
    assert {stat.S_IMODE(mode) for mode in seen} == {0o600}


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    daemon = Daemon(tmp_path, listen=f"unix:{path}").start()
    daemon.kill()
    assert path.exists()
    with Daemon(tmp_path, listen=f"unix:{path}") as second:
        assert served(second.address)


@pytest.mark.root
def test_peers_alone_are_served(tmp_path: Path) -> None:
    if not may_filter():
        assert "lets only root filter" in failed_start(Daemon(tmp_path, socket={"peers": ["127.0.0.1"]}))
        return
    with Daemon(tmp_path, socket={"peers": ["127.0.0.1"]}) as daemon:
        assert served(daemon.address)
        port = int(daemon.address.removeprefix("inet:").partition("@")[0])
        with socket.socket() as stranger:
            stranger.settimeout(0.5)
            stranger.bind(("127.0.0.2", 0))
            with pytest.raises(TimeoutError):
                stranger.connect(("127.0.0.1", port))
        daemon.reload(socket={"peers": ["127.0.0.1", "127.0.0.2"]})
        assert daemon.lines("a changed setting needs a restart")


def test_a_second_instance_on_the_same_unix_socket_is_refused_and_does_the_first_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    with Daemon(tmp_path, listen=f"unix:{path}") as first:
        directory = tmp_path / "second"
        directory.mkdir()
        text = failed_start(Daemon(directory, listen=f"unix:{path}"))
        assert "another instance is running there" in text
        assert served(first.address)


def test_of_many_instances_that_start_at_once_one_serves(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    daemons = []
    for number in range(4):
        directory = tmp_path / str(number)
        directory.mkdir()
        daemons.append(Daemon(directory, listen=f"unix:{path}", workers=1).start(ready=False))
    try:
        deadline = time.monotonic() + 30
        while sum(d.process is not None and d.process.poll() is None for d in daemons) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (running,) = [d for d in daemons if d.process is not None and d.process.poll() is None]
        running.wait_for(" ready ")
        assert served(f"unix:{path}")
    finally:
        for daemon in daemons:
            daemon.stop()


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    path.write_text("precious")
    assert "exists but is not a socket" in failed_start(Daemon(tmp_path, listen=f"unix:{path}"))
    assert path.read_text() == "precious"


def test_a_socket_that_another_instance_has_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    with Daemon(tmp_path, listen=f"unix:{path}"):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


def test_a_second_instance_on_the_same_port_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as first:
        directory = tmp_path / "second"
        directory.mkdir()
        text = failed_start(Daemon(directory, listen=first.address))
        assert os.strerror(errno.EADDRINUSE) in text
        assert served(first.address)


def test_ipv6_is_served(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Daemon(tmp_path, listen=f"inet6:{free_port()}@::1") as daemon:
        assert served(daemon.address)


def test_postfix_s_way_to_write_the_address_is_understood(tmp_path: Path) -> None:
    with Daemon(tmp_path, listen=f"inet:127.0.0.1:{free_port()}") as daemon:
        assert served(daemon.address)


def test_listen_on_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    address = f"inet:{free_port()}@127.0.0.1"
    with Daemon(tmp_path, arguments=("--listen", address)) as daemon:
        assert served(address)
        with pytest.raises(ConnectionRefusedError):
            open_socket(daemon.address)
        daemon.reload()
        assert served(address)
        assert not daemon.lines("needs a restart")


# --- starts that do not come about ----------------------------------------------------------------------------------


def test_a_faulty_configuration_stops_the_start_with_every_fault_and_its_place(tmp_path: Path) -> None:
    text = failed_start(Daemon(tmp_path, wrokers=2, log={"level": "loud"}))
    assert f"{tmp_path}/mailnotary.yaml:" in text
    assert "wrokers" in text
    assert "loud" in text


def test_a_configuration_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.file.unlink()
    assert "mailnotary.yaml" in failed_start(daemon)


def test_a_faulty_keystore_stops_the_start_and_leaves_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    keystore = {"domains": {"x.example": {"keys": [{"selector": "s", "fiel": "missing.pem"}]}}}
    text = failed_start(Daemon(tmp_path, listen=f"unix:{path}", keystore=keystore))
    assert "keystore.yaml:" in text
    assert "'fiel'" in text
    assert not path.exists()


def test_a_wrong_listen_on_the_command_line_is_explained(tmp_path: Path) -> None:
    assert "--listen" in failed_start(Daemon(tmp_path, arguments=("--listen", "tcp:1")))


def test_a_directory_that_is_not_there_is_explained(tmp_path: Path) -> None:
    text = failed_start(Daemon(tmp_path, listen=f"unix:{tmp_path}/nowhere/milter.sock"))
    assert f"there is no directory {tmp_path}/nowhere" in text


@pytest.mark.root
def test_a_user_that_is_not_there_is_explained(tmp_path: Path) -> None:
    assert "no user 'nobody-at-all'" in failed_start(Daemon(tmp_path, user="nobody-at-all"))


@pytest.mark.root
def test_a_socket_group_that_is_not_there_is_explained(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/milter.sock"
    text = failed_start(Daemon(tmp_path, listen=listen, socket={"group": "no-such-group"}))
    assert "no group 'no-such-group'" in text


# --- privileges ---------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_root_is_dropped_for_good_in_all_processes_with_its_groups(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for directory in list(tmp_path.parents)[:3]:
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    with Daemon(tmp_path, user="nobody", listen=f"unix:{tmp_path}/milter.sock", socket={"mode": "0666"}) as daemon:
        for pid in (daemon.pid, *daemon.workers()):
            status = Path(f"/proc/{pid}/status").read_text()
            fields = dict(line.split(":", 1) for line in status.splitlines())
            assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4
            assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4
            assert fields["Groups"].split() == [str(nobody.pw_gid)]
        assert served(daemon.address)
        daemon.reload()
        assert served(daemon.address)


@pytest.mark.root
def test_what_only_root_may_read_is_refused_at_the_start_not_at_the_first_reload(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for directory in list(tmp_path.parents)[:3]:
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    daemon = Daemon(tmp_path, user="nobody")
    daemon.file.chmod(0o600)
    text = failed_start(daemon)
    refused = f"{daemon.file}: can't be read by the user nobody: {os.strerror(errno.EACCES)}"
    assert refused in text or "a reload will fail" in text


# --- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    with Daemon(tmp_path) as daemon:
        workers = daemon.workers()
        daemon.signal(number)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        with pytest.raises(ConnectionRefusedError):
            open_socket(daemon.address)


def refused(address: str) -> bool:
    """Whether nobody listens there; a connection that is made is closed."""
    try:
        open_socket(address).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("busy", [False, True])
def test_a_session_under_way_is_served_to_its_end_and_nobody_else(tmp_path: Path, *, busy: bool) -> None:
    """`busy`: where the workers hear of the end long after it."""
    answered = ALL_PROTOCOL & ~P_NR_HDR  # so that each is known to be under way
    with Daemon(tmp_path, stop_seconds=20) as daemon:
        clients = [MilterClient(daemon.address, protocol=answered) for _ in range(4)]
        for client in clients:
            client.macros = {"j": "mx.rcpt.example"}
            client.connect()
            client.helo("client.example")
            client.mail("<a@x.example>")
            client.header("From", b" a@x.example")
        workers = daemon.workers() if busy else []
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for(" stopping ")
        if busy:
            time.sleep(1)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while not refused(daemon.address):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for client in clients:
            client.eoh()
            client.body(b"hello\r\n")
            assert client.eom().verdict == "c"
            assert client.modifications.steps
            client.greeted = True
            assert client.send_message(MESSAGE).reply is None  # and the next of the same SMTP session
            client.quit()
            client.close()
        assert daemon.process is not None
        assert daemon.process.wait(20) == 0


def test_a_session_that_does_not_end_is_waited_for_no_longer_than_configured(tmp_path: Path) -> None:
    with Daemon(tmp_path, stop_seconds=1) as daemon:
        client = MilterClient(daemon.address)
        client.connect()
        client.mail("<a@x.example>")
        client.flush()
        time.sleep(0.2)
        daemon.signal(signal.SIGTERM)
        with pytest.raises(MilterClosedError):
            client.read_packet()
        client.close()
        assert daemon.process is not None
        assert daemon.process.wait(5) == 0
        daemon.wait_for("messages=1")


def test_a_session_between_messages_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Daemon(tmp_path, stop_seconds=30) as daemon:
        clients = [MilterClient(daemon.address) for _ in range(4)]
        for client in clients[:2]:
            assert client.send_message(MESSAGE).reply is None
        clients[2].connect()
        started = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.process is not None
        assert daemon.process.wait(20) == 0
        assert time.monotonic() - started < 10
        for client in clients:
            client.close()
        assert "under way" not in daemon.text()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, stop_seconds=60) as daemon, MilterClient(daemon.address) as client:
        assert client.send_message(MESSAGE).reply is None
        daemon.signal(signal.SIGTERM)
        daemon.wait_for(" stopping ")
        time.sleep(0.5)
        daemon.signal(signal.SIGTERM)
        assert daemon.process is not None
        assert daemon.process.wait(5) == 0


def test_a_control_c_in_the_terminal_reaches_the_workers_too_and_still_drains(tmp_path: Path) -> None:
    with Daemon(tmp_path, stop_seconds=20) as daemon, MilterClient(daemon.address) as client:
        assert client.send_message(MESSAGE).reply is None
        for pid in (*daemon.workers(), daemon.pid):
            os.kill(pid, signal.SIGINT)
        daemon.wait_for(" stopping ")
        assert client.send_message(MESSAGE).reply is None


def test_a_worker_that_gets_sigterm_drains_and_is_replaced(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1, stop_seconds=20) as daemon:
        (old,) = daemon.workers()
        with MilterClient(daemon.address) as client:
            assert client.send_message(MESSAGE).reply is None
            os.kill(old, signal.SIGHUP)  # means nothing to a worker
            os.kill(old, signal.SIGTERM)
            time.sleep(0.3)
            assert client.send_message(MESSAGE).reply is None
        daemon.wait_for_workers(1, without=[old])
        assert served(daemon.address)


def test_workers_end_when_their_supervisor_has_gone(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, stop_seconds=1).start()
    workers = daemon.workers()
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.root
def test_it_is_a_good_process_1(tmp_path: Path) -> None:
    """In a container: signals work, and children that others left behind are buried."""
    command = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *FAULTY)
    with Daemon(tmp_path, command=command) as daemon:
        (init,) = daemon.workers()  # unshare's child
        workers = [pid for pid in children(init) if name_of(pid) != "mailnotary-log"]
        assert len(workers) == 2
        enter = ["nsenter", "-t", str(init), "-p", "sh", "-c", "sleep 0.2 & exit"]
        subprocess.run(enter, check=True)
        time.sleep(1.5)
        assert len(Path(f"/proc/{init}/task/{init}/children").read_text().split()) == 3  # and the log's writer
        assert served(daemon.address)
        os.kill(init, signal.SIGTERM)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0


# --- systemd -----------------------------------------------------------------------------------------------------


class SystemdStub:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(15)

    def next(self, *, without: str = "WATCHDOG=1") -> dict[str, str]:
        while True:
            text = self.socket.recv(4096).decode()
            if text != without:
                return dict(line.split("=", 1) for line in text.splitlines())

    def wait_for(self, text: str) -> None:
        while text not in self.socket.recv(4096).decode():
            pass


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_of_the_start_each_reload_and_the_end(tmp_path: Path, abstract: bool) -> None:
    name = f"{tmp_path}/notify"
    systemd = SystemdStub("\0" + name if abstract else name)
    with Daemon(tmp_path, env={"NOTIFY_SOCKET": "@" + name if abstract else name}) as daemon:
        first = systemd.next()
        assert first["READY"] == "1"
        assert daemon.address in first["STATUS"]
        before = time.monotonic_ns() // 1000
        daemon.reload()
        reloading = systemd.next()
        assert reloading["RELOADING"] == "1"
        assert before < int(reloading["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
        assert systemd.next()["READY"] == "1"
        daemon.reload(good=False, nonsense=1)
        assert systemd.next()["RELOADING"] == "1"
        again = systemd.next()
        assert again["READY"] == "1"
        assert "faulty" in again["STATUS"]
        del daemon.config["nonsense"]
        daemon.write_keystore({"domains": {"x.example": {"keys": [{"selector": "s", "file": "missing.pem"}]}}})
        daemon.reload()
        assert systemd.next()["RELOADING"] == "1"
        assert "mail of x.example waits" in systemd.next()["STATUS"]
        daemon.signal(signal.SIGTERM)
        stopping = systemd.next()
        assert stopping["STOPPING"] == "1"
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > daemon.config["stop_seconds"] * 1e6
    systemd.socket.close()


def test_systemd_s_watchdog_is_fed(tmp_path: Path) -> None:
    systemd = SystemdStub(f"{tmp_path}/notify")
    with Daemon(tmp_path, env={"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "400000"}):
        started = time.monotonic()
        for _ in range(5):
            systemd.wait_for("WATCHDOG=1")
        assert time.monotonic() - started < 5 * 0.4 + 5
    systemd.socket.close()


def test_python_is_told_nothing_on_standard_output(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    process = subprocess.Popen([*FAULTY, "-c", str(daemon.file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b" ready " not in (line := process.stderr.readline()):
        assert line
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert out == b""
