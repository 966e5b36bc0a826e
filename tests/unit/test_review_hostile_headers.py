"""Headers that are made to cost time, or to make ours too large for an MTA."""

import pytest

from mailnotary.authres import AuthenticationResults, Results, claims, field_value, format
from mailnotary.authres import parse as parse_field
from mailnotary.authres.build import MAX_DKIM
from mailnotary.dkim import DkimResult
from mailnotary.escape import printable
from mailnotary.mail.message import parse
from mailnotary.status import DkimStatus
from support.mail import MESSAGE, Played, signed

AR = "Authentication-Results"


def dkim(number: int, status: DkimStatus = DkimStatus.POLICY, signature: str = "") -> DkimResult:
    return DkimResult(status, "example.net", f"s{number}", signature=signature)


def shown(results: list[DkimResult], name: str = "s") -> list[str | None]:
    value = field_value("mx.example.org", Results(dkim=tuple(results)))
    return [one.get("header", name) for one in parse_field(value).results]


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0316\u0300", "e\u0300\u0316"])
def test_combining_marks_in_the_wrong_order_take_time_in_proportion(marks: str) -> None:
    """Two hundred thousand of them would take a minute, were they put in order all at once."""
    first, last = marks[:-1], marks[-1]
    assert not claims((first * 100_000 + last * 100_000).encode(), ["mx.example.org"])
    assert claims(("(" + first * 1000 + last * 1000 + " mx.example.org").encode(), ["mx.example.org"])


@pytest.mark.parametrize("before", range(250, 260))
def test_a_disguise_is_seen_through_at_every_place(before: int) -> None:
    assert claims(("\u4e00" * before + "bu\u0308cher.example;").encode(), ["bücher.example"])


@pytest.mark.parametrize("nothing", "\xad\u034f\u061c\u180e\u200c\u2060\u3164\ufe0f\U000e0020")
def test_characters_that_show_nothing_disguise_no_id(nothing: str) -> None:
    for rest in ("; dkim=pass", " dkim=pass"):
        assert claims(f"mx.exa{nothing}mple.org{rest}".encode(), ["mx.example.org"])


def test_every_bidirectional_control_is_escaped_wherever_untrusted_text_goes() -> None:
    """The property Bidi_Control of Unicode."""
    controls = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    text = "".join(map(chr, controls))
    assert printable(text).isascii()
    assert format(AuthenticationResults(f"mx{text}")).count("?") == len(text)


def test_a_message_with_tens_of_thousands_of_signatures_gets_a_header_of_bounded_size() -> None:
    outcome = Played().play(b"DKIM-Signature:\r\n" * 20_000 + signed())
    assert len(outcome.record.results.signatures) == 20_001
    assert len(outcome.inserted[AR]) < 32_768


def test_the_largest_header_that_signatures_can_cause_fits_in_a_packet_of_the_milter_protocol() -> None:
    """65,535 octets: Sendmail takes no larger one."""
    text = "é" * 10_000
    worst = [DkimResult(DkimStatus.FAIL, text, text, text, text, 9, text, f"{text}{i}") for i in range(1000)]
    assert len(field_value("mx.example.org", Results(dkim=tuple(worst))).encode()) < 65_000


def test_of_too_many_signatures_those_that_pass_and_the_topmost_are_shown() -> None:
    results = [dkim(number) for number in range(100)] + [dkim(100, DkimStatus.PASS), dkim(101)]
    assert shown(results) == [f"s{number}" for number in range(MAX_DKIM - 1)] + ["s100"]
    assert shown(results[:MAX_DKIM]) == [f"s{number}" for number in range(MAX_DKIM)]


def test_signatures_that_are_alike_for_long_are_not_shown_for_long() -> None:
    results = [dkim(number, signature="A" * 9000 + f"{number:04}") for number in range(100)]
    assert {len(prefix or "") for prefix in shown(results, "b")} == {64}


def test_the_signature_of_the_author_is_shown_below_a_hundred_others() -> None:
    outcome = Played().play(b"DKIM-Signature: v=1\r\n" * 50 + signed())
    assert "dkim=pass" in outcome.inserted[AR]
    assert parse(outcome.applied(MESSAGE)).fields[0].name == AR.encode()
