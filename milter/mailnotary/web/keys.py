"""The signing keys as this page may know them: what the keystore says, and what the daemon has seen in DNS.

The account of the page cannot read a key. It reads the keystore, which names them, and the state file, in which the
daemon notes what DNS served.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Final

from mailnotary.config import keystore_file, keystore_files
from mailnotary.config.keystore import KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.load import ConfigError
from mailnotary.config.publishing import RotationSettings
from mailnotary.config.settings import Mode, Settings
from mailnotary.dkim.publish import key_record_name
from mailnotary.keys import histories, progress
from mailnotary.keys.histories import DUE_DAYS, KEEP_RECORD, KeyHistory
from mailnotary.keys.observe import KeyRecordStatus
from mailnotary.keys.progress import Progress
from mailnotary.keys.rotate import due
from mailnotary.sources import kept
from mailnotary.sources.layers import keystore_of
from mailnotary.sources.opening import origin
from mailnotary.sources.table import TableError

DAY: Final = 86400
BY_HAND: Final = RotationSettings()
MOST_OF_SOURCE: Final = 20_000  # domains of a source whose keys are listed here
_STATES: Final = (histories.FILE, progress.FILE, *kept.SHOWN)  # in the state directory
_BAD: Final = (KeyRecordStatus.MISMATCH, KeyRecordStatus.MISSING, KeyRecordStatus.EXPOSED)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key. `dns` is what DNS served when the daemon last looked, "" if it never did; `note` what to do about it, ""
    if nothing; `urgent`: signatures of this key fail. Times are seconds since 1970, None if never."""

    domain: str
    selector: str
    record: str
    state: str
    signs: bool
    why: str
    dns: str
    dns_reason: str
    looked: float | None
    first_seen: float | None
    note: str
    urgent: bool
    due: bool


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys, those with something to do first. `problem`: why some of it is not known, "" if all is. `source`: how
    it goes with the source of keys, "" where there is none; `faults`: what is wrong with its answer."""

    rows: Sequence[KeyRow]
    problem: str = ""
    source: str = ""
    faults: Sequence[str] = ()


class KeyPage:
    """Reads the keys anew whenever one of the files has changed: ten thousand of them take a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._state: object = None
        self._keys = Keys(())

    def keys(self) -> Keys:
        """The keys as the files have them now."""
        with self._lock:
            state = self._identity()
            if state != self._state:
                self._keys = self._read()
                self._state = state
            return self._keys

    def _identity(self) -> object:
        """What changes with the files, and with each day, on which keys become due."""
        keystore = self._settings.keystore
        try:
            paths = keystore_files.files(keystore)
        except OSError:
            paths = [keystore]
        return [
            _status(path) for path in (*paths, *(self._settings.state_dir / name for name in _STATES))
        ], time.time() // DAY

    def _read(self) -> Keys:
        problems = []
        keystore, known = KeyStore(), {}
        try:
            if self._settings.keystore.exists() or keystore_files.directory_of(self._settings.keystore).is_dir():
                keystore = keystore_file.load_without_keys(self._settings.keystore)
        except (ConfigError, OSError) as error:
            problems.append(f"The keystore cannot be shown: {error}")
        try:
            known = _by_name(histories.load(self._settings.state_dir))
        except histories.StateError as error:
            problems.append(f"What DNS serves is not known: {error}")
        try:
            noted = progress.load(self._settings.state_dir)
        except histories.StateError as error:
            noted = progress.NOTHING
            problems.append(f"How far the rotation of keys is, is not known: {error}")
        source, faults = "", tuple[str, ...]()
        if self._settings.source.wanted:
            try:
                keystore = self._with_source(keystore)
                status = kept.load_status(self._settings.state_dir)
                source, faults = status.said(origin(self._settings.source)), status.problems
                if status.domains > MOST_OF_SOURCE:
                    source += f"; more than {MOST_OF_SOURCE:,} are not listed here"
            except (TableError, OSError) as error:
                problems.append(f"The keys of the source cannot be shown: {error}")
        rows = key_rows(keystore, known, self._settings.mode, time.time(), noted, self._settings.rotation)
        rows.sort(key=lambda row: (not row.urgent, not row.note, not row.due))
        return Keys(rows, " ".join(problems), source, faults)

    def _with_source(self, keystore: KeyStore) -> KeyStore:
        layers = kept.read(self._settings.state_dir, keys=False)
        if layers is None or layers.value["domains"] > MOST_OF_SOURCE:
            return keystore
        return keystore_of(self._settings, keystore.entries, layers)


def _status(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _by_name(known: histories.KeyHistories) -> dict[tuple[str, str], KeyHistory]:
    """What was seen, by domain and selector: of several keys the one that was looked at last."""
    found: dict[tuple[str, str], KeyHistory] = {}
    for key, history in known.items():
        name = key.domain, key.selector
        if name not in found or (history.last_look or 0) > (found[name].last_look or 0):
            found[name] = history
    return found


def key_rows(
    keystore: KeyStore,
    known: Mapping[tuple[str, str], KeyHistory],
    mode: Mode,
    now: float,
    noted: Progress = progress.NOTHING,
    rotation: RotationSettings = BY_HAND,
) -> list[KeyRow]:
    """One row for each key, in the order of the keystore."""
    published = {name for name, history in known.items() if history.signing}
    rows = []
    for entry in keystore.entries.values():
        for key in entry.keys:
            idle = "mode is verify" if mode is Mode.VERIFY else key.fault or entry.idle(key, published)
            history = known.get((entry.domain, key.selector), KeyHistory())
            row = _row(entry, key, history, idle, now)
            rows.append(row if row.note else replace(row, note=_rotation_note(entry, key, row, noted, rotation)))
    return rows


def _row(entry: KeyEntry, key: StoredKey, history: KeyHistory, idle: str, now: float) -> KeyRow:
    due = not idle and history.first_good is not None and now - history.first_good > DUE_DAYS * DAY
    wrong = history.result in _BAD
    return KeyRow(
        domain=entry.domain,
        selector=key.selector,
        record=key_record_name(entry.domain, key.selector),
        state=str(key.state),
        signs=not idle,
        why=idle,
        dns=history.result,
        dns_reason=_reason(history),
        looked=history.last_look,
        first_seen=history.first_good,
        note=_note(entry, key, history, idle, due, now),
        urgent=history.result == KeyRecordStatus.EXPOSED or bool(key.fault) or (wrong and not idle),
        due=due,
    )


def _rotation_note(entry: KeyEntry, key: StoredKey, row: KeyRow, noted: Progress, rotation: RotationSettings) -> str:
    """Where a key is on its way, or when it is replaced."""
    if (step := noted.of(entry.domain, key.selector)) is not None:
        return f"{step.text[:1].upper()}{step.text[1:]}."
    if key.state is KeyState.PENDING:
        return "It is being published."
    if not row.signs or row.first_seen is None or not rotation.includes(entry.domain) or rotation.rotate_every is None:
        return ""
    date = time.strftime("%Y-%m-%d", time.gmtime(due(entry.domain, row.first_seen, rotation.rotate_every)))
    return f"It is replaced on {date}."


def _reason(history: KeyHistory) -> str:
    """Details of the last look. They may quote what DNS serves, which must not be shown where that is a private key."""
    return "DNS serves a private key" if history.result == KeyRecordStatus.EXPOSED else history.reason


def _note(entry: KeyEntry, key: StoredKey, history: KeyHistory, idle: str, due: bool, now: float) -> str:
    if history.result == KeyRecordStatus.EXPOSED:
        return f"Replace it at once: mailnotary rotate {entry.name}"
    if key.fault:  # of the source: this page opens no file of a key
        return "Mail of its domain waits: correct its row in the source."
    if not idle:
        if history.result in _BAD:
            return f"Receivers cannot verify its signatures: mailnotary dns {entry.domain}"
        return f"Older than {DUE_DAYS} days: mailnotary rotate {entry.name}" if due else ""
    if key.state is KeyState.AUTO and history.idle_since is None and key.retire_after is None:
        good = history.result == KeyRecordStatus.MATCH
        return "It will start to sign soon." if good else f"It waits for its record: mailnotary dns {entry.domain}"
    if history.idle_since is not None and history.result == KeyRecordStatus.MATCH:
        end = history.idle_since + KEEP_RECORD
        day = time.strftime("%Y-%m-%d", time.gmtime(end))
        return "Its record can be removed." if now >= end else f"Its record can be removed on {day}."
    return ""
