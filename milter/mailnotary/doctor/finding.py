"""The result of one check, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"  # it works, but could be better
    UNKNOWN = "unknown"  # it could not be checked
    ERROR = "error"  # mail is lost, delayed, unsigned or unchecked


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `check` is what was checked, `advice` what to do, "" if there is nothing to do or the
    text says it."""

    check: str
    level: Level
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """It works."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, advice: str = "") -> Finding:
    """It works, but could be better."""
    return Finding(check, Level.WARNING, text, advice)


def unknown(check: str, text: str, advice: str = "") -> Finding:
    """It could not be checked."""
    return Finding(check, Level.UNKNOWN, text, advice)


def error(check: str, text: str, advice: str = "") -> Finding:
    """It is broken."""
    return Finding(check, Level.ERROR, text, advice)
