"""Runs the fuzz target of DKIM over a small corpus and over what hypothesis thinks of."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_dkim import PARTS, one_input

DATA = Path(__file__).parents[1] / "data" / "dkim"


@pytest.mark.parametrize("path", sorted(DATA.glob("*.msg")), ids=lambda path: path.stem)
def test_the_golden_messages(path: Path) -> None:
    message = path.read_bytes()
    for part in range(len(PARTS)):
        one_input(bytes([part]) + message)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PARTS) - 1), st.binary(max_size=300) | st.text("From: x\r\n\t;=abhv1 ").map(str.encode))
def test_any_octets(part: int, data: bytes) -> None:
    one_input(bytes([part]) + data)
