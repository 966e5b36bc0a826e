"""keystore.yaml as frozen values: which domain signs with which keys, and who may sign as it."""

from collections.abc import Collection, Mapping
from dataclasses import field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from mailnotary.config.settings import Network
from mailnotary.frozen import frozen


class KeyState(StrEnum):
    """What the administrator has decided about a key."""

    ACTIVE = "active"  # signs
    AUTO = "auto"  # signs once its record has been seen in DNS
    RETIRED = "retired"  # never signs
    PENDING = "pending"  # never signs: its record is on the way into DNS (`publish.rotation`)


IDLE_STATES = frozenset((KeyState.RETIRED, KeyState.PENDING))
"""In which a key never signs, so that mail does not wait for it either."""


SigningSet = frozenset[tuple[str, str, bytes]]
"""The auto keys that sign: domain, selector, and the SHA-256 of the private key's file, which workers can compare
without parsing a key."""

Published = Collection[tuple[str, str]] | SigningSet
"""The auto keys whose records have been seen in DNS: by domain and selector, or by the digest of their file too."""


def file_digest(pem: bytes) -> bytes:
    """The last part of a `SigningSet`'s items."""
    return sha256(pem).digest()


@frozen
class StoredKey:
    """One key of an entry, with its PEM octets as they were read and checked at load. `retire_after` is the selector of
    the key that takes its place: once that one signs, this one stops. `fault` is why the file can't be used, ""
    if it can."""

    selector: str
    file: str  # absolute path, for messages
    state: KeyState
    pem: bytes = field(repr=False)
    retire_after: str | None = None
    fault: str = ""


@frozen
class Allow:
    """Whose mail is signed as an entry's domain. If empty: all mail of ours."""

    auth_users: tuple[str, ...] = ()  # shell patterns, "*@example.org"
    networks: tuple[Network, ...] = ()
    envelope_from: tuple[str, ...] = ()  # shell patterns


ALL_OF_OURS = Allow()


@frozen
class KeyEntry:
    """One domain of the keystore. `name` is its key in the file ("*" for the catch-all), `domain` the d= that it
    signs with."""

    name: str
    domain: str
    include_subdomains: bool
    keys: tuple[StoredKey, ...]
    allow: Allow
    source: str = ""  # the file that has the entry, or the program or database
    from_source: bool = False  # whether that is a program or a database, which alone may change the entry

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as plain values: pickle would look up each class by its name, and dataclasses would their fields.
        # Thousands of entries are written at a reload, and one is read for each message that is signed.
        names = self.name, self.domain, self.include_subdomains
        keys = [(key.selector, key.file, str(key.state), key.pem, key.retire_after, key.fault) for key in self.keys]
        allow = self.allow.auth_users, self.allow.networks, self.allow.envelope_from
        return _entry_of, (names, keys, allow, (self.source, self.from_source))

    def idle(self, key: StoredKey, published: Published) -> str:
        """Why one of the entry's keys does not sign at present; "" if it does."""
        if key.state is KeyState.RETIRED:
            return f"{key.selector} is retired"
        if key.state is KeyState.PENDING:
            return f"{key.selector} is pending: not every nameserver has been seen serving its record"
        if not self._may_sign(key, published):
            return f"{key.selector} is auto, and the daemon has not seen its record in DNS"
        if key.retire_after is not None and any(
            other.selector == key.retire_after and self._may_sign(other, published) for other in self.keys
        ):
            return f"{key.selector} is retired, for {key.retire_after} signs"
        return ""

    @property
    def faulty(self) -> StoredKey | None:
        """The first key that can't be used although it is neither retired nor pending. The entry's mail waits for it:
        whether the other keys are enough for its receivers is not ours to guess."""
        return next((key for key in self.keys if key.fault and key.state not in IDLE_STATES), None)

    def _may_sign(self, key: StoredKey, published: Published) -> bool:
        if key.state is not KeyState.AUTO:
            return key.state is KeyState.ACTIVE
        name = self.domain, key.selector
        return name in published or (*name, file_digest(key.pem)) in published


def _entry_of(names: Any, keys: Any, allow: Any, origin: Any) -> KeyEntry:
    name, domain, include_subdomains = names
    stored = tuple([StoredKey(selector, file, KeyState(state), *rest) for selector, file, state, *rest in keys])
    return KeyEntry(name, domain, include_subdomains, stored, Allow(*allow), *origin)


@frozen
class KeyStore:
    """All entries, by name (lower-case A-labels). `complete`: not while a source of keys has yet to say for the first
    time which domains it has: mail that its keys might sign waits."""

    entries: Mapping[str, KeyEntry] = field(default_factory=dict)
    complete: bool = True

    def waiting(self) -> list[str]:
        """The names of the entries whose mail waits, because a key of theirs can't be used."""
        return [name for name, entry in self.entries.items() if entry.faulty is not None]

    @property
    def signs(self) -> bool:
        """Whether there are entries, or may be."""
        return bool(self.entries) or not self.complete

    def may_cover(self, domain: str) -> bool:
        """Whether mail of this author domain is signed, or might be once the source has answered."""
        return not self.complete or self.find(domain) is not None

    def must_wait(self, domain: str) -> bool:
        """Whether it is not known yet who signs for this author domain. An entry of its own in the keystore goes before
        whatever a source has."""
        return not self.complete and domain not in self.entries

    def find(self, domain: str) -> KeyEntry | None:
        """The entry of an author domain (as `to_ascii` gives it): its own, else the nearest parent's with
        include_subdomains, else "*"."""
        entry = self.entries.get(domain)
        if entry is not None:
            return entry
        parent = domain
        while "." in parent:
            parent = parent.partition(".")[2]
            entry = self.entries.get(parent)
            if entry is not None and entry.include_subdomains:
                return entry
        return self.entries.get("*")
