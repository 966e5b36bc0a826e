"""New keys that replace those of an entry, and when they are due."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mailnotary.config.keystore import IDLE_STATES, KeyEntry, KeyState, StoredKey
from mailnotary.config.keystore_files import KEYS_DIRECTORY
from mailnotary.config.private_key import load_key
from mailnotary.crypto import KeyLoadError, PrivateKey, generate_private_key, load_private_key
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.errors import DkimKeyError
from mailnotary.keys.create import EntryKeys, Pem
from mailnotary.keys.histories import KeyHistories

LEAST_BITS = 2048  # of a new RSA key, even if the old one was shorter (RFC 8301 section 3.2)
SPREAD = 0.25  # of the time between two rotations, over which those of the domains are spread


class RotationError(DkimKeyError):
    """The keys of an entry can't be rotated, now or at all."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The new keys of an entry, each with the old one that it replaces."""

    entry: KeyEntry
    new: Sequence[tuple[StoredKey, Pem]]

    def stored(self, state: KeyState = KeyState.AUTO) -> EntryKeys:
        """What to store; the new keys begin in `state`. Old keys of a rotation before are retired, if that was by
        hand."""
        changed = {old.selector: {"retire_after": pem.selector} for old, pem in self.new}
        for key in self.entry.keys if state is KeyState.AUTO else ():
            if key.retire_after is not None and key.state is not KeyState.RETIRED and key.selector not in changed:
                changed[key.selector] = {"state": str(KeyState.RETIRED)}
        return EntryKeys(self.entry.name, self.entry.domain, [pem for _, pem in self.new], changed, state=state)

    def record(self, pem: Pem) -> tuple[str, str]:
        """The name and the text of a new key's record."""
        return key_record_name(self.entry.domain, pem.selector), key_record_text(load_private_key(pem.octets))


def rotation_of(
    keystore: Path, entry: KeyEntry, published: Collection[tuple[str, str]], selectors: Sequence[str] = ()
) -> Rotation:
    """New keys for those that sign at present, with one of `selectors` that is free, or with a new one if there are
    none. Raises RotationError if no key signs, or if a rotation is in progress."""
    taken = {key.selector.lower() for key in entry.keys}
    left_behind = _left_behind(keystore, entry.domain)
    new = []
    for old, private in _to_rotate(entry, published):
        selector, suffix = next_selector(private.algorithm, taken, left_behind, selectors)
        taken.add(selector)
        new.append((old, Pem(selector, generate(private), suffix)))
    return Rotation(entry, new)


def next_selector(
    algorithm: str, taken: Collection[str], left_behind: Collection[str], selectors: Sequence[str]
) -> tuple[str, str]:
    """The selector of a new key, and what its file's name has besides. Raises RotationError."""
    now = time.time()
    if not selectors:
        return new_selector(algorithm, {*taken, *left_behind}, now), ""
    free = [selector for selector in selectors if selector not in taken]
    if not free:
        raise RotationError(f"the selectors {', '.join(selectors)} are all in use: one is free once its key is removed")
    used = free[0] in left_behind
    return free[0], time.strftime(".%Y%m%dT%H%M%S", time.gmtime(now)) if used else ""


def _to_rotate(entry: KeyEntry, published: Collection[tuple[str, str]]) -> list[tuple[StoredKey, PrivateKey]]:
    """The keys that sign at present. Raises RotationError if there are none, or if a rotation is in progress."""
    for key in entry.keys:
        if key.retire_after is not None and not entry.idle(key, published):
            raise RotationError(
                f"a rotation is in progress: {key.selector} still signs until {key.retire_after} does; publish the "
                f"record of {key.retire_after} first (`mailnotary dns {entry.domain}`)"
            )
    olds = [(key, _load(key)) for key in entry.keys if not entry.idle(key, published)]
    if not olds:
        reasons = "; ".join(entry.idle(key, published) for key in entry.keys)
        raise RotationError(f"no key of {entry.name} signs yet, so there is nothing to rotate: {reasons}")
    return olds


def _left_behind(keystore: Path, domain: str) -> set[str]:
    """The selectors of key files, which may no longer be in an entry."""
    files = (keystore.parent / KEYS_DIRECTORY).glob(f"{domain}.*.pem")
    return {file.name.removeprefix(f"{domain}.").removesuffix(".pem") for file in files}


def _load(key: StoredKey) -> PrivateKey:
    try:
        return load_key(key)
    except KeyLoadError as error:
        raise RotationError(f"{key.file}: {error}") from error


def generate(old: PrivateKey) -> bytes:
    """A new key like an old one, as PEM."""
    return generate_private_key(old.algorithm, max(old.bits, LEAST_BITS) if old.algorithm == "rsa" else 0)


def new_selector(algorithm: str, taken: Collection[str], now: float) -> str:
    """A selector that the entry has not had: "rsa20260131", and if that is taken "rsa20260131b" and so on."""
    base = ("rsa" if algorithm == "rsa" else "ed") + time.strftime("%Y%m%d", time.gmtime(now))
    lowered = {selector.lower() for selector in taken}
    for suffix in ("", *(chr(code) for code in range(ord("b"), ord("z") + 1))):
        if base + suffix not in lowered:
            return base + suffix
    raise RotationError(f"all selectors from {base} to {base}z are taken: wait until tomorrow, or use keygen")


class Births:
    """Since when the keys sign, as far as that is known: DNS was first seen serving them, or their files were
    written."""

    def __init__(self, known: KeyHistories, published: Collection[tuple[str, str]]) -> None:
        self._first: Mapping[tuple[str, str], float | None] = {
            (name.domain, name.selector): history.first_good for name, history in known.items()
        }
        self._published = published

    def of(self, entry: KeyEntry) -> float | None:
        """That of the oldest key of an entry that signs, in seconds since 1970; None if none does."""
        births = []
        for key in entry.keys:
            if key.fault or key.state in IDLE_STATES or entry.idle(key, self._published):
                continue
            known = self._first.get((entry.domain, key.selector))
            births.append(_written(key) if known is None else known)
        return min((born for born in births if born is not None), default=None)


def _written(key: StoredKey) -> float | None:
    try:
        return os.stat(key.file).st_mtime
    except OSError:  # the account of the page must not look there
        return None


def due(domain: str, born: float, rotate_every: float) -> float:
    """When the keys of a domain are due, in seconds since 1970: never later than `rotate_every` seconds after their
    birth, and earlier by a part that is the domain's own, so that those of one day are not due on one day again."""
    share = int.from_bytes(sha256(domain.encode()).digest()[:8]) / 2**64
    return born + rotate_every * (1 - SPREAD * share)
