"""The public conformance suites, which are other people's data and no part of the project."""

import os
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
SUITES = Path(os.environ.get("MAILNOTARY_SUITES") or _PROJECT.parent / "shared" / "suites")


def suite(name: str) -> Path:
    """A file or folder of the suites, for example "spf/rfc7208-tests.yml". Skips the test where it is absent; called
    while tests are collected, it skips the module."""
    path = SUITES / name
    if not path.exists():
        pytest.skip(f"{path} is absent: set MAILNOTARY_SUITES to the suites' folder", allow_module_level=True)
    return path
