"""A YAML file as nodes that know their line and column, with every string as written in the file; and what is wrong
with it. `yaml_file` reads them."""

from dataclasses import dataclass
from pathlib import Path

from mailnotary.errors import SetupError
from mailnotary.escape import printable

MAX_PROBLEMS = 1000  # that are kept for one file; further ones are only counted

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, where, and what to write instead. Line and column count from 1; line 0 means
    the whole file."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigError(SetupError):
    """The configuration can't be used. `problems` has every error that was found, in the order of the files;
    `str()` has one on each line."""

    def __init__(self, problems: "list[Problem] | tuple[Problem, ...]") -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(slots=True, eq=False)
class YamlScalar:
    """A single value: its text without quotes; `plain` if it had none."""

    text: str
    plain: bool
    line: int
    column: int

    @property
    def is_null(self) -> bool:
        """Whether it means "no value"."""
        return self.plain and self.text in _NULLS


@dataclass(slots=True, eq=False)
class YamlSequence:
    """A list of the file."""

    items: "list[YamlNode]"
    line: int
    column: int


@dataclass(slots=True, eq=False)
class YamlMapping:
    """Keys are unique, in the order of the file."""

    items: "list[tuple[YamlScalar, YamlNode]]"
    line: int
    column: int

    def get(self, key: str) -> "YamlNode | None":
        """The value of a key, or None if there is no such key."""
        for name, value in self.items:
            if name.text == key:
                return value
        return None


YamlNode = YamlScalar | YamlSequence | YamlMapping


class Report:
    """Collects the errors of a file, its faults and its warnings."""

    def __init__(self, file: Path | str) -> None:
        self.file = printable(str(file))
        self.problems: list[Problem] = []
        self.faults: list[Problem] = []
        self.warnings: list[Problem] = []
        self._files = [self.file]
        self._beyond = 0  # errors that were not kept

    def of(self, file: Path) -> "Report":
        """The report on another file of the same configuration, whose errors, faults and warnings are kept here."""
        report = Report(file)
        report.problems, report.faults, report.warnings = self.problems, self.faults, self.warnings
        self._files.append(report.file)
        return report

    def error(self, node: YamlNode | None, message: str) -> None:
        """Adds an error: the file can't be used. Without a node it concerns the whole file."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self._problem(node, message))
        else:
            self._beyond += 1

    def fault(self, node: YamlNode | None, message: str) -> None:
        """Adds a fault: what the file names at this place can't be used, but all the rest can."""
        if len(self.faults) < MAX_PROBLEMS:
            self.faults.append(self._problem(node, message))

    def warn(self, node: YamlNode | None, message: str) -> None:
        """Adds a warning: the file can be used, but the administrator should know."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(self._problem(node, message))

    def raise_problems(self) -> None:
        """Raises ConfigError if there are errors so far, with all of them."""
        if self.problems:
            raise ConfigError(self.sorted_problems())

    def sorted_problems(self) -> list[Problem]:
        """The errors and faults in the order of the files, each once although aliases are read several times."""
        order = {file: number for number, file in enumerate(self._files)}
        distinct = dict.fromkeys(self.problems + self.faults)
        ordered = sorted(distinct, key=lambda problem: (order[problem.file], problem.line, problem.column))
        if self._beyond:
            ordered.append(Problem(self.file, 0, 0, f"{self._beyond} more errors are not shown: fix these first"))
        return ordered

    def _problem(self, node: YamlNode | None, message: str) -> Problem:
        return Problem(self.file, node.line if node else 0, node.column if node else 0, message)


def kind(node: YamlNode) -> str:
    """What a node is, for a message."""
    if isinstance(node, YamlMapping):
        return "keys and values"
    if isinstance(node, YamlSequence):
        return "a list"
    return "no value" if node.is_null else shown(node.text)


def shown(text: str) -> str:
    """A text of the file as messages quote it."""
    return f"'{printable(text, limit=80)}'"
