"""The XML in what reports come as: XML, gzip, zip, or a message with one of these attached. All of it is hostile.

What is unpacked is bounded before it is there (RFC 9990 section 8.1: "zip bomb"), however often it was packed.
"""

import email
import email.errors
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final

from mailnotary.errors import MailnotaryError

MAX_UNPACKED: Final = 64 * 1024 * 1024  # octets that one file may become, all of its parts together
MAX_DEPTH: Final = 5  # of one thing packed into another
MAX_PARTS: Final = 100  # of a message or an archive
_CHUNK: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class ReadError(MailnotaryError):
    """A report cannot be read; the text says why."""


@dataclass(slots=True)
class _Room:
    """How much may still be unpacked."""

    octets: int = MAX_UNPACKED

    def take(self, octets: int) -> None:
        self.octets -= octets
        if self.octets < 0:
            raise ReadError(f"it has more than {MAX_UNPACKED // 2**20} MiB once it is unpacked")


def documents(octets: bytes) -> Iterator[bytes]:
    """Each XML document in a file. Raises ReadError."""
    yield from _documents(octets, _Room(), 0)


def _documents(octets: bytes, room: _Room, depth: int) -> Iterator[bytes]:
    if depth > MAX_DEPTH:
        raise ReadError(f"it is packed more than {MAX_DEPTH} times")
    if octets.startswith(b"\x1f\x8b"):
        yield from _documents(_gunzipped(octets, room), room, depth + 1)
    elif octets.startswith(b"PK\x03\x04"):
        for member in _members(octets, room):
            yield from _documents(member, room, depth + 1)
    elif octets.removeprefix(_BOM).lstrip()[:1] == b"<" or octets.startswith(_UTF_16):
        yield octets.removeprefix(_BOM).lstrip()
    else:
        for part in _attachments(octets, room):
            yield from _documents(part, room, depth + 1)


def _gunzipped(octets: bytes, room: _Room) -> bytes:
    out = io.BytesIO()
    unpacker = zlib.decompressobj(wbits=31)
    rest = octets
    try:
        while rest and not unpacker.eof:
            piece = unpacker.decompress(rest, _CHUNK)
            room.take(len(piece))
            out.write(piece)
            rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise ReadError(f"its gzip data is damaged: {error}") from error
    if not unpacker.eof:
        raise ReadError("its gzip data is cut off")
    return out.getvalue()


def _members(octets: bytes, room: _Room) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            files = [info for info in archive.infolist() if not info.is_dir()]
            if len(files) > MAX_PARTS:
                raise ReadError(f"its zip archive has more than {MAX_PARTS} files")
            for info in files:
                with archive.open(info) as file:
                    data = file.read(room.octets + 1)  # no more, whatever the archive says of its size
                room.take(len(data))
                yield data
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ReadError(f"its zip archive is damaged: {error}") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way that Python does not know
        raise ReadError(f"its zip archive cannot be read: {error}") from error


def _attachments(octets: bytes, room: _Room) -> Iterator[bytes]:
    """What may be a report in a message: whatever its type and name, as senders get both wrong."""
    try:
        message = email.message_from_bytes(octets)
        parts = list(_leaves(message))
    except (RecursionError, email.errors.MessageError, ValueError) as error:
        raise ReadError(f"its MIME structure cannot be read: {type(error).__name__}") from error
    found = False
    for part in parts:
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes) or not _looks_packed(data):
            continue
        room.take(len(data))
        found = True
        yield data
    if not found:
        raise ReadError("it is neither XML, gzip nor zip, nor a message with one of these")


def _leaves(message: Message) -> Iterator[Message]:
    for number, part in enumerate(message.walk()):
        if number > MAX_PARTS:
            raise ReadError(f"it is a message of more than {MAX_PARTS} parts")
        if not part.is_multipart():
            yield part


def _looks_packed(data: bytes) -> bool:
    return data.startswith((b"\x1f\x8b", b"PK\x03\x04")) or data.removeprefix(_BOM).lstrip()[:5] in (b"<?xml", b"<feed")
