"""What broke a signature, told to people."""

import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary import dkim
from mailnotary.crypto import PrivateKey, load_private_key
from mailnotary.dkim.diagnose import Diagnosis, diagnose
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from support.mail import MESSAGE, NOW, rsa_pem, signed, zone


def of(message: bytes) -> Diagnosis:
    parsed = parse(message)
    results = dkim.verify(message, ZoneResolver(zone()), now=NOW)
    (one,) = diagnose(parsed.fields, parsed.body, results, ZoneResolver(zone()), now=NOW)
    assert one is not None
    return one


def test_a_whole_message_has_no_findings_and_both_hashes() -> None:
    told = of(signed())
    assert told.findings == ()
    assert told.body_hash == told.expected_body_hash
    assert len(told.header_hash) == 44


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (lambda m: m + b"-- \r\nThe list\r\nhttp://list.example\r\n", "last 3 lines were appended, from '-- '"),
        (lambda m: m.replace(b"Subject: lunch", b"Subject: [list] lunch"), "Subject: a tag in square brackets"),
        (lambda m: m.replace(b"Subject: lunch", b"Subject: ***SPAM*** lunch"), "***SPAM***"),
        (lambda m: m.replace(b"Alice <", b'"Alice" <', 1), "From: quotes were put around a name"),
        (lambda m: m.replace(b"\r\n\r\nNoon", b"\r\n\r\n\r\nNoon"), "empty lines were put before the text"),
        (
            lambda m: m.replace(b"From: Alice", b"From: Eve <e@evil.example>\r\nFrom: Alice", 1),
            "the field From was added",
        ),
    ],
)
def test_common_rewrites_are_found(changed: object, what: str) -> None:
    assert callable(changed)
    findings = of(changed(signed())).findings
    assert any(what in one for one in findings), findings


def test_a_tag_after_re_and_a_new_fold_are_found() -> None:
    head = b"Subject: Re: lunch"
    answer = signed(MESSAGE.replace(b"Subject: lunch", head))
    assert any(
        "put after Re:" in finding for finding in of(answer.replace(head, b"Subject: Re: [list] lunch")).findings
    )
    signer = dkim.Signer("example.org", "rsa", key(), canonicalization="simple/simple")
    simple = dkim.sign(MESSAGE, signer, now=NOW) + b"\r\n" + MESSAGE
    folded = simple.replace(b"To: Bob <bob", b"To: Bob\r\n <bob")
    assert any("To: the value was folded" in finding for finding in of(folded).findings)


def test_a_body_beyond_what_is_tried_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.dkim.diagnose.MAX_BODY", 10)
    (finding,) = of(signed().replace(b"Noon", b"Nine")).findings
    assert finding == "the body differs; it is larger than 10 octets, so no rewrite of it was tried"


def test_two_rewrites_at_once_are_both_found() -> None:
    message = signed().replace(b"Subject: lunch", b"Subject: [list] lunch") + b"footer\r\n"
    findings = of(message).findings
    assert len(findings) == 2
    assert "appended" in findings[0]
    assert "square brackets" in findings[1]


@pytest.mark.parametrize(("encoded", "what"), [("quoted", "quoted-printable"), ("base64", "base64")])
def test_a_change_of_the_transfer_encoding_is_found(encoded: str, what: str) -> None:
    import base64
    import quopri

    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + "Grüße, bis später\r\n".encode()
    head, _, body = signed(message).partition(b"\r\n\r\n")
    text = quopri.encodestring(body.replace(b"\r\n", b"\n")) if encoded == "quoted" else base64.encodebytes(body)
    findings = of(head + b"\r\n\r\n" + text.replace(b"\n", b"\r\n")).findings
    assert any(what in one for one in findings)


def test_what_can_not_be_explained_is_said_to_be_so() -> None:
    assert "none of the common rewrites" in of(signed().replace(b"Noon", b"Nine")).findings[0]
    assert "no single common rewrite" in of(signed().replace(b"Subject: lunch", b"Subject: dinner")).findings[0]


def test_a_signature_that_can_not_be_parsed_has_no_diagnosis() -> None:
    message = b"DKIM-Signature: nonsense\r\n" + MESSAGE
    parsed = parse(message)
    results = dkim.verify(message, ZoneResolver({}), now=NOW)
    assert diagnose(parsed.fields, parsed.body, results, ZoneResolver({}), now=NOW) == [None]


@cache
def key() -> PrivateKey:
    return load_private_key(rsa_pem())


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=400), simple=st.booleans())
def test_any_body_gives_a_diagnosis(body: bytes, simple: bool) -> None:
    signer = dkim.Signer("example.org", "rsa", key(), canonicalization="simple/simple" if simple else "relaxed")
    message = dkim.sign(MESSAGE, signer, now=NOW) + b"\r\n" + MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    of(message)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Noon,", b"Noon,%sx"),
        (b"Noon,", b"Noon,\t%s\r\nx"),
        (b"Subject: lunch", b"Subject: %sdinner"),
        (b"Subject: lunch", b"Subject: dinner%s<x"),
        (b"Subject: lunch", b"Subject: %s[x"),
        (b"Subject: lunch", b"Subject: Re:%s[x"),
        (b"Subject: lunch", b"Subject: **%s"),
    ],
)
def test_long_runs_of_blanks_cost_in_proportion(before: bytes, after: bytes) -> None:
    def cost(blanks: int) -> float:
        message = signed().replace(before, after % (b" " * blanks))
        began = time.process_time()
        assert of(message).findings
        return time.process_time() - began

    assert cost(40_000) < 40 * (cost(2_000) + 0.005)  # twenty times as many; with their square it would be 400
