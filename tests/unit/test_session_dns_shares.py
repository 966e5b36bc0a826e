"""No name that a sender chooses, however slow or large its DNS, keeps the policy of the domain that is forged from
being followed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from mailnotary import spf
from mailnotary.config.settings import DmarcMode, DmarcSettings, Limits, Settings
from mailnotary.resolver import Answer, DnsTempError, MessageResolver, RecordKind, ZoneResolver
from mailnotary.session import budget
from support.mail import BAD_IP, MESSAGE, NOW, Outcome, Played, zone

REVERSE = "66.100.51.198.in-addr.arpa"
SETTINGS = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE), limits=Limits(message_seconds=2.0, spf_seconds=1.0))
ZONE: dict[str, Any] = {
    "bank.example": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}],
    "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
    "ptr.example": [{"TXT": "v=spf1 ptr -all"}],
    "_dmarc.ptr.example": [{"TXT": "v=DMARC1; p=reject"}],
    "p.example": [{"TXT": "v=spf1 exists:%{p}.allowed.p.example -all"}],
    "_dmarc.p.example": [{"TXT": "v=DMARC1; p=reject"}],
    "slow.evil.example": [{"TXT": "v=spf1 " + " ".join(f"a:slow{i}.evil.example" for i in range(5)) + " -all"}],
    **{f"slow{i}.evil.example": [{"A": "192.0.2.7"}] for i in range(10)},
    "many.evil.example": [{"TXT": "v=spf1 " + "mx:mx.evil.example " * 10 + "-all"}],
    "mx.evil.example": [{"MX": [i, f"h{i}.evil.example"]} for i in range(10)],
    "large.evil.example": [{"TXT": "v=spf1 " + " ".join(f"a:large{i}.evil.example" for i in range(10)) + " -all"}],
    **{f"h{i}.evil.example": [{"A": "192.0.2.7"}] for i in range(10)},
    **{f"large{i}.evil.example": [{"A": f"10.0.{i}.{j}"} for j in range(256)] * 3 for i in range(10)},
    REVERSE: [{"PTR": f"slow{i}.evil.example"} for i in range(10)],
}


@pytest.fixture(autouse=True)
def dns_takes_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where a question waits: how busy the machine is decides nothing."""
    now = 0.0

    def clock() -> float:
        return now

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(budget, "MessageResolver", partial(MessageResolver, clock=clock))
    for check in (spf.check_helo, spf.check_mail_from):
        monkeypatch.setattr(spf, check.__name__, partial(check, clock=clock))


@dataclass
class Slow:
    """The zone; what has "slow" in its name answers after 0.23 s, with "never" not at all, with "broken" SERVFAIL."""

    zone: ZoneResolver = field(default_factory=lambda: ZoneResolver(ZONE))

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        return self.lookup_within(name, kind, 60.0)

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        takes = 60.0 if "never" in name else 0.23 if "slow" in name and kind is not RecordKind.TXT else 0.0
        time.sleep(min(takes, seconds))
        if takes > seconds:
            raise DnsTempError(f"{kind} {name}: no reply in time", "TIMEOUT")
        if "broken" in name:
            raise DnsTempError(f"{kind} {name}: SERVFAIL")
        return self.zone.lookup(name, kind)

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """Each takes its time when it is asked."""


def signatures(domain: str, selector: str, count: int) -> str:
    return "".join(
        f"DKIM-Signature: v=1; a=rsa-sha256; d=d{i}.{domain}; s={selector}; h=from; bh=MTIz; b=AAAA; t={NOW}\r\n"
        for i in range(count)
    )


def play(head: str, helo: str, mail_from: str) -> Outcome:
    message = head.encode() + b"\r\n\r\nhi\r\n"
    played = Played(SETTINGS, options={"resolver": Slow()})
    return played.play(message, ip=BAD_IP, helo=helo, mail_from=mail_from.encode())


@pytest.mark.parametrize(
    ("helo", "mail_from", "signatures"),
    [
        ("slow.evil.example", "<>", ""),
        ("slow.evil.example", "<a@bank.example>", ""),
        ("slow.evil.example", "<a@slow.evil.example>", signatures("never.example", "never", 20)),
        ("many.evil.example", "<a@many.evil.example>", ""),
        ("large.evil.example", "<a@large.evil.example>", signatures("evil.example", "k", 20)),
        ("large.evil.example", "<a@bank.example>", signatures("never.example", "never", 1)),
    ],
)
def test_a_forged_message_is_refused(helo: str, mail_from: str, signatures: str) -> None:
    reply = play(f"{signatures}From: ceo@bank.example", helo, mail_from).reply
    assert reply is not None
    assert reply.code == 550


@pytest.mark.parametrize(("helo", "domain"), [("h.example", "BANK.example"), ("H.Example", "bank.example")])
def test_a_name_in_capitals_is_asked_for_once(helo: str, domain: str) -> None:
    """What is begun with early is what the check then asks, in the very same letters."""
    questions = [
        play("From: ceo@bank.example", helo, f"<a@{domain}>").record.questions
        for helo, domain in ((helo, domain), ("h.example", "bank.example"))
    ]
    assert questions[0] == questions[1]


@pytest.mark.parametrize("domain", ["ptr.example", "p.example"])
def test_names_of_the_client_that_never_answer_are_no_match(domain: str) -> None:
    """Five of them would take all the time of MAIL FROM."""
    outcome = play(f"From: ceo@{domain}", "h.example", f"<a@{domain}>")
    assert [str(result.status) for result in outcome.record.results.spf] == ["none", "fail"]
    assert outcome.reply is not None
    assert outcome.reply.code == 550


def test_a_selector_that_does_not_answer_lets_nobody_in() -> None:
    for selector in ("broken", "never"):
        reply = play(f"{signatures('bank.example', selector, 1)}From: a@bank.example", "h", "<a@evil.example>").reply
        assert reply is not None
        assert reply.code == 451


def test_a_name_with_dead_servers_below_the_forged_one_lets_nobody_in() -> None:
    reply = play("From: a@broken.bank.example", "h", "<a@evil.example>").reply
    assert reply is not None
    assert reply.code == 451


def test_the_authors_signature_is_looked_at_first() -> None:
    """Keys of others that never answer use up no time of its own."""
    head = signatures("never.example", "never", 5) + signatures("bank.example", "missing", 1)
    results = play(f"{head}From: a@d0.bank.example", "h", "<a@evil.example>").record.results.signatures
    assert [str(result.status) for result in results] == ["temperror"] * 5 + ["permerror"]


class SlowKeys(ZoneResolver):
    """Names of slow.example never answer; each takes half a second, if there is so much time left."""

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        if name.endswith("slow.example"):
            time.sleep(min(seconds, 0.5))
            raise DnsTempError(f"{kind} {name}: no reply in time", "TIMEOUT")
        return self.lookup(name, kind)

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """Each takes its time when it is asked."""


def test_keys_that_never_answer_use_up_no_time_of_the_policy() -> None:
    settings = replace(SETTINGS, limits=Limits(message_seconds=1.0))
    tags = b"v=1; a=rsa-sha256; s=s; h=from; bh=MTIz; b=AAAA"
    slow = b"".join(b"DKIM-Signature: %b; d=d%d.slow.example\r\n" % (tags, number) for number in range(10))
    played = Played(settings, options={"resolver": SlowKeys(zone())})
    outcome = played.play(slow + MESSAGE, ip=BAD_IP, helo="evil.example", mail_from=b"<eve@evil.example>")
    assert [result.status for result in outcome.record.results.signatures] == ["temperror"] * 10
    assert outcome.reply is not None
    assert outcome.reply.code == 550
