"""What `mailnotary keys --check` tells a monitoring system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mailnotary.cli.common import CheckStatus, worst
from mailnotary.config.keystore import IDLE_STATES
from mailnotary.dkim.publish import key_record_name
from mailnotary.keys.observe import KeyRecordStatus
from mailnotary.keys.progress import Step

if TYPE_CHECKING:
    from mailnotary.cli.keys import KeyRow


def check(rows: Sequence[KeyRow], problem: str, rotation: Sequence[Step] = ()) -> tuple[CheckStatus, list[str]]:
    """The status of all keys together, and a line for each problem. `problem`: why the daemon's state is unknown, "" if
    it is known; `rotation`: what the last run of `rotate --due` has noted."""
    problems = [(CheckStatus.UNKNOWN, problem)] if problem else []
    if not rows:
        problems.append((CheckStatus.WARNING, "the keystore has no keys: nothing is signed"))
    for row in rows:
        problems += _of_key(row)
    stuck = [step for step in rotation if step.problem]
    problems += [(CheckStatus.WARNING, f"{step.entry}: {step.selector}: {step.text}") for step in stuck]
    for entry, group in groupby(rows, lambda row: row.entry):
        keys = list(group)
        if any(row.fault and row.state not in IDLE_STATES for row in keys):
            problems.append((CheckStatus.CRITICAL, f"a key of {entry} can't be used: its mail waits"))
        elif not any(row.signing for row in keys):
            problems.append((CheckStatus.CRITICAL, f"no key of {entry} signs: its mail leaves unsigned"))
    status = worst(level for level, _ in problems)
    texts = [text for level, text in problems if level is status] + [
        text for level, text in problems if level is not status
    ]
    return status, texts or [f"{len(rows)} key{'s' * (len(rows) != 1)}, each as it should be"]


def _of_key(row: KeyRow) -> Iterator[tuple[CheckStatus, str]]:
    if row.dns is KeyRecordStatus.EXPOSED:
        yield CheckStatus.CRITICAL, f"{key_record_name(row.domain, row.selector)}: {row.dns_reason}"
        return
    if row.fault or row.state in IDLE_STATES or (row.retire_after is not None and not row.signing):
        return  # its record is not needed for new mail
    name = key_record_name(row.domain, row.selector)
    if row.dns is KeyRecordStatus.ERROR:
        yield CheckStatus.UNKNOWN, f"{name}: {row.dns_reason}"
    elif row.dns is not KeyRecordStatus.MATCH and row.signing:
        yield CheckStatus.CRITICAL, f"{name}: it signs, but {row.dns_reason or 'its record is not in DNS'}"
    elif row.dns is not KeyRecordStatus.MATCH:
        yield CheckStatus.WARNING, f"{name}: it waits for its record in DNS"
