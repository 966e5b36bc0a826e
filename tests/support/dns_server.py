"""A real DNS server on loopback over a zone in `ZoneResolver`'s form, which can also misbehave.

    with DnsServer({"example.org": [{"TXT": "v=spf1 -all"}]}) as server:
        resolver = DnsResolver([("127.0.0.1", server.port)])

TIMEOUT in the zone gets no reply, SERVFAIL that rcode, NXDOMAIN and NODATA come with a SOA record, CNAMEs are followed
within the answer. As a program: `python tests/support/dns_server.py ZONE.yaml [PORT]` serves until it is interrupted.
"""

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, ZoneResolver

IN = dns.rdataclass.IN
MAX_CHAIN = 30  # CNAMEs that one answer follows: longer than any resolver should, and a loop ends

Reply = Callable[[bytes], None]


@dataclass
class Faults:
    """How the server misbehaves; set the fields of `DnsServer.faults` at any time."""

    truncate: bool = False  # every UDP reply is empty and says TC
    ignore_size: bool = False  # UDP replies are as large as they come, whatever the question allows
    delay: float = 0.0  # seconds before each reply
    hold: Callable[[str], object] | None = None  # called with the name before each reply, in a thread of its own
    drop: int = 0  # so many questions to come get no reply
    drop_udp: bool = False  # no reply over UDP
    tcp: str = "serve"  # "refuse" closes connections at once, "cut" in the midst of the reply, "hang" says nothing
    wrong_id: bool = False
    wrong_question: bool = False
    other_port: bool = False  # UDP replies come from another port
    then_right: bool = False  # the wrong reply (one of the three above, or garbage) is followed by the right one
    garbage: bytes | None = None  # these octets are the reply
    garbage_body: bytes | None = None  # these octets follow a right header and question
    rcode: str = ""  # "SERVFAIL", "REFUSED" ... to every question
    no_edns: str = ""  # "FORMERR" or "NOTIMP" to every question with EDNS
    cname_only: bool = False  # a CNAME is not followed within the answer


class DnsServer:
    """Serves a zone on one port, over UDP and TCP; `authentic`: it says that DNSSEC has validated its answers.
    `questions` lists (name, kind) as they came, names in lower case;
    `tcp_questions` counts those over TCP. Stopped and started again it keeps its port."""

    def __init__(
        self,
        zone: Mapping[str, Any],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        ttl: int = 300,
        negative_ttl: int = 60,
        authentic: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.authentic = authentic
        self.faults = Faults()
        self.questions: list[tuple[str, str]] = []
        self.tcp_questions = 0
        self._zone = ZoneResolver(zone)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._lock = threading.Lock()
        self._running: _Sockets | None = None

    @property
    def nameserver(self) -> str:
        """The server as the setting `dns.nameservers` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """The server as `DnsResolver` takes it."""
        return self.host, self.port

    def set_zone(self, zone: Mapping[str, Any]) -> None:
        """Serves another zone from now on."""
        self._zone = ZoneResolver(zone)

    def count(self, name: str, kind: str) -> int:
        """How often a question was asked."""
        return self.questions.count((name.lower(), kind))

    def start(self) -> Self:
        """Opens the sockets and serves in threads of its own."""
        if self._running is None:
            self._running = _Sockets(self._family, self.host, self.port)
            self.port = self._running.port
            self._running.serve(self._udp, self._tcp)
        return self

    def stop(self) -> None:
        """Closes the sockets; clients see a closed port until `start`."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _udp(self, wire: bytes, reply: Reply, reply_elsewhere: Reply) -> None:
        wrong = reply_elsewhere if self.faults.other_port else reply
        if self.faults.delay or self.faults.hold:  # others need not wait with this one
            threading.Thread(target=self._answer, args=(wire, reply, wrong), kwargs={"udp": True}, daemon=True).start()
        else:
            self._answer(wire, reply, wrong, udp=True)

    def _tcp(self, connection: socket.socket) -> None:
        fault = self.faults.tcp
        while fault != "refuse" and (wire := _tcp_message(connection)):
            self.tcp_questions += 1

            def reply(answer: bytes) -> None:
                framed = struct.pack("!H", len(answer)) + answer
                connection.sendall(framed[: len(framed) // 2] if fault == "cut" else framed)

            if fault != "hang":
                self._answer(wire, reply, reply, udp=False)
            if fault == "cut":
                return

    def _answer(self, wire: bytes, reply: Reply, reply_wrong: Reply, *, udp: bool) -> None:
        """Answers one question, rightly or as the faults say."""
        faults = self.faults
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return
        name = _text(question.name)
        kind = dns.rdatatype.to_text(question.rdtype)
        with self._lock:
            self.questions.append((name, kind))
            dropped = faults.drop > 0
            faults.drop -= dropped
        if dropped or (udp and faults.drop_udp):
            return
        right = self._response(query, name, kind, udp=udp)
        if right is None:
            return
        wrong = self._wrong(query, right)
        if faults.delay:
            time.sleep(faults.delay)
        if faults.hold:
            faults.hold(name)
        if wrong is not None or faults.other_port:
            reply_wrong(right if wrong is None else wrong)
            if not faults.then_right:
                return
        reply(right)

    def _wrong(self, query: dns.message.Message, right: bytes) -> bytes | None:
        """The reply as the faults twist it, None where they don't."""
        faults = self.faults
        if faults.garbage is not None:
            return faults.garbage
        if faults.garbage_body is not None:
            end = 12 + len(query.question[0].name.to_wire() or b"") + 4
            return right[:4] + b"\0\1\0\1\0\0\0\0" + right[12:end] + faults.garbage_body
        if faults.wrong_id:
            return struct.pack("!H", query.id ^ 0x5555) + right[2:]
        if faults.wrong_question:
            return right[:13] + bytes([right[13] ^ 0x03]) + right[14:]
        return None

    def _response(self, query: dns.message.Message, name: str, kind: str, *, udp: bool) -> bytes | None:
        faults = self.faults
        response = dns.message.make_response(query, recursion_available=True)
        if faults.rcode or (faults.no_edns and query.edns >= 0):
            response.set_rcode(dns.rcode.from_text(faults.rcode or faults.no_edns))
            if faults.no_edns:
                response.use_edns(False)
        else:
            try:
                self._fill(response, query.question[0].name, name, kind)
            except DnsTempError as error:
                if error.word == "TIMEOUT":
                    return None
                response.set_rcode(dns.rcode.SERVFAIL)
            except dns.exception.DNSException:  # data that no DNS message can carry
                response.set_rcode(dns.rcode.SERVFAIL)
        size = 65_535
        if udp and not faults.ignore_size:
            size = max(512, query.payload) if query.edns >= 0 else 512
        if not (udp and faults.truncate):
            with suppress(dns.exception.TooBig):
                return response.to_wire(max_size=size, want_shuffle=False)  # records in the zone's order
        response.answer.clear()
        response.authority.clear()
        if udp:
            response.flags |= dns.flags.TC
        else:
            response.set_rcode(dns.rcode.SERVFAIL)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, owner: dns.name.Name, name: str, kind: str) -> None:
        """The answer section, CNAMEs first, or the SOA that tells how long there is nothing (RFC 2308 section 2)."""
        if self.authentic:
            response.flags |= dns.flags.AD
        for _ in range(MAX_CHAIN):
            found = self._step(name, kind)
            if isinstance(found, Answer):
                break
            name = found
            target = _name(name)
            response.answer.append(_rrset(owner, self.ttl, [_from_text("CNAME", target)]))
            owner = target
            if self.faults.cname_only or kind == "CNAME":
                return
        else:
            return
        if found.records:
            response.answer.append(_rrset(owner, self.ttl, [_rdata(record, kind) for record in found.records]))
            return
        if not found.exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = _from_text("SOA", f"ns.invalid. admin.invalid. 1 3600 600 86400 {self.negative_ttl}")
        response.authority.append(_rrset(dns.name.root, self.ttl, [soa]))

    def _step(self, name: str, kind: str) -> Answer | str:
        if kind in RecordKind.__members__:
            return self._zone.step(name, RecordKind(kind))
        found = self._zone.step(name, RecordKind.PTR)  # any type: whether the name exists, or is a CNAME
        return Answer((), exists=found.exists) if isinstance(found, Answer) else found


class _Sockets:
    """A UDP and a TCP socket on one port, with the threads that serve them."""

    def __init__(self, family: socket.AddressFamily, host: str, port: int) -> None:
        self._udp, self._tcp = _bind(family, host, port)
        self.port = int(self._udp.getsockname()[1])
        self._elsewhere = socket.socket(family, socket.SOCK_DGRAM)
        self._elsewhere.bind((host, 0))
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def serve(
        self, answer_udp: Callable[[bytes, Reply, Reply], None], serve_tcp: Callable[[socket.socket], None]
    ) -> None:
        for loop, work in ((self._udp_loop, answer_udp), (self._tcp_loop, serve_tcp)):
            thread = threading.Thread(target=loop, args=(work,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for listener in (self._udp, self._tcp):  # wakes the thread that waits in it
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for listener in (self._udp, self._tcp, self._elsewhere):
            listener.close()

    def _udp_loop(self, answer: Callable[[bytes, Reply, Reply], None]) -> None:
        while not self._closed:
            try:
                wire, peer = self._udp.recvfrom(65_535)
            except OSError:
                continue
            if self._closed:
                return

            def reply(data: bytes, peer: Any = peer) -> None:
                with suppress(OSError):
                    self._udp.sendto(data, peer)

            def reply_elsewhere(data: bytes, peer: Any = peer) -> None:
                with suppress(OSError):
                    self._elsewhere.sendto(data, peer)

            answer(wire, reply, reply_elsewhere)

    def _tcp_loop(self, serve: Callable[[socket.socket], None]) -> None:
        while not self._closed:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                continue
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve_connection, args=(serve, connection), daemon=True).start()

    def _serve_connection(self, serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
        try:
            with suppress(OSError):
                serve(connection)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


def _bind(family: socket.AddressFamily, host: str, port: int) -> tuple[socket.socket, socket.socket]:
    for attempt in range(50):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
            tcp.listen(64)
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
            if port or attempt == 49:
                raise
    raise AssertionError


def _tcp_message(connection: socket.socket) -> bytes:
    length = _tcp_read(connection, 2)
    return _tcp_read(connection, struct.unpack("!H", length)[0]) if length else b""


def _tcp_read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


def _text(name: dns.name.Name) -> str:
    # An octet a character; only A to Z have case.
    return b".".join(name.labels[:-1]).lower().decode("latin-1")


def _name(text: str) -> dns.name.Name:
    labels = text.removesuffix(".").encode("latin-1", "replace").split(b".") if text else []
    return dns.name.Name([*labels, b""])


def _rrset(owner: dns.name.Name, ttl: int, rdatas: list[dns.rdata.Rdata]) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(owner, ttl, rdatas)


def _rdata(record: object, kind: str) -> dns.rdata.Rdata:
    if isinstance(record, bytes):
        strings = [record[i : i + 255] for i in range(0, len(record), 255)] or [b""]
        return TXT(IN, dns.rdatatype.TXT, strings)
    if isinstance(record, MxRecord):
        return _from_text("MX", f"{record.preference} {_name(record.host)}")
    return _from_text(kind, _name(str(record)) if kind == "PTR" else record)


def _from_text(kind: str, text: object) -> dns.rdata.Rdata:
    return dns.rdata.from_text(IN, dns.rdatatype.from_text(kind), str(text))


def main(arguments: list[str]) -> int:
    """Serves a zone file until it is interrupted."""
    import yaml

    if len(arguments) not in (1, 2):
        print("usage: dns_server.py ZONE.yaml [PORT]", file=sys.stderr)
        return 2
    zone = yaml.safe_load(Path(arguments[0]).read_text("utf-8"))
    with DnsServer(zone, port=int(arguments[1]) if len(arguments) == 2 else 5353) as server:
        print(f"serving {arguments[0]} on {server.nameserver}, UDP and TCP", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
