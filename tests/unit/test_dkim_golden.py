"""Golden cases: each a message (octet for octet), the DNS that it meets, and what every signature comes to.

NN-name.dns has lines of a name and its TXT record (or TIMEOUT), NN-name.result the clock and one line for each
signature, the topmost first: result word, d=, s=, reason."""

from pathlib import Path
from typing import Any

import pytest

from mailnotary import dkim
from mailnotary.resolver import ZoneResolver
from support.backends import each_backend

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")

DIRECTORY = Path(__file__).parents[1] / "data" / "dkim"
CASES = sorted(path.stem for path in DIRECTORY.glob("*.msg"))


def zone(text: str) -> ZoneResolver:
    entries: dict[str, Any] = {}
    for line in text.splitlines():
        name, _, record = line.partition(" ")
        if record == "TIMEOUT":
            entries[name] = record
        else:
            entries.setdefault(name, []).append({"TXT": record})
    return ZoneResolver(entries)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    message = (DIRECTORY / f"{case}.msg").read_bytes()
    clock, *expected = (DIRECTORY / f"{case}.result").read_text("utf-8").splitlines()
    results = dkim.verify(
        message, zone((DIRECTORY / f"{case}.dns").read_text("utf-8")), now=int(clock.removeprefix("now "))
    )
    lines = [f"{one.status} d={one.domain} s={one.selector} {one.reason}".rstrip() for one in results]
    assert lines == expected


def test_the_cases_are_numbered_without_gaps() -> None:
    assert [int(case.partition("-")[0]) for case in CASES] == list(range(1, len(CASES) + 1))
