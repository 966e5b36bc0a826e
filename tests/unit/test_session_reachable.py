"""Recipients that no policy may refuse mail to (RFC 5321 section 4.5.1)."""

from dataclasses import replace

import pytest

from mailnotary.config.settings import DmarcMode, DmarcSettings, OnTemperror, Settings, SpfAction, SpfSettings
from support.mail import BAD_IP, MESSAGE, Outcome, Played, keystore, zone

STRICT = Settings(
    spf=SpfSettings(fail=SpfAction.REJECT, permerror=SpfAction.REJECT),
    dmarc=DmarcSettings(mode=DmarcMode.ENFORCE, temperror=OnTemperror.TEMPFAIL),
    reachable_recipients=("postmaster", "abuse@example.net"),
)
NO_AUTHOR = MESSAGE.replace(b"From: Alice <alice@example.org>", b"From: Alice")


def play(*recipients: bytes, message: bytes = MESSAGE, settings: Settings = STRICT, **options: object) -> Outcome:
    """A message from a client that example.org's SPF makes fail."""
    outcome = Played(settings, keystore()).play(message, ip=BAD_IP, recipients=recipients, **options)  # type: ignore[arg-type]
    assert outcome.reply_at_mail is None, "the recipients are not known there yet"
    return outcome


REACHED = [
    [b"<postmaster>"],
    [b"<Postmaster@Example.NET>"],
    [b"postmaster"],
    [b"<postmaster@a.example>", b"<postmaster@b.example>"],
    [b"<Abuse@example.net>"],
]


@pytest.mark.parametrize("recipients", REACHED)
def test_no_policy_refuses_mail_to_them_alone(recipients: list[bytes]) -> None:
    for message in (MESSAGE, NO_AUTHOR):
        outcome = play(*recipients, message=message)
        assert outcome.reply is None
        assert outcome.record.action == "accept"
        assert "spf=fail" in outcome.inserted["Authentication-Results"], "it is judged as ever"
        assert outcome.record.log_fields()["would"] == "reject"
        assert "not refused, for its recipients are in reachable_recipients: SPF" in outcome.record.why


@pytest.mark.parametrize(
    "recipients",
    [
        [],
        [b"<bob@example.net>"],
        [b"<abuse@example.org>"],
        [b"<postmaster>", b"<bob@example.net>"],
        [b"<bob@example.net>", b"<postmaster>"],
        [b"<bob+postmaster@example.net>"],
        [b'<"postmaster@x"@example.net>'],
        [b"<\xff>"],
        [b"<>"],
        [b""],
    ],
)
def test_mail_to_others_is_refused_as_ever(recipients: list[bytes]) -> None:
    outcome = play(*recipients)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (550, "5.7.23")
    without_spf = replace(STRICT, spf=SpfSettings())
    refused = play(*recipients, settings=without_spf)
    assert refused.reply is not None
    assert "DMARC" in refused.reply.text


def test_one_message_says_nothing_of_the_next() -> None:
    played = Played(STRICT, zone=zone())
    reached = played.play(MESSAGE, ip=BAD_IP, hook=lambda session: session.rcpt_to(b"<postmaster>"))
    assert reached.reply is not None, "too late: the header is over"


def test_what_is_too_large_or_ours_and_not_to_be_signed_is_refused_all_the_same() -> None:
    large = play(b"<postmaster>", message=b"X: " + b"x" * 2_000_000 + b"\r\n\r\n")
    assert large.reply is not None
    assert large.reply.code == 552
    ours = play(
        b"<postmaster>", message=MESSAGE.replace(b"Alice <alice@example.org>", b"<alice@example.org"), user="alice"
    )
    assert ours.reply is not None
    assert ours.reply.code == 451
