"""keystore.yaml as text: edits placed by the marks of YAML's own nodes, so that everything else stays as it is."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mailnotary.config import yaml_file
from mailnotary.domain import to_ascii
from mailnotary.errors import DkimKeyError

INDENT = 2

_RESOLVER: Any = yaml.resolver.Resolver()
_STRING = "tag:yaml.org,2002:str"
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@-]|:(?=[^\s,\]}]))*\Z")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be added. `file` is relative to the keystore."""

    selector: str
    file: str
    state: str

    def flow(self) -> str:
        """The key as one line of YAML."""
        return f"{{selector: {scalar(self.selector)}, file: {scalar(self.file)}, state: {self.state}}}"


def names(key: str, entry: str) -> bool:
    """Whether a key of the file names an entry: it may be written with U-labels."""
    return key == entry or to_ascii(key) == entry


class FormError(DkimKeyError):
    """A node of the file is of a kind that can't be changed."""


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str
    lines: bool  # whole lines, which must begin at the start of a line


class Editor:
    """Collects edits of a text, placed by the marks of its nodes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[_Edit] = []
        with yaml_file.collector_off():
            self._root: Node | None = yaml.compose(text, Loader=yaml_file.LOADER)

    def result(self) -> str:
        """The text with all edits applied; those at the same place in the order in which they were added."""
        parts: list[str] = []
        position = 0
        ends_line = True
        for change in sorted(self._edits, key=lambda change: change.start):
            parts.append(self._text[position : change.start])
            ends_line = parts[-1].endswith("\n") if parts[-1] else ends_line
            if change.lines and not ends_line:
                parts.append(self._newline)
            parts.append(change.text)
            ends_line = change.text.endswith("\n")
            position = change.end
        parts.append(self._text[position:])
        return "".join(parts)

    # --- the requests ---

    def change(self, entry: str, changed: Mapping[str, Mapping[str, str]]) -> None:
        """Sets fields of keys."""
        if not changed:
            return
        node: Node | None = self._root
        for name in ("domains", entry, "keys"):
            node = _value(node, name)
        if not isinstance(node, SequenceNode):
            raise FormError
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

    def remove(self, entry: str, selectors: Sequence[str]) -> None:
        """Removes keys from an entry, and the entry with its last key."""
        if not selectors:
            return
        domains = _value(self._root, "domains")
        keys = _value(_value(domains, entry), "keys")
        if not isinstance(domains, MappingNode) or not isinstance(keys, SequenceNode):
            raise FormError
        nodes = [key for key in keys.value if _selector_of(key) in selectors]
        if len(nodes) == len(keys.value):
            number = next(index for index, (key, _) in enumerate(domains.value) if names(key.value, entry))
            self._take_out(domains, [(key, value) for key, value in domains.value], number)
        for node in nodes if len(nodes) < len(keys.value) else ():
            self._take_out(keys, [(key, key) for key in keys.value], keys.value.index(node))

    # --- the steps ---

    def _put(self, node: Node, path: list[str], keys: Sequence[NewKey]) -> None:
        """Adds the keys below an existing node; `path` leads from it to their list."""
        if not path:
            self._append(node, keys)
            return
        if not isinstance(node, MappingNode):
            raise FormError
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
            raise FormError
        if node.flow_style:
            self._insert_flow(node, node.value[-1] if node.value else None, ", ".join(key.flow() for key in keys))
        else:
            indent = " " * node.start_mark.column
            self._lines_at(self._line_end(self._end(node)), [f"{indent}- {key.flow()}" for key in keys])

    def _set(self, node: Node, name: str, value: str) -> None:
        if not isinstance(node, MappingNode):
            raise FormError
        pair = _pair(node, name)
        if pair is not None:
            self._replace(pair[1], (" " if _is_empty(pair[1]) else "") + value)
        elif node.flow_style:
            self._insert_flow(node, node.value[-1][1] if node.value else None, f"{name}: {value}")
        else:
            self._lines_at(self._line_end(self._end(node)), [f"{' ' * node.start_mark.column}{name}: {value}"])

    def _take_out(self, parent: Node, parts: Sequence[tuple[Node, Node]], number: int) -> None:
        """Removes one part, of which the first and last node are given, from a list or mapping."""
        first, last = parts[number]
        if not isinstance(parent, MappingNode | SequenceNode):
            raise FormError
        if not parent.flow_style:  # whole lines; an item of a list has a dash before it
            start = self._text.rfind("\n", 0, first.start_mark.index) + 1
            self._edits.append(_Edit(start, self._line_end(self._end(last)), "", lines=True))
        elif number + 1 < len(parts):
            self._edits.append(_Edit(first.start_mark.index, parts[number + 1][0].start_mark.index, "", lines=False))
        else:
            start = parts[number - 1][1].end_mark.index if number else first.start_mark.index
            self._edits.append(_Edit(start, last.end_mark.index, "", lines=False))

    # --- places ---

    def _replace(self, node: Node, text: str) -> None:
        if not isinstance(node, ScalarNode):
            raise FormError
        self._edits.append(_Edit(node.start_mark.index, node.end_mark.index, text, lines=False))

    def _remove(self, node: Node) -> None:
        """Removes a scalar, and the spaces before it."""
        start, end = node.start_mark.index, node.end_mark.index
        if start < end:
            self._edits.append(_Edit(len(self._text[:start].rstrip(" ")), end, "", lines=False))

    def _is_empty_pair(self, node: Node) -> bool:
        """Whether it is written as {} or []."""
        return self._text[node.start_mark.index : node.end_mark.index] in ("{}", "[]")

    def _insert_flow(self, node: Node, last: Node | None, text: str) -> None:
        """Inserts into [...] or {...}, after its last part."""
        if last is not None:
            self._edits.append(_Edit(last.end_mark.index, last.end_mark.index, ", " + text, lines=False))
            return
        start = node.start_mark.index
        if self._text[start] not in "[{":
            raise FormError
        self._edits.append(_Edit(start + 1, start + 1, text, lines=False))

    def _lines_at(self, place: int, lines: Sequence[str]) -> None:
        self._edits.append(_Edit(place, place, "".join(line + self._newline for line in lines), lines=True))

    def _end(self, node: Node) -> int:
        """Where a node's last scalar ends; the node's own mark is after the comments that follow it."""
        parts: list[Node] = [node]
        while True:
            last = parts[-1]
            if isinstance(last, MappingNode) and not last.flow_style and last.value:
                key, value = last.value[-1]
                parts.append(value if value.start_mark.index > key.start_mark.index else key)  # otherwise an alias
            elif isinstance(last, SequenceNode) and not last.flow_style and last.value:
                parts.append(last.value[-1])
            else:
                return last.end_mark.index

    def _line_end(self, place: int) -> int:
        """The start of the line after a place."""
        if place and self._text[place - 1] == "\n":  # a block scalar ends there itself
            return place
        newline = self._text.find("\n", place)
        return len(self._text) if newline < 0 else newline + 1


def _pair(node: Node | None, name: str) -> tuple[Node, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, ScalarNode) and names(key.value, name):
            return key, value
    return None


def _value(node: Node | None, name: str) -> Node | None:
    pair = _pair(node, name)
    return None if pair is None else pair[1]


def _selector_of(key: Node) -> str:
    selector = _value(key, "selector")
    return selector.value if isinstance(selector, ScalarNode) else ""


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.style and node.value in ("", "~", "null", "Null", "NULL")


def _block(path: Sequence[str], keys: Sequence[NewKey], column: int) -> list[str]:
    """The names of a path with the keys below them, as lines."""
    lines = [" " * (column + INDENT * depth) + scalar(name) + ":" for depth, name in enumerate(path)]
    indent = " " * (column + INDENT * len(path))
    return lines + [f"{indent}- {key.flow()}" for key in keys]


def _flow(path: Sequence[str], keys: Sequence[NewKey], *, braces: bool = False) -> str:
    """The names of a path with the keys below them, in brackets."""
    text = "[" + ", ".join(key.flow() for key in keys) + "]"
    for depth, name in reversed(list(enumerate(path))):
        text = f"{scalar(name)}: {text}"
        if depth or braces:
            text = "{" + text + "}"
    return text


def scalar(text: str) -> str:
    """A text as a scalar that every YAML reader takes for a string, in brackets too: 0123 and * get quotes."""
    if _PLAIN.match(text) and _RESOLVER.resolve(ScalarNode, text, (True, False)) == _STRING:
        return text
    quoted = json.dumps(
        text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False
    )  # JSON is YAML except for:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
