"""Runs the fuzz target of DKIM2 over a small corpus and over what hypothesis thinks of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_dkim2 import PARTS, one_input
from support.dkim2 import original, through_list

PARTS_OF_FIELDS = st.sampled_from(
    [
        "i=2;",
        "m=1;",
        " m=2",
        ";",
        ",",
        ":",
        "r=",
        "h=sha256:",
        "s=a:rsa-sha256:",
        "AAAA",
        "nd=a.example",
        "\r\n ",
        "f=x",
    ]
)
PARTS_OF_RECIPES = st.sampled_from(['{"b":', '{"h":{"a":', "[", "]", "}", '{"c":[1,2]}', '{"d":["x"]}', ",", "null"])
INPUTS = (
    st.binary(max_size=300)
    | st.lists(PARTS_OF_FIELDS, max_size=12).map("".join).map(str.encode)
    | st.lists(PARTS_OF_RECIPES, max_size=12).map("".join).map(str.encode)
)


@pytest.mark.parametrize("made", [original(), through_list()], ids=["original", "through a list"])
def test_signed_messages(made: bytes) -> None:
    for part in range(len(PARTS)):
        one_input(bytes([part]) + b"Received: changed\r\nComments: it\r\n" + made)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(PARTS) - 1), INPUTS)
def test_any_octets(part: int, data: bytes) -> None:
    one_input(bytes([part]) + data)
