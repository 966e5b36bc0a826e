"""What the commands show of ARC chains: `explain` hop by hop, `history` the sealers that a list would need."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailnotary.cli import main
from mailnotary.history.candidates import candidates
from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import row_of, story_of
from support import arc as craft
from support.dkim import key, key_record
from support.mail import Played

ZONE: dict[str, Any] = {
    "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject"}],
    "sel._domainkey.lists.example": [{"TXT": key_record(key()).decode()}],
    "sel._domainkey.b.example": [{"TXT": key_record(key()).decode()}],
}
CHANGED = craft.sealed() + b"A footer.\r\n"


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "zone.yaml").write_text(yaml.safe_dump(ZONE))

    def run(message: bytes, trusted: str = "", *extra: str) -> str:
        (tmp_path / "message.eml").write_bytes(message)
        (tmp_path / "mailnotary.yaml").write_text(f"user: root\narc: {{trusted_sealers: [{trusted}]}}\n")
        arguments = ["explain", str(tmp_path / "message.eml"), "--ip", "198.51.100.7", "--helo", "lists.example"]
        arguments += ["--mail-from", "b@lists.example", "--zone", str(tmp_path / "zone.yaml"), "--now", str(craft.NOW)]
        assert main([*arguments, "-c", str(tmp_path / "mailnotary.yaml"), *extra]) == 0
        return " ".join(capsys.readouterr().out.split())

    return run


def test_explain_shows_each_set(explain: Any) -> None:
    text = explain(craft.sealed(CHANGED, "b.example", assessment="mx.b.example; arc=pass; dmarc=fail"))
    assert "ARC pass, 2 sets" in text
    assert "1 sealed by lists.example, selector sel, 2023-11-14 22:13:20Z, cv=none" in text
    assert "it found: mx.lists.example; dkim=pass header.d=example.org; dmarc=pass" in text
    assert "its signature does not hold: body hash differs" in text
    assert "2 sealed by b.example, selector sel, 2023-11-14 22:13:20Z, cv=pass" in text
    assert "would have passed through: b.example, lists.example not in arc.trusted_sealers" in text


def test_explain_says_whom_it_believed(explain: Any) -> None:
    text = explain(craft.sealed(), "lists.example")
    assert "passed DMARC before it came to lists.example, all trusted" in text
    assert "policy.override=arc" in text


def test_explain_says_what_is_wrong_with_a_chain(explain: Any) -> None:
    assert "ARC fail" in explain(CHANGED)
    assert "body hash differs" in explain(CHANGED)
    told = json.loads(explain(CHANGED, "", "--json"))
    assert (told["arc"]["status"], told["arc_would_trust"]) == ("fail", [])


def test_no_words_of_a_sealer_reach_the_terminal_raw(explain: Any) -> None:
    evil = craft.sealed().replace(b"mx.lists.example; dkim", b"\x1b[2J\xe2\x80\xae\xff; dkim")
    text = explain(evil)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_history_counts_the_sealers_that_a_list_would_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = craft.sealed(CHANGED, "b.example", assessment="mx.b.example; arc=pass; dmarc=fail")
    played = Played(zone=ZONE, options={"clock": lambda: float(craft.NOW)})
    messages = [craft.sealed(), craft.sealed(), both, craft.MESSAGE, CHANGED]
    records = [played.play(message, ip="198.51.100.7", mail_from=b"<b@lists.example>").record for message in messages]
    number = Numbering()
    store = Store.open(str(tmp_path / "history.db"))
    store.add([(number(row_of(record)), row_of(record), story_of(record, str)) for record in records])
    store.close()
    config = tmp_path / "mailnotary.yaml"
    config.write_text(f"state_dir: {tmp_path}\nhistory: {{enabled: true, store: {tmp_path}/history.db}}\n")
    arguments = ["history", "-c", str(config), "--arc-candidates"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["candidates"]
    assert [(one["sealers"], one["messages"], one["refused"]) for one in told] == [
        (["lists.example"], 2, 0),
        (["b.example", "lists.example"], 1, 0),
    ]
    assert told[0]["authors"] == {"example.org": 2}
    assert main(arguments) == 0
    assert "2 0 lists.example example.org" in " ".join(capsys.readouterr().out.split())
    assert main([*arguments, "--domain", "nobody.example"]) == 1
    assert main(["history", "-c", str(config)]) == 0


def test_old_stories_have_no_chain() -> None:
    assert candidates([{"arc": None, "action": "accept", "dmarc": {"domain": "a.example"}}]) == []
