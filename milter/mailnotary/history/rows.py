"""Messages on their way from a worker to the store: how they are put into one packet, and read from it. A packet begins
with the number of its messages; then come the columns and the story of each, all with a tab behind them."""

from collections.abc import Sequence

from mailnotary.history.story import Row

_PARTS = len(Row._fields) + 1


def pack(row: Row, story: str) -> bytes:
    """One message. No column has a tab in it, since `row_of` escapes them, and no story."""
    return "\t".join((str(row.time), *row[1:], story, "")).encode("ascii", "backslashreplace")


def packet(packed: Sequence[bytes]) -> bytes:
    """`pack`ed messages in one packet."""
    return b"".join((b"%d\t" % len(packed), *packed))


def count(packet: bytes) -> int:
    """How many messages a packet has."""
    return int(packet[: packet.index(b"\t")])


def unpack(packet: bytes) -> list[tuple[Row, str]]:
    """The messages of a packet."""
    parts = iter(packet.decode("ascii").split("\t"))
    next(parts)
    return [
        (Row._make((int(columns[0]), *columns[1:-1])), columns[-1])
        for columns in zip(*[parts] * _PARTS, strict=False)  # behind the last tab nothing comes
    ]
