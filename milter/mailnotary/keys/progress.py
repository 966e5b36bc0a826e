"""What the last run of `mailnotary rotate --due` has noted, for the commands, the page, the metrics and its next
run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mailnotary.files import read_regular
from mailnotary.keys.histories import StateError, write

FILE = "rotation.json"  # in the state directory
MAX_FILE = 64 * 1_048_576  # octets


class Phase(StrEnum):
    """What a key that takes part in a rotation waits for."""

    PUBLISH = "publish"  # its record is not in DNS
    SERVE = "serve"  # some nameserver of the zone does not serve it
    SIGN = "sign"  # the daemon has yet to begin with it
    REMOVE = "remove"  # it has been replaced for long enough: its record and itself are being removed


@dataclass(frozen=True, slots=True)
class Step:
    """How far one key is. `since`: when it got into this phase; `problem`: why it can't go on, "" if it only has to
    wait; `servers`: each nameserver's address with when it was first seen serving the record, None: not yet. Times are
    in seconds since 1970."""

    entry: str
    domain: str
    selector: str
    phase: Phase
    since: float
    problem: str = ""
    servers: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The step for people."""
        if self.problem:
            return self.problem
        missing = [server for server, first in self.servers.items() if first is None]
        return {
            Phase.PUBLISH: "its record is to be published",
            Phase.SERVE: f"waits for {', '.join(missing[:5])} to serve its record",
            Phase.SIGN: "every nameserver serves its record: it will start to sign soon",
            Phase.REMOVE: "it has been replaced: its record is being removed",
        }[self.phase]


@dataclass(frozen=True, slots=True)
class Progress:
    """After a run: its time, its steps, and the domains whose keys are due next (`due`: when). `reload`: the daemon has
    yet to read what was changed. `overdue`: how many domains were due and have not begun."""

    time: float = 0.0
    steps: tuple[Step, ...] = ()
    next_domain: str = ""
    next_due: float | None = None
    overdue: int = 0
    reload: bool = False

    def of(self, domain: str, selector: str) -> Step | None:
        """The step of a key."""
        return next((step for step in self.steps if (step.domain, step.selector) == (domain, selector)), None)


NOTHING: Final = Progress()


def load(directory: Path) -> Progress:
    """What the state file says; nothing if there is none. Raises StateError."""
    path = directory / FILE
    try:
        data = read_regular(path, MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE} octets")
        values = json.loads(data)
        steps = tuple(_step(item) for item in values.pop("steps"))
        values.pop("version")
        return Progress(steps=steps, **values)
    except FileNotFoundError:
        return Progress()
    except OSError as error:
        raise StateError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StateError(f"{path}: damaged, remove it: {error}") from error


def _step(item: Any) -> Step:
    texts = {name: str(item[name]) for name in ("entry", "domain", "selector", "problem")}
    servers = {str(server): None if first is None else float(first) for server, first in item["servers"].items()}
    return Step(phase=Phase(item["phase"]), since=float(item["since"]), servers=servers, **texts)


def save(directory: Path, progress: Progress) -> None:
    """Writes the state file atomically. Raises StateError."""
    write(directory / FILE, {"version": 1} | asdict(progress))
