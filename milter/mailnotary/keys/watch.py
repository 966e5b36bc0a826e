"""Watches the keys' DNS records: looks them up in rounds and decides which `auto` keys sign.

A round begins at the start, at each reload, and every `key_check_seconds`; the state directory keeps what was seen.
The rules are in `keys.histories`; the process is `daemon.keywatch`.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mailnotary.config.keystore import KeyEntry, KeyState, KeyStore, SigningSet, StoredKey, file_digest
from mailnotary.config.private_key import load_key
from mailnotary.config.settings import Mode, Settings
from mailnotary.crypto import KeyLoadError, PrivateKey
from mailnotary.keys import histories
from mailnotary.keys.histories import KeyHistory, KeyId, StateError
from mailnotary.keys.observe import KeyObservation, KeyRecordStatus, observe
from mailnotary.resolver import Resolver

log = logging.getLogger(__name__)

AT_ONCE = 16  # concurrent questions
BATCH = 64  # looks, after which the process listens to the supervisor again
DECIDE_SECONDS = 2.0  # in a round, after which the results so far are passed on
REPEAT = 3600.0  # seconds after which a bad record is reported again
_STRENGTH = {KeyState.PENDING: 0, KeyState.RETIRED: 0, KeyState.ACTIVE: 1, KeyState.AUTO: 2}


@dataclass(slots=True)
class _Watched:
    """A key of the keystore, with all entries that have it (`"*"` may share a key with a domain's own entry)."""

    digest: bytes
    state: KeyState  # of several: auto before active before retired
    places: list[tuple[KeyEntry, StoredKey]]

    @property
    def private(self) -> PrivateKey:
        """The key itself; parsed each time, because ten thousand parsed keys would take too much memory."""
        return load_key(self.places[0][1])


def watched_keys(keystore: KeyStore, states: Iterable[KeyState] = KeyState) -> dict[KeyId, _Watched]:
    """The keys of a keystore that are in some states. Keys that can't be parsed are left out: they can't sign, which is
    reported when the configuration is checked and when a message should be signed."""
    wanted = set(states)
    keys: dict[KeyId, _Watched] = {}
    for entry in keystore.entries.values():
        for key in entry.keys:
            if key.state not in wanted:
                continue
            try:
                private = load_key(key)
            except KeyLoadError:
                continue
            name = KeyId(entry.domain, key.selector, histories.fingerprint(private))
            watched = keys.setdefault(name, _Watched(file_digest(key.pem), key.state, []))
            watched.places.append((entry, key))
            if _STRENGTH[key.state] > _STRENGTH[watched.state]:
                watched.state = key.state
    return keys


def _signing_set(keys: dict[KeyId, _Watched], known: histories.KeyHistories) -> SigningSet:
    return frozenset(
        (name.domain, name.selector, watched.digest)
        for name, watched in keys.items()
        if watched.state is KeyState.AUTO and name in known and known[name].signing
    )


@dataclass(frozen=True, slots=True)
class Initial:
    """What the daemon begins with: the auto keys that signed before, and whether it remembers nothing at all. (A key
    that is new to a daemon with a memory has not signed before, and need not at once.)"""

    signing: SigningSet
    blank: bool


def initial(settings: Settings, keystore: KeyStore) -> Initial:
    """From the state file alone, so that DNS can be down at the start."""
    keys = watched_keys(keystore, (KeyState.AUTO,))
    if not keys or settings.mode is Mode.VERIFY:
        return Initial(frozenset(), False)
    known = _load(settings.state_dir)
    return Initial(_signing_set(keys, known), not known)


def _load(directory: Path) -> dict[KeyId, KeyHistory]:
    try:
        return histories.load(directory)
    except StateError as error:
        log.error("what was known about the keys in DNS is lost", extra={"fields": {"error": str(error)}})
        return {}


class KeyWatch:
    """Looks up the keys of the current keystore. `announce` is called with each new set of auto keys that sign."""

    def __init__(
        self, announce: Callable[[SigningSet], object], signing: SigningSet, clock: Callable[[], float] = time.time
    ) -> None:
        self._announce = announce
        self.signing = signing
        self._clock = clock
        self._keys: dict[KeyId, _Watched] = {}
        self._histories: dict[KeyId, KeyHistory] = {}
        self._queue: list[KeyId] = []
        self._reported: dict[KeyId, tuple[str, float]] = {}
        self._directory: Path | None = None
        self._interval = 0.0
        self._decided = 0.0
        self._unanswered = 0
        self._save_failed = False

    @property
    def busy(self) -> bool:
        """Whether this round has keys left to look up."""
        return bool(self._queue)

    def summary(self) -> dict[str, dict[str, float]]:
        """How many keys there are by `state` and by what DNS serves for them (`record`), how many sign (`signing`), and
        how many seconds ago DNS was first seen serving the oldest of these (`oldest`)."""
        states: Counter[str] = Counter({str(state): 0 for state in KeyState})
        states.update(watched.state for watched in self._keys.values())
        known = [(watched, self._histories.get(name, KeyHistory())) for name, watched in self._keys.items()]
        records: Counter[str] = Counter({str(status): 0 for status in KeyRecordStatus})
        records.update(history.result for _, history in known if history.result)
        signing = [
            history
            for watched, history in known
            if history.idle_since is None and (watched.state is KeyState.ACTIVE or history.signing)
        ]
        first = [history.first_good for history in signing if history.first_good is not None]
        oldest = {"": self._clock() - min(first)} if first else {}
        return {"state": dict(states), "record": dict(records), "signing": {"": len(signing)}, "oldest": oldest}

    def adopt(self, settings: Settings, keystore: KeyStore) -> None:
        """Watches another keystore from now on, and begins a round."""
        if settings.state_dir != self._directory:
            self._directory = settings.state_dir
            self._histories = _load(settings.state_dir) | self._histories
        self._interval = settings.key_check_seconds
        self._keys = {} if settings.mode is Mode.VERIFY else watched_keys(keystore)
        for name, watched in self._keys.items():
            if name not in self._histories and (name.domain, name.selector, watched.digest) in self.signing:
                self._histories[name] = KeyHistory(signing=True)  # the state file could not be written
        self._reported.clear()
        self.begin()
        self._decide()

    def begin(self) -> None:
        """Begins a round: every key is due, those never looked up first, then by the age of the last look."""
        self._unanswered = 0
        self._queue = sorted(
            self._keys, key=lambda name: self._histories.get(name, KeyHistory()).last_look or 0, reverse=True
        )

    def step(self, resolver: Resolver) -> None:
        """Looks up some keys of the round, concurrently."""
        batch = [self._queue.pop() for _ in range(min(BATCH, len(self._queue)))]
        if not batch:
            return
        with ThreadPoolExecutor(min(AT_ONCE, len(batch))) as pool:
            observations = list(pool.map(lambda name: self._observe(name, resolver), batch))
        now = self._clock()
        for name, observation in zip(batch, observations, strict=True):
            history = self._histories.get(name, KeyHistory())
            self._histories[name] = histories.after_look(history, observation, now, self._interval / 2)
            self._unanswered += observation.result is KeyRecordStatus.ERROR
        # Not after each batch, because each time all workers go through all keys.
        if not self._queue or abs(now - self._decided) >= DECIDE_SECONDS:
            self._decide()
        if not self._queue:
            self._end_round(now)

    def _observe(self, name: KeyId, resolver: Resolver) -> KeyObservation:
        return observe(resolver, name.domain, name.selector, self._keys[name].private)

    # --- decisions ---

    def _decide(self) -> None:
        """Decides which keys sign, logs changes, and passes them on."""
        self._decided = self._clock()
        before = self._histories
        self._histories = histories.decide({name: watched.state for name, watched in self._keys.items()}, before)
        for name in self._keys:
            old, new = before.get(name, KeyHistory()), self._histories.get(name, KeyHistory())
            if new.signing and not old.signing:
                log.info("a key starts to sign", extra={"fields": _fields(name)})
            elif old.signing and not new.signing:
                fields = _fields(name) | {"reason": new.reason, "bad_looks": new.bad_looks}
                log.error("a key stops signing because its record is gone", extra={"fields": fields})
        signing = _signing_set(self._keys, self._histories)
        if signing != self.signing:
            self.signing = signing
            self._note_idle()
            self._save()  # first, so that what is in force is not lost
            self._announce(signing)

    def _note_idle(self) -> None:
        """Notes since when keys no longer sign because they are retired or replaced."""
        now = self._clock()
        published = {(domain, selector) for domain, selector, _ in self.signing}
        for name, watched in self._keys.items():
            done = all(
                (key.state is KeyState.RETIRED or key.retire_after is not None) and entry.idle(key, published)
                for entry, key in watched.places
            )
            history = self._histories.get(name, KeyHistory())
            if done and history.idle_since is None:
                self._histories[name] = replace(history, idle_since=now)
                log.info("a key is retired", extra={"fields": _fields(name)})
            elif not done and history.idle_since is not None:
                self._histories[name] = replace(history, idle_since=None)

    def _end_round(self, now: float) -> None:
        self._note_idle()
        for name, watched in self._keys.items():
            self._report(name, watched, now)
        if self._unanswered:
            fields = {"keys": self._unanswered, "of": len(self._keys)}
            log.warning("DNS gave no answer about some keys; those that sign continue", extra={"fields": fields})
        self._histories = histories.forget(self._histories, self._keys, now)
        self._save()

    def _report(self, name: KeyId, watched: _Watched, now: float) -> None:
        """Logs, and repeats after some time, that a key signs although its record is not right."""
        history = self._histories.get(name, KeyHistory())
        if history.result == KeyRecordStatus.EXPOSED:
            if self._is_due(name, history.reason, now):
                fields = _fields(name) | {"reason": history.reason}
                log.critical("a private key is published in DNS", extra={"fields": fields})
            return
        signs = history.idle_since is None and (watched.state is KeyState.ACTIVE or history.signing)
        if not signs or not history.bad_looks:
            if self._reported.pop(name, None) is not None and history.good:
                log.info("the record of a key is right again", extra={"fields": _fields(name)})
            return
        if self._is_due(name, history.reason, now):
            fields = _fields(name) | {"dns": history.result, "reason": history.reason}
            log.error("a key signs although DNS does not serve its record", extra={"fields": fields})

    def _is_due(self, name: KeyId, reason: str, now: float) -> bool:
        """Whether to log this reason now: it is new, or was logged some time ago."""
        logged, when = self._reported.get(name, ("", 0.0))
        if reason == logged and abs(now - when) < REPEAT:
            return False
        self._reported[name] = (reason, now)
        return True

    def _save(self) -> None:
        if self._directory is None or not self._keys:
            return
        try:
            histories.save(self._directory, self._histories)
            self._save_failed = False
        except StateError as error:
            if not self._save_failed:
                log.warning("the state of the keys can't be saved", extra={"fields": {"error": str(error)}})
            self._save_failed = True


def _fields(name: KeyId) -> dict[str, object]:
    return {"domain": name.domain, "selector": name.selector}
