"""The MTA's side of the milter protocol in plain Python, as Postfix 3.7 speaks it.

What it does on the wire (order of events, macros, flags, the abort between two messages) was compared packet by
packet with Postfix. A client is one milter connection: `connect`, `helo`, then any number of `mail` ... `eom`; or
`send_message`, which does all of it for one message and says what a real MTA would then do with it.
"""

import re
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Self

VERSION = 6
CHUNK = 65_535  # octets of body in one packet
MAX_FIELD = 60_000  # octets of a header field

ADDHDRS, CHGBODY, ADDRCPT, DELRCPT, CHGHDRS, QUARANTINE, CHGFROM, ADDRCPT_PAR, SETSYMLIST = (1 << n for n in range(9))
ALL_ACTIONS = 0x1FF

P_NOCONNECT, P_NOHELO, P_NOMAIL, P_NORCPT, P_NOBODY, P_NOHDRS, P_NOEOH, P_NR_HDR = (1 << n for n in range(8))
P_NOUNKNOWN, P_NODATA, P_SKIP, P_RCPT_REJ, P_NR_CONN, P_NR_HELO, P_NR_MAIL, P_NR_RCPT = (1 << n for n in range(8, 16))
P_NR_DATA, P_NR_UNKN, P_NR_EOH, P_NR_BODY, P_HDR_LEADSPC = (1 << n for n in range(16, 21))
ALL_PROTOCOL = 0x1FFFFF
NR_FLAGS = P_NR_HDR | P_NR_CONN | P_NR_HELO | P_NR_MAIL | P_NR_RCPT | P_NR_DATA | P_NR_UNKN | P_NR_EOH | P_NR_BODY

# What an MTA with `milter_protocol = 2` offers, as old how-tos have it.
OLD_MTA: dict[str, Any] = {"version": 2, "actions": 0x3F, "protocol": 0x7F}

_STAGES = {b"C": 0, b"H": 1, b"M": 2, b"R": 3, b"T": 4, b"E": 5, b"B": 5, b"N": 6, b"L": 6}
_REFUSED = {b"C": P_NOCONNECT, b"H": P_NOHELO, b"M": P_NOMAIL, b"R": P_NORCPT, b"T": P_NODATA, b"L": P_NOHDRS}
_REFUSED |= {b"N": P_NOEOH, b"B": P_NOBODY, b"U": P_NOUNKNOWN}
_QUIET = {b"C": P_NR_CONN, b"H": P_NR_HELO, b"M": P_NR_MAIL, b"R": P_NR_RCPT, b"T": P_NR_DATA, b"L": P_NR_HDR}
_QUIET |= {b"N": P_NR_EOH, b"B": P_NR_BODY, b"U": P_NR_UNKN}

# Postfix's default lists (milter_connect_macros and so on), by stage.
_DEFAULT_MACROS = {
    0: "j {daemon_name} {daemon_addr} v _",
    1: "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
    2: "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
    3: "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    4: "i",
    5: "i",
    6: "i",
}


class MilterProtocolError(Exception):
    """The filter broke the protocol."""


class MilterClosedError(Exception):
    """The filter closed the connection; an MTA would defer the mail (milter_default_action) and connect again."""


class MilterTimeoutError(Exception):
    """The filter did not answer in time: the mail hangs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the SMTP client is told."""

    code: int
    enhanced_code: str | None
    text: str  # lines separated by "\n"


@dataclass(frozen=True, slots=True)
class Inserted:
    """A header put in; `index` as the filter gave it, None for one added at the end. `value` as it was sent."""

    index: int | None
    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """A header changed, or deleted where `value` is empty. `index` counts from 1 among the fields of that name."""

    index: int
    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """The filter's answer to one event: `verdict` is the protocol's letter ("c" go on, "a" accept, "r" reject,
    "t" tempfail, "d" discard, "y" its own reply, "s" skip)."""

    verdict: str
    reply: Reply | None = None


CONTINUE = Response("c")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of one message. `reply` is None where the MTA takes the mail."""

    reply: Reply | None
    inserted: tuple[Inserted, ...] = ()
    deleted: tuple[Changed, ...] = ()
    changed: tuple[Changed, ...] = ()
    quarantined: str | None = None
    message: bytes = b""  # as the MTA then queues it, with CRLF
    stage: str = "E"  # the event that was answered with `reply`, else the end of message

    def headers(self, name: str) -> list[str]:
        """The values of the inserted headers of that name, without the leading space, newest first."""
        found = [h for h in self.inserted if h.name.lower() == name.lower()]
        return [h.value.decode("utf-8", "surrogateescape").lstrip(" ") for h in reversed(found)]


@dataclass(slots=True)
class _Modifications:
    """All modifications in the order in which they came."""

    steps: list[Inserted | Changed] = field(default_factory=list)
    quarantined: str | None = None


class MilterClient:
    """One connection to the filter. `address` is "inet:host:port", "inet:port@host", "inet6:port@host" or
    "unix:/path". `version`, `actions` and `protocol` are what this MTA offers."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 10.0,
        version: int = VERSION,
        actions: int = ALL_ACTIONS,
        protocol: int = ALL_PROTOCOL,
        negotiate: bool = True,
    ) -> None:
        self.timeout = timeout
        self.sock = open_socket(address, timeout)
        self._in = bytearray()
        self._out = bytearray()
        self._skip = b""
        self._offer = (version, actions, protocol)
        self.version = self.actions = self.protocol = 0
        self.macro_lists: dict[int, str] = dict(_DEFAULT_MACROS)
        self.asked_macros: dict[int, str] = {}
        self.macros: dict[str, str | bytes] = {}
        self.modifications = _Modifications()
        self.greeted = False  # send_message did connect and HELO already
        if negotiate:
            try:
                self.negotiate()
            except BaseException:
                self.sock.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.quit()
        self.close()

    # -- packets

    def send_packet(self, command: bytes, data: bytes = b"") -> None:
        """Puts one packet into the buffer."""
        self._out += struct.pack(">I", len(data) + 1) + command + data
        if len(self._out) > 1 << 16:
            self.flush()

    def flush(self) -> None:
        """Sends what is in the buffer."""
        out, self._out = self._out, bytearray()
        try:
            self.sock.sendall(out)
        except TimeoutError:
            raise MilterTimeoutError("the filter does not read") from None
        except OSError as error:
            raise MilterClosedError(f"send: {error}") from error

    def read_packet(self) -> tuple[bytes, bytes]:
        """The next packet: command and data."""
        (length,) = struct.unpack(">I", self._read(4))
        if not 1 <= length <= 1 << 24:
            raise MilterProtocolError(f"packet length {length}")
        packet = self._read(length)
        return packet[:1], packet[1:]

    def _read(self, count: int) -> bytes:
        while len(self._in) < count:
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                raise MilterTimeoutError(f"no answer within {self.timeout} s") from None
            except OSError as error:
                raise MilterClosedError(f"recv: {error}") from error
            if not data:
                raise MilterClosedError("closed by the filter")
            self._in += data
        out = bytes(self._in[:count])
        del self._in[:count]
        return out

    # -- negotiation and macros

    def negotiate(self) -> None:
        """Offers, and takes what the filter chose; refuses a choice of what was not offered, as Postfix does."""
        self.send_packet(b"O", struct.pack(">III", *self._offer))
        self.flush()
        command, data = self.read_packet()
        if command != b"O" or len(data) < 12:
            raise MilterProtocolError(f"option reply {command!r} of {len(data)} octets")
        self.version, self.actions, self.protocol = struct.unpack_from(">III", data)
        version, actions, protocol = self._offer
        if self.version > version or self.actions & ~actions or self.protocol & ~protocol:
            raise MilterProtocolError(
                f"asked for more than was offered: {self.version} {self.actions:#x} {self.protocol:#x}"
            )
        if rest := data[12:]:
            self.asked_macros = _macro_lists(rest)
            self.macro_lists |= self.asked_macros  # Postfix 3.7: the other stages keep theirs

    def _send_macros(self, event: bytes) -> None:
        data = bytearray(event)
        for name in re.split(r"[ ,\t]+", self.macro_lists.get(_STAGES[event], "")):
            value = self.macros.get(name.strip("{}"))
            if value:
                data += _bytes(name) + b"\0" + _bytes(value) + b"\0"
        self.send_packet(b"D", bytes(data))

    # -- events

    def event(self, command: bytes, data: bytes = b"") -> Response:
        """Sends one event with its macros and gives the filter's answer, `CONTINUE` at once where none is due."""
        if self._skip == command:
            return CONTINUE
        self._skip = b""
        if command in _STAGES:
            self._send_macros(command)
        if self.protocol & _REFUSED.get(command, 0):
            return CONTINUE
        self.send_packet(command, data)
        if self.protocol & _QUIET.get(command, 0):
            return CONTINUE
        return self._response(command)

    def _response(self, event: bytes) -> Response:
        self.flush()
        while True:
            command, data = self.read_packet()
            if command in (b"p", b"q"):
                if command == b"q":
                    self.modifications.quarantined = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
                continue
            if command in b"cartdf4":
                return Response(command.decode())
            if command == b"y":
                return Response("y", _reply(data))
            if command == b"s":
                self._skip = event
                return CONTINUE
            if event != b"E":
                raise MilterProtocolError(f"{command!r} in answer to {event!r}")
            self._modification(command, data)

    def _modification(self, command: bytes, data: bytes) -> None:
        index = None
        if command in (b"i", b"m"):
            (index,) = struct.unpack_from(">I", data)
            data = data[4:]
        if command not in (b"h", b"i", b"m") or not data.endswith(b"\0"):
            raise MilterProtocolError(f"{command!r} {data[:60]!r} at the end of message")
        needed = CHGHDRS if command == b"m" else ADDHDRS
        if not self.actions & needed:
            raise MilterProtocolError(f"{command!r}: the action was not negotiated")
        name, _, value = data[:-1].partition(b"\0")
        if command == b"m":
            self.modifications.steps.append(Changed(index or 0, name.decode(), value))
        else:
            self.modifications.steps.append(Inserted(index, name.decode(), value))

    def connect(
        self, name: str | bytes = "unknown", address: str | None = "192.0.2.10", port: int = 40_000
    ) -> Response:
        """A client connected. No address: "unknown", as for a client whose address the MTA does not have."""
        if address is None:
            return self.event(b"C", _bytes(name) + b"\0U")
        family = b"6" if ":" in address else b"4"
        return self.event(b"C", _bytes(name) + b"\0" + family + struct.pack(">H", port) + _bytes(address) + b"\0")

    def helo(self, name: str | bytes) -> Response:
        """HELO or EHLO."""
        return self.event(b"H", _bytes(name) + b"\0")

    def mail(self, argument: str | bytes, *parameters: str | bytes) -> Response:
        """MAIL FROM, the argument as in SMTP: `<user@example.org>`."""
        self.modifications = _Modifications()
        self._skip = b""
        return self.event(b"M", b"\0".join(map(_bytes, (argument, *parameters))) + b"\0")

    def rcpt(self, argument: str | bytes) -> Response:
        """RCPT TO."""
        return self.event(b"R", _bytes(argument) + b"\0")

    def data(self) -> Response:
        """DATA."""
        return self.event(b"T") if self.version >= 4 else CONTINUE

    def header(self, name: str | bytes, value: bytes) -> Response:
        """One header field; `value` begins right after the colon, folded with LF."""
        if not self.protocol & P_HDR_LEADSPC and value[:1] == b" ":
            value = value[1:]
        return self.event(b"L", _bytes(name) + b"\0" + value + b"\0")

    def eoh(self) -> Response:
        """The end of the headers."""
        return self.event(b"N")

    def body(self, data: bytes) -> Response:
        """The body or a part of it, in packets of at most 65,535 octets."""
        for start in range(0, len(data), CHUNK):
            response = self.event(b"B", data[start : start + CHUNK])
            if response.verdict != "c":
                return response
        return CONTINUE

    def eom(self) -> Response:
        """The end of the message: the filter's modifications come with its answer."""
        return self.event(b"E")

    def abort(self) -> None:
        """The message is over; Postfix sends this after every message."""
        self._skip = b""
        self.send_packet(b"A")

    def begin_anew(self) -> None:
        """The connection is over and another client's follows on the same socket (SMFIC_QUIT_NC). libmilter knows this
        right after the end of a message alone."""
        self.send_packet(b"K")
        self.greeted = False

    def quit(self) -> None:
        """The connection is over."""
        try:
            self.send_packet(b"Q")
            self.flush()
        except MilterClosedError:
            pass

    def close(self) -> None:
        """Closes the socket, without a word where `quit` was not called: an MTA that vanishes."""
        self.sock.close()

    # -- a whole message

    def send_message(
        self,
        message: bytes,
        *,
        client_ip: str | None = "192.0.2.10",
        client_name: str | bytes = "unknown",
        helo: str | bytes = "client.example",
        mail_from: str | bytes = "sender@example.org",
        rcpts: Sequence[str | bytes] = ("user@rcpt.example",),
        auth_user: str | bytes | None = None,
        queue_id: str = "4ABCDEF012",
        mta_name: str = "mx.rcpt.example",
        daemon_name: str | None = None,
        macros: Mapping[str, str | bytes] | None = None,
        brackets: bool = True,
        received: bytes | None = None,
        abort: bool = True,
    ) -> Outcome:
        """Sends one message (lines may end in LF or CRLF) through this connection and gives what the MTA does.

        `macros` adds to or replaces what the other arguments give; `received` is the Received field ("Received: ..."
        without the final line end) that the MTA itself has put on top, which a filter does not see.
        `brackets=False`: the envelope's addresses as the `sendmail` command's mail has them. `abort=False`: without the
        abort that Postfix sends after every message.
        """
        self.macros = {
            "j": mta_name,
            "daemon_name": daemon_name or mta_name,
            "daemon_addr": "127.0.0.1",
            "v": "Postfix 3.7.11",
            "mail_addr": mail_from,
            "rcpt_addr": rcpts[0] if rcpts else "",
        }
        if client_ip is not None:
            self.macros["client_addr"] = client_ip
        if auth_user is not None:
            self.macros |= {"auth_type": "PLAIN", "auth_authen": auth_user}
        self.macros |= macros or {}
        if not self.greeted:
            for response in (self.connect(client_name, client_ip), self.helo(helo)):
                if response.verdict != "c":
                    return Outcome(_smtp_reply(response), stage="C")
            self.greeted = True
        wrap = (lambda a: b"<" + _bytes(a) + b">") if brackets else _bytes
        headers, body = split_message(message)
        outcome = self._transaction(wrap(mail_from), [wrap(r) for r in rcpts], headers, body, queue_id, received)
        if abort:
            self.abort()
        return outcome

    def _transaction(
        self,
        mail_from: bytes,
        rcpts: Sequence[bytes],
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        queue_id: str,
        received: bytes | None,
    ) -> Outcome:
        response = self.mail(mail_from)
        if response.verdict != "c":
            return Outcome(_smtp_reply(response), stage="M")
        for rcpt in rcpts:
            response = self.rcpt(rcpt)
            if response.verdict != "c":
                return Outcome(_smtp_reply(response), stage="R")
        self.macros["i"] = queue_id  # Postfix opens the queue file with the first good recipient
        response = self.data()
        for name, value in headers:
            if response.verdict != "c":
                break
            response = self.header(name, value)
        for last in (self.eoh, lambda: self.body(body), self.eom):
            if response.verdict == "c":
                response = last()
        return self._outcome(response, headers, body, received)

    def _outcome(
        self, response: Response, headers: list[tuple[bytes, bytes]], body: bytes, received: bytes | None
    ) -> Outcome:
        steps = self.modifications.steps
        changes = [step for step in steps if isinstance(step, Changed)]
        return Outcome(
            reply=_smtp_reply(response),
            inserted=tuple(step for step in steps if isinstance(step, Inserted)),
            deleted=tuple(step for step in changes if not step.value),
            changed=tuple(step for step in changes if step.value),
            quarantined=self.modifications.quarantined,
            message=apply(headers, body, steps, leading_space=bool(self.protocol & P_HDR_LEADSPC), received=received),
        )


def apply(
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    steps: Sequence[Inserted | Changed],
    *,
    leading_space: bool,
    received: bytes | None = None,
) -> bytes:
    """The message after the modifications, as Postfix makes them: each at once, so that later indexes count the
    earlier changes; the MTA's own Received on top is not counted when a header is changed or deleted, but an
    insertion at 0 lands above it."""
    own = (b"", b"")  # stands for the MTA's own Received
    fields = [own, *headers]
    for step in steps:
        value = step.value if leading_space else b" " + step.value
        new = (step.name.encode(), value)
        if isinstance(step, Inserted):
            at = len(fields) if step.index is None else min(step.index, len(fields))
            fields.insert(at, new)
            continue
        same = (n for n, (name, _) in enumerate(fields) if name.lower() == new[0].lower())
        place = next(islice(same, max(step.index, 1) - 1, None), None)
        if place is None:
            if step.value:
                fields.append(new)
        elif step.value:
            fields[place] = new
        else:
            del fields[place]
    lines = [name + b":" + value.replace(b"\r\n", b"\n") for name, value in fields if name]
    if received is not None:
        lines.insert(fields.index(own), received.replace(b"\r\n", b"\n"))
    return b"".join(line.replace(b"\n", b"\r\n") + b"\r\n" for line in lines) + b"\r\n" + body


def split_message(message: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields (name, value after the colon with LF folding) and body with CRLF, as Postfix sends them."""
    lines = message.replace(b"\r\n", b"\n").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    headers: list[tuple[bytes, bytes]] = []
    at = 0
    for at, line in enumerate(lines):  # noqa: B007 - the place where the headers end is used below
        if line[:1] in (b" ", b"\t") and headers:
            headers[-1] = (headers[-1][0], headers[-1][1] + b"\n" + line)
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")  # `Name :` arrives trimmed
        if not colon or not re.fullmatch(rb"[\x21-\x39\x3b-\x7e\x80-\xff]+", name):
            break
        headers.append((name, value))
    else:
        at = len(lines)
    # With milters Postfix cuts a field at 60,000 octets and at a NUL.
    headers = [(name, value.partition(b"\0")[0][: MAX_FIELD - len(name) - 1]) for name, value in headers]
    body = lines[at + 1 :] if at < len(lines) and not lines[at] else lines[at:]
    return headers, b"".join(line + b"\r\n" for line in body)


def open_socket(address: str, timeout: float = 10.0) -> socket.socket:
    """A connected socket. Only the machine's own addresses are called."""
    kind, _, rest = address.partition(":")
    if kind in ("unix", "local"):
        sock = socket.socket(socket.AF_UNIX)
        target: str | tuple[str, int] = rest
    else:
        port, at, host = rest.partition("@")
        if not at:
            host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        if not host.startswith("127.") and host != "::1":
            raise ValueError(f"not on this machine: {address}")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = (host, int(port))
    sock.settimeout(timeout)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _macro_lists(data: bytes) -> dict[int, str]:
    lists = {}
    while len(data) > 4:
        (stage,) = struct.unpack_from(">I", data)
        names, _, data = data[4:].partition(b"\0")
        lists[stage] = names.decode()
    return lists


def _reply(data: bytes) -> Reply:
    """The filter's own reply. As in Sendmail and Postfix, "%%" is "%" and a single "%" vanishes."""
    text = re.sub(r"%(%?)", r"\1", data.rstrip(b"\0").decode("utf-8", "surrogateescape"))
    lines = []
    code, enhanced = 0, None
    for line in re.split(r"\r?\n", text):
        match = re.fullmatch(r"([45]\d\d)(?:[ -](?:([245]\.\d{1,3}\.\d{1,3})(?: |$))?(.*))?", line)
        if match is None:
            raise MilterProtocolError(f"reply {text!r}")
        code, enhanced = int(match[1]), match[2]
        lines.append(match[3] or "")
    return Reply(code, enhanced, "\n".join(lines))


def _smtp_reply(response: Response) -> Reply | None:
    """What Postfix tells its client for an answer of the filter."""
    if response.reply is not None:
        return response.reply
    return {
        "r": Reply(550, "5.7.1", "Command rejected"),
        "t": Reply(451, "4.7.1", "Service unavailable - try again later"),
        "4": Reply(421, "4.7.0", "Error: closing connection"),
        "f": Reply(421, "4.7.0", "Error: closing connection"),
    }.get(response.verdict)
