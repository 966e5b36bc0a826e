"""Nothing that a sender chose is in our Authentication-Results field, whatever the results hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.arc import ArcResult, ArcSet
from mailnotary.authres import Results, field_value, parse
from mailnotary.authres.vetted import host, plain
from mailnotary.config.settings import AuthenticationResultsSettings, Settings
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import Dkim2Result, Hop
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.session.inbound import BRIEF
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import ArcStatus, Dkim2Status, DkimStatus, DmarcStatus, SpfStatus
from support.mail import Played, zone

AR = "Authentication-Results"
ATTACK = "x; dmarc=pass header.from=bank.example"
HOSTILE = st.one_of(
    st.text(st.characters(codec=None), max_size=40),
    st.text('ab .-"\\();@=/,<>[]\r\n\t\u2028\u00a0é', max_size=40),
    st.sampled_from([ATTACK, "x;spf=pass smtp.mailfrom=bank.example", "dmarc=pass", "a.example", "mail-1.a.example"]),
)

# All that the field is made of beside names, addresses and our own words.
_RESULT = r"[a-z0-9]+=[a-z]+"
_DKIM2 = r"experimental, draft-ietf-dkim-dkim2-spec-\d+(?:, \d+ signatures?)?"
_ARC = r"\d+ sets?, sealed by [a-z0-9_., -]*"
_COMMENT = rf"(?: \((?:no signature|\d+-bit key|{_DKIM2}|{_ARC})\))?"
_REASON = r'(?: reason="?[A-Za-z0-9 ,.:-]+"?)?'
_NAME = r'(?:@?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|"\[[0-9A-Fa-f:.IPv]+\]")'
_PROPERTY = (
    rf"(?: smtp\.(?:mailfrom|helo)={_NAME}| header\.(?:d|i|s|from)={_NAME}| header\.a=(?:rsa|ed25519)-sha(?:1|256)"
    r'| header\.b="?[A-Za-z0-9+/]+"?| policy\.dmarc=(?:none|quarantine|reject)| smtp\.auth=[A-Za-z0-9._+@-]+'
    r'| smtp\.remote-ip="?[0-9a-f:.]+"?| header\.oldest-pass=\d+| policy\.override=arc)'
)
SOUND = re.compile(rf"mx\.example(?:; {_RESULT}{_COMMENT}{_REASON}{_PROPERTY}*)+\Z")


def unfolded(value: str) -> str:
    return value.replace("\r\n", "")


@given(st.lists(HOSTILE, min_size=12, max_size=12), st.sampled_from(SpfStatus), st.sampled_from(DkimStatus))
def test_no_result_lets_a_senders_text_into_the_field(words: list[str], spf: SpfStatus, dkim: DkimStatus) -> None:
    a, b, c, d, e, f, g, h, i, j, k, m = words
    results = Results(
        spf=(
            SpfResult(spf, SpfIdentity.HELO, a, b, c, d, brief=e),
            SpfResult(spf, SpfIdentity.MAILFROM, f, g, h, i, brief=j),
        ),
        dkim=(DkimResult(dkim, k, m, a, b, 1024, c, d, brief=e), DkimResult(dkim, f, g, f"{h}@{f}", "rsa-sha256")),
        dmarc=DmarcResult(DmarcStatus.FAIL, j, Policy.REJECT, reason=k, brief=m),
        arc=ArcResult(ArcStatus.PASS, (ArcSet(1, a, b, c, d), ArcSet(2, e, f)), 1, reason=g, brief=h),
        dkim2=Dkim2Result(Dkim2Status.PASS, a, b, (Hop(1, 1, c, 0, d, (e,), f, (g,), reason=h),), brief=i),
    )
    field = field_value(
        "mx.example", results, mail_from=f"{a}@{b}", helo=c, both_spf=True, remote_ip="2001:db8::1", override=True
    )
    assert field.isascii()
    assert SOUND.match(unfolded(field)), field
    methods = [result.method for result in parse(field).results]
    assert methods in (
        ["spf", "spf", "dkim", "dkim", "dmarc", "arc", "dkim2"],
        ["spf", "dkim", "dkim", "dmarc", "arc", "dkim2"],
    )  # two alike are one


@given(HOSTILE)
def test_a_login_is_shown_if_it_is_one(login: str) -> None:
    (result,) = parse(field_value("mx.example", Results(auth=login))).results
    assert (result.get("smtp", "auth") or "x@y").replace("@", "x", 1).replace(".", "x").isascii()
    assert "=" not in (result.get("smtp", "auth") or "")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Mail.Example.org", "mail.example.org"),
        ("localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:DB8::1]", "[IPv6:2001:db8::1]"),
        ("[192.0.2.1", ""),
        ("[1.2.3.4; dmarc=pass]", ""),
        ("x; dmarc=pass", ""),
        ("dmarc=pass.example", ""),
        ("a b.example", ""),
        ("a\u00a0b.example", ""),
        ("a.example\n", ""),
        ("x" * 64 + ".example", ""),
        ("x." * 200, ""),
        ("", ""),
    ],
)
def test_host(name: str, shown: str) -> None:
    assert host(name) == shown


@pytest.mark.parametrize("text", ["dmarc=pass", "a;b", 'a "b"', "(a)", "a\\", "a\n", "ä", "word " * 41])
def test_a_reason_is_of_plain_words(text: str) -> None:
    assert plain(text) == ""


@pytest.mark.parametrize("brief", BRIEF.values())
def test_our_own_words_are_plain(brief: str) -> None:
    assert plain(brief) == brief


EHLO = [ATTACK, "x;spf=pass smtp.mailfrom=bank.example", 'dmarc=pass"', "a\u2028dmarc=pass"]
SIGNATURES = [
    b"v=1; a=rsa-sha256; d=evil.example; s=x; h=from; bh=AAAA; b=AAAA; i=dmarc=3Dpass=20header.from=3Dx@evil.example",
    b"v=dmarc=pass; a=dmarc=pass; d=dmarc=pass; s=dmarc=pass; h=dmarc=pass; bh=dmarc=pass; b=dmarc=pass; c=dmarc=pass",
    b"dmarc=pass header.from=bank.example",
]
RECORDS = {
    "evil.example": [{"TXT": "v=spf1 dmarc=pass header.from=bank.example"}],
    "two.example": [{"TXT": "v=spf1 include:%{s}dmarc=pass.evil.example -all"}],
    "_dmarc.evil.example": [{"TXT": "v=DMARC1; p=dmarc=pass; rua=dmarc=pass"}],
    "x._domainkey.evil.example": [{"TXT": "v=dmarc=pass; k=dmarc=pass; p=AAAA"}],
}


@pytest.mark.parametrize("helo", EHLO)
@pytest.mark.parametrize("mail_from", [b"<>", b"<a@dmarc=pass>", b"<a@evil.example>", b"<dmarc=pass@two.example>"])
def test_a_hostile_message_has_no_word_in_the_field(helo: str, mail_from: bytes) -> None:
    header = b"".join(b"DKIM-Signature: " + value + b"\r\n" for value in SIGNATURES)
    message = header + b"From: dmarc=pass <a@evil.example>\r\nSubject: dmarc=pass\r\n\r\nx\r\n"
    played = Played(
        zone=zone() | RECORDS, settings=Settings(authentication_results=AuthenticationResultsSettings(helo=True))
    )
    outcome = played.play(message, helo=helo, mail_from=mail_from)
    value = unfolded(outcome.inserted[AR])
    assert "dmarc=pass" not in value
    assert "bank.example" not in value
    assert value.count("spf=pass") == 0
    assert re.match(rf"mx\.example\.net(?:; {_RESULT}{_COMMENT}{_REASON}{_PROPERTY}*)+\Z", value), value


def test_the_full_reason_is_in_the_log_escaped_once() -> None:
    played = Played(zone={"evil.example": [{"TXT": "v=spf1 -all\tx"}]})
    outcome = played.play(b"From: a@evil.example\r\n\r\nx\r\n", mail_from=b"<a@evil.example>")
    reason = str(outcome.record.log_fields()["spf_mailfrom"])
    assert r"-all\x09x" in reason
    assert r"\x5c" not in reason
