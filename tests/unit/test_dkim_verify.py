"""Verifying signatures (RFC 6376 section 6): one case for each step, and the mistakes of others."""

import re
from base64 import b64encode
from typing import Any

import pytest

from mailnotary import crypto, dkim
from mailnotary.dkim.verify import MAX_PARSED
from mailnotary.mail.message import parse
from mailnotary.resolver import Answer, DnsTempError, RecordKind, ZoneResolver
from support.backends import each_backend
from support.dkim import DOMAIN, KEY_NAME, MESSAGE, NOW, SELECTOR, craft, key, key_record, status, zone

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")


def verify(message: bytes, resolver: Any = None, now: int = NOW) -> dkim.DkimResult:
    """The result of the one signature."""
    (result,) = dkim.verify(message, resolver or zone(key_record(key())), now=now)
    return result


def test_unsigned_mail_has_no_result() -> None:
    assert dkim.verify(MESSAGE, zone()) == []
    assert dkim.verify(b"", zone()) == []


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("canon", ["simple", "relaxed", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_a_good_signature_passes_and_tells_all(algorithm: str, canon: str) -> None:
    private = key(algorithm)
    signed = craft(private=private, c=canon, i="joe@eu.example.org")
    result = verify(signed, zone(key_record(private)))
    assert (result.status, result.reason) == ("pass", "")
    assert (result.domain, result.selector, result.identity) == (DOMAIN, SELECTOR, "joe@eu.example.org")
    assert (result.algorithm, result.key_bits) == (f"{algorithm}-sha256", private.bits)
    assert result.signature.encode() in signed


def test_without_c_both_are_simple_and_without_i_it_is_the_domain() -> None:
    result = verify(craft(c=None))
    assert (result.status, result.identity) == ("pass", "@example.org")


def test_results_come_topmost_first() -> None:
    message = craft(craft(craft(s="one"), s="two"), s="three")
    assert [result.selector for result in dkim.verify(message, zone(), now=NOW)] == ["three", "two", "one"]


# --- the signature field (6.1.1) ---


@pytest.mark.parametrize("tag", ["v", "a", "d", "h", "s"])
def test_a_required_tag_is_missing(tag: str) -> None:
    result = verify(craft(canon="relaxed/relaxed", **dict[str, Any]({tag: None})))
    assert (result.status, result.reason) == ("permerror", f"signature has no {tag}= tag")
    assert verify(craft(canon="relaxed/relaxed", **dict[str, Any]({tag: ""}))).reason == f"{tag}= is empty"


def test_bh_or_b_is_missing() -> None:
    assert verify(craft(bh=None)).reason == "signature has no bh= tag"
    result = verify(re.sub(rb"; b=[^\r]*", b"", craft()))
    assert (result.status, result.reason) == ("permerror", "signature has no b= tag")
    assert verify(re.sub(rb"; b=[^\r]*", b"; b= ", craft())).reason == "b= is empty"


@pytest.mark.parametrize(
    ("tags", "word", "reason"),
    [
        ({"v": "2"}, "permerror", "signature version 2 is not 1"),
        ({"v": "01"}, "permerror", "signature version 01 is not 1"),
        ({"v": "1.0"}, "permerror", "signature version 1.0 is not 1"),
        ({"a": "rsa-sha1"}, "policy", "rsa-sha1 is not accepted (RFC 8301)"),
        ({"a": "rsa-sha512"}, "neutral", "unknown algorithm a=rsa-sha512"),
        ({"a": "rsa"}, "neutral", "signature syntax: a=rsa"),
        ({"a": "rsa-sha256-x"}, "neutral", "signature syntax: a=rsa-sha256-x"),
        ({"c": "nowsp/simple"}, "neutral", "unknown canonicalization c=nowsp/simple"),
        ({"c": "relaxed/"}, "neutral", "signature syntax: c=relaxed/"),
        ({"c": "relaxed/simple/x"}, "neutral", "signature syntax: c=relaxed/simple/x"),
        ({"c": ""}, "neutral", "signature syntax: c="),
        ({"q": "dns"}, "neutral", "unknown query method q=dns"),
        ({"q": "http/get"}, "neutral", "unknown query method q=http/get"),
        ({"d": "com"}, "neutral", "d=com is not a domain name"),
        ({"d": "a(.b"}, "neutral", "d=a(.b is not a domain name"),
        ({"d": "example.org."}, "neutral", "d=example.org. is not a domain name"),
        ({"d": "example..org"}, "neutral", "d=example..org is not a domain name"),
        ({"d": "exam ple.org"}, "neutral", "d=exam ple.org is not a domain name"),
        ({"d": "[192.0.2.1]"}, "neutral", "d=[192.0.2.1] is not a domain name"),
        ({"d": "x" * 64 + ".org"}, "neutral", f"d={'x' * 64}.org is not a domain name"),
        ({"s": "a(b"}, "neutral", "s=a(b is not a selector"),
        ({"s": "."}, "neutral", "s=. is not a selector"),
        ({"s": "a..b"}, "neutral", "s=a..b is not a selector"),
        ({"i": "joe@example.com"}, "permerror", "i=joe@example.com is not within d=example.org"),
        ({"i": "@badexample.org"}, "permerror", "i=@badexample.org is not within d=example.org"),
        ({"i": "@org"}, "permerror", "i=@org is not within d=example.org"),
        ({"i": "joe=40example.com"}, "permerror", "i=joe=40example.com is not within d=example.org"),
        ({"i": "example.org"}, "neutral", "i=example.org is not an identity"),
        ({"i": ""}, "neutral", "i= is not an identity"),
        ({"i": "joe@"}, "neutral", "i=joe@ is not an identity"),
        ({"h": "to:subject"}, "permerror", "From is not signed (not in h=)"),
        ({"h": "x-from:from-x"}, "permerror", "From is not signed (not in h=)"),
        ({"h": "from::to"}, "neutral", "h= has an empty name"),
        ({"h": "from:"}, "neutral", "h= has an empty name"),
        ({"h": "from:sub ject"}, "neutral", "h= has sub ject, which is not a header field name"),
        ({"h": "from" + ":x" * 1000}, "policy", "h= has more than 1000 names"),
        ({"t": "x"}, "neutral", "t=x is not a number"),
        ({"t": "-1"}, "neutral", "t=-1 is not a number"),
        ({"t": "1" * 13}, "neutral", "t= has more than 12 digits"),
        ({"x": ""}, "neutral", "x= is not a number"),
        ({"t": "100", "x": "100"}, "permerror", "expiration x= is not after timestamp t="),
        ({"bh": "a"}, "neutral", "bh= is not base64"),
        ({"bh": "YQ===="}, "neutral", "bh= is not base64"),
        ({"bh": "Y Q=a="}, "neutral", "bh= is not base64"),
    ],
)
def test_a_signature_that_is_not_verified(tags: dict[str, Any], word: str, reason: str) -> None:
    result = verify(craft(canon="relaxed/relaxed", **tags))
    assert (result.status, result.reason) == (word, reason)


@pytest.mark.parametrize("value", ["1_0", "1.5", "0x10", "ten", "", "٣"])
def test_a_length_that_is_no_number(value: str) -> None:
    signed = craft(l="0").replace(b"l=0", b"l=" + value.encode())
    assert verify(signed).status == "neutral"


def test_a_length_of_too_many_digits() -> None:
    assert verify(craft(l="0").replace(b"l=0", b"l=" + b"0" * 77)).reason == "l= has more than 76 digits"


@pytest.mark.parametrize(
    ("tags", "now", "word", "reason"),
    [
        ({"x": str(NOW)}, NOW, "pass", ""),
        ({"x": str(NOW)}, NOW + 300, "pass", ""),  # clocks differ
        ({"x": str(NOW)}, NOW + 301, "permerror", "signature expired 5 minutes ago"),
        ({"x": str(NOW)}, NOW + 3 * 86400, "permerror", "signature expired 3 days ago"),
        ({"x": str(NOW)}, NOW + 86400, "permerror", "signature expired 1 day ago"),
        ({"x": "0"}, NOW, "permerror", "signature expired 19675 days ago"),
        ({"x": "999999999999"}, NOW, "pass", ""),
        ({"t": str(NOW)}, NOW - 86400, "pass", ""),
        ({"t": str(NOW)}, NOW - 86401, "permerror", "signature is dated 1 day in the future"),
        ({"t": "0"}, NOW, "pass", ""),
        ({"t": str(NOW - 9), "x": str(NOW + 9)}, NOW, "pass", ""),
    ],
)
def test_times_are_held_against_the_clock(tags: dict[str, Any], now: int, word: str, reason: str) -> None:
    result = verify(craft(**tags), now=now)
    assert (result.status, result.reason) == (word, reason)


@pytest.mark.parametrize(
    "tags",
    [
        {"a": "RSA-SHA256"},  # words in the ABNF's quotes match in any case
        {"c": "Relaxed/RELAXED"},
        {"q": "dns/txt"},
        {"q": "http/get : DNS/TXT"},
        {"d": "EXAMPLE.Org"},
        {"s": "SEL"},
        {"i": "@example.org"},
        {"i": "@EU.example.ORG"},
        {"i": '"a b"@x.example.org'},
        {"i": "a=40b@x.example.org"},
        {"h": "FROM : To\r\n :subject"},
        {"h": "from:from:from:to:x-not-there"},
        {"z": "From:x|To:y"},
        {"unknown": "1", "y": ""},
        {"z": "b=AAAA", "xb": "b=1"},  # b= within another tag's value is not a b=
    ],
)
def test_a_signature_of_unusual_shape_passes(tags: dict[str, Any]) -> None:
    result = verify(craft(canon="relaxed/relaxed", **tags))
    assert (result.status, result.reason) == ("pass", "")


@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize(
    ("before", "after"),
    [("", "; z=x"), ("", ";"), ("", " ;\r\n\t"), ("\r\n\t", "; t=1; xb=b=c"), ("z=b=1; ", "; n= b=2 ")],
)
def test_only_the_value_of_b_is_left_out_of_the_hash(canon: str, before: str, after: str) -> None:
    assert verify(craft(c=canon, before_b=before, after_b=after)).status == "pass"


@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
def test_white_space_in_and_around_b_is_no_part_of_it(canon: str) -> None:
    signed = craft(c=canon, after_b="; t=1")
    spread = re.sub(rb"; b=([^;]{9})([^;]*); t", rb"; b= \r\n\t\1\r\n \2 \r\n\t ; t", signed)
    assert spread != signed
    assert verify(spread).status == "pass"


def test_white_space_around_the_name_of_b_is_signed() -> None:
    assert verify(craft(c="simple", before_b="\r\n\t ").replace(b"\t b=", b"\tb=")).status == "fail"


@pytest.mark.parametrize("name", [b"DKIM-Signature", b"dkim-signature", b"DKIM-SIGNATURE \t"])
@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
def test_the_field_name_in_any_case_and_with_space_before_the_colon(name: bytes, canon: str) -> None:
    assert verify(craft(c=canon, field_name=name)).status == "pass"


def test_a_value_that_starts_on_the_next_line() -> None:
    message = MESSAGE.replace(b"Subject: ", b"Subject:\r\n ")
    for canon in ("simple/simple", "relaxed/relaxed"):
        signed = craft(message, c=canon).replace(b"DKIM-Signature: v", b"DKIM-Signature:\r\n v")
        assert verify(signed).status == ("pass" if canon == "relaxed/relaxed" else "fail")
        assert verify(craft(message, c=canon)).status == "pass"


def test_relaxed_survives_what_it_is_made_for() -> None:
    signed = craft(h="from:to:subject")
    changed = signed.replace(b"Subject:  a   test", b"SUBJECT :a\r\n\ttest").replace(b"We  lost\tthe", b"We lost  the")
    assert verify(changed).status == "pass"
    assert verify(craft(c="simple").replace(b"Subject:  a", b"Subject: a")).status == "fail"


@pytest.mark.parametrize("extra", [b"d=example.org", b"x=1", b"b=AAAA", b"bh=x"])
def test_a_tag_that_stands_twice_spoils_the_signature(extra: bytes) -> None:
    signed = craft(x=str(NOW)).replace(b"; b=", b"; " + extra + b"; b=")
    result = verify(signed)
    assert result.status == "neutral"
    assert result.reason.endswith("is duplicated")
    assert (result.domain, result.selector) == ("", "")


@pytest.mark.parametrize("octet", [b"\0", b"\r", b"\n", b"\x7f"])
def test_octets_that_no_tag_may_hold(octet: bytes) -> None:
    """A NUL in s= or d= cuts the name short in C (CVE-2020-12272 and others)."""
    for tag in (b"d=example.org", b"s=sel"):
        result = verify(craft().replace(tag, tag + octet + b".evil.example"))
        assert (result.status, result.domain) == ("neutral", "")


def test_a_selector_of_several_labels_and_an_underscore() -> None:
    resolver = zone(key_record(key()), name="a_b.c._domainkey.example.org")
    assert verify(craft(s="a_b.c"), resolver).status == "pass"


def test_international_domains_are_asked_for_by_their_a_labels() -> None:
    resolver = zone(key_record(key()), name="xn--schlssel-95a._domainkey.xn--gre-6ka8l.example")
    result = verify(craft(d="grüße.example", s="schlüssel", i="jürgen@EU.GRÜßE.example"), resolver)
    assert (result.status, result.domain) == ("pass", "xn--gre-6ka8l.example")
    assert (result.selector, result.identity) == ("xn--schlssel-95a", "jürgen@EU.GRÜßE.example")
    assert verify(craft(d="xn--gre-6ka8l.example", s="xn--schlssel-95a"), resolver).status == "pass"


# --- which fields are signed (3.7, 5.4.2) ---


def test_repeated_fields_are_taken_from_the_bottom_up() -> None:
    message = b"X: 1\r\nX: 2\r\nX: 3\r\n" + MESSAGE
    signed = craft(message, h="from:x:x")
    assert verify(signed.replace(b"X: 1", b"X: changed")).status == "pass"
    assert verify(signed.replace(b"X: 2", b"X: changed")).status == "fail"
    assert verify(signed.replace(b"X: 2\r\nX: 3", b"X: 3\r\nX: 2")).status == "fail"
    assert verify(b"X: 0\r\n" + signed).status == "pass"
    assert verify(signed.replace(b"X: 3\r\n", b"X: 3\r\nX: 4\r\n")).status == "fail"


def test_a_field_named_once_too_often_can_not_be_added() -> None:
    signed = craft(h="from:from:subject:subject:x-new")
    assert verify(signed).status == "pass"
    for added in (b"From: Eve <eve@example.org>\r\n", b"Subject: x\r\n", b"X-New:\r\n"):
        assert verify(added + signed).status == "fail"


def test_other_signatures_may_be_signed_but_never_itself() -> None:
    inner = craft(s="inner")
    outer = craft(inner, h="from:dkim-signature:dkim-signature")
    assert status(dkim.verify(outer, zone(key_record(key())), now=NOW)) == ["pass", "permerror"]
    changed = outer.replace(b"s=inner", b"s=other")
    assert status(dkim.verify(changed, zone(key_record(key())), now=NOW)) == ["fail", "permerror"]


# --- the key (6.1.2) ---


def test_dns_fails_for_now() -> None:
    result = verify(craft(), ZoneResolver({KEY_NAME: "TIMEOUT"}))
    assert result.status == "temperror"
    assert result.reason.startswith("key unavailable: ")


@pytest.mark.parametrize("resolver", [ZoneResolver({}), ZoneResolver({KEY_NAME: []}), zone(name="x.org")])
def test_there_is_no_key(resolver: ZoneResolver) -> None:
    result = verify(craft(), resolver)
    assert (result.status, result.reason) == ("permerror", f"no key: {KEY_NAME} has no TXT record")


def record(template: str, private: crypto.PrivateKey | None = None) -> bytes:
    data = key_record(private or key()).rpartition(b"p=")[2].decode()
    return template.replace("P", f"p={data}").replace("BROKEN", data[:-9]).encode()


@pytest.mark.parametrize(
    "template",
    [
        "P",
        "v=DKIM1; P",
        "v=DKIM1;P;",
        "k=rsa; P; n=v=DKIM1",
        "v=DKIM1; k=RSA; h=sha1 : SHA256; s=email:x; t=y:s:z; P",
        "v=DKIM1; s=*; P; t=",
        "g=*; v1=2; P",
    ],
)
def test_a_usable_key_record(template: str) -> None:
    assert verify(craft(), zone(record(template))).status == "pass"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("v=DKIM1; k=rsa; p=", "key revoked (empty p=)"),
        ("v=DKIM1; k=rsa; p= ;", "key revoked (empty p=)"),
        ("v=DKIM1; k=rsa", "key record has no p= tag"),
        ("v=DKIM2; P", "key record version DKIM2"),
        ("v=dkim1; P", "key record version dkim1"),
        ("v=; P", "key record version "),
        ("k=rsa; v=DKIM1; P", "v= is not first"),
        ("v=DKIM1; P; p=x", "key record syntax: tag p= is duplicated"),
        ("v=DKIM1; k=dsa; P", "unknown key type k=dsa"),
        ("v=DKIM1; h=sha1; P", "key is not for sha256 (its h=)"),
        ("v=DKIM1; h=; P", "key is not for sha256 (its h=)"),
        ("v=DKIM1; s=tlsrpt; P", "key is not for email (its s=)"),
        ("v=DKIM1; s=; P", "key is not for email (its s=)"),
        ("v=DKIM1; p=!!!", "key record's p= is not base64"),
        ('v=DKIM1; p="AAAA"', "key record's p= is not base64"),
        ("v=DKIM1; p=AAAA", "key record: key is not valid DER"),
        ("v=DKIM1; p=BROKEN", "key record: key is not valid DER"),
        ("v=DKIM1; k=ed25519; P", "key record: Ed25519 key has 162 octets instead of 32"),
        ('"v=DKIM1; P"', "key record syntax: tag 1 has no valid name"),
        ("hello world", "key record syntax: tag 1 has no '='"),
        ("", "key record syntax: tag 1 is empty"),
        ("v=DKIM1; P; n=" + "x" * 4096, "key record is larger than 4096 octets"),
    ],
)
def test_a_key_record_that_is_not_used(template: str, reason: str) -> None:
    result = verify(craft(), zone(record(template)))
    assert (result.status, result.reason, result.key_bits) == ("permerror", reason, 0)


def test_the_key_is_of_another_kind_than_the_signature() -> None:
    result = verify(craft(private=key("ed25519")), zone(key_record(key())))
    assert (result.status, result.reason) == ("permerror", "key is for rsa, the signature is ed25519-sha256")
    result = verify(craft(), zone(key_record(key("ed25519"))))
    assert result.reason == "key is for ed25519, the signature is rsa-sha256"


def test_a_key_may_forbid_subdomains_in_i() -> None:
    strict = zone(key_record(key(), " t=s;"))
    assert verify(craft(i="joe@example.org"), strict).status == "pass"
    assert verify(craft(), strict).status == "pass"
    result = verify(craft(i="@eu.example.org"), strict)
    assert (result.status, result.reason) == ("permerror", "key forbids subdomains in i= (t=s): eu.example.org")


def test_a_testing_key_is_reported() -> None:
    testing = zone(key_record(key(), " t=y;"))
    good, bad = verify(craft(), testing), verify(craft() + b"x\r\n", testing)
    assert (good.status, good.reason) == ("pass", "key is in test mode (t=y)")
    assert bad.status == "fail"
    assert bad.reason.endswith("; key is in test mode (t=y)")


def test_white_space_in_the_key_and_missing_padding_are_fine() -> None:
    text = key_record(key())
    spaced = text[:60] + b" \t " + text[60:100] + b"\r\n " + text[100:]
    assert verify(craft(), zone(spaced)).status == "pass"
    ed25519 = key("ed25519")
    assert key_record(ed25519).endswith(b"=")
    assert verify(craft(private=ed25519), zone(key_record(ed25519).rstrip(b"="))).status == "pass"


def test_an_rsa_key_may_be_bare() -> None:
    """PKCS#1's RSAPublicKey, which RFC 6376 3.6.1 asks for, beside SubjectPublicKeyInfo, which everybody publishes."""
    bare = key().public[22:]
    assert bare[0] == 0x30
    assert verify(craft(), zone(b"p=" + b64encode(bare))).status == "pass"


def test_short_keys_are_a_matter_of_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.crypto.parse.MIN_RSA_BITS", 512)
    short = crypto.load_private_key(SHORT_PEM)
    result = verify(craft(private=short), zone(key_record(short)))
    assert (result.status, result.key_bits) == ("policy", 768)
    assert result.reason == "RSA key of 768 bits is too short, 1024 are needed"


def test_the_needed_bits_can_be_raised_but_not_lowered() -> None:
    private = key(bits=1024)
    for bits, word in ((2048, "policy"), (1024, "pass"), (1, "pass")):
        message = parse(craft(private=private))
        verifier = dkim.Verifier(message.fields, zone(key_record(private)), now=NOW, min_rsa_bits=bits)
        verifier.body(message.body)
        assert status(verifier.finish()) == [word]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [b"v=spf1 -all", b"v=DKIM1; p=", b"google-site-verification=x", b"", b"\0\xff"])
def test_another_record_beside_the_key_does_no_harm(other: bytes, order: int) -> None:
    assert verify(craft(), zone(*[other, key_record(key())][::order])).status == "pass"


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_keys_any_may_match(order: int) -> None:
    records = [key_record(key()), key_record(key(number=1))][::order]
    assert verify(craft(), zone(*records)).status == "pass"
    assert verify(craft() + b"x\r\n", zone(*records)).status == "fail"


def test_the_number_of_keys_tried_is_capped() -> None:
    other = key_record(key(number=1))
    assert verify(craft(), zone(other, other, key_record(key()))).status == "pass"
    assert verify(craft(), zone(other, other, other, key_record(key()))).status == "fail"
    assert verify(craft(), zone(*[b"x"] * 20, key_record(key()))).status == "permerror"


# --- the mathematics (6.1.3) ---


def test_a_changed_body() -> None:
    result = verify(craft().replace(b"lost", b"won"))
    assert (result.status, result.reason) == ("fail", "body hash differs: the body was changed after signing")
    assert result.key_bits == 1024


def test_a_changed_header() -> None:
    result = verify(craft().replace(b"Subject:  a", b"Subject: the"))
    assert result.status == "fail"
    assert result.reason.startswith("signature does not match")


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("value", [b"AA==", b"A" * 4096, b"////" * 43, b"A" * 86 + b"=="])
def test_a_value_of_b_that_is_no_signature(algorithm: str, value: bytes) -> None:
    private = key(algorithm)
    signed = re.sub(rb"; b=[^\r]*", b"; b=" + value, craft(private=private))
    assert verify(signed, zone(key_record(private))).status == "fail"


def test_a_body_hash_of_another_size() -> None:
    assert verify(craft(bh="AAAA")).status == "fail"


def test_l_that_leaves_content_unsigned() -> None:
    size = len(b"Hi.\r\n")
    result = verify(craft(l=str(size)))
    assert result.status == "policy"
    assert re.fullmatch(r"l=5 leaves (\d+|some) octets of the body unsigned", result.reason)
    assert verify(craft(l="0")).status == "policy"
    assert verify(craft(l=str(size)).replace(b"Hi.", b"Ha.")).status == "fail"


def test_l_that_covers_the_whole_body() -> None:
    whole = len(b"Hi.\r\n\r\nWe lost the game.\r\n Are you hungry yet?\r\n")
    assert verify(craft(l=str(whole))).status == "pass"
    assert verify(craft(l=str(whole)) + b"\r\n\r\n").status == "pass"  # empty lines are none of the canonical body
    assert verify(craft(l=str(whole)) + b"more\r\n").status == "policy"
    assert verify(craft(l="000" + str(whole))).status == "pass"


def test_l_that_is_larger_than_the_body() -> None:
    result = verify(craft(l="49"))
    assert (result.status, result.reason) == ("permerror", "l=49 is longer than the body (48 octets)")
    assert verify(craft(l="9" * 76)).status == "permerror"


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
def test_an_empty_body(body: bytes, canon: str) -> None:
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert verify(craft(message, c=canon) + body).status == "pass"
    assert verify(craft(message, c=canon)[:-2]).status == "pass"  # not even the empty line
    relaxed_zero = verify(craft(message, c=canon, l="0"))
    assert relaxed_zero.status == ("pass" if canon == "relaxed/relaxed" else "policy")


@pytest.mark.parametrize("body", [b"a\0b\r\n", b"a\rb\r\n", b"a\nb\r\n", b"\r", b"\n", b"a\r\r\n", b"\xff" * 3000])
@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
def test_odd_octets_in_the_body(body: bytes, canon: str) -> None:
    message = MESSAGE + body
    signed = craft(message, c=canon)
    assert verify(signed).status == "pass"
    assert verify(signed[:-1] + b"?\r\n").status == "fail"


# --- many signatures ---


class Counting:
    """A resolver that counts the questions, and knows about prefetching."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked: list[str] = []
        self.prefetched: list[str] = []

    def prefetch(self, questions: Any) -> None:
        self.prefetched += [name for name, _ in questions]

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked.append(name)
        answer: Answer = self.inner.lookup(name, kind)
        return answer

    def lookup_within(self, name: str, kind: RecordKind, _seconds: float) -> Answer:
        return self.lookup(name, kind)


def test_signatures_beyond_the_cap_are_policy() -> None:
    message = MESSAGE
    for _ in range(13):
        message = craft(message)
    resolver = Counting(zone(key_record(key())))
    results = dkim.verify(message, resolver, now=NOW)
    assert status(results) == ["pass"] * 10 + ["policy"] * 3
    assert results[-1].reason == "not verified: message has more than 10 signatures"
    assert results[-1].domain == DOMAIN
    assert resolver.asked == [KEY_NAME]  # one question for each name


def test_the_signatures_of_the_author_come_first() -> None:
    message = craft()
    for number in range(12):
        message = craft(message, d=f"list{number}.example")
    results = dkim.verify(message, zone(key_record(key())), now=NOW)
    assert status(results) == ["permerror"] * 9 + ["policy"] * 3 + ["pass"]


def test_signatures_that_can_not_be_verified_do_not_count_against_the_cap() -> None:
    message = craft()
    for _ in range(12):
        message = craft(message, v="2")
    assert status(dkim.verify(message, zone(key_record(key())), now=NOW)) == ["permerror"] * 12 + ["pass"]


def test_a_thousand_signatures_are_hardly_looked_at() -> None:
    one = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=from; bh=YQ==; b=YQ==\r\n"
    resolver = Counting(zone())
    results = dkim.verify(one * 1000 + MESSAGE, resolver, now=NOW)
    assert status(results) == ["permerror"] * 10 + ["policy"] * 990
    assert results[MAX_PARSED].reason == "not read: message has more than 100 signatures"
    assert len(resolver.asked) == 1


def test_few_signatures_with_u_labels_are_read_and_all_others() -> None:
    ours = craft()
    unread = b"".join(craft(d=f"bücher{number}.example").partition(b"From:")[0] for number in range(30))
    results = dkim.verify(unread + ours, zone(key_record(key())), now=NOW)
    assert [result.brief for result in results[20:30]] == [
        "not read: message has more than 20 signatures with U-labels"
    ] * 10
    assert {result.domain[:4] for result in results[:20]} == {"xn--"}
    assert results[30].status == "pass"


def test_ten_signatures_of_a_very_large_header_are_not_all_hashed() -> None:
    message = b"X-Large: " + b"x" * 400_000 + b"\r\n" + MESSAGE
    for _ in range(6):
        message = craft(message, h="from:x-large")
    results = dkim.verify(message, zone(key_record(key())), now=NOW)
    assert status(results) == ["pass"] * 5 + ["policy"]
    assert results[-1].brief == "too many signed fields"


def test_hex_octets_make_no_u_labels() -> None:
    found = verify(craft(i="a@b=C3=BCcher.example.com"))
    assert (found.status, found.reason) == ("neutral", "i=a@b=C3=BCcher.example.com is not an identity")


def test_a_huge_header_is_refused() -> None:
    message = b"X: " + b"x" * (5 * 1024 * 1024) + b"\r\n" + craft()
    result = verify(message)
    assert (result.status, result.reason) == ("policy", "header is larger than 4194304 octets")


def test_a_huge_signature_field_is_refused() -> None:
    assert verify(craft(z="x" * 65536)).reason == "signature field is larger than 65536 octets"


# --- streaming ---


def stream(message: bytes, resolver: Any, step: int, **options: Any) -> tuple[list[dkim.DkimResult], list[bool]]:
    parsed = parse(message)
    verifier = dkim.Verifier(parsed.fields, resolver, now=NOW, **options)
    wanted = [verifier.wants_body]
    for start in range(0, len(parsed.body), step):
        verifier.body(parsed.body[start : start + step])
        wanted.append(verifier.wants_body)
    return verifier.finish(), wanted


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_the_result_does_not_depend_on_the_chunks(step: int) -> None:
    message = craft(craft(craft(c="simple/simple"), l="5"), l="48")
    results, wanted = stream(message, zone(key_record(key())), step)
    assert status(results) == ["pass", "policy", "pass"]
    assert all(wanted)


def test_nothing_is_asked_and_nothing_waits_before_the_end() -> None:
    message = parse(craft(craft(s="x"), a="rsa-sha1"))
    resolver = Counting(zone(key_record(key())))
    verifier = dkim.Verifier(message.fields, resolver, now=NOW)
    assert resolver.prefetched == [f"x._domainkey.{DOMAIN}"]
    assert resolver.asked == []
    verifier.body(message.body)
    verifier.finish()
    assert len(resolver.asked) == 1


@pytest.mark.parametrize("message", [MESSAGE, craft(a="rsa-sha1"), craft(v="3")])
def test_the_body_is_not_wanted_for_nothing(message: bytes) -> None:
    assert not stream(message, zone(), 1000)[1][0]


def test_a_partly_signed_body_is_wanted_up_to_the_cut_alone() -> None:
    results, wanted = stream(craft(l="5"), zone(key_record(key())), 5)
    assert wanted[:2] == [True, True]
    assert not wanted[-1]
    assert status(results) == ["policy"]


def test_a_failing_resolver_costs_one_question_for_a_name() -> None:
    class Broken(Counting):
        def lookup(self, name: str, kind: RecordKind) -> Answer:
            self.asked.append(name)
            raise DnsTempError(f"{kind}: down")

    resolver = Broken(None)
    assert status(dkim.verify(craft(craft()), resolver, now=NOW)) == ["temperror"] * 2
    assert resolver.asked == [KEY_NAME]


SHORT_PEM = b"""-----BEGIN RSA PRIVATE KEY-----
MIIBzAIBAAJhAMvjGhmNSiywrOspDkg3GkZ42iGadOUR5y/QbBY2qRrqC5WbvAH5
NJV/YN7fhtDj35i6+iN9+A5nyVtD6a8zle/uwSngT9CtWY51byyYF4KcvZhv2vPy
2ikFPpXXBdElvwIDAQABAmEAjRjrNQesb2UNJejRs3Q+wMpd2qdzghtzrIlGY9EM
Ek4qGi0eXRdDJrpyJYr3V5R6KJS6/GN8O90EqpMeWM033zPSL+RsTyODTbhbPotM
ExP2ezbsMmh5yG9RpPK/Fa6hAjEA/7iJqnMTelbXIlacxJC9xX4s8h3uNyJXWP2S
u/7m/di+Tya1Sid8VleL7JJXAd+XAjEAzBwUPFEHGo5RiZZ+jfqLa8VRQ7jf8str
xr92Kv+zgJ9SY5enaUNJxMOnjSUvujAZAjA2b5MmrK6FyXyse6GNmn47T1vEAqkW
JYJQmFInIOENQploggXvji5Ctwo7Rv+sj2sCMQC9bNnC2Jg1Jxu5CzhMX9eAn1E5
/puoYu2VOB9c7I4UssftsdMmt9IAkGwxa++NZhECMQCNQ7I1PkH3MoP8cvXEaVRt
EURaPZZIzojTp56KLwyXzff6QKYr5J/c5guYFZjYBhk=
-----END RSA PRIVATE KEY-----
"""


@pytest.mark.parametrize("tag", ["i=" + "x" * 30_000 + "@example.org", "a=" + "a" * 30_000 + "-b", "b=" + "A" * 60_000])
def test_of_a_signature_no_more_is_told_than_addresses_and_keys_can_have(tag: str) -> None:
    result = verify(f"DKIM-Signature: v=1; d=example.org; s=s; {tag}\r\nFrom: a@example.org\r\n\r\n".encode())
    assert len(result.identity) + len(result.signature) + len(result.algorithm) + len(result.reason) < 5000
