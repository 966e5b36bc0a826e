"""Reads the files of other programs. They are what the admin of this machine wrote: problems are told, limits are there
for mistakes."""

import re
from dataclasses import dataclass
from pathlib import Path

from mailnotary.errors import SetupError
from mailnotary.files import read_regular

MAX_FILE = 64 * 1_048_576  # octets


class SourceError(SetupError):
    """The configuration of another program can't be read or taken over; the text says why."""


@dataclass(frozen=True, slots=True)
class Note:
    """What has no match, or is decided otherwise: where it is (FILE:LINE, or the file alone), and one sentence."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Directive:
    """One setting of another program. `sign` is what its form has between name and value."""

    name: str  # as written
    value: str
    place: str  # FILE:LINE
    sign: str = " "

    @property
    def key(self) -> str:
        """Its name without regard to case."""
        return self.name.lower()

    @property
    def shown(self) -> str:
        """The line for messages, without anything that may be secret."""
        secret = re.search("passw|secret|token", self.key)
        return self.name + self.sign + ("..." if secret else without_password(self.value))

    def note(self, why: str) -> Note:
        """What becomes of it."""
        return Note(self.place, f"{self.shown}: {why}")


def without_password(text: str) -> str:
    """A text in which the name of a database ends after its kind: user and password may follow."""
    return re.sub(r"(?i)\b(dsn|ldap[si]?|memcache|erlang|socket|dbi|redis|mysql|pgsql)(:\w*)\S.*", r"\1\2...", text)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Raises SourceError."""
    try:
        data = read_regular(path, MAX_FILE + 1)
    except OSError as error:
        raise SourceError(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > MAX_FILE or b"\0" in data:
        raise SourceError(f"{path}: this is not a text file")
    return data.decode("utf-8", "surrogateescape").splitlines()
