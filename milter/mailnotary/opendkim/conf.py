"""Reads OpenDKIM's configuration: opendkim.conf(5), its data sets (opendkim(8), DATA SETS), KeyTable and SigningTable.

It is what the admin of this machine wrote: problems are told, limits are there for mistakes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.errors import SetupError
from mailnotary.files import read_regular

MAX_INCLUDES = 5  # opendkim.conf(5), Include
MAX_FILE = 64 * 1_048_576  # octets
PROBE = "some.user.that.no.pattern.names"


class OpendkimError(SetupError):
    """The configuration can't be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of the configuration."""

    name: str  # as written
    value: str
    place: str  # file:line

    @property
    def key(self) -> str:
        """Its name without regard to case."""
        return self.name.lower()

    @property
    def shown(self) -> str:
        """The line for messages, without the password of a database."""
        return f"{self.name} {without_password(self.value)}" if "password" not in self.key else f"{self.name} ..."


def without_password(text: str) -> str:
    """A text in which the name of a database ends after its kind: user and password may follow."""
    return re.sub(r"(?i)\b(dsn|ldap[si]?|memcache|erlang|socket)(:\w*)\S.*", r"\1\2...", text)


@dataclass(slots=True)
class Conf:
    """All directives, in order. The last one of a kind counts."""

    directives: list[Directive] = field(default_factory=list)
    directory: Path = Path("/")  # what relative names are relative to

    def get(self, name: str) -> Directive | None:
        """A directive by its name."""
        return next((directive for directive in reversed(self.directives) if directive.key == name.lower()), None)

    def value(self, name: str, default: str = "") -> str:
        """The value of a directive."""
        directive = self.get(name)
        return default if directive is None else directive.value

    def is_on(self, name: str, *, default: bool = False) -> bool:
        """A Boolean: only its first character counts."""
        value = self.value(name)
        return default if not value else value[0] in "TtYy1"

    def path(self, name: str) -> Path:
        """A file that the configuration names."""
        return self.directory / name


def read_conf(path: Path) -> Conf:
    """Reads opendkim.conf and what it includes. Raises OpendkimError."""
    conf = Conf(directory=path.absolute().parent)
    _read_into(conf, path, 0)
    base = conf.value("BaseDirectory")
    if base:
        conf.directory = Path(base)
    return conf


def _read_into(conf: Conf, path: Path, depth: int) -> None:
    if depth > MAX_INCLUDES:
        raise OpendkimError(f"{path}: files include each other more than {MAX_INCLUDES} deep")
    for number, line in enumerate(_lines(path), 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        directive = Directive(words[0], words[1].strip() if len(words) > 1 else "", f"{path}:{number}")
        if directive.key == "include":
            _read_into(conf, conf.path(directive.value), depth + 1)
        else:
            conf.directives.append(directive)


def _lines(path: Path) -> list[str]:
    try:
        data = read_regular(path, MAX_FILE + 1)
    except OSError as error:
        raise OpendkimError(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > MAX_FILE or b"\0" in data:
        raise OpendkimError(f"{path}: this is not a text file")
    return data.decode("utf-8", "surrogateescape").splitlines()


# --- data sets ------------------------------------------------------------------------------------------------------

_DATABASES = ("db:", "bdb:", "dsn:", "ldap:", "ldaps:", "ldapi:", "lua:", "memcache:", "erlang:", "mdb:", "socket:")


@dataclass(frozen=True, slots=True)
class DataSet:
    """Keys with their values ("" for none), in order. `wildcards`: the keys are patterns (refile)."""

    items: tuple[tuple[str, str], ...]
    wildcards: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys alone."""
        return [key for key, _ in self.items]


def data_set(conf: Conf, text: str) -> DataSet:
    """Reads a data set of the kinds that are text. Raises OpendkimError for the others."""
    if text.startswith(_DATABASES) or text.endswith(".db"):
        raise OpendkimError(
            f"{without_password(text)}: a database; write it out as a file (one line an entry) and name that instead"
        )
    for prefix in ("refile:", "file:"):
        if text.startswith(prefix):
            path = conf.path(text.removeprefix(prefix).strip())
            return DataSet(tuple(_file_items(path)), prefix == "refile:")
    if text.startswith("/"):
        return DataSet(tuple(_file_items(Path(text))))
    parts = (part.strip() for part in text.removeprefix("csl:").split(","))
    return DataSet(tuple(_pair(part) for part in parts if part))


def _file_items(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        words = line.partition("#")[0].split(maxsplit=1)
        if words:
            yield words[0], words[1].strip() if len(words) > 1 else ""


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value.strip()


# --- tables ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableKey:
    """A row of KeyTable: `domain` (d=, "%" for the author's), `selector`, and the file, or the key itself."""

    name: str
    domain: str
    selector: str
    file: str

    @property
    def is_file(self) -> bool:
        """Whether `file` is one (opendkim.conf(5), KeyTable)."""
        return self.file.startswith(("/", "./", "../"))


def key_table(table: DataSet) -> tuple[dict[str, TableKey], list[str]]:
    """The rows by name, and what is wrong with others."""
    rows: dict[str, TableKey] = {}
    problems: list[str] = []
    for name, value in table.items:
        parts = [part.strip() for part in value.split(":", 3)]
        if len(parts) < 3 or not all(parts[:3]):
            problems.append(f"KeyTable {name}: not domain:selector:file")
            continue
        if name in rows:
            problems.append(f"KeyTable {name}: duplicated; the first of them counts")
        if len(parts) > 3:
            problems.append(f"KeyTable {name}: the fourth field ({parts[3]}) has no match: the key file decides")
        rows.setdefault(name, TableKey(name, *parts[:3]))
    return rows, problems
