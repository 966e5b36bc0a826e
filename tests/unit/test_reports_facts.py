"""What a report says of one message."""

from dataclasses import replace
from typing import Any

import pytest

from mailnotary.authres import Results
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.policy_record import parse
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.reports.facts import MAX_SIGNATURES, Fact, Published, Signature, Spf, fact_of
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import DmarcVerdict, InsertHeader, Quarantine, Reply
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus
from support.messages import refused, verified
from support.reports import told

TAGGED = (InsertHeader(0, "Authentication-Results", " mx.example.org; none"),)
MONITOR = DmarcVerdict("tag", "reject", "dmarc.mode is monitor")


def fact(record: Any) -> Fact:
    found = fact_of(told(record))
    assert found is not None
    return found


def failed(policy: str, **more: Any) -> Any:
    """A message that fails DMARC under a record like "reject; t=y"."""
    record = parse(f"v=DMARC1; p={policy}".encode())
    disposition = record.policy
    if record.testing:
        disposition = Policy.QUARANTINE if disposition is Policy.REJECT else Policy.NONE
    result = DmarcResult(
        DmarcStatus.FAIL, "a.example", record.policy, disposition, record=record, policy_domain="a.example"
    )
    return verified(results=Results(dmarc=result), **({"actions": TAGGED} | more))


def test_a_message_that_passes() -> None:
    found = fact(verified())
    assert found.published == Published(
        *("example.org", "reject", "quarantine", "quarantine", "r", "s", True, "u", "0"),
        rua=("mailto:dmarc@example.org",),
        problems=(),
    )
    record = found.record
    assert (record.source_ip, record.disposition, record.dkim, record.spf) == ("192.0.2.1", "pass", "pass", "pass")
    assert (record.header_from, record.envelope_from, record.reasons) == ("example.org", "example.org", ())
    assert record.signatures == (Signature("example.org", "rsa", "pass", ""),)
    assert record.spf_result == Spf("example.org", "pass", "")


def test_of_a_policy_none_that_passes_nothing_was_done() -> None:
    dmarc = replace(verified().results.dmarc or DmarcResult(DmarcStatus.NONE, ""), policy=Policy.NONE)
    assert fact(verified(results=Results(dmarc=dmarc))).record.disposition == "none"


REFUSAL = Reply(550, "5.7.1", "Email rejected per DMARC policy")


@pytest.mark.parametrize(
    ("policy", "more", "disposition", "kinds"),
    [
        ("reject", {"actions": (REFUSAL,)}, "reject", []),
        ("reject", {"actions": (*TAGGED, Quarantine("x"))}, "quarantine", ["local_policy"]),
        ("quarantine", {"actions": (*TAGGED, Quarantine("x"))}, "quarantine", []),
        ("quarantine", {"actions": (REFUSAL,)}, "reject", ["local_policy"]),
        ("reject", {"verdict": MONITOR}, "none", ["local_policy"]),
        ("reject", {}, "none", ["local_policy"]),
        ("none", {}, "none", []),
        ("none", {"actions": (Reply(550, "5.7.23", "SPF"),)}, "reject", ["local_policy"]),
        ("reject; t=y", {"actions": (*TAGGED, Quarantine("x"))}, "quarantine", ["policy_test_mode"]),
        ("reject; t=y", {}, "none", ["policy_test_mode", "local_policy"]),
        ("quarantine; t=y", {}, "none", ["policy_test_mode"]),
        ("none; t=y", {}, "none", []),
        (
            "reject",
            {"verdict": DmarcVerdict("tag", "reject", "signed by l.example, in dmarc.exempt.dkim_domains")},
            "none",
            ["trusted_forwarder"],
        ),
        ("reject", {"reachable": True}, "none", ["local_policy"]),
        ("reject", {"regardless": True}, "none", ["local_policy"]),
    ],
)
def test_the_disposition_and_why_it_differs_from_the_policy(
    policy: str, more: dict[str, Any], disposition: str, kinds: list[str]
) -> None:
    record = fact(failed(policy, **more)).record
    assert record.disposition == disposition
    assert [kind for kind, _ in record.reasons] == kinds
    assert (record.dkim, record.spf) == ("fail", "fail")


def test_where_dns_did_not_answer_the_reason_says_so() -> None:
    result = DmarcResult(
        DmarcStatus.TEMPERROR,
        "a.example",
        Policy.REJECT,
        record=parse(b"v=DMARC1; p=reject"),
        policy_domain="a.example",
    )
    record = fact(verified(results=Results(dmarc=result))).record
    assert (record.disposition, record.reasons) == (
        *("none",),
        (("other", "DMARC ended in temperror, so the policy was not applied"),),
    )


@pytest.mark.parametrize(
    "record",
    [
        verified(mode=MessageMode.SIGN),
        verified(results=Results()),
        verified(results=Results(dmarc=DmarcResult(DmarcStatus.NONE, "a.example"))),
        failed("reject", actions=(Reply(451, "4.7.24", "later"),)),  # it comes again, and is counted then
        verified(is_report=True),
        verified(client="192.0.2.1", results=Results(dmarc=replace(refused().results.dmarc, policy_domain="no/name"))),  # type: ignore[type-var]
        replace(verified(), client=None),
    ],
)
def test_what_is_not_reported(record: Any) -> None:
    assert fact_of(told(record)) is None


def test_a_forgery_with_the_subject_of_a_report_is_reported() -> None:
    assert fact(replace(refused(), is_report=True)).record.disposition == "reject"


@pytest.mark.parametrize(
    ("mail_from", "envelope_from"),
    [
        ("", ""),
        ("joe@Example.ORG", "example.org"),
        ("joe@bücher.example", "xn--bcher-kva.example"),
        ("joe@[192.0.2.7]", "[192.0.2.7]"),
        ("joe@a\0b", None),
        ("joe@" + "x" * 300, None),
        ("joe@[" + "x" * 300 + "]", None),
        ("@example.org", "example.org"),  # with history.addresses: domain
    ],
)
def test_the_envelope_sender(mail_from: str, envelope_from: str | None) -> None:
    assert fact(verified(mail_from=mail_from)).record.envelope_from == envelope_from


def test_the_source_has_no_zone() -> None:
    assert fact(verified(client="fe80::1%eth0")).record.source_ip == "fe80::1"


def test_signatures_come_in_the_order_of_preference_and_no_more_than_so_many() -> None:
    def signature(domain: str, status: DkimStatus = DkimStatus.PASS) -> DkimResult:
        return DkimResult(status, domain, "s", reason="their words", brief="our words")

    signatures = (
        *(signature("example.org", DkimStatus.FAIL), signature("list.example"), signature("news.example.org")),
        *(signature("", DkimStatus.PERMERROR), signature("example.org")),
        *[signature(f"{n}.example", DkimStatus.NEUTRAL) for n in range(14)],
    )
    record = fact(verified(results=replace(verified().results, dkim=signatures))).record
    names = [one.domain for one in record.signatures]
    assert names[:4] == ["example.org", "news.example.org", "list.example", "example.org"]
    assert "" not in names
    assert len(names) <= MAX_SIGNATURES
    assert record.signatures[0].reason == "our words"


def test_only_the_spf_result_of_mail_from_counts() -> None:
    helo = SpfResult(SpfStatus.PASS, SpfIdentity.HELO, "mail.example.org")
    unknown = SpfResult(SpfStatus.NONE, SpfIdentity.MAILFROM, "")
    assert fact(verified(results=replace(verified().results, spf=(helo, unknown)))).record.spf_result is None
