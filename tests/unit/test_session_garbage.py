"""What a message holds is freed with it, whatever DNS said: workers look for cyclic garbage seldom, and a message may
hold a megabyte."""

import gc
import weakref
from typing import Any

import pytest

from mailnotary.resolver import Answer, DnsTempError, RecordKind, ZoneResolver
from mailnotary.session import session
from mailnotary.session.budget import Budget
from support.mail import Played

ZONE: dict[str, Any] = {
    "syntax.example": [{"TXT": "v=spf1 moo -all"}],
    "two.example": [{"TXT": "v=spf1 -all"}, {"TXT": "v=spf1 -all"}],
    "include.example": [{"TXT": "v=spf1 include:none.example -all"}],
    "temporary.example": [{"TXT": "v=spf1 a:broken.example -all"}],
    "many.example": [{"TXT": "v=spf1 " + "a:x.example " * 11}],
    "loop.example": [{"TXT": "v=spf1 include:loop.example"}],
    "explained.example": [{"TXT": "v=spf1 -all exp=broken.example"}],
    "person.example": [{"TXT": "v=spf1 exists:%{l}.x -all"}],
    "pass.example": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}],
    "k._domainkey.revoked.example": [{"TXT": "v=DKIM1; p="}],
    "k._domainkey.bad.example": [{"TXT": "v=DKIM1; p=!!"}],
    "_dmarc.syntax.example": [{"TXT": "v=DMARC1; p=reject"}],
    "_dmarc.two.example": [{"TXT": "v=DMARC1; p=reject; rua=moo"}],
}


class Faulty(ZoneResolver):
    """The zone; names with "broken" in them have no answer."""

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        if "broken" in name:
            raise DnsTempError(f"{kind} {name}: SERVFAIL")
        return super().lookup(name, kind)


@pytest.mark.parametrize("signer", ["revoked", "bad", "none", "broken", "x y"])
@pytest.mark.parametrize("domain", [*(name.removesuffix(".example") for name in list(ZONE)[:9]), "none", "broken"])
def test_no_message_is_left_to_the_garbage_collector(domain: str, signer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[weakref.ref[Any]] = []

    class Noted(Budget):  # each message has one of its own
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            messages.append(weakref.ref(self))

    monkeypatch.setattr(session, "Budget", Noted)
    tags = f"v=1; a=rsa-sha256; d={signer}.example; s=k; h=from; bh=MTIz; b=AAAA"
    header = f"From: a@{domain}.example\r\nDKIM-Signature: {tags}\r\n"
    played = Played(options={"resolver": Faulty(ZONE)})
    gc.disable()
    try:
        sender = f"<s\u00f6der@{domain}.example>".encode()
        played.play(f"{header}\r\nhi\r\n".encode(), helo=f"{domain}.example", mail_from=sender)
        assert [message() for message in messages] == [None]
    finally:
        gc.enable()
