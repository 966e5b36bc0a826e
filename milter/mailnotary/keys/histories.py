"""What the daemon has seen of its keys in DNS, and which `auto` keys therefore sign.

The rules, as pure functions over observations of DNS (`keys.observe.KeyObservation`):

- An `auto` key signs once its record has been seen in DNS, and continues until the rules below stop it.
- An observation without an answer changes nothing: while DNS is down, and over a restart, keys that sign continue.
- A key stops if its record was missing or wrong in `BAD_LOOKS` looks, with some time between them, and the last look at
  another key of the domain that is not retired was good. It signs again after the first good look.

A key is identified by domain, selector and public key: another key in the same file starts afresh.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from mailnotary.config.keystore import IDLE_STATES, KeyState, KeyStore, StoredKey
from mailnotary.config.private_key import load_key
from mailnotary.crypto import KeyLoadError, PrivateKey
from mailnotary.errors import DkimKeyError
from mailnotary.files import not_written, read_regular
from mailnotary.keys.observe import KeyObservation, KeyRecordStatus

FILE = "keys.json"  # in the state directory
MAX_FILE = 64 * 1_048_576  # octets; 20,000 keys take 8 MB
BAD_LOOKS = 3  # in a row, after which a key stops
FORGET_AFTER = 90 * 86400  # seconds for which a key is remembered after it was removed from the keystore

# How long a record must remain in DNS after its key's last signature, in seconds: mail waits in queues for up to five
# days (RFC 5321 4.5.4.1), and some is forwarded or verified even later.
KEEP_RECORD = 7 * 86400
DUE_DAYS = 180  # after which a key should be replaced, by default


class KeyId(NamedTuple):
    """A key: its domain (d=), its selector, and the SHA-256 of its public key in hexadecimal."""

    domain: str
    selector: str
    fingerprint: str


def fingerprint(key: PrivateKey) -> str:
    """The last part of a `KeyId`."""
    return sha256(key.public).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """What has been seen of one key. Times are in seconds since 1970; None: never."""

    signing: bool = False  # of an auto key: whether it signs
    first_good: float | None = None
    last_good: float | None = None
    bad_since: float | None = None  # the first of the bad looks in a row, None after a good one
    last_bad: float | None = None  # the last of them that was counted
    bad_looks: int = 0
    last_look: float | None = None  # answered or not
    result: str = ""  # of the last look that DNS answered
    reason: str = ""
    idle_since: float | None = None  # retired, or replaced by a key that signs

    @property
    def good(self) -> bool:
        """Whether the last look that DNS answered was good."""
        return self.last_good is not None and self.bad_looks == 0


def after_look(history: KeyHistory, observation: KeyObservation, now: float, gap: float) -> KeyHistory:
    """The history after another observation. Bad looks are counted if they are `gap` seconds apart."""
    history = replace(history, last_look=now)
    if observation.result is KeyRecordStatus.ERROR:
        return history
    history = replace(history, result=str(observation.result), reason=observation.reason)
    if observation.result is KeyRecordStatus.MATCH:
        first = now if history.first_good is None else history.first_good
        return replace(history, first_good=first, last_good=now, bad_since=None, last_bad=None, bad_looks=0)
    # abs(): a clock that was set back is no reason to wait.
    if history.last_bad is not None and abs(now - history.last_bad) < gap:
        return history
    since = now if history.bad_since is None else history.bad_since
    return replace(history, bad_since=since, last_bad=now, bad_looks=history.bad_looks + 1)


def signs(key: KeyHistory, others: Iterable[KeyHistory]) -> bool:
    """Whether an auto key signs from now on. `others`: the other keys of its domain that are not retired."""
    if key.good:
        return True
    if key.signing and key.bad_looks >= BAD_LOOKS:
        return not any(other.good for other in others)
    return key.signing


KeyHistories = Mapping[KeyId, KeyHistory]


def decide(states: Mapping[KeyId, KeyState], known: KeyHistories) -> dict[KeyId, KeyHistory]:
    """What is known, with `signing` updated for the keys of a keystore (`states`)."""
    by_domain: dict[str, list[KeyId]] = {}
    for key, state in states.items():
        if state not in IDLE_STATES:
            by_domain.setdefault(key.domain, []).append(key)
    result = dict(known)
    for keys in by_domain.values():
        for key in keys:
            if states[key] is KeyState.AUTO:
                history = known.get(key, KeyHistory())
                others = (known[other] for other in keys if other != key and other in known)
                result[key] = replace(history, signing=signs(history, others))
    return result


def forget(known: KeyHistories, keep: Iterable[KeyId], now: float) -> dict[KeyId, KeyHistory]:
    """Without keys that were last seen long ago and are not in the keystore (`keep`)."""
    kept = set(keep)
    return {key: past for key, past in known.items() if key in kept or now - (past.last_look or 0) < FORGET_AFTER}


# --- the keystore's keys --------------------------------------------------------------------------------------------


def remembered(directory: Path, keystore: KeyStore) -> frozenset[tuple[str, str]]:
    """The auto keys of a keystore that sign, as (domain, selector), for other processes than the daemon: according to
    its state file. Raises StateError."""
    if not any(key.state is KeyState.AUTO for entry in keystore.entries.values() for key in entry.keys):
        return frozenset()
    signing = {name for name, history in load(directory).items() if history.signing}
    named = {(name.domain, name.selector) for name in signing}
    return frozenset(
        (entry.domain, key.selector)
        for entry in keystore.entries.values()
        for key in entry.keys
        if (entry.domain, key.selector) in named and _id(entry.domain, key) in signing
    )


def _id(domain: str, key: StoredKey) -> KeyId | None:
    try:
        return KeyId(domain, key.selector, fingerprint(load_key(key)))
    except KeyLoadError:  # it can't sign
        return None


# --- the state file -------------------------------------------------------------------------------------------------


class StateError(DkimKeyError):
    """The state file can't be read or written; the text says why."""


def load(directory: Path) -> dict[KeyId, KeyHistory]:
    """What the state file says; nothing if there is none. Raises StateError."""
    path = directory / FILE
    try:
        data = read_regular(path, MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE} octets")
        return dict(_entry(item) for item in json.loads(data)["keys"])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{path}: damaged, remove it: {error}") from error


_TYPES: dict[str, tuple[type, ...]] = {
    "signing": (bool,),
    "bad_looks": (int,),
    "result": (str,),
    "reason": (str,),
}


def _entry(item: Any) -> tuple[KeyId, KeyHistory]:
    key = KeyId(*(str(item[name]) for name in KeyId._fields))
    values = {name: item[name] for name in KeyHistory.__dataclass_fields__ if name in item}
    for name, value in values.items():
        if not isinstance(value, _TYPES.get(name, (int, float, type(None)))):
            raise TypeError(f"{name} is {value!r}")
    return key, KeyHistory(**values)


def save(directory: Path, known: KeyHistories) -> None:
    """Writes the state file atomically. Raises StateError."""
    items = [key._asdict() | asdict(history) for key, history in known.items()]
    write(directory / FILE, {"version": 1, "keys": items})


def write(path: Path, values: Mapping[str, object]) -> None:
    """Writes a state file, as JSON, atomically. Raises StateError."""
    data = json.dumps(values, indent=1).encode()
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o644)  # it holds no secret, and `mailnotary keys` reads it
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.rename(name, path)
    except OSError as error:
        if name:
            with suppress(OSError):
                os.unlink(name)
        raise StateError(f"{path}: can't be written: {not_written(path, error)}") from error
