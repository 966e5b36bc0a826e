"""Any number of sender domains: every domain below `example` has SPF, DKIM and DMARC records. All sign with the same
keys, but each has a record of its own, in which its name is noted (n=, RFC 6376 section 3.6.1).

The server is a process of its own and builds its answers from octets, so that what is measured is not it. It knows UDP
alone, for each of its answers is short.
"""

import multiprocessing
import os
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

CLIENT = "192.0.2.10"  # the address of the client that hands in their mail
TTL = 3600
_BUFFER = 4 * 1024 * 1024  # octets of questions that may wait
# On port 53 where we may: peers take the address of a nameserver from resolv.conf, but no port.
_HOST, _FAR_HOST = "127.53.53.53", "127.53.53.54"
_A, _TXT = 1, 16
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")


class Senders:
    """Serves until the end of a `with`. `keys`: what the DNS record of each selector has to say; `delay`: seconds after
    which each question is answered."""

    def __init__(self, keys: dict[str, str], delay: float = 0.0) -> None:
        self._keys = keys
        self._delay = delay
        self._texts = {b"_dmarc": "v=DMARC1; p=reject; rua=mailto:reports@rcpt.example", b"mail": "v=spf1 a -all"}
        self._texts |= {selector.encode(): record for selector, record in keys.items()}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((_FAR_HOST if delay else _HOST, 53))
        except OSError:
            self._socket.bind(("127.0.0.1", 0))
        self.host, self.port = self._socket.getsockname()
        self._process = multiprocessing.get_context("fork").Process(target=self._serve, daemon=True)

    @property
    def nameserver(self) -> str:
        """The server as the setting `dns.nameservers` takes it."""
        return f"{self.host}:{self.port}"

    def with_delay(self, delay: float) -> "Senders":
        """Another such server, whose answers take this many seconds."""
        return Senders(self._keys, delay)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._socket.close()

    def _serve(self) -> None:
        parent = os.getppid()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        late: deque[tuple[float, bytes, Any]] = deque()  # answers that are under way, the next one first
        while os.getppid() == parent:
            self._socket.settimeout(max(late[0][0] - time.monotonic(), 0.0001) if late else 1)
            with suppress(TimeoutError):
                question, client = self._socket.recvfrom(4096)
                late.append((time.monotonic() + self._delay, self._answer(question), client))
            while late and late[0][0] <= time.monotonic():
                self._socket.sendto(*late.popleft()[1:])

    def _answer(self, question: bytes) -> bytes:
        number = _HEADER.unpack_from(question)[0]
        end = question.index(b"\0", 12) + 5
        kind = struct.unpack_from("!H", question, end - 4)[0]
        label = question[13 : 13 + question[12]].lower()
        data = b""
        if kind == _TXT:
            text = self._texts.get(label, "v=spf1 ip4:192.0.2.0/24 -all").encode()
            if text.startswith(b"v=DKIM1"):
                text += b"; n=" + b".".join(_labels(question)[2:])
            data = b"".join(bytes([len(part)]) + part for part in (text[n : n + 255] for n in range(0, len(text), 255)))
        elif kind == _A and label == b"mail":
            data = socket.inet_aton(CLIENT)
        reply = _HEADER.pack(number, 0x8580, 1, bool(data), 0, 0) + question[12:end]
        return reply + b"\xc0\x0c" + _RECORD.pack(kind, 1, TTL, len(data)) + data if data else reply


def _labels(question: bytes) -> list[bytes]:
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length])
        at += 1 + length
    return labels
