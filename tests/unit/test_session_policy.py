"""From results to verdicts: DMARC's modes, exemptions, overrides; authors; replies that are safe to send."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import (
    AuthorsSettings,
    DmarcAction,
    DmarcExempt,
    DmarcMode,
    DmarcSettings,
    OnAuthor,
    OnBadAuthor,
    OnTemperror,
    Settings,
    SigningSettings,
    SpfAction,
    SpfSettings,
)
from mailnotary.dkim import DkimResult
from mailnotary.dmarc import DmarcResult, Policy
from mailnotary.session.policy import MAX_REPLY_TEXT, dmarc_verdict, reply, spf_reply
from mailnotary.spf import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus
from support.mail import BAD_IP, MESSAGE, Played, keystore, signed

CLIENT = ip_address(BAD_IP)
FAIL = DmarcResult(
    DmarcStatus.FAIL, "example.org", Policy.REJECT, Policy.REJECT, "example.org", reason="nothing aligned"
)
ENFORCE = DmarcSettings(mode=DmarcMode.ENFORCE)


def test_enforce_does_what_the_admin_chose_for_each_policy() -> None:
    assert dmarc_verdict(ENFORCE, FAIL, (), CLIENT).reply is not None
    quarantine = replace(FAIL, policy=Policy.QUARANTINE, disposition=Policy.QUARANTINE)
    assert dmarc_verdict(ENFORCE, quarantine, (), CLIENT).action == "tag"
    hold = replace(ENFORCE, quarantine=DmarcAction.HOLD)
    assert dmarc_verdict(hold, quarantine, (), CLIENT).hold is not None


def test_monitor_says_what_enforce_would_have_done() -> None:
    verdict = dmarc_verdict(DmarcSettings(), FAIL, (), CLIENT)
    assert (verdict.action, verdict.would, verdict.reply) == ("tag", "reject", None)


@pytest.mark.parametrize("status", [DmarcStatus.PASS, DmarcStatus.NONE, DmarcStatus.PERMERROR])
def test_only_a_fail_has_consequences(status: DmarcStatus) -> None:
    assert dmarc_verdict(ENFORCE, replace(FAIL, status=status), (), CLIENT).action == "accept"


def test_where_the_policy_would_refuse_and_dns_does_not_answer_the_sender_tries_again() -> None:
    unknown = replace(FAIL, status=DmarcStatus.TEMPERROR)
    verdict = dmarc_verdict(ENFORCE, unknown, (), CLIENT)
    assert verdict.reply is not None
    assert (verdict.action, verdict.reply.code, verdict.reply.enhanced_code) == ("tempfail", 451, "4.4.3")
    quarantine = replace(unknown, policy=Policy.QUARANTINE, disposition=Policy.QUARANTINE)
    assert dmarc_verdict(ENFORCE, quarantine, (), CLIENT).action == "accept"
    assert dmarc_verdict(replace(ENFORCE, quarantine=DmarcAction.HOLD), quarantine, (), CLIENT).action == "tempfail"
    assert dmarc_verdict(replace(ENFORCE, reject=DmarcAction.TAG), unknown, (), CLIENT).action == "accept"
    assert dmarc_verdict(ENFORCE, replace(unknown, disposition=Policy.NONE), (), CLIENT).action == "accept"
    monitored = dmarc_verdict(DmarcSettings(), unknown, (), CLIENT)
    assert (monitored.action, monitored.would) == ("tag", "tempfail")


def test_one_domain_may_have_another_word_for_what_is_not_known() -> None:
    unknown = DmarcResult(DmarcStatus.TEMPERROR, "mail.bank.example", None, Policy.NONE, "", reason="no answer")
    settings = replace(ENFORCE, domains={"bank.example": replace(ENFORCE, temperror=OnTemperror.TEMPFAIL)})
    assert dmarc_verdict(settings, unknown, (), CLIENT).action == "tempfail"
    assert dmarc_verdict(settings, replace(unknown, domain="bank.test"), (), CLIENT).action == "accept"


def test_p_none_and_a_weakened_policy_change_nothing() -> None:
    assert dmarc_verdict(ENFORCE, replace(FAIL, disposition=Policy.NONE), (), CLIENT).action == "accept"


def test_exempt_networks_and_trusted_forwarders_are_only_tagged() -> None:
    by_network = replace(ENFORCE, exempt=DmarcExempt(networks=(ip_network("198.51.100.0/24"),)))
    verdict = dmarc_verdict(by_network, FAIL, (), CLIENT)
    assert (verdict.action, verdict.would) == ("tag", "reject")
    assert "198.51.100.0/24" in verdict.why
    by_signature = replace(ENFORCE, exempt=DmarcExempt(dkim_domains=("lists.example",)))
    passed = DkimResult(DkimStatus.PASS, "mail.lists.example", "s")
    assert dmarc_verdict(by_signature, FAIL, (passed,), CLIENT).reply is None
    forged = replace(passed, status=DkimStatus.FAIL)
    assert dmarc_verdict(by_signature, FAIL, (forged,), CLIENT).reply is not None
    lookalike = replace(passed, domain="evillists.example")
    assert dmarc_verdict(by_signature, FAIL, (lookalike,), CLIENT).reply is not None


def test_a_domains_override_covers_it_and_its_subdomains_and_the_nearest_wins() -> None:
    settings = replace(
        ENFORCE,
        domains={"org": replace(ENFORCE, reject=DmarcAction.HOLD), "example.org": DmarcSettings()},
    )
    assert dmarc_verdict(settings, FAIL, (), CLIENT).would == "reject"
    assert dmarc_verdict(settings, replace(FAIL, domain="a.example.org"), (), CLIENT).would == "reject"
    assert dmarc_verdict(settings, replace(FAIL, domain="other.org"), (), CLIENT).action == "hold"
    assert dmarc_verdict(settings, replace(FAIL, domain="example.net"), (), CLIENT).action == "reject"


TWO_FROM = b"From: eve@evil.example\r\n" + signed()
NO_FROM = MESSAGE.replace(b"From:", b"X-From:")
TWO_DOMAINS = MESSAGE.replace(b"From: Alice <alice@example.org>", b"From: alice@example.org, eve@evil.example")
BROKEN = MESSAGE.replace(b"From: Alice <alice@example.org>", b"From: alice@example.org> <x")


@pytest.mark.parametrize(
    ("message", "option"),
    [(TWO_FROM, "several_fields"), (NO_FROM, "none"), (TWO_DOMAINS, "several_domains"), (BROKEN, "unparsable")],
)
def test_a_message_without_one_author_domain_never_passes_and_is_refused_on_request(
    message: bytes, option: str
) -> None:
    outcome = Played().play(message)
    assert outcome.reply is None
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "permerror"
    assert "dmarc=permerror" in outcome.inserted["Authentication-Results"]
    strict = Settings(authors=AuthorsSettings(**{option: OnAuthor.REJECT}))
    refused = Played(strict).play(message)
    assert refused.reply is not None
    assert (refused.reply.code, refused.reply.enhanced_code) == (550, "5.7.1")


def test_several_authors_of_one_domain_are_one_author_domain() -> None:
    message = MESSAGE.replace(b"From: Alice <alice@example.org>", b"From: alice@example.org, bob@EXAMPLE.org")
    outcome = Played().play(message)
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "pass"


@pytest.mark.parametrize("message", [TWO_FROM, TWO_DOMAINS])
def test_our_own_mail_without_one_author_domain_is_refused_for_good_on_request(message: bytes) -> None:
    strict = Settings(signing=SigningSettings(on_bad_author=OnBadAuthor.REJECT))
    outcome = Played(strict, keystore()).play(message, ip="127.0.0.1")
    assert outcome.reply is not None
    assert outcome.reply.code == 550


def test_spf_actions_leave_none_neutral_and_pass_alone() -> None:
    strict = SpfSettings(
        helo_fail=SpfAction.REJECT,
        fail=SpfAction.REJECT,
        softfail=SpfAction.REJECT,
        permerror=SpfAction.REJECT,
        temperror=SpfAction.REJECT,
    )
    for status in (SpfStatus.NONE, SpfStatus.NEUTRAL, SpfStatus.PASS):
        results = [SpfResult(status, identity, "example.org") for identity in SpfIdentity]
        assert spf_reply(strict, results, CLIENT) is None
    for status in (SpfStatus.SOFTFAIL, SpfStatus.PERMERROR, SpfStatus.TEMPERROR):
        assert spf_reply(strict, [SpfResult(status, SpfIdentity.HELO, "example.org")], CLIENT) is None


@given(text=st.text())
def test_any_text_makes_a_reply_of_one_safe_line(text: str) -> None:
    made = reply(550, "7.1", text)
    assert made.enhanced_code == "5.7.1"
    assert made.text.isascii()
    assert all(" " <= char <= "~" for char in made.text)
    assert len(made.text) <= MAX_REPLY_TEXT
