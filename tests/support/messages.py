"""Outcomes of messages as a session gives them, for tests of what becomes of them."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from mailnotary.authres import Results
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.policy_record import parse
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AddrSpec
from mailnotary.session.outcome import MessageMode, MessageRecord
from mailnotary.session.policy import DmarcVerdict, InsertHeader, Reply
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus

POLICY = parse(b"v=DMARC1; p=reject; sp=quarantine; aspf=s; t=y; rua=mailto:dmarc@example.org")


def verified(
    queue_id: str = "4ABC", *, domain: str = "example.org", client: str = "192.0.2.1", **more: Any
) -> MessageRecord:
    """A message from elsewhere that passes all checks."""
    results = Results(
        spf=(
            SpfResult(SpfStatus.PASS, SpfIdentity.HELO, "mail.example.org", "a", reason="matches a", lookups=1),
            SpfResult(
                SpfStatus.PASS, SpfIdentity.MAILFROM, domain, "ip4:192.0.2.0/24", reason="matches ip4", lookups=1
            ),
        ),
        dkim=(DkimResult(DkimStatus.PASS, domain, "rsa", f"@{domain}", "rsa-sha256", 2048, "", "c2ln"),),
        dmarc=DmarcResult(
            *(
                DmarcStatus.PASS,
                domain,
                Policy.REJECT,
                Policy.NONE,
                domain,
                True,
                True,
                "SPF and DKIM aligned",
                "aligned",
            ),
            record=POLICY,
            policy_domain=domain,
        ),
    )
    record = MessageRecord(
        queue_id=queue_id,
        client=ip_address(client),
        helo="mail.example.org",
        mail_from=f"alice@{domain}",
        auth_user=None,
        mode=MessageMode.VERIFY,
        why="the client is not authenticated",
        author=Author((AddrSpec("alice", domain),), (domain,)),
        results=results,
        verdict=DmarcVerdict(),
        actions=(InsertHeader(0, "Authentication-Results", " mx.example.org; none"),),
        milliseconds=1.26,
        questions=4,
    )
    return replace(record, **more)


def refused(queue_id: str = "4DEF", *, domain: str = "bank.example", client: str = "198.51.100.7") -> MessageRecord:
    """A message that fails DMARC under p=reject, and is refused for it."""
    answer = Reply(550, "5.7.1", f"Email rejected per DMARC policy for {domain}: nothing passed")
    results = Results(
        spf=(SpfResult(SpfStatus.FAIL, SpfIdentity.MAILFROM, domain, "-all", "go away", "matches -all", 2),),
        dkim=(),
        dmarc=DmarcResult(
            *(DmarcStatus.FAIL, domain, Policy.REJECT, Policy.REJECT, domain, False, False, "nothing passed", "failed"),
            record=parse(b"v=DMARC1; p=reject"),
            policy_domain=domain,
        ),
    )
    return verified(
        queue_id,
        domain=domain,
        client=client,
        results=results,
        verdict=DmarcVerdict("reject", reply=answer),
        actions=(answer,),
    )
