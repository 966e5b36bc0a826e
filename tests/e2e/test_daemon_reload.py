"""SIGHUP: the configuration as a whole or not at all, and never a message lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.daemon import Daemon, descriptors, resident_kib
from support.milter_client import MilterClient

MESSAGE = b"From: a@x.example\nTo: b@rcpt.example\nSubject: x\n\nhello\n"


def authserv_id(client: MilterClient) -> str:
    (value,) = client.send_message(MESSAGE).headers("Authentication-Results")
    return value.partition(";")[0]


def keygen(directory: Path, name: str) -> str:
    path = directory / name
    subprocess.run(
        [sys.executable, "-c", _KEYGEN, str(path)],
        check=True,
    )
    path.chmod(0o600)
    return name


_KEYGEN = """
import sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
open(sys.argv[1], "wb").write(pem)
"""


def keystore(selector: str, file: str) -> dict[str, object]:
    return {"domains": {"x.example": {"keys": [{"selector": selector, "file": file}]}}}


def test_the_next_message_is_judged_with_the_new_settings_on_the_same_connection(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        workers = daemon.workers()
        with MilterClient(daemon.address) as client:
            assert authserv_id(client) == "mx.rcpt.example"
            for number in range(3):
                daemon.reload(authserv_id=f"mx{number}.rcpt.example")
                assert authserv_id(client) == f"mx{number}.rcpt.example"
        assert daemon.workers() == workers


def test_a_message_under_way_ends_on_the_configuration_with_which_it_began(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, MilterClient(daemon.address) as client:
        client.macros = {"j": "x"}
        client.connect()
        client.helo("client.example")
        client.mail("<a@x.example>")
        client.header("From", b" a@x.example")
        client.flush()
        time.sleep(0.3)
        daemon.reload(authserv_id="new.rcpt.example")
        client.eoh()
        assert client.eom().verdict == "c"
        (step,) = client.modifications.steps
        assert step.value.startswith(b" mx.rcpt.example;")
        client.greeted = True
        assert authserv_id(client) == "new.rcpt.example"


def test_keys_come_and_go_with_a_reload(tmp_path: Path) -> None:
    first = keygen(tmp_path, "first.pem")
    with Daemon(tmp_path, keystore=keystore("one", first)) as daemon, MilterClient(daemon.address) as client:

        def selectors() -> list[str]:
            fields = client.send_message(MESSAGE, client_ip="127.0.0.1").headers("DKIM-Signature")
            return [part.strip()[2:] for value in fields for part in value.split(";") if part.strip().startswith("s=")]

        assert selectors() == ["one"]
        second = keygen(tmp_path, "second.pem")
        daemon.write_keystore(keystore("two", second))
        assert selectors() == ["one"]  # nobody reads the files before the reload
        daemon.reload()
        assert selectors() == ["two"]
        daemon.write_keystore({"domains": {"x.example": {"keys": [{"selector": "two"}]}}})
        daemon.reload(good=False)
        assert selectors() == ["two"]


@pytest.mark.parametrize("name", ["mailnotary.yaml", "keystore.yaml", "key.pem"])
def test_a_named_pipe_in_the_place_of_a_file_holds_nothing_up(tmp_path: Path, name: str) -> None:
    with Daemon(tmp_path, keystore=keystore("one", keygen(tmp_path, "key.pem"))) as daemon:
        (tmp_path / name).rename(tmp_path / "saved")
        os.mkfifo(tmp_path / name, 0o600)
        daemon.signal(signal.SIGHUP)
        (line,) = daemon.wait_for("a key can't be used" if name == "key.pem" else "reload refused")
        assert "regular file" in line
        victim = daemon.workers()[0]
        os.kill(victim, signal.SIGKILL)
        daemon.wait_for_workers(2, without=[victim])
        (tmp_path / "saved").rename(tmp_path / name)
        daemon.reload()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"workers": "many"}, "many"),
        ({"keystore": "missing.yaml"}, "missing.yaml"),
        ({"dmarc": {"mode": "enforce"}}, "reject"),
    ],
)
def test_a_faulty_configuration_is_refused_with_its_place_and_the_old_one_stays(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with Daemon(tmp_path) as daemon, MilterClient(daemon.address) as client:
        daemon.reload(good=False, authserv_id="new.rcpt.example", **changes)
        (line,) = daemon.lines("reload refused")
        assert f"{daemon.file}:" in line
        assert said in line
        assert authserv_id(client) == "mx.rcpt.example"
        for name in changes:
            del daemon.config[name]
        daemon.reload()
        assert authserv_id(client) == "new.rcpt.example"


@pytest.mark.parametrize("text", ["", "\0", "listen: [", "- a\n- b\n", "\xff\xfe", "a: &a [*a]\n", "[" * 100_000])
def test_no_file_whatever_harms_the_daemon(tmp_path: Path, text: str) -> None:
    with Daemon(tmp_path) as daemon, MilterClient(daemon.address) as client:
        daemon.file.write_text(text, "latin-1")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reload")
        assert client.send_message(MESSAGE).reply is None


def test_a_file_that_has_gone_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, MilterClient(daemon.address) as client:
        daemon.file.unlink()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reload refused")
        assert authserv_id(client) == "mx.rcpt.example"


def test_a_key_that_cant_be_used_costs_the_mail_of_its_domain_alone(tmp_path: Path) -> None:
    keys = {
        "domains": {name: {"keys": [{"selector": "s", "file": f"{name}.pem"}]} for name in ("x.example", "y.example")}
    }
    for name in ("x.example", "y.example"):
        keygen(tmp_path, f"{name}.pem")
    (tmp_path / "y.example.pem").rename(tmp_path / "hidden")

    def send(client: MilterClient, domain: bytes) -> int | None:
        outcome = client.send_message(MESSAGE.replace(b"x.example", domain), client_ip="127.0.0.1")
        assert outcome.reply is not None or outcome.headers("DKIM-Signature")
        return outcome.reply.code if outcome.reply else None

    with Daemon(tmp_path, keystore=keys) as daemon, MilterClient(daemon.address) as client:
        (line,) = daemon.lines("a key can't be used, and the mail of its domain waits")
        assert "y.example.pem: does not exist" in line
        assert (send(client, b"x.example"), send(client, b"y.example")) == (None, 451)
        assert client.send_message(MESSAGE).reply is None  # incoming mail is not affected
        (tmp_path / "hidden").rename(tmp_path / "y.example.pem")
        (tmp_path / "x.example.pem").chmod(0o644)
        daemon.reload()
        assert "x.example.pem: everyone has access" in daemon.lines("a key can't be used")[1]
        assert (send(client, b"x.example"), send(client, b"y.example")) == (451, None)
        (tmp_path / "x.example.pem").chmod(0o600)
        daemon.reload()
        assert (send(client, b"x.example"), send(client, b"y.example")) == (None, None)


def test_what_needs_a_restart_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        address, workers = daemon.address, daemon.workers()
        daemon.reload(listen="inet:1@127.0.0.1", workers=3)
        named = [line.rpartition("setting=")[2] for line in daemon.lines("needs a restart")]
        assert named == ["listen", "workers"]
        assert daemon.workers() == workers
        with MilterClient(address) as client:
            assert client.send_message(MESSAGE).reply is None
        daemon.config["listen"] = address
        daemon.reload(workers=2)
        assert len(daemon.lines("needs a restart")) == 2


def test_a_worker_that_starts_after_a_reload_has_the_new_configuration(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1) as daemon:
        daemon.reload(authserv_id="new.rcpt.example")
        daemon.reload(good=False, authserv_id="faulty.rcpt.example", nonsense=1)
        (old,) = daemon.workers()
        os.kill(old, signal.SIGKILL)
        daemon.wait_for_workers(1, without=[old])
        with MilterClient(daemon.address) as client:
            assert authserv_id(client) == "new.rcpt.example"


def test_the_log_changes_its_form_with_a_reload(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, MilterClient(daemon.address) as client:
        client.send_message(MESSAGE, queue_id="4TEXT")
        daemon.wait_for("queue_id=4TEXT")
        daemon.write_config(log={"format": "json"})
        daemon.signal(signal.SIGHUP)
        daemon.wait_for('"reloaded"')
        client.send_message(MESSAGE, queue_id="4JSON")
        daemon.wait_for('"queue_id": "4JSON"')
        daemon.write_config(log={"format": "json", "level": "error"})
        daemon.signal(signal.SIGHUP)
        time.sleep(1)
        client.send_message(MESSAGE, queue_id="4NONE")
        time.sleep(0.2)
        assert not daemon.lines("4NONE")


def test_under_load_reloads_lose_no_message_and_close_no_connection(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        workers = daemon.workers()
        done = threading.Event()
        counts = [0] * 6
        seen: set[str] = set()
        errors: list[BaseException] = []

        def send(number: int) -> None:
            try:
                with MilterClient(daemon.address) as client:
                    while not done.is_set():
                        seen.add(authserv_id(client))
                        counts[number] += 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(len(counts))]
        for thread in threads:
            thread.start()
        for number in range(8):
            daemon.reload(authserv_id=f"mx{number}.rcpt.example")
            daemon.reload(good=False, nonsense=1)
            del daemon.config["nonsense"]
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert all(counts)
        assert {f"mx{number}.rcpt.example" for number in range(8)} <= seen | {"mx.rcpt.example"}
        assert daemon.workers() == workers
        assert len(daemon.lines(" message ")) == sum(counts)


def test_many_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    with Daemon(tmp_path, workers=1, keystore=keystore("one", keygen(tmp_path, "one.pem"))) as daemon:
        (worker,), (key_watch,) = daemon.wait_for_workers(1), daemon.key_watch()

        def reload(times: int) -> None:
            for number in range(times):
                daemon.reload(dns={"nameservers": [f"127.0.0.1:{number % 2 + 1}"], "timeout": 1})
                with MilterClient(daemon.address) as client:
                    assert client.send_message(MESSAGE).reply is None

        reload(10)
        time.sleep(0.3)
        processes = (worker, key_watch, daemon.pid)
        memory, files = resident_kib(worker), [descriptors(process) for process in processes]
        reload(30)
        time.sleep(0.3)
        assert [descriptors(process) for process in processes] <= files
        assert resident_kib(worker) < memory + 4000


def test_a_reload_that_comes_while_the_daemon_starts_does_not_end_it(tmp_path: Path) -> None:
    for delay in (0.3, 0.6, 0.9):
        daemon = Daemon(tmp_path).start(ready=False)
        time.sleep(delay)
        if daemon.process is not None and "python" in Path(f"/proc/{daemon.pid}/exe").resolve().name:
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
            if blocked & 1 << (signal.SIGHUP - 1):  # before that Python itself is still starting
                daemon.signal(signal.SIGHUP)
        daemon.wait_for(" ready ")
        assert daemon.stop() == 0


def test_a_key_that_was_damaged_in_its_place_is_found_at_a_reload(tmp_path: Path) -> None:
    """What the daemon remembers of the keys that it has checked is not their names, sizes or times."""
    path = tmp_path / keygen(tmp_path, "key.pem")
    good, before = path.read_bytes(), path.stat()
    with Daemon(tmp_path, keystore=keystore("one", path.name)) as daemon:
        daemon.reload()
        assert not daemon.lines(" a key can't be used")
        path.write_bytes(good.replace(b"MC", b"QC", 1))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        daemon.reload()
        (line,) = daemon.lines("a key can't be used")
        assert f"keystore.yaml:4:13: {path}: the key is damaged" in line
        path.write_bytes(good)
        daemon.reload()
        assert len(daemon.lines("a key can't be used")) == 1
