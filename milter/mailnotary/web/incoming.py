"""What DMARC reports of others say about our domains, read from the directory of --reports beside the page.

A thread reads the files, so that no page waits for them, and rests as long as it works. Everything in them is hostile:
`reports.unpack` and `reports.parse` bound what is kept.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mailnotary.files import read_regular
from mailnotary.reports.summary import Reading, Summary
from mailnotary.reports.unpack import MAX_UNPACKED, ReadError

log = logging.getLogger(__name__)

OLD: Final = 3600.0  # seconds after which the directory is read anew when somebody asks
RETRY: Final = 60.0  # the same after a failure
MAX_FILES: Final = 20_000  # the newest
MAX_ERRORS: Final = 20  # that are told
TOP_DOMAINS: Final = 20
TOP_SOURCES: Final = 15  # of a domain


@dataclass(slots=True)
class Incoming:
    """What was read so far. `errors` are files and what is wrong with them, the first ones."""

    began: float
    files: int = 0
    total: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    unreadable: int = 0
    reading: Reading = field(default_factory=Reading)
    done: bool = False
    problem: str = ""

    @property
    def summaries(self) -> list[Summary]:
        """The domains with most failures; none before all is read, since it changes until then."""
        found = list(self.reading.summaries.values()) if self.done else []
        return sorted(found, key=lambda one: (-one.total("failed"), one.domain))[:TOP_DOMAINS]

    def is_old(self, now: float) -> bool:
        """Whether to begin anew."""
        return now - self.began > OLD if self.done else bool(self.problem) and now - self.began > RETRY

    def fail(self, name: str, text: str) -> None:
        """Notes a file that cannot be read."""
        self.unreadable += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((name, text))


class ReportDirectory:
    """A directory with reports, as files or as mail (a Maildir). `found` may be asked by any thread."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Incoming | None = None

    def found(self) -> Incoming:
        """What is known by now. Begins to read where nothing is, or where that is old."""
        with self._lock:
            found = self._found
            if found is None or found.is_old(self._clock()):
                found = self._found = Incoming(self._clock())
                threading.Thread(target=self._work, args=(found,), name="reports", daemon=True).start()
            return found

    def _work(self, found: Incoming) -> None:
        try:
            files = newest(self.directory)
            found.total = len(files)
            for file in files:
                began = time.monotonic()
                _read(found, file)
                found.files += 1
                time.sleep(time.monotonic() - began)
            found.done = True
        except OSError as error:
            found.problem = f"{self.directory}: {error.strerror}"
        except Exception:
            log.exception("reports cannot be read")
            found.problem = "mailnotary itself failed: see its log"


def _read(found: Incoming, file: Path) -> None:
    try:
        octets = read_regular(file, MAX_UNPACKED + 1)
        if len(octets) > MAX_UNPACKED:
            raise ReadError(f"it is larger than {MAX_UNPACKED // 2**20} MiB")
        found.reading.file(octets)
    except ReadError as error:
        found.fail(file.name, str(error))
    except OSError as error:
        found.fail(file.name, error.strerror or str(error))


def newest(directory: Path) -> list[Path]:
    """The files of a directory, or of its Maildir, the newest first. Raises OSError."""
    parts = [directory / name for name in ("cur", "new") if (directory / name).is_dir()] or [directory]
    aged = [(file.stat().st_mtime, file) for part in parts for file in _files(part)]
    return [file for _, file in sorted(aged, reverse=True)[:MAX_FILES]]


def _files(directory: Path) -> Iterator[Path]:
    for file in directory.iterdir():
        if not file.name.startswith(".") and file.is_file():
            yield file
