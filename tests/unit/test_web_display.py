"""Text of strangers on the page: nothing hides in it, and it acts on nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.web.display import ago, clock, moment, plural, share, visible
from support.hostile import HIDDEN, HOSTILE, RTL, ZALGO


def inner(html: str) -> str:
    return html.removeprefix("<bdi>").removesuffix("</bdi>")


@given(st.text(max_size=400))
def test_no_text_becomes_markup_or_is_invisible(text: str) -> None:
    html = inner(str(visible(text)))
    assert "<" not in html
    assert ">" not in html
    assert '"' not in html
    assert not {unicodedata.category(character) for character in html} & {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_bounded(text: str) -> None:
    assert len(visible(text, 100)) < 1300


def test_what_has_no_width_is_shown() -> None:
    assert inner(str(visible(HIDDEN))) == "in\\u200bvis\\u00adible\\u2060\\ufeff\\U000e0041\\u3164"
    assert "\\u202e" in visible(RTL)


def test_marks_do_not_pile_up() -> None:
    assert visible(ZALGO, 10) == "<bdi>z\u0300\u0300" + "\\u0300" * 7 + "[... 191 more]</bdi>"


def test_names_in_other_scripts_stay() -> None:
    assert visible("bücher.example 例え.テスト דוגמה") == "<bdi>bücher.example 例え.テスト דוגמה</bdi>"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 3, "33.3 %"),
        (1, 10**6, "< 0.1 %"),
        (10**6 - 1, 10**6, "> 99.9 %"),
    ],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


def test_words_for_numbers_and_times() -> None:
    assert [plural(1, "message"), plural(1234, "message")] == ["1 message", "1,234 messages"]
    assert [ago(0), ago(1), ago(7300), ago(2 * 86400)] == ["a moment", "1 second", "2 hours", "2 days"]
    assert clock("2026-03-01T10:11:12.345Z") == "2026-03-01 10:11:12"
    assert clock("soon") == "soon"
    assert [moment(0), moment(1e30)] == ["1970-01-01 00:00", "unknown"]
