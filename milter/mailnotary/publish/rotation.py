"""Keys that replace themselves: one run over the keystore, in which each key goes on by as many steps as it can.

made (`pending`) -> its record published -> served by every nameserver of its zone (`auto`) -> the daemon signs with it,
and no longer with the old one -> `remove_after` later the old one is `retired`, its record removed, and then the key
itself.

Nothing here is in the way of mail. A step that fails changes nothing that signs: it is said, noted, and tried in the
next run. Runs at the same time do no harm: the keystore is changed under its lock and only where it is still as it was
looked at, and a record is only added where there is none.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from mailnotary.config import keystore_files
from mailnotary.config.keystore import KeyEntry, KeyState, StoredKey
from mailnotary.config.load import Configuration
from mailnotary.config.private_key import load_key
from mailnotary.config.publishing import RotationSettings
from mailnotary.crypto import KeyLoadError, PrivateKey
from mailnotary.dkim.publish import key_record_name, key_record_text
from mailnotary.errors import DnsError, SetupError
from mailnotary.keys import histories, progress
from mailnotary.keys.create import EntryKeys, NewKeyError, Owner, Pem, locked, store
from mailnotary.keys.edit import KeystoreEditError
from mailnotary.keys.histories import KeyHistory, KeyId
from mailnotary.keys.observe import KeyRecordStatus, judge
from mailnotary.keys.progress import Phase, Progress, Step
from mailnotary.keys.rotate import Births, RotationError, due, generate, next_selector, rotation_of
from mailnotary.publish.outcome import Outcome, is_new
from mailnotary.publish.publisher import Publisher, Publishers
from mailnotary.resolver import Answer
from mailnotary.resolver.authority import Place
from mailnotary.resolver.update import Change, UpdateError

AT_ONCE: Final = 8  # entries that are looked at side by side
MAX_BEGUN: Final = 100  # domains with new keys that are not yet published; others wait for a later run

Say = Callable[[str, str], None]
"""Takes what was done: the domain, and a sentence."""


class Run:
    """One run. `load` reads the configuration anew; `reload` has the daemon do so, and raises SetupError if it
    can't."""

    def __init__(
        self,
        load: Callable[[], Configuration],
        publishers: Publishers,
        owner: Owner | None,
        reload: Callable[[], None],
        say: Say,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._load = load
        self._publishers = publishers
        self._owner = owner
        self._reload = reload
        self._say = say
        self._clock = clock
        self.failed = False  # whether the keystore could not be changed
        self._configuration = load()
        self._rotation: RotationSettings = self._configuration.settings.rotation
        self._files = frozenset(keystore_files.files(self._configuration.settings.keystore))
        self._directory = self._configuration.settings.state_dir
        self._before = progress.load(self._directory)
        self._known = histories.load(self._directory)
        self._published = histories.remembered(self._directory, self._configuration.keystore)

    def run(self) -> Progress:
        """Does what can be done now, and notes where that leads. Raises StateError if nothing is known or can be
        noted."""
        changed = self._begin()
        self._configuration = self._load()
        entries = [entry for entry in self._configuration.keystore.entries.values() if self._ours(entry)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(self._advance, entries))
        changed |= self._apply(outcomes)
        after = self._after([step for outcome in outcomes for step in outcome.steps], reload=changed)
        progress.save(self._directory, after)
        if after.reload:
            self._reload()
            after = replace(after, reload=False)
            progress.save(self._directory, after)
        return after

    def _ours(self, entry: KeyEntry) -> bool:
        """Whether the keys of an entry are replaced here. Those of another source than files are its own matter."""
        return self._rotation.includes(entry.domain) and Path(entry.source) in self._files

    # --- new keys

    def _begin(self) -> bool:
        """Makes the keys that are due; whether there were any."""
        settings = self._configuration.settings
        with locked(settings.keystore):
            self._configuration = self._load()  # again, now that nobody else changes it
            begun: dict[str, list[EntryKeys]] = {}
            for entry in self._due()[: max(MAX_BEGUN - self._waiting(), 0)]:
                try:
                    rotation = rotation_of(settings.keystore, entry, self._published, self._rotation.selectors)
                except RotationError as error:
                    self._say(entry.name, f"is due, but {error}")
                    continue
                begun.setdefault(entry.source, []).append(rotation.stored(KeyState.PENDING))
                for old, pem in rotation.new:
                    self._say(entry.name, f"made {pem.selector}, which is to replace {old.selector}")
            return self._store(begun)

    def _due(self) -> list[KeyEntry]:
        """The entries whose keys are due and not under way, the oldest first."""
        now, births = self._clock(), Births(self._known, self._published)
        found = []
        for entry in self._configuration.keystore.entries.values():
            born = births.of(entry) if self._ours(entry) and not self._under_way(entry) else None
            if born is not None and due(entry.domain, born, self._rotation.rotate_every or 0) <= now:
                found.append((born, entry))
        return [entry for _, entry in sorted(found, key=lambda item: item[0])]

    def _waiting(self) -> int:
        """How many entries have keys that are not published everywhere: while a nameserver is away, they do not
        grow."""
        entries = self._configuration.keystore.entries.values()
        return sum(any(key.state is KeyState.PENDING for key in entry.keys) for entry in entries)

    def _under_way(self, entry: KeyEntry) -> bool:
        return any(
            key.state is KeyState.PENDING
            or (key.retire_after is not None and not entry.idle(key, self._published))
            or is_new(entry, key, self._published)
            for key in entry.keys
        )

    def _store(self, by_source: dict[str, list[EntryKeys]]) -> bool:
        """Changes the keystore, file by file; whether any of it could be done. A file that can't be changed holds up
        its own entries alone."""
        if not by_source:
            return False
        # Noted first: whatever happens from here on, the daemon is told, if by the next run.
        progress.save(self._directory, replace(self._before, reload=True))
        changed = False
        for source, edits in by_source.items():
            try:
                store(self._configuration.settings.keystore, edits, owner=self._owner, source=Path(source))
                changed = True
            except (NewKeyError, KeystoreEditError) as error:
                self.failed = True
                self._say(", ".join(edit.name for edit in edits[:5]), f"nothing was changed: {error}")
        return changed

    # --- the steps of keys that there are

    def _advance(self, entry: KeyEntry) -> Outcome:
        outcome = Outcome(entry)
        for key in entry.keys:
            try:
                self._step(outcome, key)
            except (DnsError, SetupError, KeyLoadError, RotationError) as error:
                phase = Phase.REMOVE if key.retire_after is not None else Phase.PUBLISH
                outcome.steps.append(self._noted(entry, key, phase, problem=str(error)))
        return outcome

    def _step(self, outcome: Outcome, key: StoredKey) -> None:
        entry = outcome.entry
        if key.state is KeyState.PENDING or is_new(entry, key, self._published):
            self._publish(outcome, key)
        elif key.retire_after is not None and self._is_over(entry, key):
            if key.state is KeyState.RETIRED:
                self._remove(outcome, key)
            elif self._successors_served(entry):
                outcome.change(changed={key.selector: {"state": str(KeyState.RETIRED)}})
                outcome.steps.append(self._noted(entry, key, Phase.REMOVE))
            else:
                needed = "it stays, because not every nameserver serves the records of the keys that sign"
                outcome.steps.append(self._noted(entry, key, Phase.REMOVE, problem=needed))

    def _publish(self, outcome: Outcome, key: StoredKey) -> None:
        """Publishes a new key's record, and has the key sign once all nameservers serve it."""
        entry, private = outcome.entry, load_key(key)
        name = key_record_name(entry.domain, key.selector)
        place = self._publishers.place_of(name)
        words = self._looks(place, private)
        if not _all_match(words):
            publisher = self._publishers.at(place)
            if publisher is None:
                by_hand = f"publish its record: `mailnotary dns {entry.domain}`"
                step = self._noted(entry, key, Phase.PUBLISH, words, by_hand)
                outcome.steps.append(step)
                return
            if not self._added(outcome, key, place, publisher):
                return
            words = self._looks(place, private)
        if not _all_match(words):
            outcome.steps.append(self._noted(entry, key, Phase.SERVE, words))
            return
        if key.state is KeyState.PENDING:
            outcome.change(changed={key.selector: {"state": str(KeyState.AUTO)}})
            self._say(entry.name, f"{key.selector}: every nameserver serves its record ({', '.join(words)})")
        outcome.steps.append(self._noted(entry, key, Phase.SIGN, words))

    def _added(self, outcome: Outcome, key: StoredKey, place: Place, publisher: Publisher) -> bool:
        """Adds a key's record where there is none; whether it is there now. Where somebody else was first, the key
        makes room for one with another selector."""
        text = key_record_text(load_key(key)).encode()
        present = publisher.texts()
        if present == (text,):
            return True
        try:
            if present:
                raise UpdateError(f"{place.name} has another record already", conflict=True)
            publisher.change(Change(place.name, add=(text,), before=()))
        except UpdateError as error:
            if not error.conflict or self._rotation.selectors or key.state is not KeyState.PENDING:
                raise
            self._make_room(outcome, key)
            return False
        self._say(outcome.entry.name, f"published {place.name}")
        return True

    def _make_room(self, outcome: Outcome, key: StoredKey) -> None:
        entry, private = outcome.entry, load_key(key)
        taken = [other.selector.lower() for other in entry.keys]
        directory = Path(key.file).parent
        behind = {file.name.removeprefix(f"{entry.domain}.").removesuffix(".pem") for file in directory.glob("*.pem")}
        selector, _ = next_selector(private.algorithm, taken, behind, ())
        changed = {old.selector: {"retire_after": selector} for old in entry.keys if old.retire_after == key.selector}
        pem = Pem(selector, generate(private))
        outcome.change(keys=[pem], changed=changed, removed=[key.selector])
        self._say(entry.name, f"{key.selector} has a record of somebody else's: {selector} takes its place")

    def _remove(self, outcome: Outcome, key: StoredKey) -> None:
        """Removes the record of a key that was replaced long ago, then the key."""
        entry, private = outcome.entry, load_key(key)
        place = self._publishers.place_of(key_record_name(entry.domain, key.selector))
        publisher = self._publishers.at(place)
        if publisher is None:
            words = self._looks(place, private)
            if KeyRecordStatus.MATCH in words.values():
                by_hand = f"its record can be removed: {place.name}"
                outcome.steps.append(self._noted(entry, key, Phase.REMOVE, problem=by_hand))
                return
        else:
            own = [text for text in publisher.texts() if _is_its(text, place, private)]
            for text in own:
                publisher.change(Change(place.name, remove=(text,)))
                self._say(entry.name, f"removed the record {place.name}")
        outcome.change(removed=[key.selector])
        self._say(entry.name, f"removed {key.selector}; its file is still there: {key.file}")

    def _is_over(self, entry: KeyEntry, key: StoredKey) -> bool:
        """Whether the daemon has not signed with a key for `remove_after`."""
        if key.fault or not entry.idle(key, self._published):
            return False
        name = KeyId(entry.domain, key.selector, histories.fingerprint(load_key(key)))
        since = self._known.get(name, KeyHistory()).idle_since
        return since is not None and self._clock() - since >= self._rotation.remove_after

    def _successors_served(self, entry: KeyEntry) -> bool:
        """Whether every key that signs is served by every nameserver: otherwise the old one may be needed again."""
        signing = [key for key in entry.keys if not entry.idle(key, self._published)]
        places = [(self._publishers.place_of(key_record_name(entry.domain, key.selector)), key) for key in signing]
        return bool(signing) and all(_all_match(self._looks(place, load_key(key))) for place, key in places)

    def _looks(self, place: Place, private: PrivateKey) -> dict[str, str]:
        """What each nameserver serves of a key."""
        words = {}
        for served in self._publishers.authority.ask_each(place):
            word = "error" if served.problem else str(judge(place.name, served.answer, private).result)
            words[str(served.server)] = word
        return words

    def _noted(
        self,
        entry: KeyEntry,
        key: StoredKey,
        phase: Phase,
        words: dict[str, str] | None = None,
        problem: str = "",
    ) -> Step:
        now, before = self._clock(), self._before.of(entry.domain, key.selector)
        since = before.since if before is not None and before.phase is phase else now
        known = before.servers if before is not None else {}
        servers = {
            server: (known.get(server) or now) if word == KeyRecordStatus.MATCH else None
            for server, word in (words or {}).items()
        }
        return Step(entry.name, entry.domain, key.selector, phase, since, problem, servers)

    # --- what was found

    def _apply(self, outcomes: Sequence[Outcome]) -> bool:
        """Makes the changes of the keystore, of entries that are still as they were looked at; whether there were
        any."""
        wanted = {outcome.entry.name: outcome for outcome in outcomes if outcome.edit is not None}
        if not wanted:
            return False
        with locked(self._configuration.settings.keystore):
            self._configuration = self._load()
            by_source: dict[str, list[EntryKeys]] = {}
            for name, outcome in wanted.items():
                entry = self._configuration.keystore.entries.get(name)
                if entry == outcome.entry and outcome.edit is not None:
                    by_source.setdefault(entry.source, []).append(outcome.edit)
            return self._store(by_source)

    def _after(self, steps: Sequence[Step], *, reload: bool) -> Progress:
        now, births = self._clock(), Births(self._known, self._published)
        dates = [
            (due(entry.domain, born, self._rotation.rotate_every or 0), entry.domain)
            for entry in self._configuration.keystore.entries.values()
            if self._ours(entry) and not self._under_way(entry) and (born := births.of(entry)) is not None
        ]
        first, domain = min(dates, default=(None, ""))
        overdue = sum(date <= now for date, _ in dates)
        return Progress(now, tuple(steps), domain, first, overdue, reload or self._before.reload)


def _all_match(words: dict[str, str]) -> bool:
    return bool(words) and all(word == KeyRecordStatus.MATCH for word in words.values())


def _is_its(text: bytes, place: Place, private: PrivateKey) -> bool:
    return judge(place.name, Answer((text,)), private).result is KeyRecordStatus.MATCH


def problems(after: Progress) -> Iterator[Step]:
    """The steps that can't go on by themselves."""
    return (step for step in after.steps if step.problem)
