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


@dataclass(slots=True)
class Conf:
    """All directives, in order. The last one of a kind counts."""

    directives: list[Directive] = field(default_factory=list)
    directory: Path = Path("/")  # what relative names are relative to

    def get(self, name: str) -> Directive | None:
        """A directive by its name."""
        return next((one for one in reversed(self.directives) if one.key == name.lower()), None)

    def value(self, name: str, default: str = "") -> str:
        """The value of a directive."""
        one = self.get(name)
        return default if one is None else one.value

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
        raise OpendkimError(f"{text}: a database; write it out as a file (one line an entry) and name that instead")
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
        parts = [part.strip() for part in value.split(":", 2)]
        if len(parts) == 3 and all(parts):
            rows.setdefault(name, TableKey(name, *parts))
        else:
            problems.append(f"KeyTable {name}: not domain:selector:file")
    return rows, problems


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of SigningTable: whose mail, which key, and the i= that was asked for ("" for none)."""

    pattern: str
    key: str
    identity: str

    @property
    def text(self) -> str:
        """The row, for messages."""
        return f"{self.pattern} {self.key}"


class SigningTable:
    """The rules, matched against author addresses as OpenDKIM does it."""

    def __init__(self, table: DataSet, *, several: bool) -> None:
        self.wildcards = table.wildcards
        self.several = several  # MultipleSignatures
        self.rules = []
        for pattern, value in table.items:
            key, _, identity = value.partition(":")
            self.rules.append(Rule(pattern.lower(), key.strip(), identity.strip()))
        self._patterns = [_wildcard(rule.pattern) for rule in self.rules]

    def match(self, address: str) -> list[Rule]:
        """The rules that sign for an address: the first one, or all of them with MultipleSignatures."""
        found = self._by_pattern(address) if self.wildcards else self._by_key(address)
        return found if self.several else found[:1]

    def _by_pattern(self, address: str) -> list[Rule]:
        return [rule for rule, pattern in zip(self.rules, self._patterns, strict=True) if pattern.fullmatch(address)]

    def _by_key(self, address: str) -> list[Rule]:
        """user@host, host, user@.domain (each parent), .domain, user@*, *."""
        user, _, host = address.rpartition("@")
        labels = host.split(".")
        parents = ["." + ".".join(labels[i:]) for i in range(1, len(labels))]
        wanted = [address, host, *(user + "@" + one for one in parents), *parents, f"{user}@*", "*"]
        return [rule for key in wanted for rule in self.rules if rule.pattern == key]

    def domains(self) -> list[str]:
        """The domains that rules name, in order, each once."""
        found = dict.fromkeys(domain for rule in self.rules if (domain := self.domain_of(rule)))
        return list(found)

    def domain_of(self, rule: Rule) -> str:
        """The domain that a rule is about, "" where it is about any, or about what no domain name says."""
        host = rule.pattern.rpartition("@")[2]
        if self.wildcards and "@" not in rule.pattern:
            host = host.lstrip("*")
        elif self.wildcards:
            host = host.removeprefix("*.")
        host = host.lstrip(".")
        return host if host and "*" not in host else ""

    def users_of(self, domain: str) -> list[Rule]:
        """The rules for single users of a domain."""
        return [
            rule
            for rule in self.rules
            if self.domain_of(rule) == domain
            and "@" in rule.pattern
            and rule.pattern.partition("@")[0] not in ("", "*")
            and rule.pattern.rpartition("@")[2] == domain
        ]


def _wildcard(pattern: str) -> re.Pattern[str]:
    """ "Matching all text except that the asterisk character is considered a wildcard"; case makes no difference."""
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", pattern)), re.IGNORECASE | re.DOTALL)
