"""The configuration's fuzz target over inputs that matter and over random ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_config import one_input

CONFIG = Path(__file__).parents[2] / "config"
CORPUS = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbfmode: sign",
    b"[" * 50_000,
    b"- " * 25_000,
    b"a: &a [*a]",
    b"a: &a\nb: *a\n? *a\n: *a",
    b"<<: {a: b}",
    b'"\\e[31m": "\\0\\x9b\\u202e"',
    b"listen: inet:1@\nsocket: {mode: 99999999999999999999}",
    b"limits: {header_bytes: 99999999999999999999G, spf_seconds: 1e999}",
    b"domains: {'*': {domain: '*'}, '.': {}, '..': {}, '': {}}",
    b"domains: {a.b: {keys: [{selector: a, file: /dev/zero}, {selector: b, file: /dev/null}, {file: /}]}}",
    b"domains: {a.b: {keys: [{selector: a, file: " + b"x" * 5000 + b"}]}}",
    (CONFIG / "mailnotary.yaml").read_bytes(),
    (CONFIG / "mailnotary.yaml").read_bytes().replace(b"\n#", b"\n"),
    (CONFIG / "keystore.yaml").read_bytes().replace(b"\n#   ", b"\n"),
]
WORDS = [
    *("domains", "a.example", "'*'", "keys", "selector", "file", "state", "allow", "networks", "unsafe_keys", "true"),
    *(
        "dmarc",
        "mode",
        "enforce",
        "reject",
        "dns",
        "nameservers",
        "listen",
        "signing",
        "headers",
        "From",
        "~",
        "&a",
        "*a",
    ),
    *(":", ": ", ", ", "[", "]", "{", "}", "\n", "\n  ", "- ", "? ", "#", "'", '"', "|", ">", "!!", "---", "%", "0"),
]


@pytest.mark.parametrize("data", CORPUS)
def test_corpus(data: bytes) -> None:
    one_input(data)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    one_input(data)


@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_any_words(text: str) -> None:
    one_input(text.encode())
