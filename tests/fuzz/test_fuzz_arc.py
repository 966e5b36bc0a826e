"""Runs the fuzz target of ARC over the public suite and over what hypothesis thinks of."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_arc import PARTS, one_input
from mailnotary.mail.message import crlf

SUITE = Path(__file__).parents[1] / "data" / "valimail" / "arc-draft-validation-tests.yml"


def test_the_messages_of_the_suite() -> None:
    for scenario in yaml.load_all(SUITE.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        for case in scenario["tests"].values():
            one_input(b"\0" + crlf((case["message"] or "").encode()))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PARTS) - 1), st.binary(max_size=300) | st.text("i=12;cv none\r\n\t()ahbs:").map(str.encode))
def test_any_octets(part: int, data: bytes) -> None:
    one_input(bytes([part]) + data)
