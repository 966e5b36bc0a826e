"""No message costs more CPU than it may, whatever it and its DNS hold: what tests/chaos/cost.py found is tried."""

import json
from pathlib import Path

import pytest

from support.cost import BAR, Genome, everything, measure, unit

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
