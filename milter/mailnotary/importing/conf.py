"""Reads configurations in the form of opendkim.conf(5), which OpenDMARC and dkimpy-milter have too, and the data sets
that they name (opendkim(8), DATA SETS)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.importing.source import Directive, SourceError, read_lines, without_password

MAX_INCLUDES = 5  # opendkim.conf(5), Include


@dataclass(slots=True)
class Conf:
    """All directives, in order. The last one of a kind counts."""

    file: Path
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
    """Reads a configuration and what it includes. Raises SourceError."""
    conf = Conf(path, directory=path.absolute().parent)
    _read_into(conf, path, 0)
    base = conf.value("BaseDirectory")
    if base:
        conf.directory = Path(base)
    return conf


def _read_into(conf: Conf, path: Path, depth: int) -> None:
    if depth > MAX_INCLUDES:
        raise SourceError(f"{path}: files include each other more than {MAX_INCLUDES} deep")
    for number, line in enumerate(read_lines(path), 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        directive = Directive(words[0], words[1].strip() if len(words) > 1 else "", f"{path}:{number}")
        if directive.key == "include":
            _read_into(conf, conf.path(directive.value), depth + 1)
        else:
            conf.directives.append(directive)


# --- data sets ------------------------------------------------------------------------------------------------------

_DATABASES = ("db:", "bdb:", "dsn:", "ldap:", "ldaps:", "ldapi:", "lua:", "memcache:", "erlang:", "mdb:", "socket:")


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a data set: its key, its value ("" for none), and where it is (FILE:LINE)."""

    key: str
    value: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """The items, in order. `wildcards`: the keys are patterns (refile)."""

    items: tuple[Item, ...]
    wildcards: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys alone."""
        return [item.key for item in self.items]


def data_set(conf: Conf, directive: Directive) -> DataSet:
    """Reads a data set of the kinds that are text. Raises SourceError for the others."""
    text = directive.value
    if text.startswith(_DATABASES) or text.endswith(".db"):
        raise SourceError(
            f"{directive.place}: {without_password(text)}: a database; write it out as a file "
            "(one line an entry) and name that instead"
        )
    for prefix in ("refile:", "file:"):
        if text.startswith(prefix):
            path = conf.path(text.removeprefix(prefix).strip())
            return DataSet(tuple(file_items(path)), prefix == "refile:")
    if text.startswith("/"):
        return DataSet(tuple(file_items(Path(text))))
    parts = (part.strip() for part in text.removeprefix("csl:").split(","))
    return DataSet(tuple(_pair(part, directive.place) for part in parts if part))


def file_items(path: Path) -> Iterator[Item]:
    """The lines of a data set's file: a key, and what follows it."""
    for number, line in enumerate(read_lines(path), 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if words:
            yield Item(words[0], words[1].strip() if len(words) > 1 else "", f"{path}:{number}")


def _pair(text: str, place: str) -> Item:
    key, _, value = text.partition("=")
    return Item(key.strip(), value.strip(), place)
