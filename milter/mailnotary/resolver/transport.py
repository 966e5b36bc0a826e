"""One question and its tries: over UDP, over TCP, to one nameserver after the other, until there is a reply."""

import logging
import secrets
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import dns.rcode

from mailnotary.errors import DnsError
from mailnotary.resolver import server as limits
from mailnotary.resolver.burst import Begun
from mailnotary.resolver.records import WireError
from mailnotary.resolver.server import Server
from mailnotary.resolver.types import DnsTempError, RecordKind
from mailnotary.resolver.wire import ANSWERED, UDP_SIZE, Reply, answers, encode_question, parse_reply

MIN_SENDS = 3  # datagrams for one question at least, evenly spread over its time: a lost one costs a third of it
MAX_SENDS = 6  # with more servers than that the last are asked only once others are known to be down
BEGUN_STEP = 0.25  # seconds between looks for a reply to a question of a burst that another thread may have read

log = logging.getLogger(__name__)


class UnreachableError(DnsTempError):
    """Nothing listens at any of the nameservers. It cost no time to learn, so it is not remembered."""


class _FailedError(DnsError):
    """A server has failed to answer a question; another may do better."""

    def __init__(self, server: Server, reason: str, word: str = "SERVFAIL") -> None:
        # The reason may be written into a header, which is no place for our nameservers' addresses.
        log.debug("nameserver %s: %s", server.text, reason)
        self.reason = reason
        self.word = word


def usable(servers: Sequence[Server]) -> list[Server]:
    """The servers that are not down; all, where all are."""
    now = time.monotonic()
    return [server for server in servers if server.down_until <= now] or list(servers)


def ask(
    servers: Sequence[Server],
    name: bytes,
    kind: RecordKind,
    seconds: float,
    begun: Begun | None = None,
    before_wait: Callable[[], object] = lambda: None,
) -> Reply:
    """The reply to one question, NOERROR or NXDOMAIN and complete, within so many seconds; raises DnsTempError. `begun`
    is the same question if it was sent already. `before_wait` is called before it waits."""
    if begun is not None and (reply := answered(begun, kind)) is not None:
        return reply
    exchange = _Exchange(usable(servers), name, kind, seconds, before_wait)
    try:
        if begun is not None and (reply := exchange.join(begun)) is not None:
            return reply
        return exchange.run()
    finally:
        exchange.end()


def answered(begun: Begun, kind: RecordKind) -> Reply | None:
    """The answer to a question of a burst, if it is there and nothing about it is unusual: as it nearly always is."""
    try:
        wire = begun.receive()
        if wire is None or len(wire) > UDP_SIZE or not begun.edns:
            return None
        reply = parse_reply(wire, begun.name, kind)
    except (OSError, WireError):
        return None
    if reply.truncated or reply.rcode not in ANSWERED:
        return None
    begun.server.seen()
    begun.close()
    return reply


class _Try:
    """A query that is under way to one server, over a socket of its own."""

    __slots__ = ("_name", "_socket", "_strays", "edns", "query", "sent", "server")

    def __init__(self, server: Server, name: bytes, kind: RecordKind, *, edns: bool) -> None:
        self.server = server
        self.edns = edns
        self.query = encode_question(secrets.token_bytes(2), name, kind, edns=edns)  # RFC 5452 section 9.2
        self.sent = time.monotonic()
        self._name = name
        self._strays = 0
        self._socket = server.connect()
        try:
            self._socket.send(self.query)
        except OSError:
            self._socket.close()
            raise

    @property
    def flooded(self) -> bool:
        """Whether somebody seems to guess the reply."""
        return self._strays > limits.MAX_STRAYS

    def fileno(self) -> int:
        """The descriptor that is readable when a reply may have come."""
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        """The reply if it is there; raises OSError."""
        try:
            wire = self._socket.recv(UDP_SIZE + 1)
        except BlockingIOError:  # the kernel dropped the datagram: a wrong checksum
            return None
        if answers(wire, self.query, self._name):
            return wire
        self._strays += 1
        return None

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


class _Exchange:
    """The tries of one question. All stay open to the end, so that a late reply to the first is still of use."""

    def __init__(
        self,
        servers: list[Server],
        name: bytes,
        kind: RecordKind,
        seconds: float,
        before_wait: Callable[[], object],
    ) -> None:
        self._servers = servers  # those that may still have an answer; the next to ask first
        self._name = name
        self._kind = kind
        self._deadline = time.monotonic() + seconds
        self._interval = seconds / min(max(MIN_SENDS, 2 * len(servers)), MAX_SENDS)
        self._before_wait: Callable[[], object] | None = before_wait
        self._tries: dict[int, _Try | Begun] = {}
        self._poll = select.poll()
        self._failure: _FailedError | None = None  # the last one of a server; SERVFAIL says more than silence
        self._refusal = ""  # why a server could not even be asked

    def join(self, begun: Begun) -> Reply | None:
        """Waits for the reply to a question of a burst, for as long as for any first try; it stays one of the tries."""
        server = begun.server
        if server not in self._servers or begun.fileno() < 0:
            begun.close()
            return None
        self._servers.remove(server)
        self._servers.append(server)
        self._tries[begun.fileno()] = begun
        until = min(begun.sent + self._interval, self._deadline)
        reply = self._outcome(begun, lambda: begun.burst.wait(begun, until, self._wait))
        if reply is None and begun.fileno() in self._tries:
            self._poll.register(begun, select.POLLIN)
        return reply

    def run(self) -> Reply:
        """Sends, waits, sends to the next one, and so on."""
        next_send = now = time.monotonic()
        while self._servers and now < self._deadline:
            if now >= next_send or not self._tries:
                server = self._servers.pop(0)
                self._servers.append(server)
                self._send(server, edns=server.plain_until <= now)
                next_send = now + self._interval
            if self._tries:
                reply = self._await(min(next_send, self._deadline) - now)
                if reply is not None:
                    return reply
            now = time.monotonic()
        if self._failure is not None:
            raise DnsTempError(self._failure.reason, self._failure.word)
        if self._servers:
            raise DnsTempError("no reply in time", "TIMEOUT")
        raise UnreachableError(self._refusal)

    def _await(self, seconds: float) -> Reply | None:
        """The reply if one comes within so many seconds."""
        self._wait()
        begun = [attempt for attempt in self._tries.values() if isinstance(attempt, Begun)]
        if begun:
            seconds = min(seconds, BEGUN_STEP)
        ready = [self._tries.get(descriptor) for descriptor, _ in self._poll.poll(max(seconds, 0) * 1000 + 1)]
        for attempt in [*ready, *begun]:
            if attempt is not None and self._tries.get(attempt.fileno()) is attempt:
                reply = self._outcome(attempt, attempt.receive)
                if reply is not None:
                    return reply
        return None

    def _wait(self) -> None:
        """Tells, once, that it is about to wait."""
        before_wait, self._before_wait = self._before_wait, None
        if before_wait is not None:
            before_wait()

    def end(self) -> None:
        """Closes all sockets, and notes which servers have kept silent."""
        now = time.monotonic()
        for attempt in self._tries.values():
            attempt.close()
        for server in {attempt.server for attempt in self._tries.values() if now - attempt.sent >= limits.MISS_TIME}:
            server.missed(now)

    def _send(self, server: Server, *, edns: bool) -> None:
        try:
            attempt = _Try(server, self._name, self._kind, edns=edns)
        except OSError as error:
            self._unreachable(server, error)
            return
        self._tries[attempt.fileno()] = attempt
        self._poll.register(attempt, select.POLLIN)

    def _outcome(self, attempt: _Try | Begun, receive: Callable[[], bytes | None]) -> Reply | None:
        """What is received for a try, None if it is nothing that ends the question."""
        try:
            wire = receive()
            if wire is not None:
                return self._read(attempt, wire)
            return self._over_tcp(attempt) if attempt.flooded else None
        except OSError as error:
            self._unreachable(attempt.server, error)
            return None
        except _FailedError as error:
            self._remove(attempt.server)
            if self._failure is None or self._failure.word == "TIMEOUT":
                self._failure = error
            return None

    def _read(self, attempt: _Try | Begun, wire: bytes) -> Reply | None:
        attempt.server.seen()
        if len(wire) > UDP_SIZE:  # larger than we offered: the rest is lost
            return self._over_tcp(attempt)
        reply = self._judge(attempt, wire)
        return self._over_tcp(attempt) if reply and reply.truncated else reply

    def _over_tcp(self, attempt: _Try | Begun) -> Reply | None:
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

    def _judge(self, attempt: _Try | Begun, wire: bytes) -> Reply | None:
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
            server.plain_until = now + limits.PLAIN_TIME  # so it was EDNS that it could not do
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
                attempt.close()


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
