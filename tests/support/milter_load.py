"""An MTA that loads a milter: as many processes as connections, each of which plays packets that were built before.

The packets are those of `MilterClient`, and so of Postfix, for the flags that the filter negotiates. A process spends
some 50 µs on a message of 4 KB.
"""

import multiprocessing
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any

from support.daemon import children
from support.milter_client import ALL_ACTIONS, ALL_PROTOCOL, VERSION, MilterClient, Response, open_socket

_OFFER = struct.pack(">IcIII", 13, b"O", VERSION, ALL_ACTIONS, ALL_PROTOCOL)
_FINAL = b"cartdfys4"  # packets that end an answer; others are modifications, and signs of progress
_WARM_UP = 0.7  # seconds before the measurement begins
_PATIENCE = 30.0  # seconds for which a client waits for an answer
_TICK = os.sysconf("SC_CLK_TCK")


class Script(MilterClient):
    """What is sent for each of `messages` (the octets, and the envelope as `send_message` takes it), cut where the
    filter has to answer. It negotiates as a client of its own."""

    def __init__(self, address: str, *messages: tuple[bytes, Mapping[str, Any]]) -> None:
        self._recording = False
        self._pieces: list[bytes] = []
        super().__init__(address)
        self._recording = True
        self.first = []  # by message, with the connection's beginning
        self.next = []  # without
        for message, envelope in messages:
            self.greeted = False
            self._out.clear()  # the abort of the connection before
            self.first.append(self._record(message, envelope))
            self.next.append(self._record(message, envelope))
        self._recording = False
        self.close()

    def pick(self, places: Sequence[int]) -> None:
        """Sends the messages at these places, in this order, in place of each of them once."""
        self.first = [self.first[place] for place in places]
        self.next = [self.next[place] for place in places]

    def _record(self, message: bytes, envelope: Mapping[str, Any]) -> list[bytes]:
        self._pieces = []
        self.send_message(message, **envelope)
        return self._pieces

    def flush(self) -> None:
        """Sends nothing while it records."""
        if not self._recording:
            super().flush()

    def _response(self, event: bytes) -> Response:  # noqa: ARG002 - as its base has it
        self._pieces.append(bytes(self._out))
        self._out.clear()
        return Response("c")


@dataclass(frozen=True, slots=True)
class Load:
    """What a filter did in a second, and what it took: `cpu` milliseconds a message of all its processes, `p50` and
    `p99` milliseconds of a message's whole way, `pss` its memory in MiB and `largest` that of its largest process;
    `wrong` messages that were not taken, or not changed as `expect` says."""

    rate: float
    cpu: float
    p50: float
    p99: float
    pss: float
    largest: float
    wrong: int


def middle(loads: Sequence[Load]) -> Load:
    """The median of each figure; of `wrong` the sum."""
    figures = (median(getattr(one, name) for one in loads) for name in ("rate", "cpu", "p50", "p99", "pss", "largest"))
    rate, cpu, p50, p99, pss, largest = figures
    return Load(rate, cpu, p50, p99, pss, largest, sum(one.wrong for one in loads))


def load(
    script: Script,
    address: str,
    pid: int,
    *,
    expect: bytes,
    connections: int = 10,
    per_connection: int = 100,
    seconds: float | None = 2.0,
) -> Load:
    """Loads the filter at `address`, whose first process is `pid`, for so many seconds, with the script's messages over
    and over again. None: each of them is sent once, and it is over when one of the clients has sent its share.
    `expect` stands in each answer to a message."""
    context = multiprocessing.get_context("fork")
    over = context.Event()
    clients = []
    for number in range(connections):
        ours, theirs = context.Pipe()
        count = len(script.first)
        if seconds is None:
            share: Iterator[int] = iter(range(number, count, connections))
        else:  # each begins elsewhere
            share = islice(cycle(range(count)), number * count // connections, None)
        process = context.Process(target=_client, args=(script, address, expect, per_connection, share, over, theirs))
        process.start()
        theirs.close()
        clients.append((process, ours))
    begin = time.monotonic()  # now that all of them are there
    start = begin + _WARM_UP if seconds is not None else begin
    for _, pipe in clients:
        pipe.send(start)
    _sleep_until(start)
    pids = _tree(pid)
    cpu, began = _cpu_seconds(pids), time.monotonic()
    _sleep_until(start + (seconds or 1.0) / 2)
    memory = [_pss(pid) for pid in pids]  # while it is at work
    if seconds is not None:
        _sleep_until(start + seconds)
    else:
        wait([pipe for _, pipe in clients])
    over.set()
    cpu, lasted = _cpu_seconds(pids) - cpu, time.monotonic() - began
    times: list[float] = []
    wrong = 0
    for process, pipe in clients:
        found, bad = pipe.recv()
        times += found
        wrong += bad
        process.join()
    times.sort()
    ended = len(times)
    if not ended:
        return Load(0, 0, 0, 0, sum(memory), max(memory), wrong)
    return Load(
        ended / lasted,
        1000 * cpu / ended,
        1000 * times[ended // 2],
        1000 * times[min(ended * 99 // 100, ended - 1)],
        sum(memory),
        max(memory),
        wrong,
    )


def _sleep_until(when: float) -> None:
    time.sleep(max(when - time.monotonic(), 0))


def _client(
    script: Script,
    address: str,
    expect: bytes,
    per_connection: int,
    messages: Iterator[int],
    over: Event,
    pipe: Connection,
) -> None:
    """One connection after the other; sends the times of the messages that ended between start and end."""
    times: list[float] = []
    wrong = 0
    start = pipe.recv()
    number = next(messages, None)
    while number is not None and not over.is_set():
        now = time.monotonic()
        sock = open_socket(address, timeout=_PATIENCE)
        try:
            sock.sendall(_OFFER)
            _answer(sock)
            for sent in range(per_connection):
                began = now
                answer = b""
                for piece in script.next[number] if sent else script.first[number]:
                    sock.sendall(piece)
                    answer = _answer(sock)
                now = time.monotonic()
                wrong += expect not in answer
                number = next(messages, None)
                if over.is_set():
                    break
                if now >= start:
                    times.append(now - began)
                if number is None:
                    break
            sock.sendall(struct.pack(">Ic", 1, b"Q"))
        except OSError:
            wrong += 1
            number = next(messages, None)
        finally:
            sock.close()
    pipe.send((times, wrong))


def _answer(sock: Any) -> bytes:
    """Reads up to the packet that ends an answer."""
    data = bytearray()
    at = 0
    while True:
        while len(data) >= at + 5:
            (length,) = struct.unpack_from(">I", data, at)
            if len(data) < at + 4 + length:
                break
            command = data[at + 4]
            at += 4 + length
            if command in _FINAL or command == ord("O"):
                return bytes(data)
        more = sock.recv(65_536)
        if not more:
            raise ConnectionError
        data += more


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        found += children(parent)
    return found


def _cpu_seconds(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def _pss(pid: int) -> float:
    """The memory of a process in MiB, a share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
