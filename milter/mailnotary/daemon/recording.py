"""A worker's side of the history: each message's outcome is handed over without ever waiting.

Messages are gathered and sent as one packet: when it is large enough, and at each tick of the worker. A recorder that
is dead or does not read costs what does not fit into the socket; that is counted, and told with a later packet.
"""

import logging
import socket
import threading
from typing import Final

from mailnotary.history.privacy import Hide
from mailnotary.history.rows import pack
from mailnotary.history.story import row_of, story_of
from mailnotary.session.outcome import MessageRecord

log = logging.getLogger(__name__)

MESSAGES: Final = b"M"  # first octet of a packet: messages follow
LOST: Final = b"L"  # ... a number of messages that could not be handed over
PACKET: Final = 24_576  # octets after which a packet is sent at once
MAX_PACKET: Final = 131_072  # octets that the recorder takes
_SO_SNDBUFFORCE: Final = 32  # socket(7); Python has no name for it
_BUFFER: Final = 4 * 1024 * 1024  # octets that may wait in the socket, where the system lets us have so many


def pair() -> tuple[socket.socket, socket.socket]:
    """The recorder's end and the workers' end, which all workers share. Raises OSError."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    writer.setblocking(False)
    try:
        writer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    except OSError:  # without CAP_NET_ADMIN as much as net.core.wmem_max allows
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return reader, writer


class Recording:
    """Hands messages over. Called by the threads of the sessions, flushed by the worker's main thread."""

    def __init__(self, writer: socket.socket, hide: Hide) -> None:
        self._writer = writer
        self._hide = hide
        self._lock = threading.Lock()
        self._packed: list[bytes] = []
        self._octets = 0
        self._lost = 0

    def __call__(self, record: MessageRecord) -> None:
        """Takes one message. Never raises: what a message came to does not depend on it."""
        try:
            packed = pack(row_of(record), story_of(record, self._hide))
        except Exception as error:
            log.error("defect in the history's record of a message", exc_info=error)
            self._lost += 1
            return
        with self._lock:
            self._packed.append(packed)
            self._octets += len(packed)
            if self._octets >= PACKET:
                self._send()

    def flush(self) -> None:
        """Sends what has been gathered."""
        with self._lock:
            if self._packed or self._lost:
                self._send()

    def _send(self) -> None:
        try:
            if self._lost:
                self._writer.send(LOST + b"%d" % self._lost, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                self._lost = 0
            if self._packed:
                packet = b"".join([MESSAGES, *self._packed])
                self._writer.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self._lost += len(self._packed)
        self._packed.clear()
        self._octets = 0
