"""What a DNS question costs: known already, and asked of a server; beside dnspython's own resolver in the same run."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import dns.resolver
import pytest
import yaml
from pytest_benchmark.fixture import BenchmarkFixture

from mailnotary.resolver import MessageResolver, RecordKind, Share, prefetch
from mailnotary.resolver.dns import DnsResolver
from support import dns_server

TXT = RecordKind.TXT
SHARE = Share(1000, 1_000_000_000)
NAMES = 20_000


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server in a process of its own, so that only the asking side is measured."""
    zone: Path = tmp_path_factory.mktemp("zone") / "zone.yaml"
    zone.write_text(yaml.safe_dump({f"n{i}.org": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}] for i in range(NAMES)}))
    with subprocess.Popen(
        [sys.executable, str(Path(dns_server.__file__)), str(zone), "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(line.split(",")[0].rpartition(":")[2])
        process.terminate()


def test_a_known_answer(benchmark: BenchmarkFixture, port: int) -> None:
    resolver = DnsResolver([("127.0.0.1", port)])
    resolver.lookup("n0.org", TXT)
    benchmark(resolver.lookup, "n0.org", TXT)


def test_a_known_answer_within_a_message(benchmark: BenchmarkFixture, port: int) -> None:
    resolver = MessageResolver(DnsResolver([("127.0.0.1", port)]), SHARE, 3600)
    resolver.lookup("n0.org", TXT)
    benchmark(resolver.lookup, "n0.org", TXT)


def test_ten_known_questions_prefetched_for_a_message(benchmark: BenchmarkFixture, port: int) -> None:
    resolver = DnsResolver([("127.0.0.1", port)])
    questions = [(f"n{i}.org", TXT) for i in range(10)]
    for name, kind in questions:
        resolver.lookup(name, kind)
    benchmark(lambda: prefetch(MessageResolver(resolver, SHARE, 3600), questions))


def test_a_question_to_a_server(benchmark: BenchmarkFixture, port: int) -> None:
    resolver = DnsResolver([("127.0.0.1", port)])
    numbers = count()
    benchmark.pedantic(lambda: resolver.lookup(f"n{next(numbers) % NAMES}.org", TXT), rounds=1000)  # type: ignore[no-untyped-call]


def test_the_same_question_by_dnspython(benchmark: BenchmarkFixture, port: int) -> None:
    resolver = _dnspython(port)
    numbers = count()
    benchmark.pedantic(lambda: resolver.resolve(f"n{next(numbers) % NAMES}.org.", "TXT"), rounds=1000)  # type: ignore[no-untyped-call]


def test_a_question_costs_less_cpu_than_dnspythons(port: int) -> None:
    """CPU time of this process: what the server and the scheduler take does not count."""
    ours, theirs = DnsResolver([("127.0.0.1", port)]), _dnspython(port)

    def cpu(ask: Callable[[str], Any]) -> float:
        start = time.process_time()
        for i in range(1000):
            ask(f"n{i}.org")
        return time.process_time() - start

    spent = cpu(lambda name: ours.lookup(name, TXT)), cpu(lambda name: theirs.resolve(name + ".", "TXT"))
    print(f"\nCPU a question: {spent[0] * 1000:.0f} us, dnspython {spent[1] * 1000:.0f} us")
    assert spent[0] < spent[1]


def _dnspython(port: int) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = port
    return resolver
