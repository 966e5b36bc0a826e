"""A worker's side of the recorder: each message's outcome is handed over without ever waiting.

Messages are gathered and sent as one packet: when it is large enough, and at each tick of the worker, together with
what was counted. A recorder that is dead or does not read costs what does not fit into the socket; the messages of the
history are counted then, and reported with a later packet.
"""

import logging
import socket
import threading
import time
from typing import Final

from mailnotary.history import replays
from mailnotary.history.privacy import Hide
from mailnotary.history.rows import pack, packet
from mailnotary.history.story import row_of, story_of
from mailnotary.metrics.counts import Counts
from mailnotary.session.outcome import MessageRecord
from mailnotary.status import DkimStatus

log = logging.getLogger(__name__)

MESSAGES: Final = b"M"  # first octet of a packet: messages follow
LOST: Final = b"L"  # ... a number of messages that could not be handed over
SIGNATURES: Final = b"S"  # ... uses of signatures, to see which are replayed
COUNTS: Final = b"C"  # ... what was counted since the last such packet
AT_ONCE: Final = 32  # messages that are packed together: singly each takes half as long again
PACKET: Final = 65_536  # octets after which a packet is sent at once
USES: Final = 100  # messages whose signatures are handed over at once
MAX_USES: Final = 65_536  # octets of them; more go uncounted
MAX_PACKET: Final = 131_072  # octets that the recorder takes
_SO_SNDBUFFORCE: Final = 32  # socket(7); Python has no name for it
_BUFFER: Final = 4 * 1024 * 1024  # octets that may wait in the socket, where the system lets us have so many


def pair() -> tuple[socket.socket, socket.socket]:
    """The recorder's end and the other processes' end, which all of them share. Raises OSError."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    writer.setblocking(False)
    try:
        writer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    except OSError:  # without CAP_NET_ADMIN as much as net.core.wmem_max allows
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return reader, writer


def hand_over(writer: socket.socket, packet: bytes) -> bool:
    """Sends a packet if there is room for it."""
    try:
        writer.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


class Recording:
    """Hands messages and counts over. Called by the threads of the sessions, flushed by the worker's main thread.
    `hide` is None where no history is kept, `counts` where there are no metrics; `count_replays`: whether
    signatures are counted. `lost` messages of an earlier one are still to be reported."""

    def __init__(
        self,
        writer: socket.socket,
        hide: Hide | None,
        counts: Counts | None,
        *,
        count_replays: bool = False,
        lost: int = 0,
    ) -> None:
        self._writer = writer
        self._hide = hide
        self._counts = counts
        self._at_once = AT_ONCE if hide is not None else 1  # to count a message is cheaper than to hold it back
        self._count_replays = count_replays
        self._uses: list[str] = []
        self._lock = threading.Lock()
        self._ended: list[tuple[float, MessageRecord]] = []  # messages, and when they ended
        self._packed: list[bytes] = []
        self._octets = 0
        self.lost = lost

    def __call__(self, record: MessageRecord) -> None:
        """Takes one message. Never raises: what happens to a message does not depend on it."""
        with self._lock:
            self._ended.append((time.time(), record))
            if len(self._ended) >= self._at_once:
                self._take()

    def _take(self) -> None:
        """Counts and packs the messages that have ended."""
        ended, self._ended = self._ended, []
        try:
            self._record(ended)
        except Exception:  # of one of them: the others do not suffer for it
            for one in ended:
                try:
                    self._record([one])
                except Exception as error:
                    log.error("defect while recording a message", exc_info=error)
                    self.lost += 1
        if len(self._uses) >= USES:
            self._send_uses()

    def _record(self, ended: list[tuple[float, MessageRecord]]) -> None:
        """All of these messages or, where it raises, none. One step is done for all before the next one, which takes a
        fifth less time than all steps for one message after the other."""
        packed, uses = [], []
        if (hide := self._hide) is not None:
            rows = [row_of(record, at) for at, record in ended]
            stories = [story_of(record, hide) for _, record in ended]
            packed = list(map(pack, rows, stories))
            if self._count_replays:
                uses = [
                    replays.pack(record.results.signatures, row.client)
                    for row, (_, record) in zip(rows, ended, strict=True)
                    if row.dkim == DkimStatus.PASS and row.action in ("accept", "hold")
                ]
        if self._counts is not None:
            self._counts.messages([record for _, record in ended])
        for one in packed:
            self._keep(one)
        self._uses += uses

    def _keep(self, packed: bytes) -> None:
        self._packed.append(packed)
        self._octets += len(packed)
        if self._octets >= PACKET:
            self._send()

    def _send_uses(self) -> None:
        hand_over(
            self._writer, SIGNATURES + "".join(self._uses)[:MAX_USES].rpartition("\n")[0].encode("ascii", "replace")
        )
        self._uses.clear()

    def flush(self) -> None:
        """Sends what has been gathered."""
        with self._lock:
            self._take()
            if self._packed or self.lost:
                self._send()
            if self._uses:
                self._send_uses()
        if self._counts is not None and (counted := self._counts.take()):
            hand_over(self._writer, COUNTS + counted)

    def _send(self) -> None:
        if self.lost and hand_over(self._writer, LOST + b"%d" % self.lost):
            self.lost = 0
        if self._packed and not hand_over(self._writer, MESSAGES + packet(self._packed)):
            self.lost += len(self._packed)
        self._packed.clear()
        self._octets = 0
