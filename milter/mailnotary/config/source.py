"""The section `source:` of mailnotary.yaml as frozen values."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """A program (its words) or a database (`sql`, a URL) that has keys, beside the keystore; neither: there is none.
    `query` gives all keys, `changes` names the domains that may have changed. `password_file` is the database's,
    `seal_file` has the key with which private keys are sealed. It is asked for everything every `check_seconds`, for
    changes every `changes_seconds`, for at most `timeout` seconds each. `may_shrink`: whether an answer that has lost
    more than half of the domains is taken over."""

    program: tuple[str, ...] = ()
    sql: str | None = None
    password_file: Path | None = None
    query: str | None = None
    changes: str | None = None
    seal_file: Path | None = None
    check_seconds: float = 300.0
    changes_seconds: float = 5.0
    timeout: float = 300.0
    may_shrink: bool = False

    @property
    def wanted(self) -> bool:
        """Whether there is one."""
        return bool(self.program) or self.sql is not None
