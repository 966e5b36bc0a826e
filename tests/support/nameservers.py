"""Real authoritative nameservers on loopback, with zones of their own: BIND's named and Knot's knotd.

with Bind(tmp_path, "127.53.0.1", port, {"example.org": ZONE}, keys=[KEY]) as bind:
    bind.log()
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rcode

SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA=="
TSIG = f'key "mailnotary" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'  # as tsig-keygen writes it
OTHER = TSIG.replace(SECRET, "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=")


def zone(origin: str, servers: Mapping[str, str], *more: str) -> str:
    """A zone file: its nameservers with their addresses, and further lines."""
    lines = ["$TTL 1", f"@ IN SOA ns1.{origin}. admin.{origin}. 1 1 1 86400 1"]
    for name, address in servers.items():
        lines += [f"@ IN NS {name}.{origin}.", f"{name} IN {'AAAA' if ':' in address else 'A'} {address}"]
    return "\n".join([*lines, *more]) + "\n"


class _Program:
    """A nameserver; `stop` and `start` may be called again and again."""

    program = ""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        self.directory = directory
        self.address, self.port = address, port
        directory.mkdir(parents=True, exist_ok=True)
        # A copy, for AppArmor lets the installed one read nothing here.
        self._copy = directory / Path(self.program).name
        shutil.copy(self.program, self._copy)
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def log(self) -> str:
        """What it has said."""
        return (self.directory / "log").read_text("utf-8", "replace")

    def start(self, zone: str) -> None:
        """Starts it, and waits until it answers for a zone."""
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + 20
        question = dns.message.make_query(zone, "SOA")
        while True:
            try:
                reply = dns.query.tcp(question, self.address, 1, port=self.port)
                if reply.rcode() == dns.rcode.NOERROR and reply.answer:
                    return
            except (OSError, dns.exception.DNSException):
                pass
            assert time.monotonic() < deadline, self.log()[-3000:]
            assert self._process.poll() is None, self.log()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        self._process = None

    def freeze(self) -> None:
        """It keeps its sockets, and answers nothing, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # until then its threads may still answer

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.stop()


class Bind(_Program):
    """BIND as the primary of `zones`, which takes updates with the key `mailnotary`, or as a secondary of `of`."""

    program = "/usr/sbin/named"

    def __init__(
        self,
        directory: Path,
        address: str,
        port: int,
        zones: Mapping[str, str],
        *,
        of: tuple[str, int] | None = None,
        notify: Sequence[tuple[str, int]] = (),
        policy: str = "grant mailnotary zonesub TXT;",
        recursive: str = "no",
    ) -> None:
        super().__init__(directory, address, port)
        also = " ".join(f"{host} port {at};" for host, at in notify)
        blocks = []
        for name, text in zones.items():
            if of is None:
                (directory / f"{name}.zone").write_text(text)
                rule = f"type primary; update-policy {{ {policy} }}; notify explicit; also-notify {{ {also} }};"
            else:
                rule = f"type secondary; primaries {{ {of[0]} port {of[1]}; }}; masterfile-format text;"
            blocks.append(f'zone "{name}" {{ {rule} file "{name}.zone"; allow-transfer {{ any; }}; }};')
        (directory / "named.conf").write_text(
            f"""options {{ directory "{directory}"; listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};
pid-file none; session-keyfile none; recursion {recursive}; allow-query {{ any; }}; dnssec-validation no;
notify-delay 0; min-refresh-time 1; min-retry-time 1; serial-query-rate 100;
managed-keys-directory "{directory}"; query-source address {address};
transfer-source {address}; notify-source {address}; }};
controls {{ }};
{TSIG}
{chr(10).join(blocks)}
"""
        )

    def _command(self) -> list[str]:
        return [str(self._copy), "-g", "-n", "1", "-c", str(self.directory / "named.conf")]


class Knot(_Program):
    """Knot DNS as the primary of `zones`, which takes updates with the key `mailnotary`."""

    program = "/usr/sbin/knotd"

    def __init__(
        self, directory: Path, address: str, port: int, zones: Mapping[str, str], *, allow: bool = True
    ) -> None:
        super().__init__(directory, address, port)
        (directory / "db").mkdir(exist_ok=True)
        blocks = []
        for name, text in zones.items():
            (directory / f"{name}.zone").write_text(text)
            acl = "    acl: updates\n" if allow else ""
            blocks.append(f"  - domain: {name}\n    storage: {directory}\n    file: {name}.zone\n{acl}")
        (directory / "knot.conf").write_text(
            f"""server:
    rundir: {directory}
    listen: {address}@{port}
database:
    storage: {directory}/db
key:
  - id: mailnotary
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: updates
    key: mailnotary
    action: update
zone:
{"".join(blocks)}log:
  - target: stderr
    any: info
"""
        )

    def _command(self) -> list[str]:
        return [str(self._copy), "-c", str(self.directory / "knot.conf")]
