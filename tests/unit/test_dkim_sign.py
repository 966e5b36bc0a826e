"""Signing (RFC 6376 section 5)."""

import re
from dataclasses import replace
from typing import Any

import pytest

from mailnotary import dkim
from mailnotary.dkim.sign import signed_names as names_of_h
from mailnotary.dkim.tags import TagList, parse_tags
from mailnotary.mail.message import FieldIndex, parse
from support.backends import each_backend
from support.dkim import DOMAIN, MESSAGE, NOW, SELECTOR, craft, key, key_record, status, zone

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")


def signer(**options: Any) -> dkim.Signer:
    return dkim.Signer(DOMAIN, SELECTOR, options.pop("private", None) or key(), **options)


def sign(message: bytes = MESSAGE, **options: Any) -> bytes:
    """The signed message."""
    return dkim.sign(message, signer(**options), now=NOW) + b"\r\n" + message


def verified(message: bytes, private: Any = None, now: int = NOW) -> list[str]:
    return status(dkim.verify(message, zone(key_record(private or key())), now=now))


def tags(message: bytes) -> TagList:
    return parse_tags(parse(message).fields[0].value)


def signed_names(message: bytes, **options: Any) -> list[bytes]:
    return [name.strip() for name in (tags(sign(message, **options)).get("h") or b"").split(b":")]


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("canon", sorted(dkim.CANONICALIZATIONS))
@pytest.mark.parametrize("body", [b"", b"\r\n", b"x", b"a  b\t\r\n\r\n\r\n", b"\r\n" * 9, b"\0\r\xff\n"])
def test_what_is_signed_verifies(algorithm: str, canon: str, body: bytes) -> None:
    private = key(algorithm)
    assert verified(sign(MESSAGE + body, private=private, canonicalization=canon), private) == ["pass"]


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_rsa_keys_of_all_usual_sizes(bits: int) -> None:
    assert verified(sign(private=key(bits=bits)), key(bits=bits)) == ["pass"]


def test_the_field_has_the_tags_that_were_asked_for_and_no_others() -> None:
    assert list(tags(sign())) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
    rich = tags(sign(expire_after=3600, identity="joe@eu.example.org", canonicalization="simple"))
    assert list(rich) == ["v", "a", "c", "d", "s", "t", "x", "i", "h", "bh", "b"]
    assert (rich.get("t"), rich.get("x")) == (b"%d" % NOW, b"%d" % (NOW + 3600))
    assert (rich.get("i"), rich.get("c"), rich.get("a")) == (b"joe@eu.example.org", b"simple", b"rsa-sha256")


def test_an_expiring_signature_expires() -> None:
    message = sign(expire_after=3600)
    assert verified(message, now=NOW + 3600) == ["pass"]
    assert verified(message, now=NOW + 4000) == ["permerror"]


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_lines_are_short_and_the_value_starts_with_a_space(algorithm: str) -> None:
    name = f"a-rather-long-label-{'x' * 40}.{'y' * 60}.example.org"
    for domain in (DOMAIN, name):
        field = dkim.sign(MESSAGE, dkim.Signer(domain, SELECTOR, key(algorithm), expire_after=9), now=NOW)
        assert field.startswith(b"DKIM-Signature: v=1;")
        lines = field.split(b"\r\n")
        assert all(line.startswith(b"\t") and line.strip() for line in lines[1:])
        assert max(map(len, lines)) <= (78 if domain == DOMAIN else 140)
        assert not field.endswith(b"\r\n")
        assert b" \r\n" not in field


def test_the_signature_survives_refolding_and_trimming() -> None:
    """What MTAs do to a field: other folds, tabs for spaces, a fold at the start."""
    message = sign()
    field = dkim.sign(MESSAGE, signer(), now=NOW)
    for changed in (
        field.replace(b"\r\n\t", b"\r\n        "),
        field.replace(b"\r\n\t", b" "),
        field.replace(b" ", b"\t"),
        field.replace(b": v", b":\r\n v", 1),
        field.replace(b": v", b":v", 1),
        field + b" ",
    ):
        assert changed != field
        assert verified(message.replace(field, changed)) == ["pass"]


def test_fields_are_signed_where_present_and_all_of_a_name() -> None:
    message = b"List-Id: <x>\r\nReceived: y\r\nReferences: <1>\r\nX-Own: z\r\n" + MESSAGE
    names = signed_names(message, oversign=())
    assert names == [b"from", b"subject", b"date", b"message-id", b"to", b"references", b"list-id"]
    twice = b"Subject: second\r\n" + MESSAGE
    assert signed_names(twice, oversign=()).count(b"subject") == 2
    for old, new in ((b"second", b"2nd"), (b"of  mail", b"of males")):
        assert verified(sign(twice, oversign=()).replace(old, new)) == ["fail"]


def test_oversigned_names_stand_once_more_than_the_fields() -> None:
    names = signed_names(MESSAGE, headers=(), oversign=("From", "Reply-To", "Subject"))
    assert names == [b"from", b"from", b"reply-to", b"subject", b"subject"]
    message = sign(headers=(), oversign=("From", "Reply-To", "Subject"))
    for added in (b"From: x@example.org\r\n", b"reply-to: x@example.org\r\n", b"SUBJECT: x\r\n"):
        assert verified(added + message) == ["fail"]


def test_fields_that_an_mta_may_add_are_never_oversigned_where_absent() -> None:
    bare = b"From: joe@example.org\r\n\r\n"
    names = signed_names(bare)
    for name in (b"date", b"message-id", b"to", b"cc"):
        assert name not in names
    completed = b"Date: now\r\nMessage-ID: <1>\r\nTo: x@example.org\r\nCc: y@example.org\r\n" + sign(bare)
    assert verified(completed) == ["pass"]
    assert signed_names(MESSAGE).count(b"date") == 2


def test_from_is_signed_whatever_is_configured() -> None:
    assert signed_names(MESSAGE, headers=("Subject",), oversign=()) == [b"from", b"subject"]


def test_the_defaults_leave_alone_what_changes_on_the_way() -> None:
    names = {name.lower() for name in (*dkim.DEFAULT_HEADERS, *dkim.DEFAULT_OVERSIGN)}
    assert "from" in names
    assert names.isdisjoint({"received", "return-path", "comments", "keywords", "dkim-signature", "bcc"})
    # Mailing lists add these to mail that they leave whole.
    assert {name.lower() for name in dkim.DEFAULT_OVERSIGN}.isdisjoint({"sender", "list-id", "list-unsubscribe"})
    assert {"List-Unsubscribe", "List-Unsubscribe-Post"} <= set(dkim.DEFAULT_HEADERS)  # RFC 8058 section 4


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"Subject: x\r\n\r\n", "message has no From field"),
        (b"", "message has no From field"),
        (b"From: a@example.org\r\nfrom : b@example.org\r\n\r\n", "message has 2 From fields"),
    ],
)
def test_a_message_without_one_author_is_never_signed(message: bytes, reason: str) -> None:
    with pytest.raises(dkim.SigningError, match=reason):
        dkim.sign(message, signer())


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "org"},
        {"domain": ""},
        {"domain": "exa mple.org"},
        {"domain": "example.org\r\nX: y"},
        {"domain": "a;b.org"},
        {"selector": ""},
        {"selector": "a;b"},
        {"selector": "a..b"},
        {"canonicalization": "relaxed/none"},
        {"canonicalization": ""},
        {"identity": "joe@example.com"},
        {"identity": "example.org"},
        {"identity": "a;b@example.org"},
        {"identity": "a\r\nb@example.org"},
        {"headers": ("Sub:ject",)},
        {"headers": ("Subject\r\n",)},
        {"headers": ("",)},
        {"oversign": ("Grüße",)},
        {"headers": ("DKIM-Signature",)},
    ],
)
def test_a_signer_that_can_not_be_used(changes: dict[str, Any]) -> None:
    with pytest.raises(dkim.SigningError):
        dkim.sign(MESSAGE, replace(signer(), **changes))


def test_international_domains_are_signed_with_as_a_labels() -> None:
    field = dkim.sign(MESSAGE, dkim.Signer("GRÜßE.example", "Schlüssel", key()), now=NOW)
    assert b"d=xn--gre-6ka8l.example; s=xn--schlssel-95a;" in re.sub(rb"\s+", b" ", field)


def test_utf8_in_headers_is_signed_as_it_is() -> None:
    message = "From: Jürgen <jürgen@grüße.example>\r\nSubject: Grüße\r\n\r\n".encode()
    assert verified(sign(message)) == ["pass"]
    assert verified(sign(message).replace("Grüße\r".encode(), b"Gruesse\r")) == ["fail"]


# --- several keys, and mail that was signed before ---


def sign_all(message: bytes, *signers: dkim.Signer, again: bool = False) -> bytes:
    parsed = parse(message)
    job = dkim.MessageSigner(parsed.fields, signers, now=NOW, again=again)
    for start in range(0, len(parsed.body), 3):
        job.body(parsed.body[start : start + 3])
    return b"".join(field.raw + b"\r\n" for field in job.finish()) + message


def test_every_key_signs_the_same_and_no_other_signature() -> None:
    rsa = signer()
    ed25519 = replace(rsa, selector="ed", key=key("ed25519"), canonicalization="simple/simple")
    message = sign_all(MESSAGE, rsa, ed25519)
    resolver = zone(key_record(key()))
    other = zone(key_record(key("ed25519")), name=f"ed._domainkey.{DOMAIN}")
    assert status(dkim.verify(message, resolver, now=NOW)) == ["pass", "permerror"]
    assert status(dkim.verify(message, other, now=NOW)) == ["permerror", "pass"]
    first, _, rest = message.partition(b"DKIM-Signature: v=1; a=ed25519")
    assert status(dkim.verify(b"DKIM-Signature: v=1; a=ed25519" + rest, other, now=NOW)) == ["pass"]
    assert b"dkim-signature" not in message
    assert first


def test_streamed_equals_whole() -> None:
    assert sign_all(MESSAGE, signer()) == sign()


def test_mail_that_we_signed_is_not_signed_twice() -> None:
    message = sign()
    assert sign_all(message, signer()) == message
    travelled = b"Received: from elsewhere\r\n" + message + b"\r\n"  # an empty line at the end is not a change
    assert sign_all(travelled, signer()) == travelled


def test_a_key_that_did_not_sign_before_still_signs() -> None:
    other = replace(signer(), selector="ed", key=key("ed25519"))
    message = sign_all(sign(), signer(), other)
    assert [result.selector for result in dkim.verify(message, zone(), now=NOW)] == ["ed", "sel"]


@pytest.mark.parametrize("change", [(b"lost", b"won"), (b"Subject: ", b"Subject: [list]"), (b"; c=", b"; j=1; c=")])
def test_mail_that_was_changed_since_is_signed_anew(change: tuple[bytes, bytes]) -> None:
    message = sign().replace(*change)
    assert sign_all(message, signer()).count(b"DKIM-Signature:") == 2
    assert verified(sign_all(message, signer())) == ["pass", "fail"]


def test_a_forged_or_expired_signature_of_ours_does_not_stop_us() -> None:
    forged = craft(private=key(number=1))
    assert verified(sign_all(forged, signer())) == ["pass", "fail"]
    parsed = parse(sign(expire_after=60))
    job = dkim.MessageSigner(parsed.fields, [signer()], now=NOW + 1000)
    job.body(parsed.body)
    assert len(job.finish()) == 1


def test_signing_again_can_be_asked_for() -> None:
    assert sign_all(sign(), signer(), again=True).count(b"DKIM-Signature:") == 2
    assert dkim.sign(sign(), signer(), now=NOW).startswith(b"DKIM-Signature: ")


def test_a_thousand_forged_signatures_do_not_hurt() -> None:
    message = craft(unsigned=True).partition(b"\r\nReceived")[0] + b"\r\n"
    assert sign_all(message * 1000 + MESSAGE, signer()).count(b"DKIM-Signature:") == 1001


def test_names_of_h_in_order() -> None:
    index = FieldIndex(parse(b"To: a\r\nFrom: b\r\nto: c\r\n").fields)
    assert names_of_h(index, ["to", "TO", "Cc"], ["from", "cc", "x"]) == [b"from", b"from", b"to", b"to", b"x"]
