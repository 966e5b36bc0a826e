"""What holds for every message, signature and key record."""

import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary import dkim
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.mail.message import parse
from mailnotary.status import DkimStatus
from support.dkim import DOMAIN, MESSAGE, NOW, SELECTOR, craft, key, key_record, zone

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=30)
FOLDED = st.lists(TEXT, min_size=1, max_size=4).map(lambda parts: "\r\n ".join(parts).encode())
NAMES = st.sampled_from([b"To", b"subject", b"Subject ", b"Date", b"X-Own", b"List-Id", b"MIME-Version", b"Cc"])
FIELDS = st.lists(st.tuples(NAMES, FOLDED), max_size=6)
LINES = st.lists(st.binary(max_size=20) | st.sampled_from([b"", b" ", b"\t \t", b"a  b "]), max_size=10)
CANONS = st.sampled_from(sorted(dkim.CANONICALIZATIONS))
ALGORITHMS = st.sampled_from(["rsa", "ed25519"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    fields = draw(FIELDS)
    fields.insert(draw(st.integers(0, len(fields))), (b"From", b" Joe <joe@example.org>"))
    head = b"".join(name + b":" + value + b"\r\n" for name, value in fields)
    return head + b"\r\n" + b"\r\n".join(draw(LINES)) + draw(st.sampled_from([b"", b"\r\n", b"\r\n\r\n"]))


def sign(message: bytes, algorithm: str, canonicalization: str) -> bytes:
    signer = dkim.Signer(DOMAIN, SELECTOR, key(algorithm), canonicalization=canonicalization)
    return dkim.sign(message, signer, now=NOW)


def verify(message: bytes, algorithm: str = "rsa") -> list[dkim.DkimResult]:
    return dkim.verify(message, zone(key_record(key(algorithm))), now=NOW)


@settings(max_examples=60, deadline=None)
@given(messages(), ALGORITHMS, CANONS)
def test_what_is_signed_verifies(message: bytes, algorithm: str, canonicalization: str) -> None:
    signed = sign(message, algorithm, canonicalization) + b"\r\n" + message
    assert [(one.status, one.reason) for one in verify(signed, algorithm)] == [("pass", "")]


@settings(max_examples=60, deadline=None)
@given(messages(), ALGORITHMS, st.data())
def test_any_octet_changed_fails(message: bytes, algorithm: str, data: st.DataObject) -> None:
    """Under simple/simple every octet of the signed fields, of the signature field and of the body counts; but not
    white space within b=, nor what bits the end of its base64 leaves unused."""
    field = sign(message, algorithm, "simple/simple")
    signed = field + b"\r\n" + message
    parsed = parse(signed)
    names = set(re.split(rb"[:\s]+", re.sub(rb".*;\s*h=([^;]*);.*", rb"\1", field, flags=re.DOTALL)))
    spots = [at for at in range(len(field)) if not (field[at] in b" \t\r\n=" and at > field.index(b"\tb="))]
    position = len(field) + 2
    for one in parsed.fields[1:]:
        if one.key in names:
            spots += range(position, position + len(one.raw))
        position += len(one.raw) + 2
    body = signed[position + 2 :].rstrip(b"\r\n")
    spots += range(position + 2, position + 2 + len(body))
    at = data.draw(st.sampled_from(spots))
    changed = bytearray(signed)
    changed[at] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    results = verify(bytes(changed), algorithm)
    if any(one.status is DkimStatus.PASS for one in results):
        before, after = (re.sub(rb"[\s=]", b"", text)[-1:] for text in (field, changed[: len(field)]))
        assert at > field.index(b"\tb="), (at, signed)
        assert before != after, (at, signed)  # the last digit of b=: four of its six bits count, or two


@settings(max_examples=60, deadline=None)
@given(messages(), st.lists(st.integers(1, 40), min_size=1, max_size=30), CANONS)
def test_chunked_equals_whole(message: bytes, steps: list[int], canonicalization: str) -> None:
    signer = dkim.Signer(DOMAIN, SELECTOR, key("ed25519"), canonicalization=canonicalization)
    parsed = parse(message)
    job = dkim.MessageSigner(parsed.fields, [signer], now=NOW)
    pieces, rest = [], parsed.body
    for step in steps:
        pieces.append(rest[:step])
        rest = rest[step:]
    for piece in (*pieces, rest):
        job.body(piece)
    (field,) = job.finish()
    assert field.raw == dkim.sign(message, signer, now=NOW)
    verifier = dkim.Verifier((field, *parsed.fields), zone(key_record(key("ed25519"))), now=NOW)
    for piece in (*pieces, rest):
        verifier.body(piece)
    assert [one.status for one in verifier.finish()] == ["pass"]


def check(results: list[dkim.DkimResult]) -> None:
    """What every result keeps to."""
    for one in results:
        assert one.status in set(DkimStatus) - {DkimStatus.NONE, DkimStatus.PASS}
        assert one.reason
        assert one.reason.isprintable()
        assert one.reason.isascii()
        assert re.fullmatch(r"[a-z0-9_.-]*", one.domain)
        assert re.fullmatch(r"[a-z0-9_.-]*", one.selector)
        assert re.fullmatch(r"[a-z0-9-]*", one.algorithm)
        assert re.fullmatch(r"[A-Za-z0-9+/=]*", one.signature)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([b"DKIM-Signature:", b"From: x", b"\r\n", b" ", b"a"])).map(b"".join)
)
def test_any_octets_as_a_message_give_results(data: bytes) -> None:
    check(verify(data))
    check(verify(b"DKIM-Signature: " + data))


VALUES = st.sampled_from(
    ["", "1", "a", "rsa-sha256", "example.org", "@", ":", "=", "from", "9" * 12, "ü", "\0", "\r\n ", "b="]
)
TAGS = st.dictionaries(st.sampled_from([*"vabcdhilqstxz", "bh", "unknown"]), VALUES, max_size=4)


@settings(max_examples=100, deadline=None)
@given(TAGS, st.sampled_from(["; ", ";", ";\r\n\t", ";;", " "]))
def test_any_tags_give_results(tags: dict[str, str], layout: str) -> None:
    values: dict[str, Any] = {
        "v": "1",
        "a": "rsa-sha256",
        "d": DOMAIN,
        "s": SELECTOR,
        "h": "from",
        "bh": "YQ==",
        "b": "YQ==",
    }
    values |= tags
    field = "DKIM-Signature: " + layout.join(f"{name}={value}" for name, value in values.items())
    check(verify(field.encode() + b"\r\n" + MESSAGE))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=100), max_size=4)
    | st.lists(st.text('vkphst=;: "DKIM1rsaed25519AB/+', max_size=60).map(str.encode), max_size=4)
    | st.binary(max_size=60).map(lambda junk: [key_record(key())[:-40] + junk])
)
def test_any_octets_as_key_records_give_results(records: list[bytes]) -> None:
    results = dkim.verify(CRAFTED, zone(*records), now=NOW)
    check(results)
    assert len(results) == 1
    for record in records:
        try:
            parse_key_record(record)
        except KeyRecordError as error:
            reason = str(error)
            assert reason.isprintable()


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@settings(max_examples=60, deadline=None)
@given(value=st.binary(max_size=300))
def test_any_octets_as_a_signature_fail(algorithm: str, value: bytes) -> None:
    signed = re.sub(rb"; b=[^\r]*", b"; b=" + b64encode(value), craft(private=key(algorithm)))
    check(verify(signed, algorithm))


CRAFTED = craft()
