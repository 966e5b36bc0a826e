"""Untrusted text made safe to show, once, and cut where a reader does not stumble."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.escape import ascii_printable, printable, shortened

TEXTS = st.text(st.sampled_from("ab  \\xuU05c9f\t\x01\x7f\xe9\u2028\u202e\U0001f600\udcff"), max_size=60)
PARTS = re.compile(r"(?:[^\\]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*\Z")


@given(TEXTS, st.integers(4, 70))
def test_no_escape_is_cut_and_none_escaped_again(text: str, limit: int) -> None:
    for make in (printable, ascii_printable):
        safe = make(text, limit)
        assert PARTS.match(safe), safe
        assert make(safe, 1000) == safe
        cut = shortened(safe, limit)
        assert len(cut) <= limit
        assert PARTS.match(cut), cut
        assert make(make(safe, limit), 1000) == make(safe, limit)


@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=20), st.integers(20, 80))
def test_words_are_whole(words: list[str], limit: int) -> None:
    text = " ".join(words)
    for cut in (shortened(text, limit), ascii_printable(text, limit)):
        assert len(cut) <= limit
        shown = cut.removesuffix("...").split()
        assert shown == words[: len(shown)]
        assert (cut == text) == (len(text) <= limit)
    shown = printable(text, limit).partition("[")[0].split()
    assert shown == words[: len(shown)]


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("two words", 9, "two words"),
        ("two words", 8, "two..."),
        ("two words more", 12, "two words..."),
        ("onelongwordalone", 10, "onelong..."),
        (r"a\x09bcdefgh", 8, r"a\x09..."),
        (r"a\x09bcdefgh", 7, "a..."),
        ("", 10, ""),
    ],
)
def test_shortened(text: str, limit: int, shown: str) -> None:
    assert shortened(text, limit) == shown


def test_printable_counts_what_it_leaves_out() -> None:
    assert printable("two words more", 12) == "two words[... 5 more]"
    assert printable("x" * 20, 12) == "x" * 12 + "[... 8 more]"
    assert printable(b"-all\x09\\x09\xff", 100) == r"-all\x09\x09\xff"
