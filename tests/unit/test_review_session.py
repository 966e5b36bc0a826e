"""What the session does with mail that is not its business."""

from ipaddress import ip_network

import pytest

from mailnotary.config.settings import Exempt, Limits, Mode, Settings
from mailnotary.session.outcome import MessageMode
from support.mail import MESSAGE, Played

SMALL = Limits(header_bytes=1024)
LARGE = b"X: y\r\n" * 1000 + MESSAGE


@pytest.mark.parametrize(
    ("settings", "ip"),
    [
        (Settings(mode=Mode.SIGN, limits=SMALL), "192.0.2.10"),
        (Settings(mode=Mode.VERIFY, limits=SMALL), "127.0.0.1"),
        (Settings(exempt=Exempt((ip_network("192.0.2.0/24"),)), limits=SMALL), "192.0.2.10"),
    ],
)
def test_mail_that_is_neither_signed_nor_verified_may_have_a_header_of_any_size(settings: Settings, ip: str) -> None:
    outcome = Played(settings).play(LARGE, ip=ip)
    assert outcome.record.mode is MessageMode.NONE
    assert outcome.actions == ()


@pytest.mark.parametrize(
    ("mode", "user", "ip"),
    [(Mode.BOTH, None, "192.0.2.10"), (Mode.SIGN, "alice", "192.0.2.10"), (Mode.VERIFY, "alice", "192.0.2.10")],
)
def test_a_header_that_would_have_to_be_read_is_refused_when_too_large(mode: Mode, user: str | None, ip: str) -> None:
    outcome = Played(Settings(mode=mode, limits=SMALL)).play(LARGE, ip=ip, user=user)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (552, "5.3.4")
