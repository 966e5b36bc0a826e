"""The chain of DKIM2: what passes, and each thing that does not (draft-ietf-dkim-dkim2-spec-06 section 11)."""

from base64 import b64encode
from importlib import import_module
from typing import Any

import pytest

from mailnotary import dkim2
from mailnotary.authres.vetted import plain
from mailnotary.dkim2 import Change, Dkim2Result, verify
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from mailnotary.status import Dkim2Status
from support.backends import each_backend
from support.dkim import key, key_record
from support.dkim2 import (
    BOUNCES,
    LIST,
    MESSAGE,
    NOW,
    READER,
    SENDER,
    ZONE,
    hashes,
    original,
    retold,
    through_list,
    with_instance,
    with_signature,
    zone,
)

__all__ = ["each_backend"]


def check(message: bytes, resolver: ZoneResolver = ZONE, **options: Any) -> Dkim2Result:
    return verify(message, resolver, **{"now": NOW, "mail_from": SENDER, "rcpt_to": [LIST], **options})


def check_list(message: bytes) -> Dkim2Result:
    return check(message, mail_from=BOUNCES, rcpt_to=[READER])


def told(result: Dkim2Result) -> tuple[str, str]:
    """The word and the reason; and whether the brief reason is fit for a header."""
    assert plain(result.brief) == result.brief
    assert bool(result.brief) == bool(result.reason)
    return str(result.status), result.reason


# --- what passes ---


def test_a_message_without_its_fields_has_no_result() -> None:
    assert check(MESSAGE) == Dkim2Result(Dkim2Status.NONE)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("private", [key("ed25519"), key("rsa", 1024)], ids=["ed25519", "rsa"])
def test_an_originators_message_passes(private: Any) -> None:
    result = check(original(keys=[("sel", private)]), zone("example.org", private=private))
    assert told(result) == ("pass", "")
    (hop,) = result.hops
    assert (result.domain, hop.domain, hop.status, hop.mail_from, hop.rcpt_to) == (
        *("example.org", "example.org", "pass", SENDER),
        (LIST,),
    )
    assert (hop.values[0].algorithm, hop.values[0].key_bits) == (f"{private.algorithm}-sha256", private.bits)


def test_a_mailing_list_says_what_it_changed() -> None:
    result = check_list(through_list())
    assert told(result) == ("pass", "")
    assert [(hop.number, hop.domain, str(hop.status)) for hop in result.hops] == [
        (1, "example.org", "pass"),
        (2, "lists.example.net", "pass"),
    ]
    assert result.hops[1].changes == (
        Change("subject", ("Lunch on Friday",), ("[list] Lunch on Friday",)),
        Change("", (), ("4-5",)),
    )


def test_a_list_that_does_not_say_what_it_changed_fails() -> None:
    changed = retold(original(), "[list] Lunch on Friday", ())
    recipe = {"h": {"subject": [{"d": ["Dinner on Friday"]}]}}
    message = with_signature(with_instance(changed, 2, recipe), 2, "lists.example.net", BOUNCES, (READER,), revision=2)
    result = check_list(message)
    assert told(result) == ("fail", "Message Instance m=1 header hash sha256 mismatch")
    assert [str(hop.status) for hop in result.hops] == ["fail", "pass"]


@pytest.mark.parametrize(
    "field",
    ["Received: from a by b", "X-Spam: no", "Received-SPF: pass", "Authentication-Results: a; none", "ARC-Seal: i=1"],
)
def test_fields_that_are_not_signed_may_come_and_go(field: str) -> None:
    assert check(field.encode() + b"\r\n" + original()).status == "pass"


@pytest.mark.parametrize("field", ["Subject: other", "List-Id: a", "DKIM-Filter: a", "Receivedx: b"])
def test_any_other_field_that_is_added_fails(field: str) -> None:
    result = check(field.encode() + b"\r\n" + original())
    assert told(result) == ("fail", "Message Instance m=1 header hash sha256 mismatch")
    assert result.brief == "header changed"


def test_a_body_that_was_changed_fails() -> None:
    result = check(original() + b"one more line\r\n")
    assert told(result) == ("fail", "Message Instance m=1 body hash sha256 mismatch")
    assert result.brief == "body changed"


def test_both_hashes_are_compared() -> None:
    two = hashes(parse(MESSAGE), ("sha256", "sha512"))
    good = with_signature(with_instance(MESSAGE, 1, h=two), 1, "example.org")
    assert check(good).status == "pass"
    bad = two.replace("sha512:", "sha512:AAAA")
    result = check(with_signature(with_instance(MESSAGE, 1, h=bad), 1, "example.org"))
    assert told(result) == ("fail", "Message Instance m=1 header hash sha512 mismatch")


def test_unknown_hashes_and_signatures_are_ignored() -> None:
    message = with_instance(MESSAGE, 1, h=hashes(parse(MESSAGE)) + ",sha999:AAAA:AAAA")
    message = with_signature(message, 1, "example.org", more_values=["old:rsa-md5:AAAA"], x="unknown", f="exploded,new")
    result = check(message)
    assert told(result) == ("pass", "")
    assert [str(value.status) for value in result.hops[0].values] == ["pass", "none"]
    assert result.hops[0].flags == ("exploded", "new")


def test_a_body_that_cannot_be_recreated_passes_and_is_told_of() -> None:
    """The draft leaves to the verifier whether that is acceptable (5.2)."""
    changed = retold(original(), "Lunch on Friday", (b"a",))
    message = with_signature(
        with_instance(changed, 2, {"b": None}), 2, "lists.example.net", BOUNCES, (READER,), revision=2
    )
    result = check_list(message)
    assert told(result) == ("pass", "hop i=2 declares that the body before it cannot be recreated")
    assert result.brief == "an earlier body is not known"
    assert [hop.body_known for hop in result.hops] == [True, False]


# --- the order of the fields (11.2) ---


def test_every_number_is_there_once() -> None:
    one = with_instance(MESSAGE, 1)
    signed = with_signature(one, 1, "example.org")
    cases = {
        "Message-Instance m=1 missing": with_signature(MESSAGE, 1, "example.org"),
        "DKIM2-Signature i=1 missing": one,
        "DKIM2-Signature i=2 missing": with_signature(signed, 3, "example.org"),
        "Message-Instance m=2 missing": with_signature(with_instance(one, 3), 1, "example.org"),
        "Message-Instance m=1 is duplicated": with_instance(signed, 1),
        "DKIM2-Signature i=1 is duplicated": with_signature(signed, 1, "example.org"),
        "Message-Instance m=2 is not signed": with_instance(signed, 2),
        "DKIM2-Signature i=2 tag=m was unexpected: i=1 has m=2": with_signature(
            with_signature(with_instance(one, 2), 1, "example.org", revision=2), 2, "lists.example.net", revision=1
        ),
    }
    assert {told(check(message)) for message in cases.values()} == {("permerror", reason) for reason in cases}
    late = with_signature(one, 1, "example.org", revision=2)
    assert told(check(late)) == ("permerror", "Message-Instance m=2 missing")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"t": None}, "DKIM2-Signature i=1 tag=t missing"),
        ({"d": None}, "DKIM2-Signature i=1 tag=d missing"),
        ({"mf": None}, "DKIM2-Signature i=1 tag=mf missing"),
        ({"rt": None}, "DKIM2-Signature i=1 tag=rt missing"),
        ({"nd": "example.net"}, "DKIM2-Signature i=1 tag=mf was unexpected"),
        ({"t": "1e9"}, "DKIM2-Signature i=1 syntax error: t=1e9 is not a number"),
        ({"t": "9" * 16}, "DKIM2-Signature i=1 syntax error: t= has more than 15 digits"),
        ({"d": "org"}, "DKIM2-Signature i=1 syntax error: d=org is not a domain name"),
        ({"d": "a_b..org"}, "DKIM2-Signature i=1 syntax error: d=a_b..org is not a domain name"),
        ({"mf": "PGpvZUBleGFtcGxlLm9yZz4"}, "DKIM2-Signature i=1 syntax error: mf= is not base64"),
        ({"mf": "YQ=="}, "DKIM2-Signature i=1 syntax error: mf= is not an address in angle brackets"),
        ({"f": "a,,b"}, "DKIM2-Signature i=1 syntax error: f= has , which is not a flag"),
        ({"n": "x" * 65}, "DKIM2-Signature i=1 syntax error: n= is not a text of at most 64 characters"),
        ({"n": "a b"}, "DKIM2-Signature i=1 syntax error: n= is not a text of at most 64 characters"),
        ({"D": "example.org"}, "DKIM2-Signature i=unknown syntax error: tag d= is duplicated"),
    ],
)
def test_a_signature_that_is_malformed(tags: dict[str, Any], reason: str) -> None:
    assert told(check(original(**tags))) == ("permerror", reason)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["sel:ed25519-sha256:AAAA"], "DKIM2-Signature i=1 has a duplicate selector"),
        (["a:ed25519-sha256:AAAA", "b:ed25519-sha256:AAAA"], "DKIM2-Signature i=1 has more selectors than allowed"),
        (["a:ed25519-sha256:"], "DKIM2-Signature i=1 syntax error: s= is not base64"),
        (
            [f"s{number}:x{number}:AAAA" for number in range(16)],
            "DKIM2-Signature i=1 syntax error: s= has more than 16 items",
        ),
    ],
)
def test_values_of_a_signature_that_must_not_be(values: list[str], reason: str) -> None:
    assert told(check(original(more_values=values))) == ("permerror", reason)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"h": None}, "Message-Instance m=1 tag=h missing"),
        (
            {"h": "sha256:AAAA"},
            "Message-Instance m=1 syntax error: h= has sha256:AAAA, which is not a name and two hashes",
        ),
        ({"h": "sha256:AAAA:AAAA,sha256:AAAA:AAAA"}, "Message-Instance m=1 has a duplicate hash algorithm"),
        ({"h": "sha999:AAAA:AAAA"}, "Message-Instance m=1 has no supported hash algorithm"),
        ({"r": "e30="}, "Message-Instance m=1 contains invalid JSON: neither h nor b is there"),
        ({"m": "0"}, "Message-Instance m=unknown syntax error: m=0"),
        ({"r": "é"}, "Message-Instance m=unknown syntax error: not in US-ASCII"),
    ],
)
def test_an_instance_that_is_malformed(tags: dict[str, Any], reason: str) -> None:
    message = with_signature(with_instance(MESSAGE, 1, **tags), 1, "example.org")
    assert told(check(message)) == ("permerror", reason)


def test_a_recipe_that_does_not_fit() -> None:
    for recipe, reason in (
        ({"b": [{"c": [1, 4]}]}, "a recipe copies lines that a body with 3 does not have"),
        ({"h": {"subject": [{"c": [1, 2]}]}}, "field 2 of subject is copied, and there are 1"),
    ):
        message = with_signature(
            with_instance(original(), 2, recipe), 2, "lists.example.net", BOUNCES, (READER,), revision=2
        )
        result = check_list(message)
        assert told(result) == ("permerror", f"Message-Instance m=2 contains invalid JSON: {reason}")
        assert result.brief == "a recipe does not fit"


def test_the_newest_recipe_that_does_not_fit_is_named() -> None:
    message = original()
    for number, lines in ((2, 4), (3, 4), (4, 5)):
        message = with_instance(message, number, {"b": [{"c": [1, lines]}]})
    message = with_signature(message, 2, "lists.example.net", BOUNCES, (LIST,), revision=3)
    message = with_signature(message, 3, "lists.example.net", BOUNCES, (READER,), revision=4)
    result = check_list(message)
    assert result.reason.startswith("Message-Instance m=4 contains invalid JSON: a recipe copies lines")
    assert [str(hop.status) for hop in result.hops] == ["pass", "permerror", "permerror"]


def test_a_message_that_was_changed_after_the_last_hop_names_the_last_instance() -> None:
    message = through_list().replace(b"[list]", b"[other]")
    assert told(check_list(message)) == ("fail", "Message Instance m=2 header hash sha256 mismatch")
    assert [str(hop.status) for hop in check_list(message).hops] == ["pass", "fail"]


# --- time (11.3) and keys (11.5) ---


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        (NOW - 14 * 86400, ""),
        (NOW - 14 * 86400 - 1, "DKIM2-Signature i=1 signature expired"),
        (0, "DKIM2-Signature i=1 signature expired"),
        (NOW + 86400, ""),
        (NOW + 86401, "DKIM2-Signature i=1 signature is dated in the future"),
        (10**13, "DKIM2-Signature i=1 signature is dated in the future"),
    ],
)
def test_a_signature_lasts_for_fourteen_days(timestamp: int, reason: str) -> None:
    result = check(original(t=timestamp))
    assert told(result) == ("permerror" if reason else "pass", reason)


KEY = key_record(key("ed25519"))


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        ([], "permerror", "does not exist"),
        ([KEY, KEY], "permerror", "has multiple records"),
        ([b"v=DKIM1; k=ed25519; p="], "permerror", "has been revoked"),
        ([b"p=%%"], "permerror", "has a syntax error: key record's p= is not base64"),
        ([key_record(key("rsa", 1024))], "permerror", "algorithm mismatch"),
        ([KEY.replace(b"p=", b"h=sha1; s=tlsrpt; t=y:s; p=")], "pass", ""),
    ],
)
def test_the_key_record(records: list[bytes], status: str, reason: str) -> None:
    result = check(original(), ZoneResolver({"sel._domainkey.example.org": [{"TXT": text} for text in records]}))
    assert told(result) == (status, f"DKIM2-Signature i=1 public key sel {reason}" if reason else "")


def test_a_key_that_dns_does_not_give_now() -> None:
    result = check(original(), ZoneResolver({"sel._domainkey.example.org": ["TIMEOUT"]}))
    assert result.status == "temperror"
    assert result.reason.startswith("DKIM2-Signature i=1 public key sel could not be fetched: ")


@pytest.mark.usefixtures("each_backend")
def test_an_rsa_key_with_another_exponent() -> None:
    der = key("rsa", 1024).public.removesuffix(b"\x02\x03\x01\x00\x01") + b"\x02\x03\x01\x00\x03"
    other = b"v=DKIM1; p=" + b64encode(der)
    message = original(keys=[("sel", key("rsa", 1024))])
    result = check(message, ZoneResolver({"sel._domainkey.example.org": [{"TXT": other}]}))
    assert told(result) == ("permerror", "DKIM2-Signature i=1 public key sel has an exponent other than 65537")


def test_all_signatures_of_a_hop_must_be_right() -> None:
    other = key("ed25519", number=1)
    resolver = ZoneResolver(
        {
            "sel._domainkey.example.org": [{"TXT": KEY}],
            "two._domainkey.example.org": [{"TXT": key_record(key("rsa", 1024))}],
        }
    )
    both = original(keys=[("sel", key("ed25519")), ("two", key("rsa", 1024))])
    assert told(check(both, resolver)) == ("pass", "")
    bad = original(keys=[("sel", other), ("two", key("rsa", 1024))])
    assert told(check(bad, resolver)) == (
        "fail",
        "DKIM2-Signature i=1 two signature passed, sel signature failed",
    )
    assert told(check(original(keys=[("sel", other)]), resolver)) == (
        "fail",
        "DKIM2-Signature i=1 sel incorrect signature",
    )
    # "a DNS result that indicates the key is absent MUST be reported as a PERMERROR" (11.5), whatever else is right
    assert told(check(both)) == ("permerror", "DKIM2-Signature i=1 public key two does not exist")


def test_a_failure_is_told_of_before_an_error_that_may_pass() -> None:
    broken = ZoneResolver({"sel._domainkey.example.org": ["TIMEOUT"]})
    assert check(original() + b"x\r\n", broken).status == "fail"


# --- custody (11.4) ---


@pytest.mark.parametrize(
    ("mail_from", "rcpt_to", "reason"),
    [
        ("joe@EXAMPLE.org", ["list@Lists.example.net"], ""),
        ("JOE@example.org", [LIST], "MAIL FROM <JOE@example.org> did not match"),
        ("", [LIST], "MAIL FROM <> did not match"),
        (SENDER, [LIST, READER], "RCPT TO <ann@reader.example> did not match"),
        (SENDER, [], ""),
    ],
)
def test_the_envelope_is_that_of_the_last_signature(mail_from: str, rcpt_to: list[str], reason: str) -> None:
    result = check(original(), mail_from=mail_from, rcpt_to=rcpt_to)
    assert told(result) == (("permerror", f"DKIM2-Signature i=1 {reason}") if reason else ("pass", ""))


def test_more_recipients_may_be_signed_than_are_there() -> None:
    message = original(rcpt_to=(READER, LIST, "<postmaster>"))
    assert check(message).status == "pass"
    assert check(message, rcpt_to=["<postmaster>", READER]).status == "pass"


def test_an_envelope_that_is_not_known_is_not_compared_and_the_result_says_so() -> None:
    for name in ("mail_from", "rcpt_to"):
        result = check(original(), ZONE, **{name: None})
        assert told(result) == ("pass", "the envelope was not compared")
        assert result.brief == "envelope not compared"


@pytest.mark.parametrize(
    ("domain", "mail_from", "passes"),
    [
        ("example.org", "<a@bounces.example.org>", True),
        ("example.org", "<>", True),
        ("relay.example", "<a@example.org>", False),
        ("example.org", "<a@notexample.org>", False),
        ("example.org", "<postmaster>", False),
    ],
)
def test_a_signer_signs_for_its_own_senders(domain: str, mail_from: str, passes: bool) -> None:
    message = with_signature(with_instance(MESSAGE, 1), 1, domain, mail_from)
    result = check(message, mail_from=mail_from)
    reason = "" if passes else "DKIM2-Signature i=1 MAIL FROM and d= do not match"
    assert told(result) == ("pass" if passes else "permerror", reason)


def second_hop(domain: str, mail_from: str | None, first: bytes | None = None, **tags: Any) -> bytes:
    return with_signature(first or original(), 2, domain, mail_from, (READER,), **tags)


@pytest.mark.parametrize(
    ("domain", "mail_from", "reason"),
    [
        ("lists.example.net", BOUNCES, ""),
        ("example.net", "<a@b.lists.example.net>", ""),
        ("example.net", "<a@example.net>", "MAIL FROM <a@example.net> did not match"),
        ("other.example", "<a@other.example>", "MAIL FROM <a@other.example> did not match"),
        ("example.net", "<>", ""),
        ("other.example", "<>", "d=other.example did not match RCPT TO of i=1"),
    ],
)
def test_a_hop_takes_over_where_the_one_before_sent_it(domain: str, mail_from: str, reason: str) -> None:
    result = check(second_hop(domain, mail_from), mail_from=mail_from, rcpt_to=[READER])
    assert told(result) == (("permerror", f"DKIM2-Signature i=2 {reason}") if reason else ("pass", ""))


def test_a_hop_that_names_the_next_signer() -> None:
    handed_on = second_hop("lists.example.net", None, nd="relay.example")
    result = check(handed_on, mail_from=None, rcpt_to=None)
    assert told(result)[1].startswith("DKIM2-Signature i=2 unexpected nd= tag")
    for domain, reason in (
        ("relay.example", ""),
        ("other.example", "DKIM2-Signature i=2 nd= does not match d=other.example of i=3"),
    ):
        path = f"<a@{domain}>"
        message = with_signature(handed_on, 3, domain, path, (READER,))
        result = check(message, mail_from=path, rcpt_to=[READER])
        assert told(result) == ("permerror" if reason else "pass", reason)
        assert result.hops[1].next_domain == "relay.example"


# --- requests (11.8) ---


@pytest.mark.parametrize(
    ("changed", "recipe", "passes"),
    [
        (b"Sender: a@lists.example.net\r\n" + original(f="donotmodify"), {"h": {"sender": []}}, True),
        (b"To: b\r\n" + original(f="donotmodify"), {"h": {"to": [{"c": [1, 1]}]}}, True),
        (
            retold(original(f="donotmodify"), "[list] Lunch", ()),
            {"h": {"subject": [{"d": ["Lunch on Friday"]}]}},
            False,
        ),
        (original(f="donotmodify") + b"footer\r\n", {"b": [{"c": [1, 3]}]}, False),
        (original(f="donotmodify"), {"b": None}, False),
    ],
)
def test_what_a_signer_asks_not_to_be_modified(changed: bytes, recipe: Any, passes: bool) -> None:
    message = with_signature(with_instance(changed, 2, recipe), 2, "lists.example.net", BOUNCES, (READER,), revision=2)
    reason = "Message has been modified despite a donotmodify request"
    expected = ("pass", "") if passes else ("fail", reason)
    result = check_list(message)
    assert (str(result.status), result.reason.partition("; ")[0]) == expected
    assert passes or result.brief.startswith("modified despite donotmodify")


def test_a_message_that_must_not_be_exploded() -> None:
    first = original(f="donotexplode, feedback")
    assert check_list(second_hop("lists.example.net", BOUNCES, first)).status == "pass"
    result = check_list(second_hop("lists.example.net", BOUNCES, first, f="exploded"))
    assert told(result) == ("fail", "Message has been exploded despite a donotexplode request")
    assert result.brief == "exploded despite donotexplode"
    before = second_hop("lists.example.net", BOUNCES, original(f="exploded"), f="donotexplode")
    assert check_list(before).status == "pass"


# --- streaming ---


def test_recipe_of_the_first_instance_tells_of_what_was_before() -> None:
    message = with_signature(with_instance(MESSAGE, 1, {"b": [{"c": [1, 9]}]}), 1, "example.org")
    assert told(check(message)) == ("pass", "")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_body_may_come_in_any_pieces(size: int) -> None:
    parsed = parse(through_list())
    verifier = dkim2.Verifier(parsed.fields, ZONE, now=NOW, mail_from=BOUNCES, rcpt_to=[READER])
    assert verifier.wants_body
    for start in range(0, len(parsed.body), size):
        verifier.body(parsed.body[start : start + size])
    assert verifier.finish() == check_list(through_list())


def test_the_body_is_not_wanted_where_nothing_is_to_be_hashed() -> None:
    for message in (MESSAGE, with_instance(MESSAGE, 1)):
        assert not dkim2.Verifier(parse(message).fields, ZONE, now=NOW).wants_body


# --- bounds ---


def test_a_chain_of_more_than_32_hops_is_not_verified() -> None:
    message = original()
    for number in range(2, 33):
        message = with_signature(message, number, "lists.example.net", BOUNCES, (LIST,))
    assert told(check(message, mail_from=BOUNCES)) == ("pass", "")
    message = with_signature(message, 33, "lists.example.net", BOUNCES, (LIST,))
    result = check(message, mail_from=BOUNCES)
    assert told(result) == ("permerror", "message has more than 32 dkim2-signature fields")
    assert result.brief == "the chain is too long"
    message = original()
    for number in range(2, 34):
        message = with_instance(message, number)
    assert told(check(message)) == ("permerror", "message has more than 32 message-instance fields")


def test_the_octets_that_a_chain_covers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("mailnotary.dkim2.verify"), "MAX_HASHED_OCTETS", 300)
    result = check(original())
    assert told(result) == ("permerror", "not verified: the chain covers more than 300 octets of header fields")
    assert [str(hop.status) for hop in result.hops] == ["none"]


def test_the_signatures_of_a_chain_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("mailnotary.dkim2.verify"), "MAX_VERIFIED", 1)
    assert check(original()).status == "pass"
    assert told(check_list(through_list())) == ("permerror", "not verified: the chain has more than 1 signatures")


def test_the_bodies_that_recipes_give_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.dkim2.hashes.MAX_RECREATED", 100)  # three lines of 34 octets, and 32 for each
    result = check_list(through_list())
    assert told(result) == ("permerror", "not verified: the bodies that recipes give are too large together")
    assert check(original()).status == "pass"


def test_the_fields_of_a_chain_are_bounded_together() -> None:
    message = original()
    for number in range(2, 7):
        message = with_instance(message, number, x="x" * 60_000)
    assert told(check(message)) == ("permerror", "the fields of DKIM2 are larger than 262144 octets")


def test_the_parts_that_bodies_are_made_of_are_bounded() -> None:
    message = original()
    for number in range(2, 10):
        ranges = [{"c": [place, place]} for place in range(1, 2 * (600 + number), 2)]
        message = with_instance(message, number, {"b": ranges if number == 9 else [{"c": [1, 600 + number]}]})
    message = with_signature(message, 2, "lists.example.net", BOUNCES, (READER,), revision=9)
    result = check_list(message)
    assert told(result) == ("permerror", "not verified: the recipes make bodies of more than 4096 parts")
    assert result.brief == "the recipes are too long"


def test_a_field_is_bounded() -> None:
    result = check(original(x="x" * 65536))
    assert told(result) == ("permerror", "DKIM2-Signature i=unknown syntax error: larger than 65536 octets")
