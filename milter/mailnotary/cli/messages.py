"""The messages that a command is given: a file with one message, an mbox, a Maildir, or standard input."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from mailnotary.cli import CommandError
from mailnotary.cli.common import Nameservers, nameservers_json, print_json
from mailnotary.escape import printable
from mailnotary.mail.message import crlf, first_bad_line

MAX_INPUT = 256 * 1024 * 1024  # octets of a file; no MTA takes larger mail by default
MESSAGE_HELP = "a message, an mbox or a Maildir, - for standard input"

_BOM = b"\xef\xbb\xbf"
# The line that mbox puts before each message (RFC 4155 appendix A); Thunderbird writes "From - " and the time.
_FROM = re.compile(rb"\A>?From [^\n]*\n|\A>?From [^\n]*\Z")
_NEXT_FROM = re.compile(rb"\n\r?\n(?=From [^\n]{1,200}\d\d:\d\d[^\n]{0,60}\n)")
_QUOTED_FROM = re.compile(rb"^>(?=>*From )", re.MULTILINE)  # mboxrd: each "From " in a body has one ">" more
_COMPRESSED = {
    b"\x1f\x8b": "zcat",
    b"BZh": "bzcat",
    b"\xfd7zXZ": "xzcat",
    b"(\xb5/\xfd": "zstdcat",
    b"PK\x03\x04": "unzip -p",
}
_OLE = b"\xd0\xcf\x11\xe0"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of the input. `name` is the file and, in an mbox, the line at which it begins; `octets` are as in the
    file, without a byte order mark and without mbox's From_ line; `problem` says why this is not a message, or ""."""

    name: str
    octets: bytes
    problem: str = ""


def read_messages(path: str) -> Iterator[StoredMessage]:
    """Every message of a file, of a Maildir, or of standard input ("-"). Raises CommandError if it cannot be read."""
    if path != "-" and Path(path).is_dir():
        yield from _maildir(Path(path))
    else:
        yield from _in_file(path)


def read_message(path: str) -> StoredMessage:
    """The only message of a file. Raises CommandError if there is none, or if there are several."""
    messages = list(islice(read_messages(path), 2))
    if len(messages) > 1:
        raise CommandError(f"{printable(path)}: has several messages: this command takes one")
    if messages[0].problem:
        raise CommandError(messages[0].problem)
    return messages[0]


def for_each(
    path: str,
    use: Callable[[bytes], Result],
    show: Callable[[Result], None],
    as_json: Callable[[Result], Any] | None,
    asked: Nameservers | None,
) -> int:
    """Does a command's work with each message of the input (CRLF line ends) and shows the results, or prints them as
    JSON with the nameservers that were `asked`. A file that is not a message does not stop the others. The exit
    status."""
    messages = read_messages(path)
    first = list(islice(messages, 2))
    several = len(first) > 1
    status = 0
    objects: list[dict[str, Any]] = []
    for message in chain(first, messages):
        if message.problem:
            if not several:
                raise CommandError(message.problem)
            print(f"mailnotary: {message.problem}", file=sys.stderr)
            objects.append({"message": message.name, "error": message.problem})
            status = 1
            continue
        result = use(crlf(message.octets))
        if as_json is not None:
            objects.append(({"message": message.name} if several else {}) | as_json(result))
            continue
        if several:
            print(f"{message.name}:")
        show(result)
        if several:
            print()
    if as_json is not None:
        output = {"messages": objects} if several else objects[0]
        print_json(output | nameservers_json(asked))
    return status


def _maildir(directory: Path) -> Iterator[StoredMessage]:
    """The messages of a Maildir, the read ones (cur) first."""
    directories = [directory / name for name in ("cur", "new") if (directory / name).is_dir()]
    if not directories:
        raise CommandError(f"{printable(str(directory))}: is a directory, but not a Maildir (without cur/ and new/)")
    files = [file for part in directories for file in sorted(part.iterdir()) if file.is_file()]
    if not files:
        raise CommandError(f"{printable(str(directory))}: the Maildir has no messages")
    for file in files:
        yield from _in_file(str(file))


def _in_file(path: str) -> Iterator[StoredMessage]:
    name = "standard input" if path == "-" else printable(path, 1000)
    data = _read(path, name).removeprefix(_BOM)
    if not data.startswith(b"From "):
        yield _checked(name, data, 1)
        return
    start, line = 0, 1
    parts = [match.end() for match in _NEXT_FROM.finditer(data)]
    for end in [*parts, len(data)]:
        raw = data[start:end]
        octets, skipped = raw, 0
        while (separator := _FROM.match(octets)) is not None:
            octets, skipped = octets[separator.end() :], skipped + 1
        where = f"{name}:{line}" if parts else name
        yield _checked(where, _QUOTED_FROM.sub(b"", _without_last_line(octets)), line + skipped)
        start, line = end, line + raw.count(b"\n")


def _without_last_line(octets: bytes) -> bytes:
    """Without the empty line that mbox puts behind each message (RFC 4155 appendix A)."""
    for end in (b"\r\n\r\n", b"\n\n"):
        if octets.endswith(end):
            return octets[: -len(end) // 2]
    return octets


def _read(path: str, name: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise CommandError(f"{name}: can't be read: {error.strerror}") from error
    if len(data) > MAX_INPUT:
        raise CommandError(f"{name}: larger than {MAX_INPUT} octets")
    return data


def _checked(name: str, octets: bytes, line: int) -> StoredMessage:
    """`line` is that of the first octet in its file."""
    problem = _other_format(octets)
    if not problem and (bad := first_bad_line(crlf(octets))) is not None:
        number, text = bad
        shown = f" ({printable(text, 60)})" if text else ""
        problem = f"line {line + number} is not a header field{shown}: {_likeness(number, text)}"
    return StoredMessage(name, octets, f"{name}: {problem}" if problem else "")


def _other_format(octets: bytes) -> str:
    """What kind of file this is that is not text."""
    if not octets:
        return "is empty"
    for magic, reader in _COMPRESSED.items():
        if octets.startswith(magic):
            return f"is compressed: use `{reader} FILE | mailnotary ... -`"
    if octets.startswith(_OLE):
        return "is Outlook's own format (.msg): save the message as text (.eml)"
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in octets[:4]:
        return "is UTF-16, not a message: save it as plain text, or use `iconv -f UTF-16 -t UTF-8 FILE`"
    return ""


def _likeness(number: int, text: bytes) -> str:
    """What a file looks like that is text but has a line in its header that is not a field."""
    if number > 0:
        return "a mail server ends the header there; repair or remove the line"
    if not text.strip():
        return "the file begins with an empty line; remove it"
    if text.strip().isdigit():
        return "it looks like Apple Mail's .emlx; remove the first line, and the property list at the end"
    if text.startswith(b">"):
        return "it looks like quoted mail; the source is needed as it was received, without `>` before each line"
    if text[:1] in b" \t":
        return "it looks indented; the source is needed as it was received"
    if text.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it looks like a web page; save the source of the message"
    return "it does not look like a message; save its source (.eml), header included"
