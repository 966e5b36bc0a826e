"""A Postfix that passes mail on to another, which signs: `sign_for.require: dmarc` by the fields that it writes."""

from collections.abc import Iterator
from typing import Any

import pytest

from mailnotary import dkim
from mailnotary.crypto import load_private_key
from support.mail import MESSAGE, rsa_pem
from support.postfix import Postfix, postfix
from support.rig import Rig, start

pytestmark = pytest.mark.mta

PEER = "203.0.113.25"  # the first host, as the second sees it


@pytest.fixture(scope="module")
def first() -> Iterator[Postfix]:
    with postfix("", settings={"smtpd_sasl_authenticated_header": "yes"}, hostname="in.example.net") as instance:
        yield instance


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with start(sign_for={"networks": ["127.0.0.0/8", f"{PEER}/32"], "require": "dmarc"}) as running:
        yield running


def passed_on(first: Postfix, rig: Rig, message: bytes, **envelope: Any) -> list[str]:
    """The results of the signatures, after the first host has taken the message and the second got it from there."""
    code, text = first.send(message, sender="alice@example.org", **envelope)
    assert code == 250, text
    mail = first.receive(text)
    return rig.verified(rig.deliver(mail.data, ip=PEER, sender="alice@example.org").data)[0]


def test_what_began_inside_is_signed(first: Postfix, rig: Rig) -> None:
    both = ["pass rsa", "pass ed"]
    assert passed_on(first, rig, MESSAGE, ip="10.1.2.3") == both
    assert passed_on(first, rig, MESSAGE, ip="198.51.100.66", login="alice") == both
    first.sendmail(MESSAGE.replace(b"\r\n", b"\n"), "-i", "-f", "alice@example.org", "al@example.com")
    mail = first.receive()
    assert rig.verified(rig.deliver(mail.data, ip=PEER, sender="alice@example.org").data)[0] == both


def test_what_came_from_outside_is_signed_if_it_passes_dmarc(first: Postfix, rig: Rig) -> None:
    assert passed_on(first, rig, MESSAGE, ip="198.51.100.66") == []
    assert passed_on(first, rig, MESSAGE, ip="198.51.100.66", helo="x with ESMTPSA") == []
    assert passed_on(first, rig, MESSAGE, ip="192.0.2.10") == ["pass rsa", "pass ed"]
    signer = dkim.Signer("example.org", "rsa", load_private_key(rsa_pem()))
    signed = dkim.sign(MESSAGE, signer) + b"\r\n" + MESSAGE
    assert passed_on(first, rig, signed, ip="198.51.100.66") == ["pass ed", "pass rsa"]
    rig.daemon.wait_for("so it is not signed (sign_for.require)")
