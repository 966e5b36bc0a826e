"""Reads keystore.yaml and the key files that it names."""

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mailnotary.config import yaml_file
from mailnotary.config.keystore import ALL_OF_OURS, IDLE_STATES, Allow, KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.keystore_files import MAX_BYTES, CheckedKeys, ClosedKeyFiles, KeyFiles, directory_of, files
from mailnotary.config.values import (
    Converter,
    boolean,
    choice,
    domain,
    list_of,
    mapping_of,
    networks,
    scalar,
    text,
    values,
)
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar, YamlSequence, shown
from mailnotary.dkim.publish import KEY_LABEL, key_record_name
from mailnotary.domain import MAX_NAME, is_domain_name, is_subdomain, to_ascii
from mailnotary.escape import printable
from mailnotary.files import not_permitted

T = TypeVar("T")


_KEY_EXAMPLE = "{selector: rsa2026, file: keys/example.org.rsa2026.pem}"
_ENTRY_EXAMPLE = f"keys: [{_KEY_EXAMPLE}]"


def load(path: Path, *, uid: int, gids: Collection[int]) -> KeyStore:
    """Reads keystore.yaml and its key files, to which only root and the daemon may have access (`uid` and `gids`, see
    `private_key.read_key`). A key that can't be used is a fault of its entry alone (`StoredKey.fault`). Raises
    ConfigError with all errors of the file itself."""
    report = Report(path)
    keystore = read(path, report, uid=uid, gids=gids)
    report.raise_problems()
    return keystore


def load_without_keys(path: Path) -> KeyStore:
    """The keystore, without opening a key file: its keys have neither octets nor faults. Raises ConfigError."""
    report = Report(path)
    with yaml_file.collector_off():
        keystore = _read(path, report, ClosedKeyFiles(path.absolute().parent))
    report.raise_problems()
    return keystore


def read(
    path: Path, report: Report, *, uid: int, gids: Collection[int], checked: CheckedKeys | None = None
) -> KeyStore:
    """Like `load`, but continues after errors: they are in the report, and what they concern is not in the keystore.
    `checked` are keys that were checked before; where there are no errors, those of this keystore take their place."""
    known = {} if checked is None else checked.warnings()
    key_files = KeyFiles(path.absolute().parent, uid, gids, known)
    with yaml_file.collector_off():  # it would visit every node, and none is garbage before the end
        keystore = _read(path, report, key_files)
    if checked is not None and not report.problems:
        checked.keep(key_files.checked)
    return keystore


def _read(path: Path, report: Report, key_files: KeyFiles) -> KeyStore:
    reader = KeystoreReader(key_files)
    try:
        paths = files(path)
    except PermissionError:  # what is in it would go unsigned
        report.error(None, f"{directory_of(path)}: {not_permitted(directory_of(path))}")
        return KeyStore()
    except OSError as error:
        report.error(None, f"{directory_of(path)}: can't be read: {error.strerror}")
        return KeyStore()
    for file in paths:
        of_file = report if file == path else report.of(file)
        root = yaml_file.read(file, of_file, MAX_BYTES)
        if root is not None:
            reader.read(root, of_file, file)
    return KeyStore(reader.entries)


def _first(root: YamlMapping, name: str, converter: Converter[T]) -> T | None:
    """A setting of the file that must be known before its entries are read. Its errors are reported in their order."""
    node = root.get(name)
    try:
        return None if node is None else converter(node, Report(""))
    except ValueError:
        return None


def _defaults(node: YamlNode, report: Report) -> dict[str, Any]:
    return values(node, report, {"file": _file_name})


_Place = tuple[str, int]
"""A file of the keystore, and a line in it."""


def _named(place: _Place, report: Report) -> str:
    """A place as a message about another place of the keystore names it."""
    file, line = place
    return f"line {line}" if file == report.file else f"{file}:{line}"


class KeystoreReader:
    """Reads the entries of a keystore, from one file after the other."""

    def __init__(self, key_files: KeyFiles) -> None:
        self.entries: dict[str, KeyEntry] = {}
        self._places: dict[str, _Place] = {}  # of their names
        self._report = Report("")  # on the file that is being read
        self._file = ""
        self._default_file: str | None = None  # `file` of the keys that have none
        self._domain = ""  # which the entry signs as
        self._key_files = key_files
        self._selectors: list[tuple[YamlScalar, StoredKey]] = []  # of the entry that is being read
        self._successors: list[tuple[YamlNode, StoredKey]] = []  # its keys with retire_after, and the place of that
        self._records: dict[str, tuple[_Place, str]] = {}  # a DNS name -> the place of its selector, the key's file

    def read(self, root: YamlMapping, report: Report, file: Path) -> None:
        """Adds the entries of a file, without the parts that have errors."""
        self._report, self._file = report, str(file)
        self._key_files.unsafe = _first(root, "unsafe_keys", boolean()) or False
        self._default_file = (_first(root, "defaults", _defaults) or {}).get("file")
        top = {"domains": self._domains, "unsafe_keys": boolean(), "defaults": _defaults}
        values(root, report, top)

    def read_entry(self, name: str, place: YamlScalar, node: YamlNode, report: Report, file: str) -> KeyEntry | None:
        """One entry that is in no file: of the domain `name`, from what would stand below it. `file` is where it comes
        from; what is wrong is in the report."""
        self._report, self._file = report, file
        return self._read_entry(name, place, node)

    def _domains(self, node: YamlNode, report: Report) -> None:
        for key, value in mapping_of(node, "example.org: {keys: [...]}").items:
            try:
                name = entry_name(key.text)
                if (first := self._places.get(name)) is not None:
                    place = _named(first, report)
                    raise ValueError(f"duplicate entry {name}, first in {place}: put all its keys into one entry")
            except ValueError as error:
                report.error(key, str(error))
                continue
            self._places[name] = report.file, key.line
            entry = self._read_entry(name, key, value)
            if entry is not None:
                self.entries[name] = entry

    def _read_entry(self, name: str, place: YamlScalar, node: YamlNode) -> KeyEntry | None:
        try:
            section = mapping_of(node, _ENTRY_EXAMPLE)
        except ValueError as error:
            self._report.error(node, str(error))
            return None
        self._selectors, self._successors = [], []
        fields = values(section, self._report, _ENTRY)
        self._domain = fields.get("domain", name)
        written = fields.get("keys")
        keys, below = self._keys(written), fields.get("include_subdomains", False)
        entry = KeyEntry(name, self._domain, below, keys, fields.get("allow", ALL_OF_OURS), self._file)
        self._check_names(entry, place, section)
        self._check_keys(entry, place, written)
        return entry

    def _check_names(self, entry: KeyEntry, place: YamlScalar, section: YamlMapping) -> None:
        if entry.name == "*":
            if section.get("domain") is None:
                self._report.error(
                    place, "'*' covers any domain and needs its own: write 'domain: example.org' below it"
                )
            if entry.include_subdomains:
                self._report.error(section.get("include_subdomains"), "'*' covers every domain: remove this")
        elif not is_subdomain(entry.name, entry.domain) and not is_subdomain(entry.domain, entry.name):
            self._report.warn(
                section.get("domain"),
                f"DMARC never counts a signature of {entry.domain} for {entry.name}: the domains are not aligned",
            )

    def _check_keys(self, entry: KeyEntry, place: YamlScalar, written: YamlNode | None) -> None:
        if written is None or (isinstance(written, YamlSequence) and not written.items):
            instead = f"write '{_ENTRY_EXAMPLE}', or remove the entry"
            self._report.error(written or place, f"{shown(entry.name)} has no keys: {instead}")
        elif {key.state for key in entry.keys} == _RETIRED:
            self._report.warn(place, f"all keys of {entry.name} are retired, so its mail is not signed")
        seen: set[str] = set()
        for where, key in self._selectors:
            if key.selector.lower() in seen:
                self._report.error(where, f"duplicate selector {shown(key.selector)}: give each key a different one")
            else:
                seen.add(key.selector.lower())
                self._check_record(entry, where, key)
        # Otherwise a key that could not be read would be reported as missing.
        if isinstance(written, YamlSequence) and len(written.items) == len(entry.keys):
            for node, key in self._successors:
                if problem := _successor_problem(entry, key):
                    self._report.error(node, problem)

    def _check_record(self, entry: KeyEntry, where: YamlScalar, key: StoredKey) -> None:
        """A selector of a domain has one key record in DNS, so entries that share both must name the same key."""
        record = key_record_name(entry.domain, key.selector.lower())
        if len(record) > MAX_NAME:
            self._report.error(
                where, f"{record} is longer than the {MAX_NAME} octets of a DNS name: choose a shorter selector"
            )
        first, file = self._records.setdefault(record, ((self._report.file, where.line), key.file))
        if file != key.file:
            place = _named(first, self._report)
            text = f"{record} is already the record of the key in {place}: name the same file, or another selector"
            self._report.error(where, text)

    def _keys(self, node: YamlNode | None) -> tuple[StoredKey, ...]:
        # Not among the converters of an entry: with a method of this object in it, the object would be in a cycle, and
        # all keys that it has read would stay in memory until the next garbage collection.
        if node is None:
            return ()
        try:
            parts = _PARTS(node, self._report)
        except ValueError as error:
            self._report.error(node, str(error))
            return ()
        return tuple([key for part in parts if (key := self._key(part)) is not None])

    def _key(self, node: YamlNode) -> StoredKey | None:
        report = self._report
        try:
            section = mapping_of(node, _KEY_EXAMPLE)
        except ValueError as error:
            report.error(node, str(error))
            return None
        fields = values(section, report, _KEY)
        selector, file_node = section.get("selector"), section.get("file")
        file = fields.get("file", self._default_file if file_node is None else None)
        if "selector" not in fields or file is None or not isinstance(selector, YamlScalar):
            for name, value in (("selector", selector), ("file", file_node or file)):
                if value is None:
                    report.error(node, f"this key has no '{name}': write {_KEY_EXAMPLE}")
            return None
        if "$" in file:
            names = {"domain": self._domain, "selector": fields["selector"]}
            file = _PLACEHOLDER.sub(lambda match: names[match[1]], file)
        path = self._key_files.path(file)
        pem, fault = self._key_files.load(path)
        key = StoredKey(
            fields["selector"], path, fields.get("state", KeyState.ACTIVE), pem, fields.get("retire_after"), fault
        )
        self._report_file(file_node or selector, key)
        self._selectors.append((selector, key))
        if key.retire_after is not None:
            self._successors.append((section.get("retire_after") or selector, key))
        return key

    def _report_file(self, node: YamlNode | None, key: StoredKey) -> None:
        if key.fault and key.state not in IDLE_STATES:  # its mail waits
            self._report.fault(node, f"{printable(key.file)}: {key.fault}")
        elif text := key.fault or self._key_files.warnings.get(key.file):
            self._report.warn(node, f"{printable(key.file)}: {text}")


_PLACEHOLDER = re.compile(r"\$(domain|selector)\b")  # as rspamd has them
_file_name = text("the file of a private key, like keys/example.org.rsa2026.pem")


def _successor_problem(entry: KeyEntry, key: StoredKey) -> str:
    """What is wrong with a key's retire_after: following it must end at a key of the entry that does not retire."""
    if key.state is KeyState.RETIRED:  # its successor may already have been removed
        return ""
    by_selector = {other.selector: other for other in entry.keys}
    visited = {key.selector}
    last = key
    while last.retire_after is not None:
        following = by_selector.get(last.retire_after)
        if following is None:
            return f"{entry.name} has no key {shown(last.retire_after)}: write the selector of another of its keys"
        if following.selector in visited:
            return f"{shown(key.selector)} would retire after itself: remove one of the retire_after"
        visited.add(following.selector)
        last = following
    return ""


def entry_name(text: str) -> str:
    """The name of an entry: a domain, or "*"."""
    if text == "*":
        return text
    if text.startswith("*."):
        raise ValueError(
            f"{shown(text)} is not a domain name: write {printable(text[2:])} with 'include_subdomains: true'"
        )
    return signing_domain(text)


def signing_domain(text: str) -> str:
    """domain-name = sub-domain 1*("." sub-domain): d= has at least two labels (RFC 6376 section 3.5)."""
    name = domain(text)
    if "." not in name:
        raise ValueError(f"{shown(text)} has only one label: write a domain like example.org")
    if KEY_LABEL in name.split("."):
        raise ValueError(f"{shown(text)} is the name of a key record: write the domain alone, like example.org")
    return name


@lru_cache(maxsize=1024)  # thousands of domains name the same few
def selector_name(text: str) -> str:
    """sub-domain *( "." sub-domain ) (RFC 6376 section 3.1); U-labels as A-labels (RFC 8616 section 4)."""
    name = to_ascii(text)
    if name is None or not is_domain_name(name) or text.endswith("."):
        raise ValueError(f"{shown(text)} is not a selector: write letters, digits and hyphens, like rsa2026")
    if KEY_LABEL in name.split("."):
        raise ValueError(f"{shown(text)} is the name of a key record: write the selector alone, like rsa2026")
    return text if text.isascii() else name


_SIGNS_AS = scalar(signing_domain, "a domain like example.org")
_PARTS: Converter[tuple[YamlNode, ...]] = list_of(lambda node, _report: node, _KEY_EXAMPLE)
_PATTERNS = list_of(text("a pattern like *@example.org"), '"*@example.org"')
_ALLOW: dict[str, Converter[Any]] = {"auth_users": _PATTERNS, "networks": networks, "envelope_from": _PATTERNS}
_ENTRY: dict[str, Converter[Any]] = {
    "keys": lambda node, _report: node,
    "include_subdomains": boolean(),
    "allow": lambda node, report: Allow(**values(node, report, _ALLOW)),
    "domain": _SIGNS_AS,
}
_RETIRED = {KeyState.RETIRED}
_KEY: dict[str, Converter[Any]] = {
    "selector": scalar(selector_name, "a selector like rsa2026"),
    "file": _file_name,
    "state": choice(KeyState),
    "retire_after": scalar(selector_name, "the selector of the key that replaces this one"),
}
