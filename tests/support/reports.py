"""Histories to make reports of, and the schema that they must follow."""

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailnotary.dmarc.policy_record import parse
from mailnotary.history.store import Message, Numbering, Store
from mailnotary.history.story import complete, row_of, story_of
from mailnotary.session.outcome import MessageRecord

SCHEMA = Path(__file__).parents[1] / "data" / "dmarc" / "aggregate-report.xsd"
NAMESPACE = {"d": "urn:ietf:params:xml:ns:dmarc-2.0"}
BEGIN = 1_699_920_000  # of a UTC day


def told(record: MessageRecord, seconds: float = BEGIN) -> dict[str, Any]:
    """A message as the history tells of it."""
    return complete(row_of(record, seconds), "mx1", story_of(record, str))


def asking(record: MessageRecord, *rua: str) -> MessageRecord:
    """The message under a record that asks for reports there."""
    return under(record, f"v=DMARC1; p=reject; rua={','.join(rua)}")


def under(record: MessageRecord, policy: str) -> MessageRecord:
    """The message as if this policy record had been found."""
    dmarc = record.results.dmarc
    assert dmarc is not None
    return replace(record, results=replace(record.results, dmarc=replace(dmarc, record=parse(policy.encode()))))


def entries(records: Iterable[MessageRecord], number: Numbering, seconds: float = BEGIN + 1) -> Iterator[Message]:
    """Entries of the history, a second apart."""
    for place, record in enumerate(records):
        row = row_of(record, seconds + place)
        yield number(row), row, story_of(record, str)


def fill(store: Store, records: Iterable[MessageRecord], seconds: float = BEGIN + 1) -> None:
    """Adds messages to a store, a second apart."""
    store.add(list(entries(records, Numbering(), seconds)))


def complaints(*files: Path) -> str:
    """What xmllint says about files that do not follow the schema; "" where all do."""
    command = ["xmllint", "--nonet", "--noout", "--schema", str(SCHEMA), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr
