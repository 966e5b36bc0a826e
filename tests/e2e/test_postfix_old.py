"""Postfix with `milter_protocol = 2`, as many a how-to has it: header values come without their leading space."""

from collections.abc import Iterator

import pytest

from support.mail import GOOD_IP, MESSAGE, signed
from support.rig import Rig, results, start

pytestmark = pytest.mark.mta


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    settings = {"milter_protocol": "2"}
    with start(postfix_settings=settings, signing={"canonicalization": "simple/simple"}) as running:
        yield running


def test_inbound_mail_verifies(rig: Rig) -> None:
    mail = rig.deliver(signed(), ip=GOOD_IP, helo="mail.example.org", sender="alice@example.org")
    assert "dkim=pass" in results(mail.data)
    assert mail.data.startswith(b"Authentication-Results: mx."), "one space, not two"


@pytest.mark.parametrize("subject", [b"Subject: one space", b"Subject:none", b"Subject:   three", b"Subject:\ttab"])
def test_outbound_mail_is_signed_so_that_it_verifies(rig: Rig, subject: bytes) -> None:
    message = MESSAGE.replace(b"Subject: lunch", subject)
    mail = rig.deliver(message, ip="203.0.113.7", login="bob", sender="bob@example.org")
    assert rig.verified(mail.data) == (["pass rsa", "pass ed"], [True, True])


def test_each_worker_warns_once(rig: Rig) -> None:
    assert 1 <= len(rig.daemon.lines("milter_protocol below 6")) <= len(rig.daemon.workers())
