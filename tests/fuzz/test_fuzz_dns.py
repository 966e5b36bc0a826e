"""The DNS fuzz target over inputs that matter and over random ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_dns import one_input

CORPUS = [
    b"",
    b"\0",
    b"\x05\0\1\0\0\0\0\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1",  # one record
    b"\x05\0\1\0\0\0\0\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x0c",  # a CNAME to itself
    b"\x05\xff\xff\xff\xff\xff\xff" + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\0" * 20,  # counts that lie
    b"\x05\0\1\0\0\0\0" + b"\xc0\x17" * 30,  # a pointer to itself
    b"\x0ax.org",
    b"\x0a" + b"a." * 127,
    b"\x0a\xc9\x00.ORG.",
]


@pytest.mark.parametrize("data", CORPUS)
def test_corpus(data: bytes) -> None:
    one_input(data)


@settings(deadline=None)  # a busy machine takes its time
@given(st.binary(max_size=400))
def test_any_octets(data: bytes) -> None:
    one_input(data)
