"""What another configuration would have done: the same as the daemon does with it."""

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mailnotary.authres import Results
from mailnotary.cli import main
from mailnotary.config.settings import (
    DmarcAction,
    DmarcExempt,
    DmarcMode,
    DmarcSettings,
    Exempt,
    Mode,
    Settings,
    SpfAction,
    SpfSettings,
)
from mailnotary.history.keeper import FILE
from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import complete, row_of, story_of
from mailnotary.history.what_if import KNOWN, WhatIf
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
from mailnotary.session.outcome import MessageMode, MessageRecord
from mailnotary.session.policy import InsertHeader
from mailnotary.status import DkimStatus
from support.messages import refused, verified

ENFORCE = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE, reject=DmarcAction.REJECT))
MONITOR = Settings()
NETWORK = ip_network("198.51.100.0/24")
ADDED = (InsertHeader(0, "Authentication-Results", " mx; none"),)


def kept(record: MessageRecord) -> dict[str, Any]:
    return complete(row_of(record), "mx1", story_of(record, str))


def monitored(**more: Any) -> dict[str, Any]:
    """A message that fails p=reject and came through."""
    return kept(replace(refused(), actions=ADDED, **more))


def test_enforcing_refuses_what_monitoring_let_through() -> None:
    [change] = WhatIf(ENFORCE).changes([kept(verified()), monitored()])
    assert (change.message["queue_id"], change.now, change.then) == ("4DEF", "accept", "reject")
    assert change.why == "Email rejected per DMARC policy for bank.example: nothing passed"


def test_monitoring_lets_through_what_enforcing_refused() -> None:
    [change] = WhatIf(MONITOR).changes([kept(refused())])
    assert (change.now, change.then, change.why) == ("reject", "accept", "dmarc.mode is monitor")


@pytest.mark.parametrize(
    ("settings", "then"),
    [
        (replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, reject=DmarcAction.HOLD)), "hold"),
        (replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, reject=DmarcAction.TAG)), "accept"),
        (
            replace(
                ENFORCE, dmarc=replace(ENFORCE.dmarc, exempt=DmarcExempt(networks=(ip_network("198.51.100.0/24"),)))
            ),
            "accept",
        ),
        (replace(ENFORCE, dmarc=replace(ENFORCE.dmarc, domains={"bank.example": DmarcSettings()})), "accept"),
        (replace(ENFORCE, exempt=Exempt(networks=(ip_network("198.51.100.7"),))), "accept"),
        (replace(ENFORCE, mode=Mode.SIGN), "accept"),
        (replace(MONITOR, spf=SpfSettings(fail=SpfAction.REJECT)), "reject"),
        (replace(MONITOR, spf=SpfSettings(fail=SpfAction.TEMPFAIL)), "tempfail"),
        (replace(ENFORCE, dmarc=DmarcSettings(mode=DmarcMode.OFF)), "accept"),
    ],
)
def test_each_part_of_the_policy_counts(settings: Settings, then: str) -> None:
    assert WhatIf(settings).judge(monitored())[0] == then


def test_postmaster_is_reached_all_the_same() -> None:
    spf = replace(ENFORCE, spf=SpfSettings(fail=SpfAction.REJECT))
    assert WhatIf(spf).judge(monitored(reachable=True)) == ("accept", "its recipients are in reachable_recipients")


def test_a_message_without_an_author_is_refused_where_it_would_be() -> None:
    author = Author((), (), AuthorProblem.NO_FROM, "there is no From field")
    then, why = WhatIf(ENFORCE).judge(kept(verified(author=author, results=Results(dkim=()))))
    assert then == "reject"
    assert "there is no From field" in why


def test_what_was_never_checked_is_said() -> None:
    early = kept(replace(refused(), author=None, results=replace(refused().results, dkim=None, dmarc=None)))
    then, why = WhatIf(ENFORCE).judge(early)
    assert (then, why) == ("accept", "SPF would not refuse it; its signatures and DMARC were never checked")


def test_what_results_did_not_decide_stays() -> None:
    assert list(WhatIf(MONITOR).changes([kept(replace(refused(), regardless=True))])) == []
    assert list(WhatIf(ENFORCE).changes([monitored(mode=MessageMode.SIGN)])) == []


def test_mail_that_looks_legitimate_is_told_apart() -> None:
    signature = replace(verified().results.signatures[0], domain="lists.example.net")
    listed = monitored(results=replace(refused().results, dkim=(signature,)))
    broken = monitored(results=replace(refused().results, dkim=(replace(signature, status=DkimStatus.FAIL),)))
    comparison = WhatIf(ENFORCE)
    first, second = comparison.changes([listed, broken])
    assert comparison.legitimate(first) == "valid signature of lists.example.net (a list or forwarder?)"
    assert comparison.legitimate(second) == ""


def test_a_client_that_often_passes_is_known() -> None:
    comparison = WhatIf(ENFORCE)
    honest = [kept(verified(client="198.51.100.7"))] * KNOWN
    [change] = comparison.changes([monitored(), *honest])
    assert comparison.legitimate(change) == f"{KNOWN} other messages of this client passed DMARC"


def test_the_command_prints_what_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = Numbering()
    (tmp_path / "history").mkdir()
    store = Store.open(str(tmp_path / FILE))
    records = [verified("A"), replace(refused("B"), actions=ADDED)]
    store.add([(number(row_of(record)), row_of(record), story_of(record, str)) for record in records])
    store.close()
    now, then = tmp_path / "now.yaml", tmp_path / "then.yaml"
    now.write_text(f"state_dir: {tmp_path}\n")
    then.write_text("dmarc: {mode: enforce, reject: reject}\n")
    assert main(["history", "-c", str(now), "--what-if", str(then), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["messages"] == 2
    [changed] = told["changed"]
    assert [changed[key] for key in ("queue_id", "now", "then")] == ["B", "accept", "reject"]
    assert main(["history", "-c", str(now), "--what-if", str(then)]) == 0
    text = capsys.readouterr().out
    assert "2 messages looked at, 1 would have ended differently" in text
    assert "accept -> reject" in text
    assert "bank.example" in text
