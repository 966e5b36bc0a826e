"""Rows of a source made into an entry, checked as the keystore file is; and an entry as the octets of a record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import ip_network
from typing import Final

from mailnotary.config.keystore import Allow, KeyEntry, KeyState, StoredKey
from mailnotary.config.keystore_file import KeystoreReader
from mailnotary.config.keystore_files import KeyFiles, weakness
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar, YamlSequence
from mailnotary.crypto import KeyLoadError, Sealer, is_sealed, load_private_key, private_der
from mailnotary.sources.table import AUTO, FAULTY, Record

Value = str | bytes | tuple[str, ...] | None
Row = Mapping[str, Value]
"""What a source says of one key: `COLUMNS` by name. None, and a name that is missing, mean the default."""

OF_KEY: Final = ("selector", "key", "state", "retire_after")
OF_ENTRY: Final = ("include_subdomains", "signs_as", "auth_users", "networks", "envelope_from")
LISTS: Final = ("auth_users", "networks", "envelope_from")
COLUMNS: Final = ("domain", *OF_KEY, *OF_ENTRY)
MAX_KEYS: Final = 20  # of one domain
MAX_VALUE: Final = 65536  # octets of one value; a key of 8192 bits takes 6500


@dataclass(frozen=True, slots=True)
class Made:
    """The record of a domain, what is wrong with it ("" if nothing), and what its administrator should know."""

    record: Record
    fault: str = ""
    warnings: tuple[str, ...] = ()


def digest(rows: Sequence[Row]) -> bytes:
    """By which it is seen whether a domain's rows are what they were."""
    found = blake2b(digest_size=16)
    for row in rows:
        found.update(repr([row.get(name) for name in COLUMNS]).encode("utf-8", "backslashreplace"))
    return found.digest()


def make(name: str, rows: Sequence[Row], sealer: Sealer | None) -> Made:
    """The record of the domain `name` from its rows. Never raises: what can't be used is an entry whose mail waits."""
    report, keys = Report(""), _Keys(sealer)
    try:
        entry = _entry(name, rows, report, keys)
        fault = next((problem.message for problem in report.sorted_problems()), "")
    except ValueError as error:
        entry, fault = None, str(error)
    if entry is None or report.problems:
        entry = faulty(name, str(rows[0].get("selector") or ""), fault)
    elif entry.faulty is None:
        fault = ""  # that of a retired key is a warning
    warnings = tuple(f"{name}: {warning.message}" for warning in report.warnings)
    return Made(record(entry, rows), fault and f"{name}: {fault}", warnings)


def record(entry: KeyEntry, rows: Sequence[Row]) -> Record:
    """The record of an entry that was made of these rows."""
    kind = FAULTY if entry.faulty is not None else 0
    if any(key.state is KeyState.AUTO for key in entry.keys):
        kind |= AUTO
    return Record(entry.name, digest(rows), kind, _octets(entry))


def faulty(name: str, selector: str, fault: str) -> KeyEntry:
    """The entry of a domain that can't be used."""
    key = StoredKey(selector[:63] or "?", "", KeyState.ACTIVE, b"", None, fault)
    return KeyEntry(name, name, False, (key,), Allow(), from_source=True)


def _entry(name: str, rows: Sequence[Row], report: Report, keys: "_Keys") -> KeyEntry | None:
    if len(rows) > MAX_KEYS:
        raise ValueError(f"it has {len(rows)} keys, at most {MAX_KEYS} are possible: remove those that no longer sign")
    first = rows[0]
    for column in OF_ENTRY:
        if any(row.get(column) != first.get(column) for row in rows):
            raise ValueError(f"its rows have different values of {column}, which is for the whole domain")
    fields: list[tuple[str, YamlNode]] = [("keys", YamlSequence([keys.node(name, row) for row in rows], 0, 0))]
    if (value := first.get("include_subdomains")) is not None:
        fields.append(("include_subdomains", _scalar(value)))
    if (value := first.get("signs_as")) is not None:
        fields.append(("domain", _scalar(value)))
    allowed = [(column, _list(value)) for column in LISTS if (value := first.get(column)) is not None]
    if allowed:
        fields.append(("allow", _mapping(allowed)))
    entry = KeystoreReader(keys).read_entry(name, _scalar(name), _mapping(fields), report, "")
    return entry and replace(entry, from_source=True)


def _scalar(value: Value) -> YamlScalar:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return YamlScalar(text, False, 0, 0)


def _list(value: Value) -> YamlSequence:
    """A list, or a text with commas or blanks between its parts."""
    parts = value if isinstance(value, tuple) else _scalar(value).text.replace(",", " ").split()
    return YamlSequence([_scalar(part) for part in parts], 0, 0)


def _mapping(fields: Sequence[tuple[str, YamlNode]]) -> YamlMapping:
    return YamlMapping([(_scalar(name), node) for name, node in fields], 0, 0)


class _Keys(KeyFiles):
    """Stands for the files of keys, which here are values of rows."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer
        self._values: dict[str, tuple[str, str, Value]] = {}
        self.unsafe = False
        self.warnings: dict[str, str] = {}

    def node(self, name: str, row: Row) -> YamlMapping:
        """A key of an entry as it would be written into the file."""
        selector = row.get("selector")
        if not selector:
            raise ValueError("a row has no selector")
        place = f"key of the row {len(self._values) + 1}"
        self._values[place] = name, _scalar(selector).text, row.get("key")
        fields: list[tuple[str, YamlNode]] = [("selector", _scalar(selector)), ("file", _scalar(place))]
        fields += [
            (column, _scalar(value)) for column in ("state", "retire_after") if (value := row.get(column)) is not None
        ]
        return _mapping(fields)

    def path(self, name: str) -> str:
        """There is no directory."""
        return name

    def load(self, path: str) -> tuple[bytes, str]:
        """The key in DER, and why it can't be used, "" if it can."""
        try:
            return self._der(path), ""
        except KeyLoadError as error:
            return b"", str(error)

    def _der(self, path: str) -> bytes:
        name, selector, value = self._values[path]
        if not value or isinstance(value, tuple):
            raise KeyLoadError("the row has no key")
        octets = value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace")
        if is_sealed(octets):
            if self._sealer is None:
                raise KeyLoadError("the key is sealed: name the file with the key of the seal in source.seal_file")
            octets = self._sealer.open(octets, name, selector)
        if warning := weakness(load_private_key(octets)):
            self.warnings[path] = warning
        return private_der(octets, "FILE")


# --- records --------------------------------------------------------------------------------------------------------


def _octets(entry: KeyEntry) -> bytes:
    keys = [[key.selector, str(key.state), key.retire_after, key.fault, len(key.pem)] for key in entry.keys]
    allow = [entry.allow.auth_users, [str(network) for network in entry.allow.networks], entry.allow.envelope_from]
    head = json.dumps([entry.domain, entry.include_subdomains, allow, keys]).encode()
    return len(head).to_bytes(4, "little") + head + b"".join(key.pem for key in entry.keys)


def without_keys(record: Record) -> Record:
    """A record that those may read whom the keys do not concern."""
    return replace(record, body=record.body[: 4 + int.from_bytes(record.body[:4], "little")])


def read(record: Record, origin: str) -> KeyEntry:
    """The entry of a record. `origin` is the source, for messages. Without keys if the record has none."""
    size = int.from_bytes(record.body[:4], "little")
    domain, include_subdomains, (users, networks, senders), keys = json.loads(record.body[4 : 4 + size])
    stored, at = [], 4 + size
    for selector, state, retire_after, fault, octets in keys:
        pem = record.body[at : at + octets]
        file = f"{origin}, {record.name} {selector}"
        stored.append(StoredKey(selector, file, KeyState(state), pem, retire_after, fault))
        at += octets
    allow = Allow(tuple(users), tuple(ip_network(network) for network in networks), tuple(senders))
    return KeyEntry(record.name, domain, include_subdomains, tuple(stored), allow, origin, from_source=True)
