"""No message costs more CPU than it may, whatever it and its DNS hold: what tests/chaos/cost.py found is tried."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailnotary import dkim2
from mailnotary.dkim.canon import BodyHash
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from support.cost import BAR, Genome, everything, measure, unit
from support.dkim2 import NOW, with_instance, with_signature

FOUND = sorted((Path(__file__).parents[1] / "chaos" / "cost").glob("*.json"))


@pytest.mark.parametrize("genome", [json.loads(path.read_text()) for path in FOUND], ids=[path.stem for path in FOUND])
def test_what_was_found_stays_below_the_bar(genome: Genome) -> None:
    cost, record = measure(genome, 3)
    assert not record.error
    assert cost < 2 * BAR * unit()  # twice, for a machine that does other things


def test_a_message_that_spends_all_of_its_shares_stays_below_the_bar() -> None:
    cost, record = measure(everything(), 3)
    assert record.questions > 150
    assert cost < 2 * BAR * unit()


EMPTY_LINES = 500_000
Recipe = Callable[[int], dict[str, Any]]
CHAINS: dict[str, tuple[int, Recipe, bytes, int]] = {  # instances, their recipes, further fields, lines
    "every instance has one line less": (32, lambda m: {"b": [{"c": [1, 400_000 + m]}]}, b"", EMPTY_LINES),
    "a body of 250 ranges, again and again": (
        16,
        lambda m: {
            "b": [{"c": [1 + 2000 * place, 2000 * place + 1998]} for place in range(250)]
            if m == 16
            else [{"c": [1, 250 * 1998 - 16 + m]}]
        },
        b"",
        EMPTY_LINES,
    ),
    "the most ranges": (4, lambda m: {"b": [{"c": [place, place]} for place in range(m, 2000 * m, m)]}, b"", 10_000),
    "texts of no octet": (5, lambda _: {"b": [{"d": [""] * 9000}]}, b"", 0),
    "a large header": (
        32,
        lambda m: {"h": {f"h{m}": []}},
        b"".join(b"H%d: %s\r\n" % (n, b" x" * 120) for n in range(900)),
        0,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_dkim2_stays_below_the_bar(name: str) -> None:
    """Beside the hash of the body that was received, which a message with a signature of DKIM has as well."""
    instances, recipe, fields, lines = CHAINS[name]
    message = fields + b"From: a@example.org\r\n\r\n" + b"\r\n" * lines
    for number in range(1, instances + 1):
        made = recipe(number) if number > 1 else ...
        message = with_instance(message, number, made, h="sha256:AAAA:AAAA")
    for number in range(1, 33):
        message = with_signature(message, number, "example.org", revision=instances)
    parsed = parse(message)

    def cost(chain: bool) -> float:
        started = time.process_time()
        if chain:
            verifier = dkim2.Verifier(parsed.fields, ZoneResolver({}), now=NOW)
            verifier.body(parsed.body)
            assert verifier.finish().status in ("fail", "permerror")
        else:
            hashed = BodyHash(False, [None])
            hashed.update(parsed.body)
            hashed.finish()
        return time.process_time() - started

    assert min(cost(True) for _ in range(3)) - min(cost(False) for _ in range(3)) < 2 * BAR * unit()
