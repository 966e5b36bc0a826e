"""SPF checks a second with everything warm, beside pyspf over the same answers."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mailnotary.resolver import Answer, MxRecord, RecordKind, ZoneResolver
from mailnotary.spf import check_mail_from

peer = pytest.importorskip("spf")

SENDER, HELO = "strong-bad@example.com", "mail.example.com"


def include(name: str, *networks: str) -> list[dict[str, str]]:
    return [{"TXT": f"v=spf1 {' '.join('ip4:' + network for network in networks)} ~all"}]


RECORDS: dict[str, dict[str, Any]] = {
    "ip4": {"example.com": [{"TXT": "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 ip6:2001:db8::/32 mx -all"}]},
    "nested includes": {
        "example.com": [{"TXT": "v=spf1 include:_spf.example.net include:_spf.example.org -all"}],
        "_spf.example.net": [{"TXT": "v=spf1 include:a.example.net include:b.example.net ~all"}],
        "a.example.net": include("a", *(f"10.0.{number}.0/24" for number in range(20))),
        "b.example.net": include("b", *(f"10.1.{number}.0/24" for number in range(20))),
        "_spf.example.org": [{"TXT": "v=spf1 include:c.example.org include:d.example.org ~all"}],
        "c.example.org": include("c", *(f"10.2.{number}.0/24" for number in range(20))),
        "d.example.org": include("d", *(f"10.3.{number}.0/24" for number in range(20)), "192.0.2.0/24"),
    },
    "macros": {
        "example.com": [{"TXT": "v=spf1 -exists:%{ir}.%{v}.deny.%{d2} exists:%{l1r-}.%{ir}._spf.%{d} -all"}],
        "1.2.0.192.in-addr.deny.example.com": [{"AAAA": "::1"}],
        "strong.1.2.0.192._spf.example.com": [{"A": "127.0.0.2"}],
    },
    "macros of the client": {
        "example.com": [{"TXT": "v=spf1 include:%{ir}.%{v}.%{d}.spf.example.net ~all"}],
        "1.2.0.192.in-addr.example.com.spf.example.net": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}],
    },
    "hosts": {
        "example.com": [{"TXT": "v=spf1 a mx -all"}, {"A": "198.51.100.1"}, {"MX": [10, "mx1.example.com"]},
                        {"MX": [10, "mx2.example.com"]}],
        "mx1.example.com": [{"A": "198.51.100.2"}],
        "mx2.example.com": [{"A": "192.0.2.1"}],
    },
}  # fmt: skip


class WarmResolver:
    """Answers that are known already: what is measured is the engine's own work."""

    def __init__(self, zone: dict[str, Any]) -> None:
        self._zone = ZoneResolver(zone)
        self._answers: dict[tuple[str, RecordKind], Answer] = {}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        answer = self._answers.get((name, kind))
        if answer is None:
            answer = self._answers[name, kind] = self._zone.lookup(name, kind)
        return answer


Senders = Callable[[], str]


def mailnotary(zone: dict[str, Any], sender: Senders) -> Callable[[], str]:
    resolver = WarmResolver(zone)
    return lambda: str(check_mail_from("192.0.2.1", sender(), HELO, resolver).status)


def pyspf(zone: dict[str, Any], sender: Senders) -> Callable[[], str]:
    resolver = ZoneResolver(zone)
    answers: dict[tuple[str, str], list[object]] = {}

    def data(record: object) -> object:
        if isinstance(record, bytes):
            return (record,)
        return (record.preference, record.host) if isinstance(record, MxRecord) else str(record)

    def lookup(name: str, kind: str, *_: object) -> list[object]:
        found = answers.get((name, kind))
        if found is None:
            records = resolver.lookup(name, RecordKind(kind)).records
            found = answers[name, kind] = [((name, kind), data(record)) for record in records]
        return found

    def check() -> str:
        peer.DNSLookup = lookup
        return str(peer.query(i="192.0.2.1", s=sender(), h=HELO).check()[0])

    return check


@pytest.mark.parametrize("engine", [mailnotary, pyspf])
@pytest.mark.parametrize("name", RECORDS)
def test_a_warm_check(
    benchmark: BenchmarkFixture, engine: Callable[[dict[str, Any], Senders], Callable[[], str]], name: str
) -> None:
    benchmark.group = name
    assert benchmark(engine(RECORDS[name], lambda: SENDER)) == "pass"


@pytest.mark.parametrize("engine", [mailnotary, pyspf])
@pytest.mark.parametrize("name", ["macros", "macros of the client"])
def test_a_new_sender_each_time(
    benchmark: BenchmarkFixture, engine: Callable[[dict[str, Any], Senders], Callable[[], str]], name: str
) -> None:
    """The answers are known, as of a sender whose name differs behind what the record asks for."""
    benchmark.group = f"{name}, new senders"
    numbers = count()
    assert benchmark(engine(RECORDS[name], lambda: f"strong-{next(numbers)}@example.com")) == "pass"
