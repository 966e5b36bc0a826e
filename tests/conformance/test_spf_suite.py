"""The OpenSPF suite for RFC 7208: each of its cases is a test."""

from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from mailnotary.resolver import ZoneResolver
from mailnotary.spf import check_mail_from
from support.suites import suite


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    data: dict[str, Any]
    resolver: ZoneResolver


def _cases() -> list[Case]:
    text = suite("spf/rfc7208-tests.yml").read_text("utf-8")
    cases = []
    for scenario in yaml.safe_load_all(text):
        resolver = ZoneResolver(scenario["zonedata"])
        cases += [Case(name, data, resolver) for name, data in scenario["tests"].items()]
    return cases


CASES = _cases()


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_result_and_explanation_are_those_of_the_suite(case: Case) -> None:
    result = check_mail_from(
        case.data["host"],
        case.data["mailfrom"],
        case.data["helo"],
        case.resolver,
        default_explanation="DEFAULT",
    )
    expected = case.data["result"]
    # Where the suite allows several, its first is the preferred one.
    assert result.status == (expected[0] if isinstance(expected, list) else expected), result.reason
    if "explanation" in case.data:
        assert result.explanation == case.data["explanation"]
