"""The messages of a period, counted by policy domain with bounded memory."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from mailnotary.authres import Results
from mailnotary.reports import gather
from mailnotary.reports.gather import Gathered, gathering
from mailnotary.reports.period import Period, ended, periods_of
from support.messages import refused, verified
from support.reports import BEGIN, told, under


def gathered(messages: Iterable[dict[str, Any]]) -> dict[str, tuple[Gathered, list[Any]]]:
    with gathering(lambda domain: domain != "unwanted.example") as gatherer:
        gatherer.add(messages)
        count = gatherer.finish()
        found = {report.domain: (report, list(report.records())) for report in gatherer.reports()}
    assert len(found) == count
    return found


def test_messages_are_counted_by_domain_source_and_identifiers() -> None:
    messages = [
        *[told(verified(domain="a.example"))] * 3,
        told(verified(domain="a.example", client="192.0.2.2")),
        told(verified(domain="a.example", mail_from="")),
        told(refused(domain="b.example")),
        told(verified(domain="unwanted.example")),
    ]
    found = gathered(messages)
    assert sorted(found) == ["a.example", "b.example"]
    report, records = found["a.example"]
    assert (report.messages, report.told) == (5, 5)
    assert sorted((record.source_ip, record.envelope_from, count) for record, count in records) == [
        *(("192.0.2.1", "", 1), ("192.0.2.1", "a.example", 3), ("192.0.2.2", "a.example", 1))
    ]


def test_subdomains_are_in_the_report_of_the_domain_whose_record_applies() -> None:
    dmarc = verified().results.dmarc
    assert dmarc is not None
    below = verified(results=Results(dmarc=replace(dmarc, domain="foo.example.org", policy_domain="example.org")))
    [(report, records)] = gathered([told(below), told(verified())]).values()
    assert report.domain == "example.org"
    assert {record.header_from for record, _ in records} == {"example.org", "foo.example.org"}


def test_the_last_policy_of_the_period_is_the_one_and_what_followed_another_says_so() -> None:
    earlier = under(refused(), "v=DMARC1; p=reject; rua=mailto:old@bank.example")
    later = under(refused(), "v=DMARC1; p=none; rua=mailto:new@bank.example")
    [(report, records)] = gathered([told(earlier), told(later), told(earlier), told(later)]).values()
    assert report.published.rua == ("mailto:new@bank.example",)
    reasons = {record.reasons for record, _ in records}
    assert reasons == {(("other", "evaluated under an earlier policy record"),), ()}
    assert sum(count for _, count in records) == 4


def test_records_that_do_not_depend_on_the_change_are_one() -> None:
    earlier = under(verified(), "v=DMARC1; p=none; rua=mailto:old@example.org")
    later = under(verified(), "v=DMARC1; p=none; rua=mailto:new@example.org")
    [(report, records)] = gathered([told(earlier), told(later)]).values()
    assert [count for _, count in records] == [2]
    assert report.messages == 2


def test_what_is_on_disk_and_what_is_in_memory_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_KEPT", 7)
    chance = random.Random(5)
    kinds = [verified(domain=f"d{n % 4}.example", client=f"192.0.2.{n}") for n in range(40)]
    stories = [told(kind) for kind in kinds]
    picks = [chance.randrange(40) for _ in range(2000)]
    found = gathered(stories[pick] for pick in picks)
    wanted = Counter((f"d{pick % 4}.example", f"192.0.2.{pick}") for pick in picks)
    counted = {(name, record.source_ip): n for name, (_, records) in found.items() for record, n in records}
    assert counted == wanted


def test_a_report_without_end_keeps_its_most_common_records_and_says_how_much_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common, rare = told(refused()), [told(replace(refused(), mail_from=f"x@{n}.example")) for n in range(50)]
    monkeypatch.setattr(gather, "MAX_OCTETS", 2000)
    [(report, records)] = gathered([*rare, common, common]).values()
    assert report.messages == 52
    assert sum(count for _, count in records) == report.told < 52
    assert records[0][1] == 2
    assert 2 < len(records) < 51


def test_periods() -> None:
    whole = Period(BEGIN, BEGIN + 86_400)
    assert periods_of(date(2023, 11, 14), 24) == [whole]
    assert whole.last == BEGIN + 86_399
    assert str(whole) == "2023-11-14"
    parts = periods_of(date(2023, 11, 14), 6)
    assert [part.begin for part in parts] == [BEGIN + n * 6 * 3600 for n in range(4)]
    assert str(parts[1]) == "2023-11-14 06:00 to 12:00 UTC"
    assert list(ended(BEGIN + 86_400 + 5, 24, 1)) == [whole]
    assert list(ended(BEGIN + 86_399, 24, 1)) == [Period(BEGIN - 86_400, BEGIN)]
    assert len(list(ended(BEGIN, 6, 2))) == 8
