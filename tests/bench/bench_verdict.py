"""What the author, DMARC and Authentication-Results cost a message: python -m pytest tests/bench/bench_verdict.py
--benchmark-only"""

from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mailnotary import dmarc
from mailnotary.authres import Results, claims, field_value, format, parse
from mailnotary.mail.address import author_of
from mailnotary.resolver import ZoneResolver
from mailnotary.status import DmarcStatus
from support.verdicts import dkim_result, dmarc_zone, spf_result

ZONE = ZoneResolver(dmarc_zone(example_com="v=DMARC1; p=reject; rua=mailto:reports@example.com"))
SPF = (spf_result("bounces.example.com"),)
DKIM = (dkim_result("example.com"),)
OURS = ["mx.example.org"]
CLIENT: dict[str, Any] = {"mail_from": "x@bounces.example.com", "helo": "mail.example.com"}
VALUE = field_value("mx.example.org", Results(spf=SPF, dkim=DKIM), **CLIENT).encode()
FIELD = parse(VALUE)


@pytest.mark.parametrize(
    "value",
    [
        b" Joe Public <joe@example.com>",
        b" " + b"a@example.com,\r\n " * 600 + b"b@example.com",
        b" " + b"(" * 30 + b"x" * 60_000 + b")" * 30 + b" joe@example.com",
    ],
    ids=["one", "many", "comments"],
)
def test_author(benchmark: BenchmarkFixture, value: bytes) -> None:
    assert benchmark(author_of, value).domain == "example.com"


@pytest.mark.parametrize("labels", [2, 12])
def test_dmarc(benchmark: BenchmarkFixture, labels: int) -> None:
    author = "x." * (labels - 2) + "example.com"
    result = benchmark(dmarc.evaluate, author, SPF, DKIM, ZONE)
    assert result.status is DmarcStatus.PASS


def test_format(benchmark: BenchmarkFixture) -> None:
    assert benchmark(format, FIELD)


def test_field_value(benchmark: BenchmarkFixture) -> None:
    """One sender's messages, each with a signature of its own."""
    dmarc_result = dmarc.evaluate("example.com", SPF, DKIM, ZONE)
    each = [replace(DKIM[0], signature=f"{number:08}" * 40) for number in range(1000)]
    numbers = cycle(each)

    def write() -> str:
        results = Results(spf=SPF, dkim=(next(numbers),), dmarc=dmarc_result)
        return field_value("mx.example.org", results, **CLIENT)

    assert "dmarc=pass" in benchmark(write)


def test_parse(benchmark: BenchmarkFixture) -> None:
    assert benchmark(parse, VALUE) == FIELD


@pytest.mark.parametrize(
    ("value", "ours"),
    [(VALUE, True), (b" mx.example.net; " + VALUE.partition(b";")[2], False), (b"mx(" * 20_000, False)],
    ids=["ours", "others", "hostile"],
)
def test_claims(benchmark: BenchmarkFixture, value: bytes, ours: bool) -> None:
    assert benchmark(claims, value, OURS) is ours
