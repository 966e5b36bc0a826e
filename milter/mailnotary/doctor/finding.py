"""What a check has found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"  # it works, or could not be looked at
    ERROR = "error"  # mail is lost, delayed, unsigned or unchecked


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `check` is what was looked at, `advice` what to do, "" where there is nothing to do or
    the text says it."""

    check: str
    level: Level
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, advice: str = "") -> Finding:
    """It could be better."""
    return Finding(check, Level.WARNING, text, advice)


def error(check: str, text: str, advice: str = "") -> Finding:
    """It is broken."""
    return Finding(check, Level.ERROR, text, advice)
