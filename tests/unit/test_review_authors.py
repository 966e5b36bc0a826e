"""From fields that are damaged, or name two domains: neither a way around a policy nor around our own signature."""

import time
from dataclasses import replace

import pytest

from mailnotary.config.settings import DmarcMode, DmarcSettings, Limits, Settings
from mailnotary.mail.address import AuthorProblem, author_of
from mailnotary.resolver import Answer, DnsTempError, RecordKind, ZoneResolver
from mailnotary.session.outcome import MessageMode
from support.mail import BAD_IP, MESSAGE, Played, keystore, signed, zone

ENFORCE = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE))
EVIL = {"ip": BAD_IP, "helo": "evil.example", "mail_from": b"<eve@evil.example>"}
ZONE = zone() | {"evil.example": [{"TXT": "v=spf1 +all"}], "_dmarc.evil.example": [{"TXT": "v=DMARC1; p=none"}]}

# Each shows alice@example.org to some reader, and none can be parsed.
# Each shows alice@example.org to some reader, and none has one author domain.
DAMAGED = [
    b"eve@evil.example <alice@example.org>",
    b"alice@example.org <eve@evil.example>",
    b"<alice@example.org> <eve@evil.example>",
    b"alice@example.org, eve@evil.example",
    b"Alice <alice@example.org",
    b"<<alice@example.org>>",
    b"Alice\0 <alice@example.org>",
    b"mailto:alice@example.org",
    b"alice@EXAMPLE.ORG\r\n\t<",
    b"J\xf6rg \\x <alice@example.org>",
]
# Not in the grammar, but no reader can come to another domain.
READABLE = [
    b"Example, Inc. <alice@example.org>",
    b"Alice [Sales] <alice@example.org>",
    b"Sales @ Example <alice@example.org>",
    b"alice@example.org;",
    b"alice@example.org.",
    b"'alice@example.org' <alice@example.org>",
    b'"Alice <alice@example.org>',
]


def by(value: bytes) -> bytes:
    return MESSAGE.replace(b"Alice <alice@example.org>", value, 1)


@pytest.mark.parametrize("value", DAMAGED + READABLE)
def test_a_damaged_from_is_no_way_around_a_policy(value: bytes) -> None:
    """RFC 9989 section 11.5."""
    outcome = Played(ENFORCE, zone=ZONE).play(by(value), **EVIL)  # type: ignore[arg-type]
    assert outcome.reply is not None
    assert outcome.reply.text.startswith("Email rejected per DMARC policy for example.org")


@pytest.mark.parametrize("second", [b"From: alice@example.org\r\n", b"from : x@[ alice@example.org\r\n"])
def test_a_second_from_field_is_no_way_around_a_policy(second: bytes) -> None:
    message = by(b"eve@evil.example")
    for hostile in (second + message, message.replace(b"To:", second + b"To:", 1)):
        outcome = Played(ENFORCE, zone=ZONE).play(hostile, **EVIL)  # type: ignore[arg-type]
        assert outcome.reply is not None
        assert "example.org" in outcome.reply.text


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_from_never_passes(value: bytes) -> None:
    outcome = Played(zone=ZONE).play(signed(by(value)))
    assert outcome.reply is None
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "permerror"
    refused = Played(ENFORCE, zone=ZONE).play(signed(by(value)))
    assert refused.reply is not None
    assert (refused.reply.code, refused.reply.enhanced_code) == (550, "5.7.1")


@pytest.mark.parametrize("value", READABLE)
def test_damage_without_doubt_is_verified_and_signed(value: bytes) -> None:
    outcome = Played(ENFORCE).play(signed(by(value)))
    assert outcome.reply is None
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "pass"
    assert Played(keys=keystore()).play(by(value), user="alice").record.signed


@pytest.mark.parametrize("value", DAMAGED)
@pytest.mark.parametrize("mail_from", [b"<alice@example.org>", b"<eve@evil.example>", b"<>"])
def test_our_own_mail_with_a_damaged_from_does_not_leave_unsigned(value: bytes, mail_from: bytes) -> None:
    outcome = Played(keys=keystore()).play(by(value), user="alice", mail_from=mail_from)
    assert outcome.record.mode is MessageMode.SIGN
    assert outcome.reply is not None
    assert outcome.reply.code == 451


@pytest.mark.parametrize(
    "value",
    [
        "joe@example.org <joe@example.org>",
        "joe@EXAMPLE.org (x) <jane@example.org>",
        "Joe <joe@example.org>, jane@example.org <jane@example.org>",
        "Team: joe@example.org <joe@example.org>;",
    ],
)
def test_an_address_as_its_own_name_needs_no_quotes(value: str) -> None:
    """The grammar wants them, many programs forget them, and no reader can come to another domain."""
    found = author_of(value.encode())
    assert (found.problem, found.domain) == (None, "example.org")


def test_an_address_of_another_domain_as_the_name_is_ambiguous() -> None:
    for value in (b"ceo@bank.example <joe@example.org>", b"joe@example.org <ceo@bank.example>"):
        found = author_of(value)
        assert found.problem is AuthorProblem.AMBIGUOUS
        assert set(found.domains) == {"bank.example", "example.org"}


@pytest.mark.parametrize("local", ["joe.", ".joe", "joe..x", '"joe".', "..joe...x.."])
def test_dots_too_many_in_a_local_part_are_no_doubt_about_the_domain(local: str) -> None:
    for value in (f"{local}@example.org", f"Joe <{local}@example.org>"):
        found = author_of(value.encode())
        assert (found.problem, found.domain) == (None, "example.org")


def test_claims_are_looked_for_in_bounded_time() -> None:
    assert author_of(b"<" + b"@" * 60_000).domains == ()
    assert len(author_of(b"<" + b"".join(b"x@d%d.example," % i for i in range(3000))).domains) <= 20


class SlowKeys(ZoneResolver):
    """Names of slow.example never answer; each takes half a second, if there is so much time left."""

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        if name.endswith("slow.example"):
            time.sleep(min(seconds, 0.5))
            raise DnsTempError(f"{kind} {name}: no reply in time", "TIMEOUT")
        return self.lookup(name, kind)


def test_keys_that_never_answer_use_up_no_time_of_the_policy() -> None:
    settings = replace(ENFORCE, limits=Limits(message_seconds=1.0))
    tags = b"v=1; a=rsa-sha256; s=s; h=from; bh=MTIz; b=AAAA"
    slow = b"".join(b"DKIM-Signature: %b; d=d%d.slow.example\r\n" % (tags, number) for number in range(10))
    played = Played(settings, zone=ZONE, options={"resolver": SlowKeys(ZONE)})
    outcome = played.play(slow + MESSAGE, **EVIL)  # type: ignore[arg-type]
    assert [one.status for one in outcome.record.results.signatures] == ["temperror"] * 10
    assert outcome.reply is not None
    assert outcome.reply.code == 550
