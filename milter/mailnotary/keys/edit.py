"""Changes keystore.yaml as an administrator would by hand: comments, blank lines and order are kept.

Positions are the marks of YAML's own nodes. The result is parsed again and compared, value by value, with what is
intended; a file whose layout can't be kept (an alias, a tag) is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from mailnotary.config import yaml_file, yaml_nodes
from mailnotary.config.yaml_nodes import shown
from mailnotary.errors import DkimKeyError
from mailnotary.keys.edit_text import Editor, FormError, NewKey, names, scalar

__all__ = ["EntryEdit", "KeystoreEditError", "NewKey", "edit", "scalar"]

SHOWN = 5  # entries named in one error
EMPTY = "# The keys that sign, by domain; `mailnotary keygen` adds to it.\n"
KEYS = frozenset(("domains", "unsafe_keys", "defaults"))  # of the whole file

_BOM = b"\xef\xbb\xbf"


class KeystoreEditError(DkimKeyError, ValueError):
    """The file can't be changed safely; the text says what to do by hand."""


@dataclass(frozen=True, slots=True)
class EntryEdit:
    """What to change in one entry, which is created if missing: keys to add, fields to set on its other keys (selector
    -> field -> value), and selectors of keys to remove."""

    name: str
    added: Sequence[NewKey] = ()
    changed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    removed: Sequence[str] = ()


def edit(data: bytes, entries: Sequence[EntryEdit], *, file: str = "keystore.yaml") -> bytes:
    """The keystore with its entries changed. `file` is its name in errors. Raises yaml_nodes.ConfigError for a file
    that is not YAML, KeystoreEditError for one that can't be changed safely."""
    intended = _read(data, file)
    for entry in entries:
        intended = _apply(intended, entry, file)
    bom = _BOM if data.startswith(_BOM) else b""
    text = data.removeprefix(_BOM).decode("utf-8") or EMPTY
    try:
        # The first addition may create what all the others are put into.
        for together in (entries[:1], entries[1:]):
            editor = Editor(text)
            for entry in together:
                editor.change(entry.name, entry.changed)
                editor.add(entry.name, entry.added)
                editor.remove(entry.name, entry.removed)
            text = editor.result()
        result = bom + text.encode()
        written = _read(result, file)
    except (FormError, yaml.YAMLError, yaml_nodes.ConfigError) as error:  # PyYAML refuses a duplicate anchor
        raise KeystoreEditError(_by_hand(file, entries)) from error
    if _normal(written) != _normal(intended):
        raise KeystoreEditError(_by_hand(file, entries))
    return result


def _by_hand(file: str, entries: Sequence[EntryEdit]) -> str:
    wanted = []
    for entry in entries[:SHOWN]:
        steps = [f"add the key {key.flow()}" for key in entry.added]
        for selector, fields in entry.changed.items():
            steps += [f"set {name}: {value} on the key {selector}" for name, value in fields.items()]
        steps += [f"remove the key {selector}" for selector in entry.removed]
        wanted.append(f"in the entry {entry.name} {'; '.join(steps)}")
    return (
        f"{file}: it can't be changed safely, perhaps because of an alias or a tag: {', and '.join(wanted)} by hand, "
        "or write the entry without it"
    )


# --- the file as values ---------------------------------------------------------------------------------------------


def _read(data: bytes, file: str) -> Any:
    """The file as dicts, lists and strings (None: no value)."""
    report = yaml_nodes.Report(file)
    with yaml_file.collector_off():
        root = yaml_file.parse(data, report)
        report.raise_problems()
        return _plain(root) if root is not None else {}


def _plain(node: yaml_nodes.YamlNode) -> Any:
    if isinstance(node, yaml_nodes.YamlMapping):
        return {key.text: _plain(value) for key, value in node.items}
    if isinstance(node, yaml_nodes.YamlSequence):
        return [_plain(item) for item in node.items]
    return None if node.is_null else node.text


def _apply(values: Any, entry: EntryEdit, file: str) -> Any:
    """The intended values of the file. Unchanged parts are shared with `values`, which is not modified."""
    unknown = sorted(set(values) - KEYS)
    if unknown:  # the configuration or a link leads to some other file: leave that alone
        raise KeystoreEditError(
            f"{file}: {shown(unknown[0])} is not a key of a keystore, so this may be another file: name the "
            "right one in `keystore`, or remove that key"
        )
    try:
        domains = dict(values.get("domains") or {})
        name = next((key for key in domains if names(key, entry.name)), entry.name)
        fields = dict(domains.get(name) or {})
        old = {key["selector"]: key for key in fields.get("keys") or []}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise KeystoreEditError(f"{file}: the entry {entry.name} has errors: run `mailnotary check-config`") from error
    for new in entry.added:
        if new.selector in {selector.lower() for selector in old}:
            raise KeystoreEditError(f"{file}: the entry {entry.name} has a key {new.selector}: choose another selector")
    if entry.removed and len(old) == len(entry.removed):
        domains.pop(name)
        return values | {"domains": domains}
    keys = [key | entry.changed.get(selector, {}) for selector, key in old.items() if selector not in entry.removed]
    keys += [{"selector": key.selector, "file": key.file, "state": key.state} for key in entry.added]
    fields["keys"] = keys
    domains[name] = fields
    return values | {"domains": domains}


def _normal(values: Any) -> Any:
    """An empty `domains` may have lost its braces, or have kept them."""
    return values | {"domains": values.get("domains") or None}
