"""The public conformance suites, which are other people's data and no part of the project."""

import os
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_PLACES = (_PROJECT.parent / "shared" / "suites", _PROJECT / ".venv" / "suites")  # the latter by tests/bootstrap.sh


def suite(name: str) -> Path:
    """A file or directory of the suites, for example "spf/rfc7208-tests.yml", from the directory that MAILNOTARY_SUITES
    names, or else from where they usually are. FileNotFoundError where it is absent."""
    named = os.environ.get("MAILNOTARY_SUITES")
    path = next(filter(Path.exists, [Path(named)] if named else _PLACES), _PLACES[-1]) / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is absent: `make test` fetches it")
    return path
