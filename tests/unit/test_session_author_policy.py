"""What a message comes to that has not exactly one author domain (RFC 9989 sections 5.3.1, 4.10.1 and 11.5)."""

from dataclasses import replace

import pytest

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
)
from mailnotary.session.outcome import MessageMode
from support.mail import BAD_IP, MESSAGE, NOW, Outcome, Played, keystore, signed, zone

ENFORCE = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE, reject=DmarcAction.REJECT))
ACCEPT = AuthorsSettings(*[OnAuthor.ACCEPT] * 4)
ZONE = zone() | {
    "evil.example": [{"TXT": "v=spf1 +all"}],
    "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
    "_dmarc.lax.example": [{"TXT": "v=DMARC1; p=none"}],
}

# Each shows a@bank.example to a person, and the client is authorized by evil.example alone.
FORGED = [
    "From: Bank <a@bank.example\u00a0>",
    'From: Bank <a@"bank.example">',
    "From: Bank <a@[bank.example]>",
    "From: Bank <a@bank.example!>",
    "From: Bank <a\uff20bank.example>",
    "From: =?utf-8?q?a=40bank.example?=",
    "From: =?utf-8?q?=3Ca=40bank.example=3E?=,<b@evil.example>",
    "From: \\ (a@d1.example a@d2.example a@d3.example a@d4.example a@d5.example) Bank <a@bank.example>",
    "".join(f"From: x@e{number}.example\r\n" for number in range(5)) + "From: a@bank.example",
    ", ".join(["From: x@e0.example", *(f"x@e{number}.example" for number in range(1, 40)), "a@bank.example"]),
    "From: " + "a" * 65_536 + "<x@evil.example>\r\nFrom: Bank <a@bank.example>",
    "From: " + "@ " * 20 + "<a@bank.example",
    "From: x@evil.example\r\nTo: b@example.org\r\n From: Bank <a@bank.example>",
]


def play(head: str, settings: Settings = ENFORCE, *, silent: str = "") -> Outcome:
    """Plays a message from a client that evil.example alone authorizes; DNS gives no answer for the name `silent`."""
    message = head.encode() + b"\r\nSubject: x\r\n\r\nhi\r\n"
    played = Played(settings, zone=ZONE | ({silent: ["SERVFAIL"]} if silent else {}))
    return played.play(message, ip=BAD_IP, helo="evil.example", mail_from=b"<eve@evil.example>")


@pytest.mark.parametrize("head", FORGED)
def test_no_disguise_gets_around_a_policy(head: str) -> None:
    outcome = play(head)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (550, "5.7.1")


@pytest.mark.parametrize("head", FORGED)
def test_not_even_where_the_admin_accepts_what_can_not_be_read(head: str) -> None:
    """Every policy that is found is followed, and where there are too many to look up, one of them may be p=reject."""
    assert play(head, replace(ENFORCE, authors=ACCEPT)).reply is not None


def test_a_second_author_whose_dns_does_not_answer_lets_nobody_in() -> None:
    """It could use up the time and the questions that the first one's policy needs."""
    accept = replace(ENFORCE, authors=ACCEPT)
    for head in ("From: a@evil.example, b@lax.example", "From: a@evil.example\r\nFrom: a@silent.example"):
        assert play(head, accept).reply is None
    deferred = play("From: a@evil.example\r\nFrom: a@silent.example", accept, silent="_dmarc.silent.example").reply
    assert deferred is not None
    assert deferred.code == 451
    assert play("From: a@silent.example", ENFORCE, silent="_dmarc.silent.example").reply is None


@pytest.mark.parametrize("head", [*FORGED, "To: b@example.org", "From: x", "From: a@evil.example, b@lax.example"])
def test_monitor_says_what_enforce_would_have_done(head: str) -> None:
    outcome = play(head, Settings())
    assert outcome.reply is None
    assert outcome.record.log_fields()["would"] == "reject"


@pytest.mark.parametrize(
    ("head", "option"),
    [
        ("To: b@example.org", "none"),
        ("From: a@evil.example\r\nFrom: a@evil.example", "several_fields"),
        ("From: a@evil.example, b@lax.example", "several_domains"),
        ("From: Bob", "unparsable"),
    ],
)
def test_enforce_refuses_what_has_no_author_domain_unless_the_admin_accepts_it(head: str, option: str) -> None:
    refused = play(head).reply
    assert refused is not None
    assert refused.text.startswith("the message has no single author domain: ")
    assert refused.text.endswith("; write one From field with one address, like From: Name <name@example.org>")
    assert play(head, replace(ENFORCE, authors=AuthorsSettings(**{option: OnAuthor.ACCEPT}))).reply is None
    assert play(head, Settings(authors=AuthorsSettings(**{option: OnAuthor.REJECT}))).reply is not None
    assert play(head, Settings(dmarc=DmarcSettings(mode=DmarcMode.OFF))).reply is None


def test_it_is_treated_as_mail_that_fails_p_reject() -> None:
    def dmarc(**options: object) -> Outcome:
        return play("From: Bob", replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, **options)))  # type: ignore[arg-type]

    assert dmarc(reject=DmarcAction.HOLD).record.action == "hold"
    assert dmarc(reject=DmarcAction.TAG).record.action == "accept"
    exempt = dmarc(exempt=DmarcExempt(dkim_domains=("example.org",)))
    assert exempt.record.action == "reject", "no signature of it passed"
    trusted = replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, exempt=DmarcExempt(dkim_domains=("example.org",))))
    passed = Played(trusted).play(signed(MESSAGE.replace(b"From: Alice <alice@example.org>", b"From: Alice")))
    assert passed.record.action == "accept"
    assert passed.record.log_fields()["would"] == "reject"


def test_several_authors_of_one_domain_are_not_refused() -> None:
    """RFC 9989 5.3.1 counts domains."""
    both = b"From: Alice <alice@example.org>, bob@Example.org"
    outcome = Played(ENFORCE).play(signed(MESSAGE.replace(b"From: Alice <alice@example.org>", both)))
    assert outcome.record.action == "accept"


@pytest.mark.parametrize("decoy", ["_dmarc.d1.example", "_dmarc.d2.example"])
def test_the_domain_whose_policy_is_enforced_is_not_outdone_by_one_that_is_monitored(decoy: str) -> None:
    settings = Settings(dmarc=DmarcSettings(domains={"bank.example": ENFORCE.dmarc}))
    played = Played(settings, zone=ZONE | {decoy: [{"TXT": "v=DMARC1; p=reject"}]})
    for head in (
        b"From: a@d1.example, a@d2.example, a@bank.example",
        b"From: a@bank.example, a@d1.example, a@d2.example",
    ):
        outcome = played.play(head + b"\r\n\r\n", ip=BAD_IP, helo="evil.example", mail_from=b"<eve@evil.example>")
        assert outcome.reply is not None
    many = ", ".join(f"a@e{number}.example" for number in range(30))
    assert play(f"From: {many}", settings).reply is not None, "bank.example may be one that was not looked up"


# --- dmarc.temperror ------------------------------------------------------------------------------------------------


TEMPFAIL = replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, temperror=OnTemperror.TEMPFAIL))


def test_a_policy_that_dns_does_not_give_is_waited_for_on_request() -> None:
    silent = "_dmarc.bank.example"
    head = "From: a@bank.example"
    assert play(head, silent=silent).reply is None
    reply = play(head, TEMPFAIL, silent=silent).reply
    assert reply is not None
    assert (reply.code, reply.enhanced_code) == (451, "4.4.3")
    assert "bank.example" in reply.text
    monitor = replace(TEMPFAIL, dmarc=replace(TEMPFAIL.dmarc, mode=DmarcMode.MONITOR))
    outcome = play(head, monitor, silent=silent)
    assert outcome.reply is None
    assert outcome.record.log_fields()["would"] == "tempfail"
    accepting = replace(TEMPFAIL, authors=ACCEPT)
    assert play("From: a@bank.example, a@lax.example", accepting, silent=silent).record.action == "tempfail"


@pytest.mark.parametrize(("domain", "code"), [("bank.example", 451), ("lax.example", None)])
def test_a_key_that_dns_does_not_give_delays_mail_of_a_domain_with_a_policy(domain: str, code: int | None) -> None:
    silent = f"s._domainkey.{domain}"
    signature = f"DKIM-Signature: v=1; a=rsa-sha256; d={domain}; s=s; h=from; bh=MTIz; b=AAAA; t={NOW}\r\n"
    reply = play(f"{signature}From: a@{domain}", TEMPFAIL, silent=silent).reply
    assert (reply and reply.code) == code


# --- our own mail ---------------------------------------------------------------------------------------------------

TOO_MUCH = [
    b"From: " + b"".join(b"a@e%d.example, " % number for number in range(200)) + b"<alice@example.org",
    b"From: " + b"x" * 65_536 + b" <alice@example.org>",
    b"From: x@e.example" + b"\r\nFrom: x@e.example" * 30 + b"\r\nFrom: alice@example.org",
    b"From: <" + b"a@-- " * 300 + b"alice@example.org",
]


@pytest.mark.parametrize(
    "head", [*TOO_MUCH, *(head.replace("bank.example", "example.org").encode() for head in FORGED)]
)
def test_what_may_claim_a_domain_of_ours_never_leaves_unsigned(head: bytes) -> None:
    message = head + b"\r\nSubject: x\r\n\r\nhi\r\n"
    outcome = Played(keys=keystore()).play(message, ip="127.0.0.1", mail_from=b"<eve@evil.example>")
    assert outcome.reply is not None
    assert outcome.reply.code == 451
    for_good = Settings(signing=SigningSettings(on_bad_author=OnBadAuthor.REJECT))
    refused = Played(for_good, keystore()).play(message, ip="127.0.0.1", mail_from=b"<eve@evil.example>")
    assert refused.reply is not None
    assert refused.reply.code == 550


@pytest.mark.parametrize("head", TOO_MUCH)
def test_who_signs_for_nobody_holds_nothing_back(head: bytes) -> None:
    assert Played().play(head + b"\r\n\r\nhi\r\n", ip="127.0.0.1", mail_from=b"<eve@evil.example>").reply is None


EVIL_ZONE = zone() | {"evil.example": [{"TXT": "v=spf1 +all"}], "_dmarc.evil.example": [{"TXT": "v=DMARC1; p=none"}]}
EVIL = {"ip": BAD_IP, "helo": "evil.example", "mail_from": b"<eve@evil.example>"}


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
    outcome = Played(ENFORCE, zone=EVIL_ZONE).play(by(value), **EVIL)  # type: ignore[arg-type]
    assert outcome.reply is not None
    assert outcome.reply.text.startswith("Email rejected per DMARC policy for example.org")


@pytest.mark.parametrize("second", [b"From: alice@example.org\r\n", b"from : x@[ alice@example.org\r\n"])
def test_a_second_from_field_is_no_way_around_a_policy(second: bytes) -> None:
    message = by(b"eve@evil.example")
    for hostile in (second + message, message.replace(b"To:", second + b"To:", 1)):
        outcome = Played(ENFORCE, zone=EVIL_ZONE).play(hostile, **EVIL)  # type: ignore[arg-type]
        assert outcome.reply is not None
        assert "example.org" in outcome.reply.text


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_from_never_passes(value: bytes) -> None:
    outcome = Played(zone=EVIL_ZONE).play(signed(by(value)))
    assert outcome.reply is None
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "permerror"
    refused = Played(ENFORCE, zone=EVIL_ZONE).play(signed(by(value)))
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
