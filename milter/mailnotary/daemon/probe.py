"""Asks a milter whether it is there: `python -m mailnotary.daemon.probe inet:8891@127.0.0.1`.

It connects, begins the milter protocol's negotiation as an MTA does, and leaves: so a process that merely listens, or
hangs, is told from one that serves. Exit status 0: it serves; 1: it does not, and standard error says why; 2: wrong
usage."""

import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mailnotary.config.listen import Listen
from mailnotary.errors import SetupError

TIMEOUT = 5.0  # seconds for each step

# SMFIC_OPTNEG: protocol version 6, with all of its actions and steps on offer, as Postfix does.
_OFFER = b"O" + struct.pack(">III", 6, 0x1FF, 0x1FFFFF)
_QUIT = b"Q"
_LEADING_SPACE = 0x100000  # SMFIP_HDR_LEADSPC
_OUR_MACRO = b" {auth_authen} {cert_subject} {verify}"  # in the list for MAIL FROM, which no other milter asks for


class ProbeError(SetupError):
    """No milter serves there; the text says what is there."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a milter took of the offer: its protocol version, whether it takes the white space after the colon of a
    header field as part of the value, and whether it is mailnotary, by the macros that it asks for."""

    version: int
    leading_space: bool
    ours: bool = False


def probe(listen: Listen, timeout: float = TIMEOUT) -> Negotiated:
    """Asks the milter at this address what it takes of all that an MTA can offer. Raises ProbeError."""
    try:
        with _connect(listen, timeout) as sock:
            sock.sendall(_packet(_OFFER))
            answer = _read_packet(sock)
            sock.sendall(_packet(_QUIT))
    except TimeoutError as error:
        raise ProbeError(f"no answer within {timeout:g} seconds") from error
    except OSError as error:
        raise ProbeError(error.strerror or str(error)) from error
    if answer[:1] != b"O" or len(answer) < 13:
        raise ProbeError("the peer is not a milter")
    version, _, steps = struct.unpack_from(">III", answer, 1)
    return Negotiated(version, bool(steps & _LEADING_SPACE), _OUR_MACRO in answer[13:])


def _connect(listen: Listen, timeout: float) -> socket.socket:
    if listen.family != "unix":
        return socket.create_connection((listen.host, listen.port), timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(listen.path)
    except OSError:
        sock.close()
        raise
    return sock


def _packet(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _read_packet(sock: socket.socket) -> bytes:
    (length,) = struct.unpack(">I", _read(sock, 4))
    return _read(sock, min(length, 1024))  # more than any milter's list of macros takes


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ProbeError("the connection was closed without an answer")
        data += part
    return data


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if len(arguments) != 1:
        print("usage: python -m mailnotary.daemon.probe ADDRESS", file=sys.stderr)
        return 2
    try:
        listen = Listen.parse(arguments[0])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        version = probe(listen).version
    except ProbeError as error:
        print(f"{listen}: {error}", file=sys.stderr)
        return 1
    print(f"{listen}: serves milter protocol {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
