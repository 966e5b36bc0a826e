"""What goes wrong in a year: each ends in a temporary failure at worst, and the next message is served."""

import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.daemon import COMMAND, FAULTY, Daemon, descriptors, is_alive, open_files, resident_kib, shrink_pipe
from support.dns_server import DnsServer
from support.milter_client import MilterClient, MilterClosedError, MilterTimeoutError, Outcome

MESSAGE = b"From: a@x.example\nTo: b@rcpt.example\nSubject: x\n\nhello\n"
ZONE = {"x.example": [{"TXT": "v=spf1 ip4:192.0.2.10 -all"}]}


def served(address: str, message: bytes = MESSAGE) -> Outcome:
    with MilterClient(address) as client:
        return client.send_message(message)


def send_with_retries(address: str, seconds: float = 30.0) -> tuple[Outcome, int]:
    """One message as an MTA sends it that tries again when the filter's connection breaks: what comes of it at last,
    and how many tries broke."""
    deadline = time.monotonic() + seconds
    broken = 0
    while True:
        try:
            return served(address), broken
        except (MilterClosedError, OSError):
            assert time.monotonic() < deadline
            broken += 1
            time.sleep(0.01)


# --- workers ----------------------------------------------------------------------------------------------------


def test_workers_killed_under_load_are_replaced_and_every_message_is_served_in_the_end(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        done = threading.Event()
        outcomes: list[Outcome] = []
        broken = [0]

        def send() -> None:
            while not done.is_set():
                outcome, failures = send_with_retries(daemon.address)
                outcomes.append(outcome)
                broken[0] += failures

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            victim = daemon.wait_for_workers(2)[0]
            os.kill(victim, signal.SIGKILL)
            daemon.wait_for_workers(2, without=[victim])
            time.sleep(0.2)
        done.set()
        for thread in threads:
            thread.join()
        assert len(outcomes) > 20
        assert all(outcome.reply is None and outcome.inserted for outcome in outcomes)
        assert len(daemon.wait_for("a worker has ended and will be replaced", count=5)) == 5
        assert "signal=SIGKILL" in daemon.lines("a worker has ended")[0]


def test_a_worker_that_is_killed_by_an_unusual_signal_is_replaced(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        victim = daemon.workers()[0]
        os.kill(victim, signal.SIGRTMIN + 5)
        daemon.wait_for_workers(2, without=[victim])
        assert served(daemon.address).reply is None


def test_a_worker_that_stands_still_is_killed_and_replaced(tmp_path: Path) -> None:
    with Daemon(tmp_path, command=FAULTY, env={"STALE": "2"}) as daemon:
        victim = daemon.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        daemon.wait_for("sends no heartbeat", seconds=30)
        daemon.wait_for_workers(2, without=[victim])
        for _ in range(4):
            assert served(daemon.address).reply is None


@pytest.mark.parametrize("fault", ["stuck", "spin"])
def test_a_worker_with_a_message_that_never_ends_is_replaced(tmp_path: Path, fault: str) -> None:
    env = {"STALE": "2", "MARGIN": "1", "FAULT": fault}
    limits = {"message_seconds": 1, "spf_seconds": 1}
    with Daemon(tmp_path, command=FAULTY, env=env, workers=1, limits=limits) as daemon:
        (victim,) = daemon.workers()
        with MilterClient(daemon.address, timeout=30) as client, pytest.raises(MilterClosedError):
            client.send_message(b"X-Stuck: yes\n" + MESSAGE)
        daemon.wait_for_workers(1, without=[victim])
        assert served(daemon.address).reply is None
        if fault == "stuck":
            assert "faulty_daemon" not in daemon.text() or "end:" in daemon.lines("a message is stuck")[0]


def test_healthy_workers_are_not_killed_when_the_whole_daemon_was_stopped_for_a_while(tmp_path: Path) -> None:
    with Daemon(tmp_path, command=FAULTY, env={"STALE": "2"}) as daemon:
        workers = daemon.workers()
        everybody = (daemon.pid, *workers)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1)
        assert daemon.workers() == workers
        assert served(daemon.address).reply is None


def test_workers_that_die_at_birth_are_not_started_in_a_circle(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1) as daemon:
        for count in range(1, 6):
            (pid,) = daemon.wait_for_workers(1)
            os.kill(pid, signal.SIGKILL)
            lines = daemon.wait_for("a worker has ended", count=count)
        delays = [float(line.rpartition("next_in=")[2]) for line in lines]
        assert delays == sorted(delays)
        assert delays[-1] > 1
        assert send_with_retries(daemon.address)[0].reply is None


# --- defects of ours -----------------------------------------------------------------------------------------------

EVENTS = ["connect", "helo", "mail_from", "header", "end_of_headers", "body", "end_of_message"]


@pytest.mark.parametrize("method", EVENTS)
@pytest.mark.parametrize("reject_at_mail", [False, True])
def test_a_defect_ends_in_a_temporary_failure_and_no_event_hangs(
    tmp_path: Path, method: str, reject_at_mail: bool
) -> None:
    spf = {"fail": "reject"} if reject_at_mail else {}
    with Daemon(tmp_path, command=FAULTY, env={"FAULT": f"defect-{method}"}, workers=1, spf=spf) as daemon:
        workers = daemon.workers()
        with MilterClient(daemon.address) as client:
            replies = [client.send_message(MESSAGE).reply for _ in range(2)]
        refused = [reply is not None and reply.code == 451 for reply in replies]
        assert refused == [True, True]
        (line, *_) = daemon.lines("defect while handling an event")
        assert "\x1b" not in line
        assert not [text for text in daemon.text().splitlines() if text.startswith("injected")]
        assert daemon.workers() == workers


def test_on_internal_error_accept_lets_foreign_mail_pass_and_own_mail_wait(tmp_path: Path) -> None:
    env = {"FAULT": "defect-body"}
    key = {"domains": {"x.example": {"keys": [{"selector": "s", "file": "key.pem"}]}}}
    _write_key(tmp_path / "key.pem")
    with Daemon(tmp_path, command=FAULTY, env=env, on_internal_error="accept", keystore=key) as daemon:
        assert served(daemon.address).reply is None
        with MilterClient(daemon.address) as client:
            outcome = client.send_message(MESSAGE, client_ip="127.0.0.1")
        assert outcome.reply is not None
        assert outcome.reply.code == 451


def test_a_defect_in_the_answer_to_a_defect_is_a_temporary_failure_too(tmp_path: Path) -> None:
    env = {"FAULT": "defect-end_of_message,internal_error,broken"}
    with Daemon(tmp_path, command=FAULTY, env=env, on_internal_error="accept") as daemon:
        outcome = served(daemon.address)
        assert outcome.reply is not None
        assert outcome.reply.code == 451


def _write_key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)


# --- DNS ------------------------------------------------------------------------------------------------------------


def test_dns_that_goes_and_comes_back(tmp_path: Path) -> None:
    server = DnsServer(ZONE)
    with server:
        port = server.port
        dns = {"nameservers": [f"127.0.0.1:{port}"], "timeout": 1, "cache_entries": 0}
        with Daemon(tmp_path, dns=dns, limits={"message_seconds": 3, "spf_seconds": 2}) as daemon:

            def spf() -> str:
                with MilterClient(daemon.address) as client:
                    outcome = client.send_message(MESSAGE, mail_from="a@x.example")
                assert outcome.reply is None
                return outcome.headers("Authentication-Results")[0]

            assert "spf=pass" in spf()
            server.faults.drop = 1_000_000
            assert "spf=temperror" in spf()
            server.faults.drop = 0
            deadline = time.monotonic() + 30
            while "spf=pass" not in spf():
                assert time.monotonic() < deadline
                time.sleep(0.2)


# --- the log --------------------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_log_costs_its_lines_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path, stderr="/dev/full") as daemon:
        workers = daemon.wait_for_workers(2)
        for _ in range(5):
            assert served(daemon.address).reply is None
        daemon.signal(signal.SIGHUP)
        time.sleep(0.5)
        assert served(daemon.address).reply is None
        assert daemon.workers() == workers


def test_a_closed_standard_error_costs_the_log_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path, stderr="/dev/null", preface="exec 2>&-;") as daemon:
        for _ in range(5):
            assert served(daemon.address).reply is None


@pytest.mark.parametrize("kind", ["pipe", "pipe of another user", "socket"])
def test_a_log_that_nobody_reads_never_holds_up_mail(tmp_path: Path, kind: str) -> None:
    command: Sequence[str] = COMMAND
    if kind == "socket":
        ends = socket.socketpair()
        reader, writer = ends[0].detach(), ends[1].detach()
    else:
        reader, writer = os.pipe()
    if kind == "pipe of another user":
        command = closed_to_us(writer)
    try:
        with Daemon(tmp_path, stderr=writer, command=command) as daemon, MilterClient(daemon.address) as client:
            assert len(daemon.log_pump()) == (kind == "pipe of another user")
            for pump in daemon.log_pump():
                shrink_pipe(pump)
            for _ in range(1200):  # some 300 KiB of log lines, and nobody takes them
                assert client.send_message(MESSAGE).reply is None
            daemon.signal(signal.SIGHUP)  # nor is there anybody for what the supervisor says
            assert client.send_message(MESSAGE).reply is None
            text = read_until_quiet(reader)  # now somebody does
            assert text.count(b" message ") < 1200
            assert client.send_message(MESSAGE, queue_id="4AFTER").reply is None
            text += read_until_quiet(reader)
            assert b"log lines lost count=" in text
            assert b"4AFTER" in text
            assert all(line.startswith(b"20") for line in text.splitlines())  # each of them is a whole one
    finally:
        os.close(reader)
        os.close(writer)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_until_quiet(reader: int, seconds: float = 0.5) -> bytes:
    text = b""
    while select.select([reader], [], [], seconds)[0]:
        text += os.read(reader, 1 << 16)
    return text


def test_the_logs_writer_is_replaced_where_it_dies_and_writes_the_last_words(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    command = closed_to_us(writer)
    try:
        with Daemon(tmp_path, stderr=writer, command=command) as daemon:
            (pump,) = daemon.log_pump()
            workers = daemon.workers()
            read_until_quiet(reader)
            os.kill(pump, signal.SIGKILL)
            wait_until_gone(pump)  # one that dies while it reads takes that line along
            assert served(daemon.address).reply is None  # its line waits for the next one
            assert b" message " in read_until_quiet(reader, 5.0)
            assert len(daemon.log_pump()) == 1
            assert daemon.workers() == workers
        assert b" stopped" in read_until_quiet(reader)
    finally:
        os.close(reader)
        os.close(writer)


def closed_to_us(writer: int) -> Sequence[str]:
    """Lets nobody open a pipe anew, as if another user had made it; the command of a daemon that keeps to that."""
    os.fchmod(writer, 0)
    if os.geteuid() != 0:
        return COMMAND
    without = "-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *COMMAND)


def test_a_log_whose_reader_has_gone_costs_its_lines_alone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with Daemon(tmp_path, stderr=writer) as daemon:
        os.close(reader)
        os.close(writer)
        workers = daemon.workers()
        for _ in range(5):
            assert served(daemon.address).reply is None
        assert daemon.workers() == workers


# --- the machine ----------------------------------------------------------------------------------------------------


def test_out_of_descriptors_waits_and_goes_on(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1, preface="ulimit -n 40;") as daemon:
        workers = daemon.workers()
        clients: list[MilterClient] = []
        try:
            for _ in range(60):
                clients.append(MilterClient(daemon.address, timeout=1))
        except Exception:
            assert len(clients) > 10  # the limit was reached: the others wait in the queue
        else:
            pytest.fail("there was no limit")
        assert clients[0].send_message(MESSAGE).reply is None
        for client in clients:
            client.close()
        assert send_with_retries(daemon.address)[0].reply is None
        assert daemon.workers() == workers


def test_a_jump_of_the_wall_clock_kills_nobody(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    env = {"FAULT": "clock", "CLOCK_FILE": str(clock), "STALE": "3"}
    with Daemon(tmp_path, command=FAULTY, env=env) as daemon, MilterClient(daemon.address) as client:
        workers = daemon.workers()
        for seconds in (86_400 * 365, -86_400 * 365, 0):
            clock.write_text(str(seconds))
            assert client.send_message(MESSAGE).reply is None
            time.sleep(1.2)
            assert client.send_message(MESSAGE).reply is None
        daemon.reload()
        assert daemon.workers() == workers


# --- MTAs -----------------------------------------------------------------------------------------------------------


def vanish_at(step: int) -> Callable[[MilterClient], None]:
    def play(client: MilterClient) -> None:
        steps: list[Callable[[], Any]] = [
            lambda: client.connect(),
            lambda: client.helo("client.example"),
            lambda: client.mail("<a@x.example>"),
            lambda: client.header("From", b" a@x.example"),
            lambda: client.eoh(),
            lambda: client.body(b"x" * 100_000),
            lambda: client.send_packet(b"E"),
        ]
        for action in steps[:step]:
            action()
        client.flush()

    return play


@pytest.mark.parametrize("step", range(8))
def test_an_mta_that_vanishes_leaves_nothing_behind(tmp_path: Path, step: int) -> None:
    with Daemon(tmp_path, workers=1, dns={"nameservers": ["127.0.0.1:1"], "timeout": 1}) as daemon:
        (worker,) = daemon.workers()
        served(daemon.address)
        time.sleep(0.3)
        before = descriptors(worker)
        for _ in range(30):
            client = MilterClient(daemon.address)
            vanish_at(step)(client)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
            client.close()
        assert served(daemon.address).reply is None
        deadline = time.monotonic() + 10
        while descriptors(worker) > before:
            assert time.monotonic() < deadline, (before, descriptors(worker))
            time.sleep(0.05)
        assert daemon.workers() == [worker]


def test_mtas_that_never_finish_do_not_keep_others_waiting(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1) as daemon:
        idle = [MilterClient(daemon.address) for _ in range(100)]
        for number, client in enumerate(idle):
            vanish_at(number % 6)(client)
            if number % 2:
                client.sock.sendall(struct.pack(">I", 1000) + b"Lhalf a packet")
        try:
            for _ in range(5):
                with MilterClient(daemon.address, timeout=10) as client:
                    assert client.send_message(MESSAGE).reply is None
        finally:
            for client in idle:
                client.close()


def test_many_half_packets_at_once_do_not_keep_others_waiting(tmp_path: Path) -> None:
    """A thread of libmilter's pool hangs on each, and sessions that are ready at once may all be left to one thread."""
    with Daemon(tmp_path, workers=1) as daemon:
        (worker,) = daemon.workers()
        idle = [MilterClient(daemon.address) for _ in range(50)]
        with MilterClient(daemon.address, timeout=10) as client:
            time.sleep(0.5)  # until none of them has anything left to read
            os.kill(worker, signal.SIGSTOP)
            for one in idle:
                one.sock.sendall(struct.pack(">I", 1000) + b"Lhalf a packet")
            client.send_packet(b"A")
            client.flush()
            os.kill(worker, signal.SIGCONT)
            assert client.send_message(MESSAGE).reply is None
        for one in idle:
            one.close()


def test_an_mta_that_does_not_read_does_not_keep_others_waiting(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1) as daemon:
        client = MilterClient(daemon.address)
        client.sock.setblocking(False)
        packet = struct.pack(">I", 1) + b"E"
        try:
            for _ in range(200_000):
                client.sock.send(packet * 100)
        except (BlockingIOError, ConnectionError):
            pass
        assert served(daemon.address).reply is None
        client.close()


# --- memory ---------------------------------------------------------------------------------------------------------

SIGNATURE = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h=from; bh=YQ==; b=YQ==\n"
FLOODS: dict[str, Callable[[], bytes]] = {
    "long fields": lambda: b"".join(b"X-%d: %b\n" % (number, b"x" * 60_000) for number in range(100)),
    "short fields": lambda: b"A:\n" * 20_000,
    "signatures": lambda: SIGNATURE * 5_000,
    "forged results": lambda: b"Authentication-Results: mx.rcpt.example; spf=pass\n" * 3_000,
    "addresses": lambda: b"From: " + b",\n ".join([b"a@x.example"] * 10_000) + b"\n",
    "brackets": lambda: b"From: " + b"(" * 50_000 + b"\nReply-To: " + b"<" * 50_000 + b"\n",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_memory_stays_bounded_under_hostile_headers(tmp_path: Path, flood: str) -> None:
    message = FLOODS[flood]() + MESSAGE
    with Daemon(tmp_path, workers=1, limits={"message_seconds": 20}) as daemon:
        (worker,) = daemon.workers()
        with MilterClient(daemon.address, timeout=60) as client:
            client.send_message(message)
            before = resident_kib(worker)
            for _ in range(2):
                client.send_message(message)
            assert resident_kib(worker) < before + 20_000
            assert resident_kib(worker) < 120_000
            assert client.send_message(MESSAGE).reply is None
        assert daemon.workers() == [worker]


def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    signed = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.example; s=s; h=from; bh=YQ==; b=YQ==\n"
    with Daemon(tmp_path, workers=1) as daemon:
        (worker,) = daemon.workers()
        with MilterClient(daemon.address, timeout=60) as client:
            assert client.send_message(signed + MESSAGE).reply is None
            before = resident_kib(worker)
            client.mail("<a@x.example>")
            client.header("DKIM-Signature", signed.partition(b":")[2].strip())
            client.header("From", b" a@x.example")
            client.eoh()
            for _ in range(600):
                client.body(b" \t x\r\n\r\n" * 8_000)
            client.flush()
            assert resident_kib(worker) < before + 10_000
            assert client.eom().verdict == "c"


def test_recipients_cost_no_memory(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1) as daemon:
        (worker,) = daemon.workers()
        with MilterClient(daemon.address) as client:
            assert client.send_message(MESSAGE).reply is None
            before = resident_kib(worker)
            assert client.send_message(MESSAGE, rcpts=["a@x.example"] * 50_000).reply is None
            assert resident_kib(worker) < before + 5_000


def test_a_reload_reaches_a_worker_that_has_no_descriptor_left_for_it(tmp_path: Path) -> None:
    clients: list[MilterClient] = []

    def fill() -> None:
        while len(clients) < 60:
            clients.append(MilterClient(daemon.address, timeout=1))

    with Daemon(tmp_path, workers=1, stop_seconds=1, preface="ulimit -n 40;") as daemon:
        (worker,) = daemon.workers()
        with pytest.raises(MilterTimeoutError):
            fill()
        daemon.reload(authserv_id="new.rcpt.example")
        assert daemon.workers() != [worker]
        assert "making room for a new worker" in daemon.text()
        (value,) = served(daemon.address).headers("Authentication-Results")
        assert value.startswith("new.rcpt.example;")
        for client in clients:
            client.close()


def test_no_process_keeps_an_old_configuration(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=2, mode="verify") as daemon:
        before = snapshots(daemon.pid)
        for _ in range(3):
            daemon.reload()
            (victim, other) = daemon.workers()
            os.kill(victim, signal.SIGKILL)
            daemon.wait_for_workers(2, without=[victim])
            daemon.reload()
            assert snapshots(daemon.pid) == before
            assert {snapshots(pid) for pid in daemon.workers()} == {snapshots(other)}


def snapshots(pid: int) -> int:
    """How many configurations and the like a process has open."""
    return sum("mailnotary-snapshot" in name for name in open_files(pid))
