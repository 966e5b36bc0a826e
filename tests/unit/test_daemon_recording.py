"""What a worker hands over to the recorder."""

import socket
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from mailnotary.daemon.recording import AT_ONCE, COUNTS, LOST, MAX_PACKET, MESSAGES, Recording, pair
from mailnotary.history.rows import unpack
from mailnotary.history.story import Row
from mailnotary.metrics.counts import Counts
from support.messages import verified


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    reader, writer = pair()
    reader.setblocking(False)
    with reader, writer:
        yield reader, writer


def packets(reader: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(reader.recv(MAX_PACKET))
        except BlockingIOError:
            return found


def rows(reader: socket.socket) -> list[Row]:
    return [row for packet in packets(reader) if packet[:1] == MESSAGES for row, _ in unpack(packet[1:])]


def test_every_message_arrives_in_order_with_the_time_of_its_end(sockets: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = sockets
    recording = Recording(writer, str, None)
    for number in range(3 * AT_ONCE + 1):
        recording(verified(str(number)))
    ended = time.time()
    time.sleep(0.05)
    recording.flush()
    found = rows(reader)
    assert [row.queue_id for row in found] == [str(number) for number in range(3 * AT_ONCE + 1)]
    assert found == sorted(found, key=lambda row: row.time)
    assert found[-1].time <= ended * 1_000_000
    recording.flush()
    assert packets(reader) == []


def test_messages_are_sent_without_a_flush_where_they_fill_a_packet(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    reader, writer = sockets
    recording = Recording(writer, str, None)
    for number in range(200):
        recording(verified(str(number)))
    assert len(rows(reader)) > 100


def test_what_is_not_a_message_costs_itself_alone(sockets: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = sockets
    recording = Recording(writer, str, Counts())
    recording(verified("before"))
    recording(cast(Any, None))
    recording(verified("after"))
    recording.flush()
    found = packets(reader)
    assert [packet[:1] for packet in found] == [LOST, MESSAGES, COUNTS]
    assert found[0] == LOST + b"1"
    assert [row.queue_id for row, _ in unpack(found[1][1:])] == ["before", "after"]
