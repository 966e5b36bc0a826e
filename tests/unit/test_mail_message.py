"""A message as octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.mail.message import FieldIndex, HeaderField, crlf, parse, selection, unfold
from mailnotary.mail.report import is_report


def pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in parse(data).fields]


@pytest.mark.parametrize(
    ("data", "fields", "body"),
    [
        (b"", [], b""),
        (b"\r\n", [], b""),
        (b"\r\nbody", [], b"body"),
        (b"A: 1\r\n", [(b"A", b" 1")], b""),
        (b"A: 1", [(b"A", b" 1")], b""),
        (b"A:1\r\nB :\t2 \r\n\r\nx\r\n\r\n", [(b"A", b"1"), (b"B ", b"\t2 ")], b"x\r\n\r\n"),
        (b"A:\r\n 1\r\n\t2\r\nB: 3\r\n\r\n", [(b"A", b"\r\n 1\r\n\t2"), (b"B", b" 3")], b""),
        (b"A: 1\r\n \r\nB: 2\r\n\r\n", [(b"A", b" 1\r\n "), (b"B", b" 2")], b""),  # obsolete: a fold of white space
        (b"A: 1\r\nno field\r\nB: 2\r\n", [(b"A", b" 1")], b"no field\r\nB: 2\r\n"),
        (b" A: 1\r\nB: 2\r\n", [], b" A: 1\r\nB: 2\r\n"),
        (b"A: 1\nB: 2\r\n\r\n", [(b"A", b" 1\nB: 2")], b""),  # a bare LF ends no line
        (b"A: 1\rB\r\n\r\n", [(b"A", b" 1\rB")], b""),
        (b": 1\r\n", [], b": 1\r\n"),
        (b"A\xff: 1\r\n", [], b"A\xff: 1\r\n"),
    ],
)
def test_a_message_comes_apart(data: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    assert pairs(data) == fields
    assert parse(data).body == body


@given(st.binary(max_size=300) | st.text("A:b \t\r\n").map(str.encode))
def test_any_octets_are_a_message_and_nothing_is_lost(data: bytes) -> None:
    message = parse(data)
    head = b"".join(field.raw + b"\r\n" for field in message.fields)
    assert data in (head + message.body, head + b"\r\n" + message.body, head[:-2])


def test_names_are_compared_without_case_and_trailing_white_space() -> None:
    assert HeaderField(b"FROM \t", b" x").key == b"from"


def test_selection_goes_from_the_bottom_up_and_takes_each_field_once() -> None:
    index = FieldIndex(parse(b"R: A\r\nX: 1\r\nR: B\r\nr : C\r\n").fields)
    picked = index.select(selection([b"r", b"x", b"r", b"y", b"r", b"r", b"x"]))
    assert [field.value for field in picked] == [b" C", b" 1", b" B", b" A"]
    assert index.count(b"r") == 3


def test_selection_can_leave_one_field_out() -> None:
    fields = parse(b"R: A\r\nR: B\r\nR: C\r\n").fields
    picked = FieldIndex(fields).select(selection([b"r", b"r", b"r"]), but=fields[1])
    assert [field.value for field in picked] == [b" C", b" A"]


def test_selection_tells_equal_fields_apart() -> None:
    fields = parse(b"R: A\r\nR: A\r\n").fields
    assert FieldIndex(fields).select(selection([b"r", b"r"]), but=fields[1]) == [fields[0]]


def test_line_ends_of_unix_become_those_of_mail() -> None:
    assert crlf(b"a\nb\r\nc\n\nd\r") == b"a\r\nb\r\nc\r\n\r\nd\r"


def test_unfolding_removes_the_crlf_alone() -> None:
    assert unfold(b" a\r\n\tb\r\n  c") == b" a\tb  c"


@pytest.mark.parametrize(
    ("subject", "report"),
    [
        (b"Report Domain: a.example Submitter: b.example Report-ID: <1@b.example>", True),
        (b"Report Domain: a.example\r\n  Submitter: b.example", True),
        (b"Report domain: a.example Submitter: google.example Report-ID: 1", True),
        (b"[Preview] Report Domain: a.example Submitter: b.example", True),
        (b"Re: Report Domain: a.example Submitter: b.example", False),
        (b"Report Domain: a.example", False),
        (b"Report Domain: " + b"a" * 2000 + b" Submitter: b.example", False),
        (b"lunch", False),
    ],
)
def test_a_report_is_known_by_its_subject(subject: bytes, report: bool) -> None:
    assert is_report(parse(b"From: a@b.example\r\nSubject: " + subject + b"\r\n\r\n").fields) is report


def test_without_a_subject_it_is_not_a_report() -> None:
    assert not is_report(())
