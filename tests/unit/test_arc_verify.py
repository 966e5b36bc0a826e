"""Validating chains: the steps of RFC 8617 section 5.2, its bounds, and hostile chains."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary import arc, dkim
from mailnotary.arc.verify import MAX_KEY_BITS
from mailnotary.dkim.bodies import BodyHashes
from mailnotary.dkim.tags import decode_base64, parse_tags
from mailnotary.mail.message import parse
from mailnotary.resolver import Answer, DnsTempError, RecordKind, ZoneResolver
from mailnotary.status import ArcStatus, DkimStatus
from support import arc as craft
from support import dkim as dkim_craft

MANY = [f"s{number}.example" for number in range(1, 51)]


def verified(message: bytes, *domains: str, **options: Any) -> arc.ArcResult:
    return arc.verify(message, craft.zone(*domains, **options), now=craft.NOW)


def test_a_message_without_a_chain_has_none() -> None:
    assert verified(craft.MESSAGE) == arc.ArcResult(ArcStatus.NONE)


def test_an_intact_chain_says_who_sealed_and_what_each_found() -> None:
    result = verified(craft.chain(["a.example", "b.example"]), "a.example", "b.example")
    assert (result.status, result.oldest_pass, result.signs_from) == ("pass", 0, True)
    first, second = result.sets
    assert (first.instance, first.domain, first.selector, first.cv) == (1, "a.example", "sel", "none")
    assert (second.instance, second.domain, second.signing_domain, second.cv) == (2, "b.example", "b.example", "pass")
    assert (first.timestamp, first.signature, second.signature) == (craft.NOW, "", "")
    assert first.assessment.strip() == craft.PASSED.encode()


def test_ed25519_seals_hold() -> None:
    message = craft.sealed(algorithm="ed25519")
    assert verified(message, algorithm="ed25519").status == "pass"


def test_a_hop_that_changes_the_message_and_seals_it_keeps_the_chain() -> None:
    """The oldest signature that still holds is told (5.2, step 5)."""
    changed = craft.chain(["b.example"], craft.sealed() + b"A footer.\r\n")
    result = verified(craft.chain(["c.example"], changed), "b.example", "c.example")
    assert (result.status, result.oldest_pass) == ("pass", 2)
    assert "body" in result.sets[0].signature


def test_a_change_after_the_last_seal_breaks_the_chain() -> None:
    result = verified(craft.sealed() + b"A footer.\r\n")
    assert (result.status, result.brief, result.oldest_pass) == ("fail", "body changed", None)
    assert "i=1" in result.reason


@pytest.mark.parametrize("name", [b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal"])
@pytest.mark.parametrize("instance", [1, 2])
def test_a_change_of_any_arc_field_breaks_the_chain(name: bytes, instance: int) -> None:
    message = craft.chain(["a.example", "b.example"])
    field = re.search(rb"(?m)^%b: i=%d;" % (name, instance), message)
    assert field is not None
    changed = message[: field.end()] + b" x=1;" + message[field.end() :]
    assert verified(changed, "a.example", "b.example").status == "fail"


@pytest.mark.parametrize("name", [b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal"])
def test_a_duplicate_or_a_gap_breaks_the_chain(name: bytes) -> None:
    message = craft.chain(["a.example", "b.example", "c.example"])
    fields = parse(message).fields
    (second,) = [one for one in fields if one.name == name and b"i=2;" in one.value]
    doubled = second.raw + b"\r\n" + message
    result = verified(doubled, "a.example", "b.example", "c.example")
    assert (result.status, result.brief) == ("fail", "an ARC field is duplicated")
    without = message.replace(second.raw + b"\r\n", b"")
    result = verified(without, "a.example", "b.example", "c.example")
    assert (result.status, result.brief) == ("fail", "an ARC field is missing")


def test_a_chain_that_was_found_broken_stays_broken() -> None:
    broken = craft.sealed(craft.sealed() + b"A footer.\r\n", status=ArcStatus.FAIL)
    result = verified(broken)
    assert (result.status, result.brief) == ("fail", "the chain was broken before")


def test_the_order_of_the_fields_in_the_header_is_of_no_importance() -> None:
    fields, body = parse(craft.chain(["a.example", "b.example"])).fields, dkim_craft.MESSAGE.partition(b"\r\n\r\n")[2]
    ours = [field.raw for field in fields if field.key.startswith(b"arc-")]
    others = [field.raw for field in fields if not field.key.startswith(b"arc-")]
    message = b"\r\n".join([*others, *reversed(ours)]) + b"\r\n\r\n" + body
    assert verified(message, "a.example", "b.example").status == "pass"


class Silent:
    """DNS that answers nothing, or all but some names."""

    def __init__(self, inner: ZoneResolver | None = None, silent: str = "") -> None:
        self.inner, self.silent = inner, silent
        self.asked: list[str] = []

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked.append(name)
        if self.inner is None or (self.silent and self.silent in name):
            raise DnsTempError("no answer")
        return self.inner.lookup(name, kind)


def test_a_dns_failure_is_permanent() -> None:
    """RFC 8617 5.2.1."""
    result = arc.verify(craft.sealed(), Silent(), now=craft.NOW)
    assert (result.status, result.brief) == ("fail", "DNS gives no key")


def test_a_seal_whose_key_is_gone_breaks_the_chain() -> None:
    message = craft.chain(["a.example", "b.example"])
    result = arc.verify(message, Silent(craft.zone("a.example", "b.example"), "a.example"), now=craft.NOW)
    assert (result.status, result.reason.partition(":")[0]) == ("fail", "ARC-Seal with i=1")


@pytest.mark.parametrize(
    ("old", "new", "brief"),
    [
        (b"i=1", b"i=0", "malformed ARC field"),
        (b"i=1", b"i=51", "malformed ARC field"),
        (b"i=1", b"i=+1", "malformed ARC field"),
        (b"i=1", b"i=" + b"1" * 5000, "malformed ARC field"),
        (b"i=1", b"i=\xc2\xb9", "malformed ARC field"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "rsa-sha1 is not accepted"),
        (b"cv=none", b"cv=pass", "wrong chain status in a seal"),
        (b"cv=none", b"cv=perhaps", "malformed ARC field"),
    ],
)
def test_what_is_malformed_breaks_the_chain(old: bytes, new: bytes, brief: str) -> None:
    result = verified(craft.sealed().replace(old, new))
    assert (result.status, result.brief) == ("fail", brief)


def test_a_seal_must_not_say_what_it_covers() -> None:
    message = craft.sealed().replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=1; h=from;")
    assert verified(message).brief == "the signature is not valid"


def test_a_short_key_breaks_the_chain() -> None:
    parsed = parse(craft.sealed())
    verifier = arc.Verifier(parsed.fields, craft.zone(), now=craft.NOW, min_rsa_bits=2048)
    verifier.body(parsed.body)
    assert verifier.finish().brief == "RSA key is too short"


def test_a_part_of_the_body_that_nobody_signed_breaks_the_chain() -> None:
    """l=: whoever comes after the sealer may append anything (RFC 6376 8.2)."""
    message = dkim_craft.craft(
        b"ARC-Authentication-Results: i=1; x; none\r\n" + craft.MESSAGE,
        field_name=b"ARC-Message-Signature",
        v=None,
        i="1",
        l="5",
    )
    seal = b"ARC-Seal: i=1; a=rsa-sha256; d=example.org; s=sel; cv=none; b=YQ==\r\n"
    result = verified(seal + message + b"more\r\n", "example.org")
    assert (result.status, result.brief) == ("fail", "part of the body is not signed")


@pytest.mark.parametrize("oversign", [(), ("From",)])
def test_a_from_field_that_the_newest_set_does_not_cover_is_told(oversign: tuple[str, ...]) -> None:
    message = craft.sealed(oversign=oversign)
    assert verified(message).signs_from
    added = b"From: Ceo <ceo@example.com>\r\n" + message
    result = verified(added)
    assert (result.status, result.signs_from) == (("fail", False) if oversign else ("pass", False))


def test_a_key_in_test_mode_is_told() -> None:
    assert verified(craft.sealed(), extra=" t=y;").sets[0].testing
    assert not verified(craft.sealed()).sets[0].testing


# --- bounds ---


def test_fifty_sets_pass_and_one_more_fails() -> None:
    message = craft.chain(MANY)
    result = verified(message, *MANY)
    assert (result.status, len(result.sets), result.oldest_pass) == ("pass", 50, 0)
    more = message.replace(b"ARC-Seal: i=50;", b"ARC-Seal: i=50;" + b" \r\nARC-Seal: i=51;", 1)
    assert verified(more, *MANY).brief == "too many ARC sets"
    assert not arc.seal(message, craft.signer(), craft.PASSED, ArcStatus.PASS, now=craft.NOW)


def test_longer_keys_than_are_paid_for_never_make_a_chain_pass() -> None:
    private = dkim_craft.key("rsa", 8192)
    fits = MAX_KEY_BITS // 8192
    message = craft.MESSAGE
    signer = dkim.Signer("lists.example", "sel", private, canonicalization="relaxed/relaxed", headers=("From",))
    zone = dkim_craft.zone(dkim_craft.key_record(private), name="sel._domainkey.lists.example")
    for number in range(fits + 1):
        status = ArcStatus.PASS if number else ArcStatus.NONE
        message = arc.seal(message, signer, "x; none", status, now=craft.NOW) + b"\r\n" + message
        if number == fits // 2 + 2:  # all seals are paid for, not all old signatures
            result = arc.verify(message, zone, now=craft.NOW)
            assert result.status == "pass"
            assert result.oldest_pass not in (None, 0)
    result = arc.verify(message, zone, now=craft.NOW)
    assert (result.status, result.brief) == ("fail", "too many or too long keys")


def test_a_chain_in_many_alphabets_is_not_read() -> None:
    message = craft.MESSAGE
    for number in range(11):
        name = b"b\xc3\xbccher%d.example" % number
        head = b"i=%d; a=rsa-sha256; d=%b; s=sel; b=YQ==" % (number + 1, name)
        cv = b"pass" if number else b"none"
        message = (
            b"ARC-Seal: %b; cv=%b\r\nARC-Message-Signature: %b; h=from; bh=YQ==\r\n" % (head, cv, head)
            + b"ARC-Authentication-Results: i=%d; x; none\r\n" % (number + 1)
            + message
        )
    result = verified(message)
    assert (result.status, result.brief) == ("fail", "too many U-labels")


def test_questions_for_all_keys_go_out_first_and_each_name_once() -> None:
    class Noting(Silent):
        def __init__(self) -> None:
            super().__init__(craft.zone("a.example", "b.example"))
            self.begun: list[str] = []

        def lookup_within(self, name: str, kind: RecordKind, _seconds: float) -> Answer:
            return self.lookup(name, kind)

        def prefetch(self, questions: Any) -> None:
            self.begun += [name for name, _ in questions]

    resolver = Noting()
    message = craft.chain(["a.example", "b.example"])
    verifier = arc.Verifier(parse(message).fields, resolver, now=craft.NOW)
    assert resolver.begun == ["sel._domainkey.b.example", "sel._domainkey.a.example"]
    assert resolver.asked == []
    verifier.body(parse(message).body)
    assert verifier.finish().status == "pass"
    assert len(resolver.asked) == len(set(resolver.asked)) == 2


# --- properties ---


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(MANY), min_size=1, max_size=4),
    st.sampled_from(["simple/simple", "relaxed/simple", "relaxed/relaxed"]),
    st.binary(max_size=60),
    st.lists(st.integers(0, 80), max_size=4),
)
def test_what_we_seal_holds_however_the_body_is_cut(
    domains: list[str], canonicalization: str, text: bytes, cuts: list[int]
) -> None:
    message = craft.chain(domains, craft.MESSAGE + text, canonicalization=canonicalization)
    parsed = parse(message)
    bodies = BodyHashes()
    zone = craft.zone(*domains)
    verifier = arc.Verifier(parsed.fields, zone, now=craft.NOW, bodies=bodies)
    other = dkim.Verifier(parsed.fields, zone, now=craft.NOW, bodies=bodies)
    places = [0, *sorted(cuts), len(parsed.body)]
    for start, end in pairwise(places):
        bodies.update(parsed.body[start:end])
    bodies.finish()
    assert (verifier.finish(), other.finish()) == (arc.verify(message, zone, now=craft.NOW), [])
    assert verifier.finish().status == "pass"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_single_changed_octet_of_the_sealed_text_passes(data: st.DataObject) -> None:
    message = craft.chain(["a.example", "b.example"], canonicalization="simple/simple")
    header = message[: message.index(b"Received:")]
    place = data.draw(st.integers(0, len(header) - 1))
    octet = data.draw(st.integers(33, 126))
    changed = message[:place] + bytes([octet]) + message[place + 1 :]
    before = [(field.key, re.sub(rb"\s+", b" ", field.value).strip()) for field in parse(message).fields]
    after = [(field.key, re.sub(rb"\s+", b" ", field.value).strip()) for field in parse(changed).fields]
    result = verified(changed, "a.example", "b.example")
    if before != after:
        assert result.status == "fail" or result.oldest_pass != 0 or _same_signature(message, changed), changed


def _same_signature(message: bytes, changed: bytes) -> bool:
    """Whether all that differs is the octets of the newest b= (its last digit holds bits that stand for nothing)."""
    return dkim_values(message) == dkim_values(changed)


def dkim_values(message: bytes) -> list[Any]:
    values: list[Any] = []
    for field in parse(message).fields:
        if field.key in (b"arc-seal", b"arc-message-signature"):
            tags = parse_tags(field.value)
            values.append({name: decode_base64(text) if name == "b" else text for name, text in tags.items()})
    return values


def test_dkim_and_arc_share_one_pass_over_the_body() -> None:
    signed = dkim_craft.craft(craft.MESSAGE)
    message = craft.sealed(signed)
    zone = ZoneResolver(
        {
            "sel._domainkey.lists.example": [{"TXT": dkim_craft.key_record(dkim_craft.key())}],
            dkim_craft.KEY_NAME: [{"TXT": dkim_craft.key_record(dkim_craft.key())}],
        }
    )
    parsed = parse(message)
    bodies = BodyHashes()
    chain = arc.Verifier(parsed.fields, zone, now=craft.NOW, bodies=bodies)
    signatures = dkim.Verifier(parsed.fields, zone, now=craft.NOW, bodies=bodies)
    assert bodies.open
    bodies.update(parsed.body)
    bodies.finish()
    assert chain.finish().status == ArcStatus.PASS
    assert [one.status for one in signatures.finish()] == [DkimStatus.PASS]
