"""Mail that comes back from a filter or a redirect: our own verdict decides whether it may bear our signature."""

from ipaddress import ip_network

import pytest

from mailnotary.config.settings import (
    AuthenticationResultsSettings,
    DmarcMode,
    DmarcSettings,
    Exempt,
    InternalError,
    OnOwnVerdict,
    Settings,
    SignFor,
    SigningSettings,
)
from mailnotary.mail.address import author_of
from mailnotary.mail.message import HeaderField
from mailnotary.session.outcome import MessageMode
from mailnotary.session.reinjected import verdict_against
from support.mail import BAD_IP, GOOD_IP, MESSAGE, Outcome, Played, keystore, signed

IDS = ("mx.example.net",)
ALICE = author_of(b" Alice <alice@example.org>")


def again(message: bytes, first: Outcome, config: Settings | None = None, **envelope: object) -> Outcome:
    """The message after its first passage, handed back from this machine."""
    played = Played(config or Settings(), keystore())
    return played.play(first.applied(message), **{"ip": "127.0.0.1", **envelope})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [DmarcMode.MONITOR, DmarcMode.OFF])
def test_spoofed_mail_that_comes_back_is_not_signed_and_keeps_its_verdict(mode: DmarcMode) -> None:
    config = Settings(dmarc=DmarcSettings(mode=mode))
    first = Played(config, keystore()).play(MESSAGE, ip=BAD_IP)
    second = again(MESSAGE, first, config)
    assert second.actions == ()
    assert second.record.mode is MessageMode.NONE
    assert not second.record.signed
    expected = "dmarc=fail" if mode is DmarcMode.MONITOR else "results without dmarc"
    assert second.record.why.endswith(
        f"not signed, because it came from elsewhere: Authentication-Results of ours has {expected}"
    )


def test_mail_without_one_author_that_comes_back_is_not_held_up_in_the_filter() -> None:
    message = b"From: <eve@evil.example>\r\n" + MESSAGE
    first = Played(keys=keystore()).play(message, ip=BAD_IP)
    assert again(message, first).actions == ()
    assert Played(keys=keystore()).play(message, ip="127.0.0.1").record.action == "tempfail"


def test_mail_that_we_failed_on_and_let_in_is_not_signed_when_it_comes_back() -> None:
    config = Settings(on_internal_error=InternalError.ACCEPT)
    first = Played(config, keystore()).play(
        MESSAGE, ip=BAD_IP, hook=lambda session: session.broken(RuntimeError("defect"))
    )
    assert first.record.action == "accept"
    second = again(MESSAGE, first, config)
    assert second.actions == ()
    assert second.record.why.endswith("Authentication-Results of ours has results without dmarc")


def test_mail_that_passed_is_signed_as_before() -> None:
    message = signed()
    first = Played(keys=keystore()).play(message, ip=GOOD_IP)
    assert "dmarc=pass" in first.inserted["Authentication-Results"]
    second = again(MESSAGE, first)
    assert [selector for _, selector in second.record.signed] == ["rsa", "ed"]
    assert again(message, first).record.signed == (("example.org", "ed"),)  # rsa's is there and not doubled


def test_the_hosts_own_mail_and_that_of_users_is_signed_as_before() -> None:
    assert Played(keys=keystore()).play(MESSAGE, ip="127.0.0.1", mail_from=b"<>").record.signed
    first = Played(keys=keystore()).play(MESSAGE, ip=BAD_IP)
    assert again(MESSAGE, first, ip=BAD_IP, user="alice").record.signed
    assert not again(MESSAGE, first, Settings(sign_for=SignFor(daemon_names=("in",))), ip=BAD_IP, daemon="in").actions


def test_the_admin_may_have_it_signed() -> None:
    config = Settings(signing=SigningSettings(on_own_verdict=OnOwnVerdict.SIGN))
    first = Played(keys=keystore()).play(MESSAGE, ip=BAD_IP)
    assert again(MESSAGE, first, config).record.signed


def test_the_verdict_of_another_host_of_ours_counts_too() -> None:
    field = b"Authentication-Results: backup.example.net; dmarc=fail header.from=example.org\r\n"
    assert Played(keys=keystore()).play(field + MESSAGE, ip="127.0.0.1").record.signed
    config = Settings(authentication_results=AuthenticationResultsSettings(remove_from=("backup.example.net",)))
    assert not Played(config, keystore()).play(field + MESSAGE, ip="127.0.0.1").actions


@pytest.mark.parametrize(
    ("exempt", "daemon"),
    [(Exempt(daemon_names=("REINJECTED",)), "REINJECTED"), (Exempt(networks=(ip_network("127.0.0.1/32"),)), None)],
)
def test_an_exempt_listener_touches_nothing(exempt: Exempt, daemon: str | None) -> None:
    played = Played(Settings(exempt=exempt), keystore())
    field = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.org\r\n"
    assert played.play(field + MESSAGE, ip="127.0.0.1", daemon=daemon, user="alice").actions == ()
    assert Played(Settings(exempt=exempt), keystore()).play(MESSAGE, ip="127.0.0.2", daemon="other").record.signed


@pytest.mark.parametrize(
    ("value", "against"),
    [
        ("mx.example.net; dmarc=fail header.from=example.org", "dmarc=fail"),
        ("MX.Example.NET.; dmarc=none header.from=Example.ORG", "dmarc=none"),
        ("mx.example.net; dmarc=temperror header.from=example.org", "dmarc=temperror"),
        ("mx.example.net; dmarc=permerror", "dmarc=permerror"),
        ("mx.example.net; spf=pass smtp.mailfrom=example.org; dkim=none", "results without dmarc"),
        ("mx.example.net; none", "results without dmarc"),
        ("mx.example.net; dmarc=fail dmarc=", "a field that can't be parsed"),
        # masquerade_domains has made a host's name into that of its domain, or a list has its own below the author's
        ("mx.example.net; dmarc=fail header.from=web1.example.org", "dmarc=fail"),
        ("mx.example.net; dmarc=pass header.from=example.org; dmarc=fail header.from=example.org", "dmarc=fail"),
        ("mx.example.net; dmarc=pass header.from=example.org", ""),
        ("mx.example.net; auth=pass smtp.auth=alice", ""),
        # a mailing list of ours has put its own address into From
        ("mx.example.net; dmarc=fail header.from=bank.example", ""),
        ("mx.example.net; dmarc=fail header.from=badexample.org", ""),
        ("other.example; dmarc=fail header.from=example.org", ""),
    ],
)
def test_what_a_field_says_against_signing(value: str, against: str) -> None:
    field = HeaderField(b"Authentication-Results", b" " + value.encode())
    assert verdict_against([field], ALICE, IDS) == against


def test_the_worst_of_several_fields_decides() -> None:
    values = [b" mx.example.net; dmarc=pass header.from=example.org", b" mx.example.net; dmarc=fail"]
    for ordered in (values, values[::-1]):
        fields = [HeaderField(b"Authentication-Results", value) for value in ordered]
        assert verdict_against(fields, ALICE, IDS) == "dmarc=fail"


def test_no_author_domain_passes() -> None:
    field = HeaderField(b"Authentication-Results", b" mx.example.net; dmarc=pass header.from=example.org")
    assert verdict_against([field], author_of(b" nobody"), IDS) == "dmarc=pass"
