"""Mail that a host of ours only passes on: with `sign_for.require: dmarc` it is signed where it passes DMARC."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import Require, Settings, SignFor
from mailnotary.mail.message import HeaderField
from mailnotary.resolver import DnsTempError, RecordKind, ZoneResolver
from mailnotary.session.outcome import MessageMode
from mailnotary.session.received import is_of_the_site, logged_in, origin
from support.mail import BAD_IP, GOOD_IP, MESSAGE, Outcome, Played, keystore, signed, zone

PEER = "203.0.113.25"  # a host of ours beyond this one
OURS = SignFor(networks=(ip_network("203.0.113.0/24"), ip_network("127.0.0.0/8")), require=Require.DMARC)

POSTFIX = "from {helo} (unknown [{ip}])\r\n\tby in.example.net (Postfix) with {protocol} id 4ABC\r\n\tfor <a@b.example>"
SENDMAIL = "from {helo} (host.example [{ip}])\r\n\tby in.example.net (8.18.1/8.18.1) with {protocol} id 4ABC"
EXCHANGE = (
    "from {helo} ({ip}) by EX1.corp.example\r\n (10.0.0.2) with Microsoft SMTP Server id 15.1 via Frontend Transport"
)
EXIM = "from {helo} ([{ip}])\r\n\tby in.example.net with {protocol} (Exim 4.96)\r\n\tid 1-2"
PICKUP = "by in.example.net (Postfix, from userid 1000)\r\n\tid 4ABC; Tue, 14 Nov 2023 22:13:20 +0000"
QMAIL = "(qmail 123 invoked by uid 1000); 14 Nov 2023 22:13:20 -0000"
WEBMAIL = "from [198.51.100.66]\r\n by mail.example.net\r\n with HTTP (HTTP/1.1 POST); Tue, 14 Nov 2023"


def hop(form: str, ip: str = BAD_IP, protocol: str = "ESMTPS", helo: str = "x.example") -> bytes:
    return b"Received: " + form.format(ip=ip, protocol=protocol, helo=helo).encode() + b"\r\n"


def play(head: bytes, message: bytes = MESSAGE, *, sign_for: SignFor = OURS, ip: str = PEER, **options: str) -> Outcome:
    played = Played(Settings(sign_for=sign_for), keystore())
    return played.play(head + message, ip=ip, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [POSTFIX, SENDMAIL, EXCHANGE, EXIM])
def test_spoofed_mail_from_outside_is_not_signed(form: str) -> None:
    outcome = play(hop(form))
    assert outcome.actions == ()
    assert outcome.record.mode is MessageMode.NONE
    assert not outcome.record.signed
    assert "with dmarc=fail" in outcome.record.why
    assert outcome.record.why.endswith("so it is not signed (sign_for.require)")
    assert play(hop(form), sign_for=SignFor(networks=OURS.networks)).record.signed  # the default


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", MESSAGE),  # written there
        (hop(PICKUP), MESSAGE),
        (b"Received: " + QMAIL.encode() + b"\r\n", MESSAGE),
        (hop(POSTFIX, "10.1.2.3"), MESSAGE),
        (hop(EXCHANGE, "10.1.2.3"), MESSAGE),
        (hop(EXCHANGE, "fe80::1%12"), MESSAGE),
        (hop(POSTFIX, "127.0.0.1") + hop(POSTFIX, "203.0.113.7"), MESSAGE),
        (hop(POSTFIX, protocol="ESMTPSA"), MESSAGE),
        (hop(SENDMAIL, protocol="ESMTPA"), MESSAGE),
        (hop(EXIM, protocol="esmtpsa"), MESSAGE),
        (hop(POSTFIX, protocol="UTF8SMTPSA"), MESSAGE),
        (hop(WEBMAIL), MESSAGE),
        (hop(POSTFIX, "10.1.2.3") + hop(POSTFIX, protocol="ESMTPSA"), MESSAGE),
    ],
)
def test_mail_of_the_site_and_of_its_users_is_signed(head: bytes, message: bytes) -> None:
    outcome = play(head, message)
    assert [selector for _, selector in outcome.record.signed] == ["rsa", "ed"]
    assert "outside" not in outcome.record.why


def test_mail_from_outside_that_passes_dmarc_is_signed() -> None:
    outcome = play(hop(POSTFIX, GOOD_IP))
    assert outcome.record.signed
    assert f"it came from outside ({GOOD_IP}) with dmarc=pass" in outcome.record.why
    assert play(hop(POSTFIX), signed()).record.signed == (("example.org", "ed"),)  # rsa's is there and not doubled
    assert not play(hop(POSTFIX), signed().replace(b"Noon", b"Nine")).record.signed


@pytest.mark.parametrize(
    "head",
    [
        hop(PICKUP) + hop(POSTFIX),  # a redirect by way of the sendmail command
        hop(POSTFIX, "10.0.0.9") + hop(POSTFIX),  # a host that receives, then one that sends
        hop(POSTFIX, helo="y by z with ESMTPSA (y [10.0.0.1])"),  # words of the client's HELO
        hop(EXIM, helo="y by z with ESMTPSA"),
        hop(EXCHANGE, helo="y (10.0.0.1) by z"),
        hop(POSTFIX, "10.0.0.1") * 11,
        hop(POSTFIX) + hop(WEBMAIL),  # written by the client
        hop("from {helo}\r\n\tby in.example.net with {protocol}"),  # it hides the client
    ],
)
def test_outside_is_seen_behind_other_hosts_and_false_words(head: bytes) -> None:
    assert not play(head).record.signed


def test_whom_it_does_not_concern() -> None:
    assert play(hop(POSTFIX), ip="127.0.0.1").record.signed  # the host itself
    played = Played(Settings(sign_for=OURS), keystore())
    assert played.play(hop(POSTFIX) + MESSAGE, ip=PEER, user="alice").record.signed


def test_mail_waits_where_dns_leaves_open_whether_it_passes() -> None:
    class Away:
        def lookup(self, name: str, kind: RecordKind) -> object:
            if name == "_dmarc.example.org":
                raise DnsTempError("no answer")
            return ZoneResolver(zone()).lookup(name, kind)

    played = Played(Settings(sign_for=OURS), keystore(), options={"resolver": Away()})
    outcome = played.play(hop(POSTFIX) + MESSAGE, ip=PEER)
    assert outcome.record.action == "tempfail"
    assert "so it waits (sign_for.require)" in outcome.record.why


def test_a_domain_without_a_policy_does_not_pass() -> None:
    data = {name: records for name, records in zone().items() if name != "_dmarc.example.org"}
    outcome = Played(Settings(sign_for=OURS), keystore(), data).play(hop(POSTFIX, GOOD_IP) + MESSAGE, ip=PEER)
    assert not outcome.record.signed
    assert "dmarc=none (no DMARC record), so it is not signed" in outcome.record.why


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_field_breaks_it(first: bytes, second: bytes) -> None:
    fields = [HeaderField(b"Received", value) for value in (first, b" from " + second)]
    came = origin(fields, is_of_the_site)
    assert came is None or came.sender is None or not is_of_the_site(came.sender.address)
    logged_in(first)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_no_helo_makes_a_client_of_postfix_one_of_ours(helo: str) -> None:
    value = b" " + POSTFIX.format(ip=BAD_IP, protocol="ESMTPS", helo=helo).encode()
    assert origin([HeaderField(b"Received", value)], is_of_the_site) is not None
