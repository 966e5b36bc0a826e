"""The page's what-if, which a thread works out."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.history.what_if import Change
from mailnotary.session.policy import InsertHeader
from mailnotary.web import comparison as module
from mailnotary.web.comparison import OLD, RETRY, Comparison, Findings
from support.messages import refused, verified

NOW = 1_780_000_000.0


def done(comparison: Comparison) -> Findings:
    deadline = time.monotonic() + 20
    while not ((found := comparison.findings()).done or found.problem) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def test_it_is_worked_out_once_and_anew_when_it_is_old(tmp_path: Path) -> None:
    path, new, clock = str(tmp_path / "h.db"), tmp_path / "new.yaml", [NOW]
    new.write_text("dmarc: {mode: enforce, reject: reject}\n")
    through = (InsertHeader(0, "Authentication-Results", " mx; none"),)
    records = [replace(refused(f"Q{place}", domain=f"d{place % 3}.example"), actions=through) for place in range(1200)]
    records += [verified(f"V{place}") for place in range(5)]
    number, store = Numbering(), Store.open(path)
    store.add([(number(row_of(one, NOW - 60)), row_of(one, NOW - 60), story_of(one, str)) for one in records])
    comparison = Comparison(new, lambda: Store.open(path, read_only=True), lambda: clock[0])
    found = done(comparison)
    assert (found.seen, found.total, found.changed) == (1205, 1205, 1200)
    assert found.changes == [(("accept", "reject"), 1200)]
    assert [name for name, _, _ in found.top] == ["d0.example", "d1.example", "d2.example"]
    assert len(found.examples) == module.MAX_EXAMPLES
    assert comparison.findings() is found
    clock[0] += OLD + 1
    assert done(comparison) is not found
    store.close()


def test_a_failure_is_said_and_tried_again_soon(tmp_path: Path) -> None:
    path, new, clock = str(tmp_path / "h.db"), tmp_path / "new.yaml", [NOW]
    comparison = Comparison(new, lambda: Store.open(path, read_only=True), lambda: clock[0])
    found = done(comparison)
    assert "new.yaml" in found.problem
    new.write_text("mode: both\n")
    assert comparison.findings() is found
    clock[0] += RETRY + 1
    assert "there is no history yet" in done(comparison).problem


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOMAINS", 2)
    found = Findings(NOW, done=True)
    for name in ("a", "b", "c", "d", "a"):
        found.add(Change({"author": {"domains": [name]}}, "accept", "reject", f"why {name}"))
    found.add(Change({"author": None}, "reject", "accept", ""))
    assert dict(found.domains) == {"a": 2, "b": 1, "(other domains)": 3}
    assert found.top[1] == ("a", 2, "why a")
    assert len(found.examples) == 5
