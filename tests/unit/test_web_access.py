"""Who is answered by the page, and what it never does."""

import os
import socket
from ipaddress import ip_network
from pathlib import Path

import pytest

from mailnotary.cli import main
from mailnotary.web.access import Access, host_name
from mailnotary.web.server import Address, WebError, server

PROXY = Access(frozenset(("mx.example.org",)), (ip_network("192.0.2.0/28"), ip_network("2001:db8::7")), "X-User")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("localhost:8892", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8892", "::1"),
        ("[::1]", "::1"),
        ("mx.example.org:443", "mx.example.org"),
        ("", ""),
        ("[", ""),
        ("evil.example@localhost", "evil.example@localhost"),
    ],
)
def test_the_name_of_a_host_field(field: str, name: str) -> None:
    assert host_name(field) == name


@pytest.mark.parametrize("host", ["localhost:8892", "127.0.0.1:9000", "[::1]:8892"])
def test_this_machine_is_answered_by_its_names_whatever_the_port(host: str) -> None:
    assert Access().refusal("GET", host, "127.0.0.1", None) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8892", "127.0.0.1.evil.example", "localhost.evil.example", "", "127.0.0.2"]
)
def test_another_name_that_leads_here_is_refused(host: str) -> None:
    refused = Access().refusal("GET", host, "127.0.0.1", None)
    assert refused is not None
    assert refused[0] == 421
    assert "--host" in refused[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_only_reading_is_allowed(method: str) -> None:
    refused = Access().refusal(method, "localhost", "127.0.0.1", None)
    assert refused is not None
    assert refused[0] == 405


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::7"])
def test_a_proxy_may_connect(peer: str) -> None:
    assert PROXY.refusal("GET", "mx.example.org", peer, "alice") is None


@pytest.mark.parametrize("peer", ["192.0.2.16", "127.0.0.1", "2001:db8::8", "", "localhost", "not an address"])
def test_nobody_else_may_where_there_is_a_proxy(peer: str) -> None:
    refused = PROXY.refusal("GET", "mx.example.org", peer, "alice")
    assert refused is not None
    assert refused[0] == 403


@pytest.mark.parametrize("user", [None, "", "mallory, alice", "a\nb", "x" * 1000])
def test_a_proxy_has_to_name_one_user(user: str | None) -> None:
    refused = PROXY.refusal("GET", "mx.example.org", "192.0.2.1", user)
    assert refused is not None
    assert refused[0] == 403
    assert "X-User" in refused[1]


@pytest.mark.parametrize(
    ("text", "shown", "local"),
    [
        ("127.0.0.1:8892", "http://127.0.0.1:8892/", True),
        ("[::1]:80", "http://[::1]:80/", True),
        ("localhost:8892", "http://localhost:8892/", True),
        ("unix:/run/x.sock", "unix:/run/x.sock", True),
        ("0.0.0.0:8892", "http://0.0.0.0:8892/", False),
        ("[::]:8892", "http://[::]:8892/", False),
        ("192.0.2.1:8892", "http://192.0.2.1:8892/", False),
        ("[::ffff:192.0.2.1]:8892", "http://[::ffff:192.0.2.1]:8892/", False),
        ("mx.example.org:8892", "http://mx.example.org:8892/", False),
    ],
)
def test_where_it_listens(text: str, shown: str, local: bool) -> None:
    address = Address.parse(text)
    assert (str(address), address.is_local) == (shown, local)


@pytest.mark.parametrize(
    "text", ["8892", "127.0.0.1", "127.0.0.1:", ":8892", "127.0.0.1:x", "127.0.0.1:65536", "unix:web.sock", "unix:", ""]
)
def test_where_it_cannot_listen_is_said_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 127\.0\.0\.1:8892"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--listen", "0.0.0.0:8892"], "--behind-proxy ADDRESS"),
        (["--listen", "192.0.2.1:8892"], "--behind-proxy ADDRESS"),
        (["--user-header", "X-User"], "is taken from a proxy alone"),
        (["--user-header", "X_User", "--behind-proxy", "127.0.0.1"], "is not the name of a field"),
        (["--listen", "unix:/run/w.sock", "--behind-proxy", "127.0.0.1"], "--behind-proxy is for addresses"),
        (["--behind-proxy", "proxy.example"], "is not an address or a network"),
        (["--host", "https://x/"], "is not a host name"),
        (["--listen", "8892"], "is not an address and a port"),
    ],
)
def test_what_would_be_open_to_others_is_wrong_usage(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["web", *arguments])
    assert exit_.value.code == 2
    assert error in " ".join(capsys.readouterr().err.split())


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = f"{tmp_path}/web.sock"
    with open(path, "w") as file:
        file.write("mine")
    with pytest.raises(WebError, match="cannot listen on unix:"):
        server(None, Address(path=path))
    with open(path) as file:
        assert file.read() == "mine"


def test_a_socket_that_nobody_listens_on_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "web.sock"))
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(address.path)
    first = server(lambda *_: [], address)
    try:
        assert os.stat(address.path).st_mode & 0o777 == 0o660
        with pytest.raises(WebError, match="Address already in use"):
            server(lambda *_: [], address)
    finally:
        first.close()


def test_an_address_that_is_taken_is_said() -> None:
    first = server(lambda *_: [], Address("127.0.0.1", 0))
    try:
        with pytest.raises(WebError, match="cannot listen on http://127"):
            server(lambda *_: [], Address("127.0.0.1", int(first.effective_port)))
    finally:
        first.close()
