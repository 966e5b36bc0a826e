"""Sealing in the daemon's session (`arc: {seal: DOMAIN}`): off by default, never twice, never in the mail's way."""

from typing import Any

import pytest

from mailnotary import arc
from mailnotary.config.forwarding import ArcSettings
from mailnotary.config.keystore import KeyStore
from mailnotary.config.settings import Mode, Settings
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from support import arc as craft
from support.mail import BAD_IP, GOOD_IP, NOW, Outcome, Played, keystore, signed, zone

ZONE = {**zone(), "sel._domainkey.lists.example": [{"TXT": craft.key_record_of_list()}]}
NAMES = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"]
SEAL = Settings(arc=ArcSettings(seal="example.org"))


def play(message: bytes, settings: Settings = SEAL, keys: KeyStore | None = None, **options: Any) -> Outcome:
    played = Played(settings, keystore() if keys is None else keys, ZONE, {"clock": lambda: float(NOW)})
    return played.play(message, **options)


def sealed(outcome: Outcome, message: bytes) -> arc.ArcResult:
    return arc.verify(outcome.applied(message), ZoneResolver(ZONE), now=NOW)


def test_nothing_is_sealed_unless_that_is_asked_for() -> None:
    assert not set(NAMES) & set(play(signed(), Settings()).inserted)


def test_mail_from_elsewhere_is_sealed_with_what_was_found() -> None:
    message = signed()
    outcome = play(message)
    assert [field.name.decode() for field in parse(outcome.applied(message)).fields[:4]] == [
        *NAMES,
        "Authentication-Results",
    ]
    result = sealed(outcome, message)
    assert (result.status, result.reason, result.oldest_pass, result.signs_from) == ("pass", "", 0, True)
    (found,) = result.sets
    assert (found.domain, found.selector, found.cv) == ("example.org", "rsa", "none")
    assert outcome.inserted["Authentication-Results"].replace("\r\n", "") in found.assessment.decode()
    assert "sealed by example.org, i=1" in outcome.record.why


@pytest.mark.parametrize("chunk", [1, 7, 65_535])
def test_a_chain_is_continued(chunk: int) -> None:
    message = craft.sealed()
    result = sealed(play(message, chunk=chunk), message)
    assert (result.status, [one.cv for one in result.sets]) == ("pass", ["none", "pass"])


def test_a_broken_chain_is_marked() -> None:
    message = craft.sealed() + b"x\r\n"
    outcome = play(message)
    assert "cv=fail" in outcome.inserted["ARC-Seal"]
    assert sealed(outcome, message).brief == "the chain was broken before"
    again = outcome.applied(message)
    assert "ARC-Seal" not in play(again).inserted
    assert "not sealed" in play(again).record.why


def test_it_is_not_sealed_twice() -> None:
    message = signed()
    once = play(message).applied(message)
    outcome = play(once)
    assert "ARC-Seal" not in outcome.inserted
    assert "not sealed again" in outcome.record.why


def test_our_own_mail_is_not_sealed() -> None:
    assert "ARC-Seal" not in play(signed(), ip="127.0.0.1").inserted


def test_what_is_refused_or_only_observed_gets_no_seal() -> None:
    assert not play(signed(), Settings(mode=Mode.OBSERVE, arc=SEAL.arc)).actions


def test_a_forged_result_in_our_name_is_not_what_we_seal() -> None:
    message = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.org\r\n" + craft.MESSAGE
    (found,) = sealed(play(message, ip=BAD_IP), message).sets
    assert b"dmarc=pass" not in found.assessment


def test_without_a_usable_key_mail_goes_on_unsealed() -> None:
    outcome = play(signed(), keys=KeyStore())
    assert (outcome.record.action, outcome.record.error) == ("accept", "")
    assert "ARC-Seal" not in outcome.inserted
    assert "no entry of the keystore covers example.org" in outcome.record.why


def test_without_the_space_after_the_colon_it_holds_too() -> None:
    message = signed()
    outcome = play(message, leading_space=False)
    assert sealed(outcome, message).status == "pass"


def test_chains_are_validated_where_mail_is_sealed() -> None:
    message = craft.sealed() + b"x\r\n"
    outcome = play(message, Settings(arc=ArcSettings(verify=False, seal="example.org")), ip=GOOD_IP)
    assert "cv=fail" in outcome.inserted["ARC-Seal"]
