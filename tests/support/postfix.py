"""Debian's Postfix as a private instance: its own configuration, queue and log below one temporary directory, on free
ports of the loopback, and all its outgoing mail handed to a sink that keeps the octets. Needs root."""

import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from support.daemon import free_port

TIMEOUT = 20.0  # seconds that anything may take that takes well under one

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file_prefixes = {root}
maillog_file = {root}/log
multi_instance_enable = no
syslog_name = postfix
inet_interfaces = 127.0.0.1
inet_protocols = all
myhostname = {hostname}
mydomain = example.net
myorigin = {hostname}
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
relay_domains = static:all
smtpd_relay_restrictions = reject_unauth_destination
smtpd_authorized_xclient_hosts = 127.0.0.1
# Not permit_inet_interfaces, which is the default: it looks at the true address, whatever XCLIENT says.
local_header_rewrite_clients = permit_mynetworks
relay_transport = smtp:[127.0.0.1]:{sink_port}
default_transport = smtp:[127.0.0.1]:{sink_port}
smtp_host_lookup = native
# RFC 5322 allows no longer lines, so Postfix's client cuts them at 998 octets, after the milter has signed them.
smtp_line_length_limit = 0
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtputf8_enable = yes
message_size_limit = 50000000
header_size_limit = 102400
bounce_size_limit = 1000000
minimal_backoff_time = 1s
queue_run_delay = 1s
maximal_backoff_time = 2s
smtpd_milters = {milter}
non_smtpd_milters = {milter}
milter_default_action = tempfail
milter_connect_timeout = 5s
milter_protocol = 6
"""

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - 100 smtpd
127.0.0.1:{submission_port} inet n - n - 100 smtpd -o local_header_rewrite_clients=static:all
pickup    unix  n - n 1 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - 20 smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message as Postfix handed it on: the octets after DATA, dot-stuffing undone, up to the final CRLF."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes


class Sink(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps every message; recipients with "refuse" in their local part get a 550."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SinkSession)
        self.messages: list[Delivered] = []
        self._arrival = threading.Condition()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def keep(self, message: Delivered) -> None:
        with self._arrival:
            self.messages.append(message)
            self._arrival.notify_all()

    def wait_for(self, wanted: Callable[[Delivered], bool], timeout: float = TIMEOUT) -> Delivered:
        """The first message that is wanted; takes it out. AssertionError when it does not come."""
        with self._arrival:
            found = self._arrival.wait_for(lambda: next(filter(wanted, self.messages), None), timeout)
            assert found is not None, f"no such message within {timeout} s"
            self.messages.remove(found)
            return found

    def take_all(self) -> list[Delivered]:
        """Every message that is here; they are taken out."""
        with self._arrival:
            messages, self.messages[:] = self.messages[:], []
            return messages


class _SinkSession(socketserver.StreamRequestHandler):
    """RFC 5321's receiving side, as much of it as Postfix needs."""

    def handle(self) -> None:
        sender, recipients = "", list[str]()
        self._say("220 sink ESMTP")
        while line := self.rfile.readline():
            verb, _, rest = line.decode("utf-8", "surrogateescape").strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    self._say("250-sink", "250-8BITMIME", "250-SMTPUTF8", "250-SIZE", "250 ENHANCEDSTATUSCODES")
                case "MAIL":
                    sender, recipients = _path(rest), []
                    self._say("250 2.1.0 Ok")
                case "RCPT" if "refuse" in rest:
                    self._say("550 5.1.1 No such user")
                case "RCPT":
                    recipients.append(_path(rest))
                    self._say("250 2.1.5 Ok")
                case "DATA":
                    self._say("354 Go on")
                    message = Delivered(sender, tuple(recipients), self._read_data())
                    cast(Sink, self.server).keep(message)
                    self._say("250 2.0.0 Ok")
                case "QUIT":
                    self._say("221 2.0.0 Bye")
                    return
                case _:
                    self._say("250 2.0.0 Ok")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(line + "\r\n" for line in lines).encode())

    def _read_data(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n" and line:
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)


def _path(argument: str) -> str:
    return argument.partition("<")[2].rpartition(">")[0]


class SmtpError(Exception):
    """The server said no (or anything else than was waited for)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class SmtpClient:
    """A client that sends octets as it is told, whatever they are: unlike smtplib it checks and repairs nothing."""

    def __init__(self, port: int, host: str = "127.0.0.1", source: str = "") -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT, (source, 0))
        self._file = self._socket.makefile("rb")
        self._expect(self._reply(), 220)

    def __enter__(self) -> "SmtpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up, without a word."""
        self._file.close()
        self._socket.close()

    def command(self, line: bytes | str, expected: int | None = 250) -> tuple[int, str]:
        """Sends one line and gives the reply; raises SmtpError when it has another code than the expected."""
        self._socket.sendall((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self._expect(self._reply(), expected)

    def data(self, message: bytes) -> tuple[int, str]:
        """The message (lines end with CRLF), dot-stuffed, and the reply to its final dot, whatever it is."""
        self.command("DATA", 354)
        stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
        end = b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n"
        self._socket.sendall(stuffed + end)
        return self._reply()

    def _reply(self) -> tuple[int, str]:
        lines = []
        while True:
            line = self._file.readline().decode("utf-8", "replace").rstrip("\r\n")
            if len(line) < 3:
                raise ConnectionError(f"the server hung up: {line!r}")
            lines.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(lines)

    @staticmethod
    def _expect(reply: tuple[int, str], expected: int | None) -> tuple[int, str]:
        if expected is not None and reply[0] != expected:
            raise SmtpError(*reply)
        return reply


@dataclass(slots=True)
class Postfix:
    """A running instance."""

    root: Path
    port: int
    submission_port: int  # completes the header, as for clients that have authenticated
    sink: Sink

    @property
    def config(self) -> Path:
        return self.root / "config"

    def client(self, ip: str | None = None, helo: str = "client.example", login: str | None = None) -> SmtpClient:
        """A connection, EHLO said. With `ip` Postfix is told (XCLIENT) that the client comes from there, under that
        name, and, with `login`, that it has authenticated. Without: from 127.0.0.1."""
        client = SmtpClient(self.submission_port if login else self.port)
        try:
            client.command(f"EHLO {helo}")
            if ip is not None:
                xtext = helo.replace("+", "+2B").replace(" ", "+20")  # RFC 3461 section 4
                attributes = [f"ADDR={'IPV6:' if ':' in ip else ''}{ip}", "NAME=[UNAVAILABLE]", f"HELO={xtext}"]
                client.command("XCLIENT " + " ".join(attributes + ([f"LOGIN={login}"] if login else [])), 220)
                client.command(f"EHLO {helo}")
        except BaseException:
            client.close()
            raise
        return client

    def send(
        self,
        message: bytes,
        *,
        ip: str | None = None,
        helo: str = "client.example",
        login: str | None = None,
        sender: str = "a@client.example",
        recipient: str = "user@rcpt.example",
        options: str = "",
    ) -> tuple[int, str]:
        """One message in a connection of its own; gives the reply to its final dot, or the first refusal."""
        try:
            with self.client(ip, helo, login) as client:
                client.command(f"MAIL FROM:<{sender}>{options}")
                client.command(f"RCPT TO:<{recipient}>")
                reply = client.data(message)
                client.command("QUIT", None)
                return reply
        except SmtpError as error:
            return error.code, error.text

    def receive(self, reply: str = "") -> Delivered:
        """The next message that was handed on; with the text of the reply by which it was taken ("... queued as ID"),
        that very message."""
        queue_id = reply.rpartition(" ")[2].encode()
        try:
            return self.sink.wait_for(lambda message: queue_id in message.data)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log's end:\n{self.log()[-4000:]}") from None

    def check_ready(self) -> None:
        """It takes connections, or AssertionError with what its log says."""
        try:
            SmtpClient(self.port).close()
        except OSError as error:
            raise AssertionError(f"Postfix does not answer ({error}); its log:\n{self.log()}") from None

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """One of Postfix's own commands on this instance."""
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            env={**os.environ, "MAIL_CONFIG": str(self.config)},
            timeout=TIMEOUT,
            check=True,
        )

    def sendmail(self, message: bytes, *arguments: str) -> None:
        """Submits with the sendmail command."""
        self.run("sendmail", *arguments, stdin=message)

    def log(self) -> str:
        """All that it has logged."""
        return (self.root / "log").read_text("utf-8", "replace")

    def wait_log(self, text: str, timeout: float = TIMEOUT) -> str:
        """The first line with the text in it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.log().splitlines():
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} did not show up in the log")

    def queued(self) -> list[str]:
        """The queue ids of all that waits, a "!" behind those on hold."""
        listing = self.run("postqueue", "-p").stdout.decode("utf-8", "replace")
        return [line.split()[0].rstrip("*") for line in listing.splitlines() if line[:1].isalnum() and " " in line]

    def held(self) -> list[str]:
        """The queue ids on hold."""
        return [entry.rstrip("!") for entry in self.queued() if entry.endswith("!")]

    def content(self, queue_id: str) -> bytes:
        """Header and body of a queued message as its queue file has them (lines end with LF)."""
        return self.run("postcat", "-hbq", queue_id).stdout


@contextmanager
def postfix(
    milter: str,
    *,
    settings: Mapping[str, str] | None = None,
    services: str = "",
    hostname: str = "mx.example.net",
) -> Iterator[Postfix]:
    """Starts an instance with a milter ("inet:127.0.0.1:8891", "unix:/path", or "" for none) and stops it in the end.
    `settings` are lines of main.cf that come on top, `services` are of master.cf."""
    root = Path(tempfile.mkdtemp(prefix="mailnotary-postfix-"))
    sink = Sink()
    try:
        root.chmod(0o755)
        port, submission_port = free_port(), free_port()
        config = root / "config"
        for directory in (config, root / "queue", root / "data"):
            directory.mkdir()
        shutil.chown(root / "data", "postfix")
        main_cf = _MAIN_CF.format(root=root, milter=milter, sink_port=sink.port, hostname=hostname)
        extra = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
        (config / "main.cf").write_text(main_cf + extra)
        (config / "master.cf").write_text(_MASTER_CF.format(port=port, submission_port=submission_port) + services)
        instance = Postfix(root, port, submission_port, sink)
        _control(config, "start")
        try:
            instance.check_ready()
            yield instance
        finally:
            _control(config, "abort")
            _wait_stopped(root / "queue" / "pid" / "master.pid")
    finally:
        sink.shutdown()
        sink.server_close()
        shutil.rmtree(root, ignore_errors=True)


def _control(config: Path, verb: str) -> None:
    done = subprocess.run(
        ["/usr/sbin/postfix", "-c", str(config), verb],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    log = config.parent / "log"
    assert done.returncode == 0, done.stdout.decode() + (log.read_text() if log.exists() else "")


def _wait_stopped(pid_file: Path) -> None:
    pid = pid_file.read_text().strip()
    deadline = time.monotonic() + TIMEOUT
    while Path("/proc", pid).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def missing() -> Sequence[str]:
    """What this machine lacks for an instance."""
    lacks = [] if shutil.which("postfix", path="/usr/sbin:/usr/bin") else ["Postfix (Debian's package)"]
    return lacks if os.geteuid() == 0 else [*lacks, "root"]
