"""The real daemon as a process of its own, for tests.

    with Daemon(tmp_path, dns={"nameservers": [f"127.0.0.1:{server.port}"]}) as daemon:
        with MilterClient(daemon.address) as client:
            outcome = client.send_message(...)

The keyword arguments are the keys of mailnotary.yaml. What it logs goes to a file: `lines()`, `wait_for()`.
"""

import fcntl
import os
import random
import shlex
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from mailnotary.daemon.peers import admit


def may_filter() -> bool:
    """Whether this process may attach a filter to a socket. In some containers not even root may: then a daemon with
    `socket.peers` refuses to start, and the tests expect that."""
    with socket.socket() as sock:
        try:
            admit(sock, [ip_network("127.0.0.1")])
        except PermissionError:
            return False
    return True


COMMAND = (sys.executable, "-m", "mailnotary", "run")
FAULTY = (sys.executable, str(Path(__file__).with_name("faulty_daemon.py")))


class Daemon:
    """`mailnotary run` in `directory`. `command` runs instead of the installed one (`-c FILE` follows)."""

    def __init__(
        self,
        directory: Path,
        *,
        command: Sequence[str] = COMMAND,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        keystore: Mapping[str, Any] | None = None,
        pass_fds: Sequence[int] = (),
        stderr: str | int | None = None,
        preface: str = "",
        **config: Any,
    ) -> None:
        self.directory = directory
        self.config: dict[str, Any] = {
            "listen": f"inet:{free_port()}@127.0.0.1",
            "user": "root",  # as root, tests run in directories that nobody else may enter
            "workers": 2,
            "authserv_id": "mx.rcpt.example",
            "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 2},
            "stop_seconds": 2,
        } | config
        self.command = command
        self.arguments = arguments
        self.env = env or {}
        self.file = directory / "mailnotary.yaml"
        self.log = directory / "stderr.log"
        self._stderr = stderr
        self._pass_fds = pass_fds
        self._preface = preface  # shell words before the command: "ulimit -n 30;"
        self.process: subprocess.Popen[bytes] | None = None
        self.write_config()
        if keystore is not None:
            self.write_keystore(keystore)

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.config["listen"])

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self.process is not None
        return self.process.pid

    def write_config(self, **changes: Any) -> None:
        """Changes keys of mailnotary.yaml; the daemon sees them at the next reload."""
        self.config |= changes
        self.file.write_text(yaml.safe_dump(self.config))

    def write_keystore(self, keystore: Mapping[str, Any]) -> None:
        """Writes keystore.yaml anew."""
        (self.directory / "keystore.yaml").write_text(yaml.safe_dump(dict(keystore)))

    def start(self, *, ready: bool = True) -> Self:
        """Starts it, and waits until it is ready."""
        words = [*self.command, "-c", str(self.file), *self.arguments]
        if self._preface:
            words = ["/bin/bash", "-c", f"{self._preface} exec {shlex.join(words)}"]
        if isinstance(self._stderr, int):
            self._launch(words, self._stderr)
        else:
            self.log.unlink(missing_ok=True)  # what an earlier one said there is not this one's
            with open(self._stderr or self.log, "ab") as log:
                self._launch(words, log.fileno())
        if ready:
            try:
                log = self.config.get("log", {})
                if self._stderr is not None or log.get("level", "info") not in ("debug", "info"):
                    self.wait_until_served()
                else:
                    self.wait_for('"ready"' if log.get("format") == "json" else " ready ")
            except BaseException:
                self.kill()
                raise
        return self

    def _launch(self, words: list[str], stderr: int) -> None:
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=stderr, env=os.environ | self.env, pass_fds=self._pass_fds
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
            value.add_note(f"the daemon's log:\n{self.text()[-6000:]}") if value is not None else None
            return
        self.stop()

    # -- what it says

    def text(self) -> str:
        """All that it has logged."""
        if self.process is not None and self.process.poll() is None:
            for pump in self.log_pump():
                wait_until_written(pump)
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def lines(self, word: str = "") -> list[str]:
        """The lines of the log with this word in them."""
        return [line for line in self.text().splitlines() if word in line]

    def wait_for(self, word: str, *, count: int = 1, seconds: float = 20.0) -> list[str]:
        """Waits until `count` lines with this word are in the log, and gives them."""
        deadline = time.monotonic() + seconds
        while len(found := self.lines(word)) < count:
            if self.process is not None and self.process.poll() is not None and len(self.lines(word)) < count:
                raise AssertionError(f"the daemon has ended with {self.process.returncode}:\n{self.text()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {word!r} in the log after {seconds} s:\n{self.text()[-6000:]}")
            time.sleep(0.02)
        return found

    def wait_until_served(self, seconds: float = 20.0) -> None:
        """Waits until it answers the milter protocol; for a daemon whose log can't be read."""
        from support.milter_client import MilterClient, MilterClosedError

        deadline = time.monotonic() + seconds
        while True:
            try:
                with MilterClient(self.address):
                    return
            except (OSError, MilterClosedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    # -- what is done to it

    def signal(self, number: signal.Signals) -> None:
        """Sends the supervisor a signal."""
        os.kill(self.pid, number)

    def reload(self, *, good: bool = True, **changes: Any) -> None:
        """Changes the configuration, sends SIGHUP and waits for the outcome."""
        self.write_config(**changes)
        word = " reloaded " if good else " reload refused "
        before = len(self.lines(word))
        self.signal(signal.SIGHUP)
        self.wait_for(word, count=before + 1)

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon does not stop:\n{self.text()[-6000:]}") from None

    def kill(self) -> None:
        """Ends it and its workers at once. Workers end by themselves when their supervisor has gone."""
        assert self.process is not None
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """The workers' process ids."""
        others = ("mailnotary-keys", "mailnotary-log", "mailnotary-srcs")
        return [pid for pid in children(self.pid) if name_of(pid) not in others]

    def key_watch(self) -> list[int]:
        """The process id of the key watch, where it runs."""
        return [pid for pid in children(self.pid) if name_of(pid) == "mailnotary-keys"]

    def log_pump(self) -> list[int]:
        """The process id of the log's writer, where it runs."""
        return [pid for pid in children(self.pid) if name_of(pid) == "mailnotary-log"]

    def wait_for_workers(self, count: int, *, without: Sequence[int] = (), seconds: float = 20.0) -> list[int]:
        """Waits for so many workers, none of those in `without` among them."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.workers()
            if len(found) == count and not set(found) & set(without):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"workers {found} after {seconds} s:\n{self.text()[-6000:]}")
            time.sleep(0.02)


def wait_until_written(pump: int, seconds: float = 5.0) -> None:
    """Waits until the log's writer has written all that it was given: its pipe is empty, and it sleeps."""
    deadline = time.monotonic() + seconds
    with suppress(OSError):  # it has just ended
        pipe = pipe_of(pump)
        try:
            while time.monotonic() < deadline:
                unread = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
                status = Path(f"/proc/{pump}/stat").read_text().rpartition(")")[2].split()[0]
                if not unread and status == "S":
                    return
                time.sleep(0.002)
        finally:
            os.close(pipe)


def shrink_pipe(pump: int) -> None:
    """Lets few lines wait for a log's writer, so that few messages are enough to lose some."""
    pipe = pipe_of(pump)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    os.close(pipe)


def pipe_of(pump: int) -> int:
    """The pipe that a log's writer reads, opened anew."""
    for link in Path(f"/proc/{pump}/fd").iterdir():
        if os.readlink(link).startswith("pipe:") and link.lstat().st_mode & stat.S_IRUSR:
            return os.open(link, os.O_RDONLY | os.O_NONBLOCK)
    raise ProcessLookupError(f"no pipe of process {pump}")


def children(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found += [int(child) for child in task.read_text().split() if is_alive(int(child))]
    return sorted(found)


def name_of(pid: int) -> str:
    """A process's name, "" where it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and that the kernel gives to no connection meanwhile: it is below the
    ephemeral ones (32768 on Linux)."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def resident_kib(pid: int) -> int:
    """The memory that a process holds for itself alone, in KiB (what it shares with its parent is not counted)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) for line in text.splitlines() if line.startswith(("Private_Clean", "Private_Dirty"))
    )


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process lead to; one that it closes meanwhile may be left out."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
