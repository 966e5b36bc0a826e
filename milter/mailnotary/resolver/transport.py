"""One question and its tries: over UDP, over TCP, to one nameserver after the other, until there is a reply."""

import logging
import secrets
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dns.rcode
from dns.name import Name

from mailnotary.errors import DnsError
from mailnotary.resolver.records import WireError
from mailnotary.resolver.types import DnsTempError, RecordKind
from mailnotary.resolver.wire import ANSWERED, UDP_SIZE, Reply, answers, encode_question, parse_reply

MIN_SENDS = 3  # datagrams for one question at least, evenly spread over its time: a lost one costs a third of it
MAX_SENDS = 6  # with more servers than that the last are asked only once others are known to be down
MISSES = 3  # questions in a row without any reply, after which a server counts as down
MISS_TIME = 0.5  # seconds that a server must have had for that
DOWN_TIME = 30.0  # seconds for which a server that is down is passed over, where there is another
PLAIN_TIME = 300.0  # seconds for which a server that can't do EDNS is asked without
MAX_STRAYS = 50  # datagrams that are not a reply to ours; then somebody is guessing, and TCP can't be guessed


log = logging.getLogger(__name__)


class UnreachableError(DnsTempError):
    """Nothing listens at any of the nameservers. It cost no time to learn, so it is not remembered."""


class _FailedError(DnsError):
    """A server has failed to answer a question; another may do better."""

    def __init__(self, server: "Server", reason: str, word: str = "SERVFAIL") -> None:
        # The reason may be written into a header, which is no place for our nameservers' addresses.
        log.debug("nameserver %s: %s", server.text, reason)
        self.reason = reason
        self.word = word


class Server:
    """A nameserver and what is known about its state. Raises ValueError for what is not an IP address or port.

    Threads write the numbers without a lock: a lost update delays a verdict by one question."""

    __slots__ = ("address", "down_until", "family", "misses", "plain_until", "text")

    def __init__(self, address: str, port: int) -> None:
        if not 0 < port < 65_536:
            raise ValueError(f"nameserver {address!r}: {port} is not a port")
        try:
            addresses = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError, ValueError) as error:
            raise ValueError(f"nameserver {address!r} is not an IP address") from error
        self.family: socket.AddressFamily = addresses[0][0]
        self.address: tuple[Any, ...] = addresses[0][4]
        self.text = f"{address} port {port}"
        self.misses = 0
        self.down_until = 0.0
        self.plain_until = 0.0

    def seen(self) -> None:
        """It has sent a reply."""
        self.misses = 0
        self.down_until = 0.0

    def missed(self, now: float, *, refused: bool = False) -> None:
        """It has sent none, or its port is closed."""
        self.misses += 1
        if refused or self.misses >= MISSES:
            self.down_until = now + DOWN_TIME


def ask(servers: Sequence[Server], name: Name, kind: RecordKind, seconds: float) -> Reply:
    """The reply to one question, NOERROR or NXDOMAIN and complete, within so many seconds; raises DnsTempError."""
    now = time.monotonic()
    up = [server for server in servers if server.down_until <= now] or list(servers)
    exchange = _Exchange(up, name, kind, now + seconds)
    try:
        return exchange.run(now, seconds)
    finally:
        exchange.end()


class _Try:
    """A query that is under way to one server."""

    __slots__ = ("edns", "query", "sent", "server", "socket", "strays")

    def __init__(self, server: Server, name: Name, kind: RecordKind, *, edns: bool) -> None:
        self.server = server
        self.edns = edns
        self.query = encode_question(secrets.randbits(16), name, kind, edns=edns)  # RFC 5452 section 9.2
        self.strays = 0
        self.sent = time.monotonic()
        self.socket = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.socket.connect(server.address)  # the kernel picks a random port and drops what others send
            self.socket.send(self.query)
        except OSError:
            self.socket.close()
            raise


class _Exchange:
    """The tries of one question. All stay open to the end, so that a late reply to the first is still of use."""

    def __init__(self, servers: list[Server], name: Name, kind: RecordKind, deadline: float) -> None:
        self._servers = servers  # those that may still have an answer; the next to ask first
        self._name = name
        self._kind = kind
        self._deadline = deadline
        self._tries: dict[int, _Try] = {}
        self._poll = select.poll()
        self._failure: _FailedError | None = None  # the last one of a server; SERVFAIL says more than silence
        self._refusal = ""  # why a server could not even be asked

    def run(self, now: float, seconds: float) -> Reply:
        """Sends, waits, sends to the next one, and so on."""
        interval = seconds / min(max(MIN_SENDS, 2 * len(self._servers)), MAX_SENDS)
        next_send = now
        while self._servers and now < self._deadline:
            if now >= next_send or not self._tries:
                server = self._servers.pop(0)
                self._servers.append(server)
                self._send(server, edns=server.plain_until <= now)
                next_send = now + interval
            if self._tries:
                wait = min(next_send, self._deadline) - now
                for descriptor, _ in self._poll.poll(max(wait, 0) * 1000 + 1):
                    reply = self._receive(self._tries.get(descriptor))
                    if reply is not None:
                        return reply
            now = time.monotonic()
        if self._failure is not None:
            raise DnsTempError(self._failure.reason, self._failure.word)
        if self._servers:
            raise DnsTempError("no reply in time", "TIMEOUT")
        raise UnreachableError(self._refusal)

    def end(self) -> None:
        """Closes all sockets, and notes which servers have kept silent."""
        now = time.monotonic()
        for attempt in self._tries.values():
            attempt.socket.close()
        for server in {attempt.server for attempt in self._tries.values() if now - attempt.sent >= MISS_TIME}:
            server.missed(now)

    def _send(self, server: Server, *, edns: bool) -> None:
        try:
            attempt = _Try(server, self._name, self._kind, edns=edns)
        except OSError as error:
            self._unreachable(server, error)
            return
        self._tries[attempt.socket.fileno()] = attempt
        self._poll.register(attempt.socket, select.POLLIN)

    def _receive(self, attempt: _Try | None) -> Reply | None:
        """The reply that waits on a socket, None if it is none that ends the question."""
        if attempt is None:  # the server failed on another socket a moment ago
            return None
        try:
            return self._read(attempt)
        except BlockingIOError:  # the kernel dropped the datagram: a wrong checksum
            return None
        except OSError as error:
            self._unreachable(attempt.server, error)
            return None
        except _FailedError as error:
            self._remove(attempt.server)
            if self._failure is None or self._failure.word == "TIMEOUT":
                self._failure = error
            return None

    def _read(self, attempt: _Try) -> Reply | None:
        wire = attempt.socket.recv(UDP_SIZE + 1)
        if not answers(wire, attempt.query, self._name):
            attempt.strays += 1
            return self._over_tcp(attempt) if attempt.strays > MAX_STRAYS else None
        attempt.server.seen()
        if len(wire) > UDP_SIZE:  # larger than we offered: the rest is lost
            return self._over_tcp(attempt)
        reply = self._judge(attempt, wire)
        return self._over_tcp(attempt) if reply and reply.truncated else reply

    def _over_tcp(self, attempt: _Try) -> Reply | None:
        """Asks again over TCP, which carries what UDP can't (RFC 7766 section 5)."""
        others = sum(other is not attempt.server for other in self._servers)
        now = time.monotonic()
        deadline = now + (self._deadline - now) / (1 + others)  # leaves time for those that follow
        try:
            wire = _ask_tcp(attempt.server, attempt.query, deadline)
        except TimeoutError as error:
            raise _FailedError(attempt.server, "no reply in time over TCP", "TIMEOUT") from error
        except OSError as error:
            raise _FailedError(attempt.server, f"TCP: {error.strerror or error}") from error
        if not answers(wire, attempt.query, self._name):
            raise _FailedError(attempt.server, "TCP: the reply is not to our question")
        reply = self._judge(attempt, wire)
        if reply and reply.truncated:
            raise _FailedError(attempt.server, "TCP: a truncated reply")
        return reply

    def _judge(self, attempt: _Try, wire: bytes) -> Reply | None:
        """The reply if it is an answer or truncated; None if the server is asked again, without EDNS."""
        server = attempt.server
        try:
            reply = parse_reply(wire, self._name, self._kind)
        except WireError as error:
            raise _FailedError(server, f"an unusable reply: {error}") from error
        if reply.truncated:
            return reply
        if reply.rcode in (dns.rcode.FORMERR, dns.rcode.NOTIMP) and attempt.edns:  # RFC 6891 section 7
            self._forget(server)
            self._send(server, edns=False)
            return None
        if reply.rcode not in ANSWERED:
            raise _FailedError(server, f"rcode {dns.rcode.to_text(reply.rcode)}")
        now = time.monotonic()
        if not attempt.edns and server.plain_until <= now:
            server.plain_until = now + PLAIN_TIME  # so it was EDNS that it could not do
        self._forget(server)
        return reply

    def _unreachable(self, server: Server, error: OSError) -> None:
        server.missed(time.monotonic(), refused=True)
        self._remove(server)
        log.debug("nameserver %s: %s", server.text, error)
        self._refusal = error.strerror or str(error)

    def _remove(self, server: Server) -> None:
        """The server has no answer to this question: it is not asked again."""
        self._forget(server)
        if server in self._servers:
            self._servers.remove(server)

    def _forget(self, server: Server) -> None:
        for descriptor, attempt in list(self._tries.items()):
            if attempt.server is server:
                del self._tries[descriptor]
                with suppress(KeyError):
                    self._poll.unregister(descriptor)
                attempt.socket.close()


def _ask_tcp(server: Server, query: bytes, deadline: float) -> bytes:
    """Sends a query over a connection of its own and reads the reply; raises OSError, TimeoutError at the deadline."""
    with socket.socket(server.family, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left(deadline))
        connection.connect(server.address)
        connection.sendall(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(_read(connection, 2, deadline), "big")
        return _read(connection, length, deadline)


def _read(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray(size)
    filled = 0
    while filled < size:
        connection.settimeout(_left(deadline))
        count = connection.recv_into(memoryview(data)[filled:])
        if not count:
            raise ConnectionResetError("the connection was closed before the reply was whole")
        filled += count
    return bytes(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
