"""ARC through a real Postfix: what is sealed there holds behind it, and a trusted list gets through."""

from collections.abc import Iterator

import dkim as dkimpy
import pytest

from mailnotary import arc
from mailnotary.resolver import RecordKind, ZoneResolver
from support import arc as craft
from support.dkim import key, key_record
from support.mail import BAD_IP, GOOD_IP, signed
from support.rig import Rig, body, fields, start

pytestmark = pytest.mark.mta

ALICE = {"ip": GOOD_IP, "helo": "mail.example.org", "sender": "alice@example.org"}
LIST = {"ip": BAD_IP, "helo": "lists.example", "sender": "bounces@lists.example"}
PASSED = "mx.lists.example; dmarc=pass header.from=example.org"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    key_of_list = {"sel._domainkey.lists.example": [{"TXT": key_record(key())}]}
    policy = {"_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject"}]}
    with start(
        zone_too=key_of_list | policy,
        dmarc={"mode": "enforce", "reject": "reject"},
        arc={"trusted_sealers": ["lists.example"], "seal": "example.org"},
    ) as running:
        yield running


def test_a_message_is_sealed_and_the_seal_holds_behind_postfix(rig: Rig) -> None:
    mail = rig.deliver(signed(), **ALICE)
    zone = ZoneResolver(rig.zone)
    result = arc.verify(mail.data, zone)
    assert (result.status, result.reason, result.oldest_pass, len(result.sets)) == ("pass", "", 0, 1)

    def dns(name: bytes, timeout: int = 5) -> bytes:
        return zone.lookup(name.decode().rstrip("."), RecordKind.TXT).texts[0]

    assert dkimpy.arc_verify(mail.data, dnsfunc=dns)[0] == b"pass"


def test_mail_of_a_trusted_list_gets_through_and_is_sealed_once_more(rig: Rig) -> None:
    posted = b"Subject: [list] hi\r\n" + signed() + b"-- \r\nA footer.\r\n"
    mail = rig.deliver(craft.sealed(posted, assessment=PASSED), **LIST)
    (said,) = fields(mail.data, "Authentication-Results")
    assert "dmarc=fail" in said
    assert "policy.override=arc" in said
    assert f"smtp.remote-ip={BAD_IP} header.oldest-pass=0" in said
    result = arc.verify(mail.data, ZoneResolver(rig.zone))
    assert (result.status, [one.domain for one in result.sets]) == ("pass", ["lists.example", "example.org"])
    assert body(mail.data).endswith(b"A footer.\r\n")


def test_a_chain_that_was_broken_after_the_list_helps_nobody(rig: Rig) -> None:
    posted = craft.sealed(b"Subject: [list] hi\r\n" + signed() + b"A footer.\r\n", assessment=PASSED)
    code, text = rig.postfix.send(posted + b"more\r\n", **LIST)
    assert code == 550
    assert "DMARC policy" in text
