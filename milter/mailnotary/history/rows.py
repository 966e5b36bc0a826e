"""Messages on their way from a worker to the store: how they are put into one packet, and read from it."""

from collections.abc import Iterator

from mailnotary.history.story import Row


def pack(row: Row, story: str) -> bytes:
    """One message: the columns, separated by tabs (which no column has, since `row_of` escapes them), and the story."""
    return "\t".join((str(row.time), *row[1:], story + "\n")).encode("ascii", "backslashreplace")


def count(packet: bytes) -> int:
    """How many messages a packet has: no other line feed is in it."""
    return packet.count(b"\n")


def unpack(packet: bytes) -> Iterator[tuple[Row, str]]:
    """The messages of a packet of `pack`ed ones."""
    for line in packet.decode("ascii").splitlines():
        microseconds, *columns, story = line.split("\t")
        yield Row(int(microseconds), *columns), story
