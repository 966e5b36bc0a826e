"""The page as it is served: what comes over the socket, whatever that is."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailnotary.history.keeper import FILE
from mailnotary.history.store import Store


@contextmanager
def page(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command; where it says that it is."""
    with TemporaryDirectory(prefix="mailnotary-web-") as name:  # the path of a socket must not be long
        directory = Path(name)
        (directory / FILE).parent.mkdir()
        Store.open(str(directory / FILE)).close()
        config = directory / "mailnotary.yaml"
        config.write_text(json.dumps({"state_dir": name, "keystore": f"{name}/keystore.yaml"}))
        # Whatever the tests run in the background of: a shell has such a command, and all below it, ignore SIGINT.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "mailnotary", "web", "-c", str(config)]
        words = [option.replace("DIRECTORY", name) for option in options]
        with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            try:
                yield running.stdout.readline().split()[-1], running
            finally:
                running.terminate()


def connected(where: str) -> socket.socket:
    if where.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        client.connect(where.removeprefix("unix:"))
        return client
    return socket.create_connection(("127.0.0.1", int(where.rstrip("/").rpartition(":")[2])), 20)


def ask(where: str, *lines: str) -> str:
    """The answer to a request of these lines."""
    with connected(where) as client:
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer.decode()


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    with page("--listen", "127.0.0.1:0") as (where, _):
        yield where


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET / HTTP/1.1", "Host: localhost"], 200),
        (["HEAD /messages HTTP/1.1", "Host: 127.0.0.1:1"], 200),
        (["GET / HTTP/1.1", "Host: evil.example"], 421),
        (["GET / HTTP/1.0"], 421),
        (["GET http://evil.example/ HTTP/1.1", "Host: evil.example"], 421),
        (["GET / HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"], 421),
        (["POST /messages HTTP/1.1", "Host: localhost", "Content-Length: 0"], 405),
        (["OPTIONS / HTTP/1.1", "Host: localhost"], 405),
        (["TRACE / HTTP/1.1", "Host: localhost"], 405),
        (["GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", "Host: localhost"], 404),
        (["GET /static/../application.py HTTP/1.1", "Host: localhost"], 404),
        (["GET /static/%2e%2e/application.py HTTP/1.1", "Host: localhost"], 404),
        (["GET /message/%ff%fe@%00 HTTP/1.1", "Host: localhost"], 404),
        (["GET /messages?q=%ff%fe&from=%f0 HTTP/1.1", "Host: localhost"], 400),
    ],
)
def test_requests(local: str, lines: list[str], status: int) -> None:
    answer = ask(local, *lines)
    assert answer.startswith(("HTTP/1.1 ", "HTTP/1.0 ")), answer
    assert int(answer.split()[1]) == status, answer[:2000]
    assert "Traceback" not in answer
    assert "passwd" not in answer.partition("\r\n\r\n")[2]


def test_what_is_no_request_is_refused(local: str) -> None:
    answer = ask(local, "nonsense")
    assert int(answer.split()[1]) in (400, 421), answer  # old releases of waitress take it for one without a host


def test_a_request_without_end_is_cut_off(local: str) -> None:
    with connected(local) as client, pytest.raises(OSError, match=r"reset|Broken pipe"):
        client.sendall((b"X-Long: " + b"x" * 65_536) * 1000)
    assert ask(local, "GET / HTTP/1.1", "Host: localhost").startswith("HTTP/1.1 200")


def test_clients_that_never_finish_do_not_keep_others_waiting(local: str) -> None:
    slow = [connected(local) for _ in range(50)]
    for client in slow:
        client.sendall(b"GET / HTTP/1.1\r\nHost: local")
    began = time.monotonic()
    assert ask(local, "GET / HTTP/1.1", "Host: localhost").startswith("HTTP/1.1 200")
    print(f"answered after {time.monotonic() - began:.2f} s")
    for client in slow:
        client.close()


def test_behind_a_proxy_at_a_socket_only_who_has_logged_in_gets_the_page() -> None:
    with page("--listen", "unix:DIRECTORY/web.sock", "--host", "mx.example.org", "--user-header", "X-User") as (
        where,
        _,
    ):
        get = "GET / HTTP/1.1", "Host: mx.example.org"
        assert ask(where, *get).startswith("HTTP/1.1 403")
        assert "<bdi>alice</bdi>" in ask(where, *get, "X-User: alice")
        assert ask(where, *get, "X-User: mallory", "X-User: alice").startswith("HTTP/1.1 403")
        assert ask(where, *get, "X_User: alice").startswith("HTTP/1.1 403")
        assert ask(where, "GET / HTTP/1.1", "Host: evil.example", "X-User: alice").startswith("HTTP/1.1 421")


def test_with_a_proxy_named_nobody_else_is_answered() -> None:
    with page("--listen", "127.0.0.1:0", "--behind-proxy", "192.0.2.7") as (where, _):
        assert ask(where, "GET / HTTP/1.1", "Host: localhost").startswith("HTTP/1.1 403")
    with page("--listen", "127.0.0.1:0", "--behind-proxy", "127.0.0.1") as (where, _):
        assert ask(where, "GET / HTTP/1.1", "Host: localhost").startswith("HTTP/1.1 200")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_without_a_word(how: signal.Signals) -> None:
    with page("--listen", "127.0.0.1:0") as (_, running):
        running.send_signal(how)
        assert running.communicate(timeout=20)[1] == ""
        assert running.returncode in (0, -signal.SIGTERM, 130)
