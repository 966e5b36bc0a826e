"""The health check tells a milter that serves from all else."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailnotary.config.listen import Listen
from mailnotary.daemon.probe import Negotiated, ProbeError, main, probe

ANSWER = b"O" + struct.pack(">III", 6, 0x31, 0x1FF)


@contextmanager
def server(reply: bytes | None, path: str = "") -> Iterator[Listen]:
    """Something that listens and says `reply` to whatever comes (None: nothing, and it closes)."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(path or ("127.0.0.1", 0))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100)[4:5] == b"O"
            if reply is not None:
                connection.sendall(reply)
                connection.recv(100)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Listen("unix", path=path) if path else Listen("inet", "127.0.0.1", listener.getsockname()[1])
    finally:
        thread.join()
        listener.close()


def test_a_milter_on_tcp_serves() -> None:
    with server(struct.pack(">I", len(ANSWER)) + ANSWER) as listen:
        assert probe(listen) == Negotiated(6, leading_space=False)


def test_a_milter_that_takes_leading_white_space_is_seen() -> None:
    answer = b"O" + struct.pack(">III", 6, 0x31, 0x100000)
    with server(struct.pack(">I", len(answer)) + answer) as listen:
        assert probe(listen) == Negotiated(6, leading_space=True)


def test_a_milter_on_a_unix_socket_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server(struct.pack(">I", len(ANSWER)) + ANSWER, str(tmp_path / "socket")) as listen:
        assert main([str(listen)]) == 0
    assert "serves milter protocol 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "closed without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 2000, "not a milter"),
        (b"\0\0\0\x01t", "not a milter"),
        (b"\0\0\0\x05O\0\0\0\6", "not a milter"),
    ],
)
def test_what_is_no_milter_does_not_serve(reply: bytes | None, reason: str) -> None:
    with server(reply) as listen, pytest.raises(ProbeError, match=reason):
        probe(listen)


def test_one_that_hangs_does_not_serve() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(ProbeError, match=r"no answer within 0\.1 s"),
    ):
        probe(Listen("inet", "127.0.0.1", listener.getsockname()[1]), timeout=0.1)


def test_nobody_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"unix:{tmp_path}/nobody"]) == 1
    assert os.strerror(errno.ENOENT) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["nonsense"]])
def test_wrong_usage_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err
