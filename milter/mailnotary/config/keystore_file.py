"""Reads keystore.yaml and the key files that it names."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mailnotary.config import yaml_nodes
from mailnotary.config.keystore import Allow, KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.private_key import read_key
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
from mailnotary.config.yaml_check import shown
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar, YamlSequence
from mailnotary.crypto import KeyLoadError
from mailnotary.dkim.publish import key_record_name
from mailnotary.domain import MAX_NAME, is_domain_name, is_subdomain, to_ascii
from mailnotary.escape import printable

MAX_BYTES = 64 * 1_048_576  # of keystore.yaml; 10,000 domains take 3 MB
KEYS_DIRECTORY = "keys"  # beside the keystore, where commands put keys
WEAK_RSA_BITS = 2048  # RFC 8301 section 3.2: signers SHOULD use at least as many

_KEY_EXAMPLE = "{selector: rsa2026, file: keys/example.org.rsa2026.pem}"


def load(path: Path, *, uid: int, gids: Collection[int]) -> KeyStore:
    """Reads keystore.yaml and its key files, to which only root and the daemon may have access (`uid` and `gids`, see
    `private_key.read_key`). A key that can't be used is a fault of its entry alone (`StoredKey.fault`). Raises
    ConfigError with all errors of the file itself."""
    report = Report(path)
    keystore = read(path, report, uid=uid, gids=gids)
    report.raise_problems()
    return keystore


def read(path: Path, report: Report, *, uid: int, gids: Collection[int]) -> KeyStore:
    """Like `load`, but continues after errors: they are in the report, and what they concern is not in the keystore."""
    with yaml_nodes.collector_off():  # it would visit every node, and none is garbage before the end
        return _read(path, report, _KeyFiles(path.absolute().parent, uid, gids))


def _read(path: Path, report: Report, key_files: "_KeyFiles") -> KeyStore:
    root = yaml_nodes.read(path, report, MAX_BYTES)
    if root is None:
        return KeyStore()
    key_files.unsafe = _unsafe(root)
    return _KeystoreReader(report, key_files).read(root)


def _unsafe(root: YamlMapping) -> bool:
    """Whether the file waives the rules for key files. Must be known before the first key is read."""
    node = root.get("unsafe_keys")
    try:
        return node is not None and boolean()(node, Report(""))
    except ValueError:  # reported later, with the file's other errors
        return False


class _KeyFiles:
    """Reads each key file once, however many domains share it."""

    def __init__(self, directory: Path, uid: int, gids: Collection[int]) -> None:
        self._directory, self._uid, self._gids = str(directory), uid, gids
        self.unsafe = False  # whether the rules of access are waived
        self._read: dict[str, bytes | KeyLoadError] = {}
        self.warnings: dict[str, str] = {}  # by path

    def path(self, name: str) -> str:
        """The absolute path of a key file as the keystore names it."""
        return os.path.normpath(os.path.join(self._directory, name))

    def load(self, path: str) -> bytes:
        """The octets of a key file. Raises KeyLoadError."""
        outcome = self._read.get(path)
        if outcome is None:
            outcome = self._read[path] = self._load(path)
        if isinstance(outcome, KeyLoadError):
            raise outcome
        return outcome

    def _load(self, path: str) -> bytes | KeyLoadError:
        try:
            data, key = read_key(path, self._uid, self._gids, unsafe=self.unsafe, copies=self.path(KEYS_DIRECTORY))
        except KeyLoadError as error:
            return error
        if key.algorithm == "rsa" and key.bits < WEAK_RSA_BITS:
            self.warnings[path] = f"RSA with {key.bits} bits: make a key of {WEAK_RSA_BITS} (RFC 8301)"
        return data


class _KeystoreReader:
    """Reads the entries of one keystore."""

    def __init__(self, report: Report, key_files: _KeyFiles) -> None:
        self._report = report
        self._key_files = key_files
        self._selectors: list[tuple[YamlScalar, StoredKey]] = []  # of the entry that is being read
        self._successors: list[tuple[YamlNode, StoredKey]] = []  # its keys with retire_after, and the place of that
        self._records: dict[str, tuple[int, str]] = {}  # a DNS name -> the line of its selector, and the key's file
        patterns = list_of(text("a pattern like *@example.org"), '"*@example.org"')
        self._allow: dict[str, Converter[Any]] = {
            "auth_users": patterns,
            "networks": networks,
            "envelope_from": patterns,
        }
        self._entry: dict[str, Converter[Any]] = {
            "keys": list_of(self._key, _KEY_EXAMPLE),
            "include_subdomains": boolean(),
            "allow": lambda node, report: Allow(**values(node, report, self._allow)),
            "domain": scalar(_signing_domain, "a domain like example.org"),
        }
        self._key_fields: dict[str, Converter[Any]] = {
            "selector": scalar(_selector, "a selector like rsa2026"),
            "file": lambda node, report: self._key_files.path(_file_name(node, report)),
            "state": choice(KeyState),
            "retire_after": scalar(_selector, "the selector of the key that replaces this one"),
        }

    def read(self, root: YamlMapping) -> KeyStore:
        """The keystore, without the parts that have errors."""
        top = values(root, self._report, {"domains": self._domains, "unsafe_keys": boolean()})
        return KeyStore(top.get("domains", {}))

    def _domains(self, node: YamlNode, report: Report) -> dict[str, KeyEntry]:
        entries: dict[str, KeyEntry] = {}
        lines: dict[str, int] = {}
        for key, value in mapping_of(node, "example.org: {keys: [...]}").items:
            try:
                name = _entry_name(key.text)
                if name in lines:
                    raise ValueError(
                        f"duplicate entry {name}, first in line {lines[name]}: put all its keys into one entry"
                    )
            except ValueError as error:
                report.error(key, str(error))
                continue
            lines[name] = key.line
            entry = self._read_entry(name, key, value)
            if entry is not None:
                entries[name] = entry
        return entries

    def _read_entry(self, name: str, place: YamlScalar, node: YamlNode) -> KeyEntry | None:
        try:
            section = mapping_of(node, f"keys: [{_KEY_EXAMPLE}]")
        except ValueError as error:
            self._report.error(node, str(error))
            return None
        self._selectors, self._successors = [], []
        fields = values(section, self._report, self._entry)
        keys = tuple(key for key in fields.get("keys", ()) if key is not None)
        entry = KeyEntry(
            name=name,
            domain=fields.get("domain", name),
            include_subdomains=fields.get("include_subdomains", False),
            keys=keys,
            allow=fields.get("allow", Allow()),
        )
        self._check_names(entry, place, section)
        self._check_keys(entry, place, section)
        return entry

    def _check_names(self, entry: KeyEntry, place: YamlScalar, section: YamlMapping) -> None:
        signs_as = section.get("domain")
        if entry.name == "*":
            if signs_as is None:
                self._report.error(
                    place, "'*' covers any domain and needs its own: write 'domain: example.org' below it"
                )
            if entry.include_subdomains:
                self._report.error(section.get("include_subdomains"), "'*' covers every domain: remove this")
        elif not is_subdomain(entry.name, entry.domain) and not is_subdomain(entry.domain, entry.name):
            self._report.warn(
                signs_as,
                f"DMARC never counts a signature of {entry.domain} for {entry.name}: the domains are not aligned",
            )

    def _check_keys(self, entry: KeyEntry, place: YamlScalar, section: YamlMapping) -> None:
        written = section.get("keys")
        if written is None or (isinstance(written, YamlSequence) and not written.items):
            instead = f"write 'keys: [{_KEY_EXAMPLE}]', or remove the entry"
            self._report.error(written or place, f"{shown(entry.name)} has no keys: {instead}")
        elif entry.keys and all(key.state is KeyState.RETIRED for key in entry.keys):
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
        line, file = self._records.setdefault(record, (where.line, key.file))
        if file != key.file:
            self._report.error(
                where,
                f"{record} is already the record of the key in line {line}: name the same file, or another selector",
            )

    def _key(self, node: YamlNode, report: Report) -> StoredKey | None:
        section = mapping_of(node, _KEY_EXAMPLE)
        fields = values(section, report, self._key_fields)
        selector = section.get("selector")
        if "selector" not in fields or "file" not in fields or not isinstance(selector, YamlScalar):
            for name in ("selector", "file"):
                if section.get(name) is None:
                    report.error(node, f"this key has no '{name}': write {_KEY_EXAMPLE}")
            return None
        path = fields["file"]
        pem, fault = self._read_file(path)
        key = StoredKey(
            fields["selector"], path, fields.get("state", KeyState.ACTIVE), pem, fields.get("retire_after"), fault
        )
        self._report_file(section.get("file"), key)
        self._selectors.append((selector, key))
        if key.retire_after is not None:
            self._successors.append((section.get("retire_after") or selector, key))
        return key

    def _read_file(self, path: str) -> tuple[bytes, str]:
        """The octets of a key, or why it can't be used."""
        try:
            return self._key_files.load(path), ""
        except KeyLoadError as error:
            return b"", str(error)

    def _report_file(self, node: YamlNode | None, key: StoredKey) -> None:
        place = printable(key.file)
        if key.fault and key.state is KeyState.RETIRED:  # nothing waits for it
            self._report.warn(node, f"{place}: {key.fault}")
        elif key.fault:
            self._report.fault(node, f"{place}: {key.fault}")
        elif (warning := self._key_files.warnings.get(key.file)) is not None:
            self._report.warn(node, f"{place}: {warning}")


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


def _entry_name(text: str) -> str:
    """The name of an entry: a domain, or "*"."""
    if text == "*":
        return text
    if text.startswith("*."):
        raise ValueError(
            f"{shown(text)} is not a domain name: write {printable(text[2:])} with 'include_subdomains: true'"
        )
    return _signing_domain(text)


def _signing_domain(text: str) -> str:
    """domain-name = sub-domain 1*("." sub-domain): d= has at least two labels (RFC 6376 section 3.5)."""
    name = domain(text)
    if "." not in name:
        raise ValueError(f"{shown(text)} has only one label: write a domain like example.org")
    return name


def _selector(text: str) -> str:
    """sub-domain *( "." sub-domain ) (RFC 6376 section 3.1); U-labels as A-labels (RFC 8616 section 4)."""
    name = to_ascii(text)
    if name is None or not is_domain_name(name) or text.endswith("."):
        raise ValueError(f"{shown(text)} is not a selector: write letters, digits and hyphens, like rsa2026")
    return text if text.isascii() else name
