"""tag=value lists (RFC 6376 section 3.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.dkim.tags import MAX_TAGS, TagError, parse_tags


def values(text: bytes) -> dict[str, bytes]:
    return dict(parse_tags(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a=1", {"a": b"1"}),
        (b"a=1;", {"a": b"1"}),
        (b" a = 1 ; b\t=\r\n 2 3 ; ", {"a": b"1", "b": b"2 3"}),
        (b"a=;b=", {"a": b"", "b": b""}),
        (b"A=1; a=2", {"A": b"1", "a": b"2"}),
        (b"a_1=x=y==", {"a_1": b"x=y=="}),
        (b"a=1;\r\n\t", {"a": b"1"}),
        ("n=grüße".encode(), {"n": "grüße".encode()}),
    ],
)
def test_a_list_gives_its_tags_in_order(text: bytes, expected: dict[str, bytes]) -> None:
    assert list(values(text).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "tag 1 is empty"),
        (b"  ", "tag 1 is empty"),
        (b";", "tag 1 is empty"),
        (b"a=1;;b=2", "tag 2 is empty"),
        (b"a=1;;", "tag 2 is empty"),
        (b";a=1", "tag 1 is empty"),
        (b"a=1; b", "tag 2 has no '='"),
        (b"=1", "tag 1 has no valid name"),
        (b"1a=1", "tag 1 has no valid name"),
        (b"a-b=1", "tag 1 has no valid name"),
        (b"a b=1", "tag 1 has no valid name"),
        (b'"v=DKIM1; p=x"', "tag 1 has no valid name"),
        (b"a=1;a=2", "tag a= is duplicated"),
        (b"a=1;b=2;a=1", "tag a= is duplicated"),
        (b"a=\0", "tag a= has an octet that is not allowed"),
        (b"a=\x7f", "tag a= has an octet that is not allowed"),
        (b"a=x\ry", "tag a= has an octet that is not allowed"),
        (b"a=x\ny", "tag a= has an octet that is not allowed"),
        (b"a=x\r\ny", "tag a= has an octet that is not allowed"),
        (b"a\n=x", "tag a= has an octet that is not allowed"),
        (b"a=x\r\n", "tag a= has an octet that is not allowed"),
    ],
)
def test_a_broken_list_is_refused_as_a_whole(text: bytes, reason: str) -> None:
    with pytest.raises(TagError) as error:
        parse_tags(text)
    assert str(error.value) == reason


def test_the_number_of_tags_is_capped() -> None:
    many = b";".join(b"a%d=1" % number for number in range(MAX_TAGS))
    assert len(values(many)) == len(values(many + b";")) == MAX_TAGS
    with pytest.raises(TagError, match="more than 64 tags"):
        parse_tags(many + b";z=1")
    with pytest.raises(TagError, match="more than 64 tags"):
        parse_tags(b";".join(b"a%d=1" % number for number in range(100_000)))


@pytest.mark.parametrize("end", [b"\0", b"\r\n", b"\n"])
def test_refusing_takes_no_longer_than_accepting(end: bytes) -> None:
    """An octet that is refused after many that are not, which some regular expressions take exponential time for."""
    for text in (b"a=" + b"x" * 200_000 + end, b"a=" + b"x\r\n " * 50_000 + end, b" \t" * 100_000 + b"a=" + end):
        with pytest.raises(TagError):
            parse_tags(text)


@pytest.mark.parametrize("text", [b"a=1;b=2;c=3", b" a = 1 ;\r\n\tb \t= \r\n 2 \r\n ;c=3;", b"x=b=9; b=2"])
def test_a_place_takes_in_the_white_space_around_the_value(text: bytes) -> None:
    tags = parse_tags(text)
    start, end = tags.spans["b"]
    assert text[start:end].strip(b" \t\r\n") == tags["b"] == b"2"
    assert text[start - 1 : start] == b"="
    assert text[end : end + 1] in (b";", b"")


@given(st.binary(max_size=200) | st.text("ab=; \t\r\n").map(str.encode))
def test_any_octets_give_a_list_or_its_error(text: bytes) -> None:
    try:
        tags = parse_tags(text)
    except TagError:
        return
    assert tags.spans.keys() == tags.keys()
    for name, (start, end) in tags.spans.items():
        assert text[start:end].strip(b" \t\r\n") == tags[name]
