"""A From field costs in proportion to its length, whatever it is filled with."""

import time

import pytest

from mailnotary.mail.address import author
from mailnotary.mail.message import HeaderField

FILLINGS = [
    *(
        "\xa0",
        "\xa0.",
        "\u3000",
        "\u2060",
        "'",
        '"',
        "(",
        ")",
        "()",
        "<",
        ">",
        "@",
        ".",
        "..",
        "-",
        ",",
        ";",
        ":",
        "\\",
    ),
    *(
        "[",
        "{",
        "`",
        "\r\n ",
        "\t",
        " ",
        "a",
        "a.",
        "a ",
        "@a",
        "x@",
        "(a)",
        "a@b.c,",
        "<a@b.c>",
        "\u3002",
        "\xfc",
        "=?",
    ),
    *("=?utf-8?q?a?= ", "=?utf-8?b?YUBi?=", "\u0301", "\u0316\u0301\u0327", "\ufdfa", "\u1100\u1161"),
]
BEFORE = ["", " a@x.example", ' "', " x <a@x.example"]
AFTER = ["", ":", "<a@x.example>"]


def cost(before: str, filling: str, after: str, length: int) -> float:
    value = (before + filling * (length // len(filling)) + after).encode()
    began = time.process_time()
    author([HeaderField(b"From", value)])
    return time.process_time() - began


@pytest.mark.parametrize("filling", FILLINGS, ids=ascii)
def test_the_author_is_found_in_linear_time(filling: str) -> None:
    for before in BEFORE:
        for after in AFTER:
            short, long = 1_500, 15_000
            if cost(before, filling, after, long) < 0.02:  # with the square of these it is 0.1 and more
                continue
            ratio = min(cost(before, filling, after, long) / cost(before, filling, after, short) for _ in range(3))
            assert ratio < 40, (before, after)  # ten times as long; with the square it would be 100
