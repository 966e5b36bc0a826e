"""How large our field becomes, whatever a message has in its own."""

from mailnotary.authres import Results, field_value
from mailnotary.authres import parse as parse_field
from mailnotary.authres.build import MAX_DKIM
from mailnotary.dkim import DkimResult
from mailnotary.mail.message import parse
from mailnotary.status import DkimStatus
from support.mail import MESSAGE, Played, signed

AR = "Authentication-Results"


def dkim(number: int, status: DkimStatus = DkimStatus.POLICY, signature: str = "") -> DkimResult:
    return DkimResult(status, "example.net", f"s{number}", signature=signature)


def shown(results: list[DkimResult], name: str = "s") -> list[str | None]:
    value = field_value("mx.example.org", Results(dkim=tuple(results)))
    return [one.get("header", name) for one in parse_field(value).results]


def test_a_message_with_hundreds_of_signatures_gets_a_header_of_bounded_size() -> None:
    others = 900  # MAX_FIELDS is 1000
    outcome = Played().play(b"DKIM-Signature:\r\n" * others + signed())
    assert len(outcome.record.results.signatures) == others + 1
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
