"""Changes to keystore.yaml as its admin would make them by hand: every comment, blank line and order stays.

The places are the marks of YAML's own nodes. What comes out is read again and compared, value by value, with what was
meant; a file whose form can't be kept (an alias, a tag) is refused, never guessed at.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mailnotary.config import yaml_nodes
from mailnotary.config.yaml_check import shown
from mailnotary.domain import to_ascii
from mailnotary.errors import DkimKeyError

INDENT = 2
KEYS = frozenset(("domains", "unsafe_keys"))  # of the whole file
EMPTY = "# The keys that sign, by domain; `mailnotary keygen` adds to it.\n"

_BOM = b"\xef\xbb\xbf"
_RESOLVER: Any = yaml.resolver.Resolver()
_STRING = "tag:yaml.org,2002:str"
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@-]|:(?=[^\s,\]}]))*\Z")


class KeystoreEditError(DkimKeyError, ValueError):
    """The file is not in a form that can be changed; the text says what to do by hand."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be added. `file` is relative to the keystore."""

    selector: str
    file: str
    state: str

    def flow(self) -> str:
        """The key as one line of YAML."""
        return f"{{selector: {scalar(self.selector)}, file: {scalar(self.file)}, state: {self.state}}}"


def edit(
    data: bytes,
    entry: str,
    added: Sequence[NewKey] = (),
    changed: Mapping[str, Mapping[str, str]] | None = None,
    *,
    file: str = "keystore.yaml",
) -> bytes:
    """The keystore with keys added to the entry of that name (made where it is missing), and with fields of its other
    keys set (`changed`: selector -> field -> value). `file` is how errors name it. Raises yaml_nodes.ConfigError for a
    file that is not YAML, KeystoreEditError where its form stands in the way."""
    changed = changed or {}
    before = _read(data, file)
    meant = _apply(before, entry, added, changed, file)
    bom = _BOM if data.startswith(_BOM) else b""
    text = data.removeprefix(_BOM).decode("utf-8")
    try:
        editor = _Editor(text or EMPTY)
        editor.change(entry, changed)
        editor.add(entry, added)
    except (_FormError, yaml.YAMLError) as error:  # PyYAML's composer refuses an anchor that stands twice
        raise KeystoreEditError(_by_hand(file, entry, added, changed)) from error
    result = bom + editor.result().encode()
    try:
        found = _read(result, file)
    except yaml_nodes.ConfigError as error:
        raise KeystoreEditError(_by_hand(file, entry, added, changed)) from error
    if found != meant:
        raise KeystoreEditError(_by_hand(file, entry, added, changed))
    return result


def _by_hand(file: str, entry: str, added: Sequence[NewKey], changed: Mapping[str, Mapping[str, str]]) -> str:
    wanted = [f"add the key {key.flow()}" for key in added]
    for selector, fields in changed.items():
        wanted += [f"set {name}: {value} on the key {selector}" for name, value in fields.items()]
    return (
        f"{file}: the form of the entry {entry} is one that can't be changed safely (an alias or a tag, perhaps): "
        f"{'; '.join(wanted)} by hand, or write the entry out"
    )


# --- the file as values ---------------------------------------------------------------------------------------------


def _read(data: bytes, file: str) -> Any:
    """The file as dicts, lists and strings (None: no value)."""
    report = yaml_nodes.Report(file)
    with yaml_nodes.collector_off():
        root = yaml_nodes.parse(data, report)
        report.raise_problems()
        return _plain(root) if root is not None else {}


def _plain(node: yaml_nodes.YamlNode) -> Any:
    if isinstance(node, yaml_nodes.YamlMapping):
        return {key.text: _plain(value) for key, value in node.items}
    if isinstance(node, yaml_nodes.YamlSequence):
        return [_plain(item) for item in node.items]
    return None if node.is_null else node.text


def _apply(
    values: Any, entry: str, added: Sequence[NewKey], changed: Mapping[str, Mapping[str, str]], file: str
) -> Any:
    """What the file shall hold. Sub-trees that stay are shared with `values`, which stays as it is."""
    strange = sorted(set(values) - KEYS)
    if strange:  # whatever the configuration names, or a link leads to: nothing of ours is added to it
        raise KeystoreEditError(
            f"{file}: {shown(strange[0])} stands in no keystore, so this may be another file: name the "
            "right one in `keystore`, or remove that key"
        )
    try:
        domains = dict(values.get("domains") or {})
        name = next((key for key in domains if _names(key, entry)), entry)
        found = dict(domains.get(name) or {})
        old = {key["selector"]: key for key in found.get("keys") or []}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise KeystoreEditError(f"{file}: the entry {entry} has errors: run `mailnotary check-config`") from error
    for new in added:
        if new.selector in {selector.lower() for selector in old}:
            raise KeystoreEditError(f"{file}: the entry {entry} has a key {new.selector}: choose another selector")
    keys = [key | changed.get(selector, {}) for selector, key in old.items()]
    keys += [{"selector": key.selector, "file": key.file, "state": key.state} for key in added]
    found["keys"] = keys
    domains[name] = found
    return values | {"domains": domains}


def _names(key: str, entry: str) -> bool:
    return key == entry or to_ascii(key) == entry


# --- the file as text -----------------------------------------------------------------------------------------------


class _FormError(DkimKeyError):
    """A node stands where its kind can't be changed."""


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str
    lines: bool  # whole lines: they begin on a line of their own


class _Editor:
    """Collects edits of a text, found by the marks of its nodes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[_Edit] = []
        with yaml_nodes.collector_off():
            self._root: Node | None = yaml.compose(text, Loader=yaml_nodes.LOADER)

    def result(self) -> str:
        """The text with all edits made; those at one place in the order in which they came."""
        parts: list[str] = []
        position = 0
        ends_line = True
        for one in sorted(self._edits, key=lambda edit: edit.start):
            parts.append(self._text[position : one.start])
            ends_line = parts[-1].endswith("\n") if parts[-1] else ends_line
            if one.lines and not ends_line:
                parts.append(self._newline)
            parts.append(one.text)
            ends_line = one.text.endswith("\n")
            position = one.end
        parts.append(self._text[position:])
        return "".join(parts)

    # --- what is asked for ---

    def change(self, entry: str, changed: Mapping[str, Mapping[str, str]]) -> None:
        """Sets fields of keys."""
        if not changed:
            return
        node: Node | None = self._root
        for name in ("domains", entry, "keys"):
            node = _value(node, name)
        if not isinstance(node, SequenceNode):
            raise _FormError
        for key in node.value:
            selector = _value(key, "selector")
            if isinstance(selector, ScalarNode) and selector.value in changed:
                for name, value in changed[selector.value].items():
                    self._set(key, name, scalar(value))

    def add(self, entry: str, keys: Sequence[NewKey]) -> None:
        """Adds keys to an entry."""
        if not keys:
            return
        path = ["domains", entry, "keys"]
        if self._root is None or _is_empty(self._root):
            self._lines_at(len(self._text), _block(path, keys, 0))
        else:
            self._put(self._root, path, keys)

    # --- one step ---

    def _put(self, node: Node, path: list[str], keys: Sequence[NewKey]) -> None:
        """Adds the keys below a node that is there; `path` leads from it to their list."""
        if not path:
            self._append(node, keys)
            return
        if not isinstance(node, MappingNode):
            raise _FormError
        pair = _pair(node, path[0])
        if pair is None:
            if node.flow_style:
                self._insert_flow(node, node.value[-1][1] if node.value else None, _flow(path, keys))
            else:
                self._lines_at(self._line_end(self._end(node)), _block(path, keys, node.start_mark.column))
            return
        key, value = pair
        if node.flow_style and _is_empty(value):
            self._replace(value, " " + _flow(path[1:], keys, braces=True))
        elif node.flow_style or not (_is_empty(value) or self._is_empty_pair(value)):
            self._put(value, path[1:], keys)
        else:
            self._remove(value)
            self._lines_at(self._line_end(value.end_mark.index), _block(path[1:], keys, key.start_mark.column + INDENT))

    def _append(self, node: Node, keys: Sequence[NewKey]) -> None:
        if not isinstance(node, SequenceNode):
            raise _FormError
        if node.flow_style:
            self._insert_flow(node, node.value[-1] if node.value else None, ", ".join(key.flow() for key in keys))
        else:
            indent = " " * node.start_mark.column
            self._lines_at(self._line_end(self._end(node)), [f"{indent}- {key.flow()}" for key in keys])

    def _set(self, node: Node, name: str, value: str) -> None:
        if not isinstance(node, MappingNode):
            raise _FormError
        pair = _pair(node, name)
        if pair is not None:
            self._replace(pair[1], (" " if _is_empty(pair[1]) else "") + value)
        elif node.flow_style:
            self._insert_flow(node, node.value[-1][1] if node.value else None, f"{name}: {value}")
        else:
            self._lines_at(self._line_end(self._end(node)), [f"{' ' * node.start_mark.column}{name}: {value}"])

    # --- places ---

    def _replace(self, node: Node, text: str) -> None:
        if not isinstance(node, ScalarNode):
            raise _FormError
        self._edits.append(_Edit(node.start_mark.index, node.end_mark.index, text, lines=False))

    def _remove(self, node: Node) -> None:
        """A word, and the spaces before it."""
        start, end = node.start_mark.index, node.end_mark.index
        if start < end:
            self._edits.append(_Edit(len(self._text[:start].rstrip(" ")), end, "", lines=False))

    def _is_empty_pair(self, node: Node) -> bool:
        """Whether it is written {} or []."""
        return self._text[node.start_mark.index : node.end_mark.index] in ("{}", "[]")

    def _insert_flow(self, node: Node, last: Node | None, text: str) -> None:
        """Into [...] or {...}, behind its last part."""
        if last is not None:
            self._edits.append(_Edit(last.end_mark.index, last.end_mark.index, ", " + text, lines=False))
            return
        start = node.start_mark.index
        if self._text[start] not in "[{":
            raise _FormError
        self._edits.append(_Edit(start + 1, start + 1, text, lines=False))

    def _lines_at(self, place: int, lines: Sequence[str]) -> None:
        self._edits.append(_Edit(place, place, "".join(line + self._newline for line in lines), lines=True))

    def _end(self, node: Node) -> int:
        """Where a node's last word ends; its own mark stands behind the comments that follow it."""
        parts: list[Node] = [node]
        while True:
            last = parts[-1]
            if isinstance(last, MappingNode) and not last.flow_style and last.value:
                key, value = last.value[-1]
                parts.append(value if value.start_mark.index > key.start_mark.index else key)  # else an alias
            elif isinstance(last, SequenceNode) and not last.flow_style and last.value:
                parts.append(last.value[-1])
            else:
                return last.end_mark.index

    def _line_end(self, place: int) -> int:
        """The start of the line after a place."""
        if place and self._text[place - 1] == "\n":  # a block scalar ends there itself
            return place
        found = self._text.find("\n", place)
        return len(self._text) if found < 0 else found + 1


def _pair(node: Node | None, name: str) -> tuple[Node, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, ScalarNode) and _names(key.value, name):
            return key, value
    return None


def _value(node: Node | None, name: str) -> Node | None:
    pair = _pair(node, name)
    return None if pair is None else pair[1]


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.style and node.value in ("", "~", "null", "Null", "NULL")


def _block(path: Sequence[str], keys: Sequence[NewKey], column: int) -> list[str]:
    """The keys below the names of a path, in lines."""
    lines = [" " * (column + INDENT * depth) + scalar(name) + ":" for depth, name in enumerate(path)]
    indent = " " * (column + INDENT * len(path))
    return lines + [f"{indent}- {key.flow()}" for key in keys]


def _flow(path: Sequence[str], keys: Sequence[NewKey], *, braces: bool = False) -> str:
    """The keys below the names of a path, in brackets."""
    text = "[" + ", ".join(key.flow() for key in keys) + "]"
    for depth, name in reversed(list(enumerate(path))):
        text = f"{scalar(name)}: {text}"
        if depth or braces:
            text = "{" + text + "}"
    return text


def scalar(text: str) -> str:
    """A word as any YAML reader takes it for a string, in brackets too: the selector 0123 in quotes, and "*"."""
    if _PLAIN.match(text) and _RESOLVER.resolve(ScalarNode, text, (True, False)) == _STRING:
        return text
    quoted = json.dumps(text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)  # JSON is YAML, but for:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
