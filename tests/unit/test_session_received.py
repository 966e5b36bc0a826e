"""Behind a trusted relay: the client is the one in the Received field, whatever its HELO name tries to say."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import InternalError, Limits, Settings, SignFor, SpfAction, SpfSettings, TrustedRelays
from mailnotary.mail.message import HeaderField
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import Reply
from mailnotary.session.received import MAX_RELAYS, Sender, client_address, parse, sender
from support.mail import BAD_IP, GOOD_IP, MESSAGE, Played, keystore, signed

RELAY = "192.0.2.25"
RELAYS = TrustedRelays((ip_network(f"{RELAY}/32"),), ("PROXIED",))
CONFIG = Settings(trusted_relays=RELAYS)
TAIL = b"\r\n\tby relay.example.net (Postfix) with ESMTP id 4ABC\r\n\tfor <bob@example.net>; date"


def came_from(ip: str, helo: str = "mail.example.org") -> bytes:
    literal = f"IPv6:{ip}" if ":" in ip else ip
    return f"Received: from {helo} (unknown [{literal}])".encode() + TAIL + b"\r\n"


@pytest.mark.parametrize(
    ("value", "address", "helo"),
    [
        # Postfix, with and without TLS
        (b" from mail.example.org (unknown [192.0.2.10])" + TAIL, "192.0.2.10", "mail.example.org"),
        (
            b" from mail.example.org (mail.example.org [IPv6:2001:db8::1])"
            b"\r\n\t(using TLSv1.3 with cipher X (256/256 bits)"
            b'\r\n\t (Client CN "x [192.0.2.99]", Issuer "by y" (not verified))' + TAIL,
            "2001:db8::1",
            "mail.example.org",
        ),
        (
            b" from x (y [192.0.2.99]) by z (unknown [198.51.100.66])\r\n\t(using TLSv1.3 with cipher X (256/256 bits)"
            b"\r\n\t key-exchange X25519 server-signature RSA-PSS (4096 bits))\r\n\t(No client certificate requested)"
            + TAIL,
            "198.51.100.66",
            "",
        ),
        # Sendmail
        (
            b" from mail.example.org (x.example [192.0.2.10] (may be forged))\r\n\tby relay.example.net (8.17.1)",
            "192.0.2.10",
            "mail.example.org",
        ),
        (b" from [192.0.2.9] (IDENT:bob@x.example [192.0.2.10])" + TAIL, "192.0.2.10", "[192.0.2.9]"),
        (b" FROM\tx ([192.0.2.10])" + TAIL, "192.0.2.10", "x"),
        # on one line, and folded elsewhere
        (b" from x.example (y.example [192.0.2.10]) by relay.example.net with ESMTP; date", "192.0.2.10", "x.example"),
        (b" from x.example\r\n (y.example [192.0.2.10])\r\n by relay.example.net; date", "192.0.2.10", "x.example"),
        # what a client says with HELO takes no other's place, and is not a name where it has spaces
        (b" from x (y [192.0.2.99]) (unknown [198.51.100.66])" + TAIL, "198.51.100.66", ""),
        (b" from x (y [192.0.2.99]) by z (unknown [198.51.100.66])" + TAIL, "198.51.100.66", ""),
        (b" from x [192.0.2.99] (unknown [198.51.100.66])" + TAIL, "198.51.100.66", ""),
        (b" from [192.0.2.99] (unknown [198.51.100.66])" + TAIL, "198.51.100.66", "[192.0.2.99]"),
        (b" from  (unknown [::ffff:192.0.2.10])" + TAIL, "192.0.2.10", ""),
        (b" from \xff (unknown [192.0.2.10])" + TAIL, "192.0.2.10", ""),
    ],
)
def test_the_client_of_a_received_field(value: bytes, address: str, helo: str) -> None:
    assert parse(value) == Sender(ip_address(address), helo)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" by relay.example.net; date",
        b" from mail.example.org by relay.example.net; date",
        b" from localhost (unknown [unix:/run/x])" + TAIL,
        b" from x (y [999.1.1.1])" + TAIL,
        b" from x (y [192.0.2.10]\r\n [192.0.2.11]) by z",
        # more than one could be meant
        b" from x (y [192.0.2.99]) by z (unknown [198.51.100.66]) by relay.example.net; date",
        b" from x (y [198.51.100.66]) by z ([10.0.0.1])\r\n with ESMTP; date",
        b" from a b (y [192.0.2.99]) by relay.example.net; date",
        b" (qmail 1 invoked from network); date",
    ],
)
def test_no_client_where_the_field_names_none_or_two(value: bytes) -> None:
    assert parse(value) is None


@given(helo=st.text("x ([.]):192019BbYyfrom\t", max_size=40))
def test_no_helo_name_makes_another_client(helo: str) -> None:
    """As Postfix writes it, and as a relay that does not fold."""
    clause = f" from {helo} (unknown [198.51.100.66])".encode()
    for value in (clause + TAIL, clause + b" by relay.example.net with ESMTP; date"):
        found = parse(value)
        assert found is None or found.address == IPv4Address("198.51.100.66")


@given(value=st.binary(max_size=200))
def test_any_octets_are_a_client_or_none(value: bytes) -> None:
    found = parse(value)
    assert found is None or isinstance(found.address, IPv4Address | IPv6Address)


def trusted(address: IPv4Address | IPv6Address) -> bool:
    return address == IPv4Address(RELAY)


def test_relays_behind_relays_are_looked_through() -> None:
    inner, outer = (HeaderField(b"Received", came_from(ip)[9:]) for ip in (RELAY, BAD_IP))
    found = Sender(IPv4Address(BAD_IP), "mail.example.org")
    assert sender([inner, inner, outer, inner], trusted) == (found, False)
    assert sender([inner] * MAX_RELAYS + [outer], trusted) == (None, False)
    assert sender([inner], trusted) == (None, True)
    assert sender([], trusted) == (None, True)


def test_an_address_in_other_clothes_is_the_same() -> None:
    assert client_address("::ffff:192.0.2.1") == IPv4Address("192.0.2.1")
    assert client_address("fe80::1%eth0") == IPv6Address("fe80::1")
    assert client_address(None) is client_address("nonsense") is None


# --- in a session ---


def test_the_relays_client_is_judged_in_its_place() -> None:
    message = came_from(GOOD_IP) + MESSAGE
    outcome = Played(CONFIG, keystore()).play(message, ip=RELAY, helo="relay.example.net")
    assert outcome.record.mode is MessageMode.VERIFY
    assert (str(outcome.record.client), outcome.record.helo) == (GOOD_IP, "mail.example.org")
    value = outcome.inserted["Authentication-Results"]
    assert "spf=pass" in value
    assert {"helo": "pass"}.items() <= {one.identity: one.status for one in outcome.record.results.spf}.items()
    assert "relayed by 192.0.2.25, which is in trusted_relays.networks" in outcome.record.why
    # the zone lets 192.0.2.0/24 send for example.org, so the relay itself would pass
    spoofed = Played(CONFIG, keystore()).play(came_from(BAD_IP) + MESSAGE, ip=RELAY)
    assert "dmarc=fail" in spoofed.inserted["Authentication-Results"]


def test_signatures_of_relayed_mail_are_verified_and_forged_results_deleted() -> None:
    forged = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.org\r\n"
    outcome = Played(CONFIG).play(came_from(BAD_IP) + forged + signed(), ip=RELAY)
    assert [one.status for one in outcome.record.results.signatures] == ["pass"]
    assert len(outcome.deletes) == 1


def test_a_login_of_the_relay_is_not_its_clients() -> None:
    outcome = Played(CONFIG, keystore()).play(came_from(BAD_IP) + MESSAGE, ip=RELAY, user="relay")
    assert outcome.record.mode is MessageMode.VERIFY
    assert not outcome.record.signed


def test_mail_of_our_networks_through_a_relay_is_signed() -> None:
    config = Settings(trusted_relays=RELAYS, sign_for=SignFor(networks=(ip_network("10.0.0.0/8"),)))
    outcome = Played(config, keystore()).play(came_from("10.0.0.5") + MESSAGE, ip=RELAY)
    assert outcome.record.signed
    assert not Played(config, keystore()).play(came_from(BAD_IP) + MESSAGE, ip=RELAY).record.signed


def test_what_a_proxy_filter_hands_on_from_this_machine_is_not_ours() -> None:
    proxied = Played(CONFIG, keystore()).play(came_from(BAD_IP) + MESSAGE, ip="127.0.0.1", daemon="PROXIED")
    assert "dmarc=fail" in proxied.inserted["Authentication-Results"]
    own = Played(CONFIG, keystore()).play(MESSAGE, ip="127.0.0.1", daemon="PROXIED")
    assert own.record.signed


def test_a_field_that_names_no_client_makes_no_mail_ours() -> None:
    message = b"Received: from x (y [127.0.0.1]) by z (unknown [198.51.100.66]) by relay; date\r\n" + MESSAGE
    outcome = Played(CONFIG, keystore()).play(message, ip="127.0.0.1", daemon="PROXIED")
    assert outcome.record.mode is MessageMode.VERIFY
    assert [one.status for one in outcome.record.results.spf] == ["none"]
    assert "no Received field says from whom" in outcome.record.why


def test_spf_refuses_relayed_mail_at_its_end() -> None:
    config = Settings(trusted_relays=RELAYS, spf=SpfSettings(fail=SpfAction.REJECT))
    outcome = Played(config).play(came_from(BAD_IP) + MESSAGE, ip=RELAY)
    assert outcome.reply_at_mail is None
    assert outcome.reply is not None
    assert outcome.reply.code == 550
    assert BAD_IP in outcome.reply.text
    assert Played(config).play(came_from(GOOD_IP) + MESSAGE, ip=RELAY).reply is None


def test_relayed_mail_that_breaks_off_waits_for_it_may_be_ours() -> None:
    config = Settings(trusted_relays=RELAYS, on_internal_error=InternalError.ACCEPT, limits=Limits(header_bytes=4096))
    outcome = Played(config, keystore()).play(came_from(BAD_IP) * 100 + MESSAGE, ip=RELAY)
    assert isinstance(outcome.reply, Reply)


def test_a_listed_tls_client_is_ours() -> None:
    config = Settings(sign_for=SignFor(tls_clients=("mail2.example.org",)))
    outcome = Played(config, keystore()).play(MESSAGE, ip=BAD_IP, tls_client="mail2.example.org")
    assert outcome.record.signed
    assert "TLS certificate of mail2.example.org" in outcome.record.why
    for other in ("mail3.example.org", "MAIL2.example.org", None):
        assert not Played(config, keystore()).play(MESSAGE, ip=BAD_IP, tls_client=other).record.signed
    assert not Played(keys=keystore()).play(MESSAGE, ip=BAD_IP, tls_client="mail2.example.org").record.signed
