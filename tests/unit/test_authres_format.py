"""Writing Authentication-Results: what is written is read again, and nothing untrusted leaves its place."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.authres import (
    AuthenticationResults,
    AuthresError,
    MethodResult,
    Property,
    Results,
    field_value,
    format,
    parse,
)
from mailnotary.authres.write import fold
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.escape import printable
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

NAME = "Authentication-Results: "

_KEYWORD = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True)
# All that a field can carry: no controls, no marks that turn text around, no lone surrogates.
_CARRIED = st.characters(
    exclude_categories=["Cc", "Cs"],
    exclude_characters="\u200e\u200f\u2028\u2029\ufeff\ufffe\uffff"
    + "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
_TEXT = st.one_of(
    st.text(_CARRIED, max_size=60),
    st.text('ab \\"();@.=/,<>[]', max_size=60),
    st.from_regex(r'(\w{1,9}|"[a-z "]{0,5}")?@[a-z]{1,5}(\.[a-z]{1,5}){0,2}', fullmatch=True),
)
_PROPERTY = st.builds(Property, _KEYWORD, _KEYWORD, _TEXT)
_RESULT = st.builds(
    MethodResult,
    _KEYWORD.filter(lambda word: word != "none"),
    _KEYWORD,
    st.lists(_PROPERTY, max_size=5).map(tuple),
    _TEXT,
    st.integers(1, 99),
    _TEXT,
)
_FIELD = st.builds(AuthenticationResults, _TEXT, st.lists(_RESULT, max_size=4).map(tuple), st.integers(1, 99))

_HOSTILE = st.text(st.characters(codec=None), max_size=80)
_HOSTILE_FIELD = st.builds(
    AuthenticationResults,
    _HOSTILE,
    st.lists(
        st.builds(
            MethodResult,
            st.just("dkim"),
            st.just("fail"),
            st.lists(st.builds(Property, st.just("header"), st.just("d"), _HOSTILE), max_size=3).map(tuple),
            _HOSTILE,
            st.just(1),
            _HOSTILE,
        ),
        max_size=3,
    ).map(tuple),
)


def assert_sound(value: str) -> None:
    """A field's value that no MTA has to fix."""
    lines = (NAME + value).split("\r\n")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", value.replace("\r\n", ""))
    value.encode()  # no lone surrogates
    for number, line in enumerate(lines):
        assert line.strip(" \t"), "no line of blanks alone"
        assert not line.endswith((" ", "\t")), "no trailing blanks"
        assert number == 0 or line.startswith(" ")
        assert len(line.encode()) <= 998


@settings(max_examples=60)
@given(_FIELD)
def test_format_then_parse_is_the_identity(field: AuthenticationResults) -> None:
    value = format(field)
    assert_sound(value)
    assert parse(value) == field
    assert parse(value.encode()) == field
    assert parse(value.replace("\r\n", "\n")) == field, "as libmilter takes it"
    assert parse(value.replace("\r\n", "")) == field, "unfolded"


@given(_HOSTILE_FIELD)
def test_nothing_untrusted_gets_out_of_its_place(field: AuthenticationResults) -> None:
    value = format(field)
    assert_sound(value)
    found = parse(value)
    assert [(r.method, r.result, len(r.properties)) for r in found.results] == [
        (r.method, r.result, len(r.properties)) for r in field.results
    ]
    assert format(found) == format(
        AuthenticationResults(
            field.authserv_id, tuple(MethodResult(r.method, r.result, r.properties, r.reason) for r in field.results)
        )
    ), "what was replaced stays replaced"


def test_lines_are_at_most_78_characters_where_there_is_a_place_to_fold() -> None:
    words = tuple(Property("header", "x", "word " * 30) for _ in range(3))
    value = format(AuthenticationResults("mx.example.org", (MethodResult("dkim", "fail", words, "so " * 100),)))
    assert all(len(line) <= 78 for line in (NAME + value).split("\r\n"))


def test_the_longest_value_stays_within_a_line() -> None:
    for character in ('"', "\\", "ü", "x", " ", "\x00", "\U0001f4a9"):
        field = MethodResult(
            "dkim", "fail", (Property("header", "d", character * 5000),), character * 5000, 1, character * 5000
        )
        assert_sound(format(AuthenticationResults("mx", (field, field))))


def test_none() -> None:
    assert format(AuthenticationResults("mx.example.org")) == "mx.example.org; none"


@pytest.mark.parametrize("word", ["", "a b", "dkim=pass", "x;y", "-a", "a\r\n", "Ä"])
def test_a_keyword_that_is_none_is_the_programs_error(word: str) -> None:
    for result in (
        MethodResult(word, "pass"),
        MethodResult("x", word),
        MethodResult("x", "y", (Property(word, "a", ""),)),
    ):
        with pytest.raises(AuthresError):
            format(AuthenticationResults("mx", (result,)))


def test_white_space_of_other_scripts_is_quoted() -> None:
    field = MethodResult("spf", "fail", (Property("smtp", "helo", "x\u00a0dkim=pass"),))
    assert '"x\u00a0dkim=pass"' in format(AuthenticationResults("mx", (field,)))


# --- our own results ---


def spf(identity: SpfIdentity, domain: str, status: SpfStatus = SpfStatus.PASS, reason: str = "") -> SpfResult:
    return SpfResult(status, identity, domain, reason=reason)


def dkim(signature: str, status: DkimStatus = DkimStatus.PASS, reason: str = "") -> DkimResult:
    return DkimResult(status, "example.net", "sel", "@example.net", "rsa-sha256", 2048, reason, signature)


def written(*, mail_from: str = "", helo: str = "", both_spf: bool = False, **results: Any) -> str:
    value = field_value("mx.example.org", Results(**results), mail_from=mail_from, helo=helo, both_spf=both_spf)
    assert_sound(value)
    one_line = value.replace("\r\n", "")
    read_again = format(parse(value)).replace("\r\n", "")
    assert read_again == re.sub(r" \(.*?\)", "", one_line), "it is as `format` writes it, but for the comments"
    return one_line


def test_all_methods() -> None:
    value = written(
        auth="joe",
        spf=[spf(SpfIdentity.HELO, "mail.example.net"), spf(SpfIdentity.MAILFROM, "example.net", SpfStatus.SOFTFAIL)],
        dkim=[dkim("abcdefghij")],
        dmarc=DmarcResult(DmarcStatus.PASS, "example.net", Policy.REJECT),
        mail_from="joe@example.net",
        helo="mail.example.net",
    )
    assert value == (
        "mx.example.org; auth=pass smtp.auth=joe; spf=softfail smtp.mailfrom=example.net; "
        "dkim=pass (2048-bit key) header.d=example.net "
        "header.i=@example.net header.s=sel header.a=rsa-sha256 header.b=abcdefgh; "
        "dmarc=pass header.from=example.net policy.dmarc=reject"
    )


def test_nothing_checked() -> None:
    assert written() == "mx.example.org; none"


def test_no_signature_is_dkim_none() -> None:
    assert written(dkim=[]) == "mx.example.org; dkim=none (no signature)"


def test_a_null_sender_shows_the_helo_name_once() -> None:
    """RFC 7208 2.4: its check is one of the HELO name."""
    both = [spf(SpfIdentity.HELO, "mail.example.net"), spf(SpfIdentity.MAILFROM, "mail.example.net")]
    for both_spf in (False, True):
        assert written(spf=both, mail_from="", helo="mail.example.net", both_spf=both_spf) == (
            "mx.example.org; spf=pass smtp.helo=mail.example.net"
        )


def test_mail_from_comes_first_and_helo_only_where_it_is_asked_for() -> None:
    """Readers take the first result, or any pass: HELO must not vouch for a forged sender."""
    both = [spf(SpfIdentity.HELO, "h.example"), spf(SpfIdentity.MAILFROM, "m.example", SpfStatus.FAIL)]
    assert written(spf=both, mail_from="a@m.example", helo="h.example") == (
        "mx.example.org; spf=fail smtp.mailfrom=m.example"
    )
    assert written(spf=both, mail_from="a@m.example", helo="h.example", both_spf=True) == (
        "mx.example.org; spf=fail smtp.mailfrom=m.example; spf=pass smtp.helo=h.example"
    )


def test_a_client_without_a_helo_name_has_no_empty_property() -> None:
    assert written(spf=[spf(SpfIdentity.HELO, "", SpfStatus.NONE)]) == "mx.example.org; spf=none"


def test_the_local_part_that_spf_did_not_check_is_left_out() -> None:
    """RFC 8601 2.7.2."""
    value = written(spf=[spf(SpfIdentity.MAILFROM, "example.net")], mail_from='"x; dkim=pass"@example.net')
    assert value == "mx.example.org; spf=pass smtp.mailfrom=example.net"


def test_signatures_are_told_apart_by_their_octets() -> None:
    """RFC 6008 section 4: at least eight characters, as many as it takes."""
    value = written(dkim=[dkim("abcdefgh12X/"), dkim("abcdefgh12Y/"), dkim("zzzz"), dkim("abcdefgh12X/")])
    assert re.findall(r"header\.b=(\S+?)(?:;|$)", value) == ["abcdefgh12X", "abcdefgh12Y", "zzzz", "abcdefgh12X"]


def test_a_signature_that_could_not_be_parsed_has_no_empty_properties() -> None:
    result = DkimResult(DkimStatus.NEUTRAL, reason="tag d= is missing", brief="the signature is malformed")
    assert written(dkim=[result]) == 'mx.example.org; dkim=neutral reason="the signature is malformed"'


@pytest.mark.parametrize(
    ("status", "policy", "disposition", "shown"),
    [
        (DmarcStatus.PASS, Policy.REJECT, Policy.NONE, "reject"),
        (DmarcStatus.FAIL, Policy.REJECT, Policy.QUARANTINE, "quarantine"),  # t=y
        (DmarcStatus.FAIL, Policy.NONE, Policy.NONE, "none"),
        (DmarcStatus.NONE, None, Policy.NONE, None),
    ],
)
def test_the_policy_after_all_options(
    status: DmarcStatus, policy: Policy | None, disposition: Policy, shown: str | None
) -> None:
    value = written(dmarc=DmarcResult(status, "example.net", policy, disposition))
    assert f"dmarc={status} header.from=example.net" in value
    assert (f"policy.dmarc={shown}" in value) if shown else ("policy.dmarc" not in value)


@given(st.text(st.characters(codec=None), max_size=60), st.text('\r\n \t;="\\()a', max_size=60))
def test_no_result_can_add_another(one: str, two: str) -> None:
    value = written(
        auth=one,
        spf=[spf(SpfIdentity.MAILFROM, one, reason=two), spf(SpfIdentity.HELO, two, reason=one)],
        dkim=[DkimResult(DkimStatus.FAIL, one, two, one, two, 1, one, two)],
        dmarc=DmarcResult(DmarcStatus.FAIL, two, Policy.REJECT, reason=one),
        mail_from=one + "@x",
        helo=two,
        both_spf=True,
    )
    read = [(r.method, r.result) for r in parse(value).results]
    assert [one for one in read if one[0] != "spf"] == [("auth", "pass"), ("dkim", "fail"), ("dmarc", "fail")]
    assert [one for one in read if one[0] == "spf"] in (  # HELO's where it has a name; none passes without one
        [("spf", "pass")],
        [("spf", "none")],
        [("spf", "pass"), ("spf", "pass")],
        [("spf", "none"), ("spf", "pass")],
    )


def breaks_in_order(text: str) -> list[str]:
    """The rule for folding, place after place: a line ends at the last place that leaves it at most 77 characters, or
    else at the first there is."""
    lines = []
    start, last = 0, -1
    for match in re.finditer("(?<! ) (?! )", text):
        if match.start() - start > 77 and last > start:
            lines.append(text[start:last])
            start = last
        last = match.start()
    if len(text) - start > 77 and last > start:
        lines.append(text[start:last])
        start = last
    return [*lines, text[start:]]


@given(
    st.lists(st.sampled_from(["a", "bc" * 20, "d" * 90, " ", "  "]), max_size=40).map(
        lambda parts: "x" + "".join(parts)
    )
)
def test_lines_break_at_the_last_place(text: str) -> None:
    assert fold(text).split("\r\n") == breaks_in_order(text)


_WORDS = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(["", "a.example", "b.example", "x" * 500])
_SPF = st.builds(SpfResult, st.sampled_from(SpfStatus), st.sampled_from(SpfIdentity), _WORDS, reason=_WORDS)
_SIGNATURES = st.text("ab/=", max_size=12)
_DKIM = st.builds(
    DkimResult, st.sampled_from(DkimStatus), _WORDS, _WORDS, _WORDS, _WORDS, st.integers(0, 9), _WORDS, _SIGNATURES
)
_DMARC = st.builds(
    DmarcResult,
    st.sampled_from(DmarcStatus),
    _WORDS,
    st.none() | st.sampled_from(Policy),
    st.sampled_from(Policy),
    reason=_WORDS,
)


@given(st.lists(_SPF, max_size=2), st.lists(_DKIM, max_size=2), st.none() | _DMARC, _WORDS, _WORDS)
def test_what_is_written_once_is_what_is_written_each_time(
    spf: list[SpfResult], dkim: list[DkimResult], dmarc: DmarcResult | None, mail_from: str, helo: str
) -> None:
    first = written(spf=spf, dkim=dkim, dmarc=dmarc, mail_from=mail_from, helo=helo)
    assert written(spf=spf, dkim=dkim, dmarc=dmarc, mail_from=mail_from, helo=helo) == first


def test_every_bidirectional_control_is_escaped_wherever_untrusted_text_goes() -> None:
    """The property Bidi_Control of Unicode."""
    controls = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    text = "".join(map(chr, controls))
    assert printable(text).isascii()
    assert format(AuthenticationResults(f"mx{text}")).count("?") == len(text)
