"""Reads a YAML file into nodes (`yaml_nodes`).

PyYAML's constructors turn `off` into False, `0660` into 432 and a selector `0123` into 83, and its composers
recurse: a file of 100,000 brackets ends the process. So the nodes are built here from the parser's events, with
limits on the depth, the size and the expansion of aliases. If the parser rejects a text, yaml_check says what is wrong
with it: the same with every release of PyYAML, with and without its C library.

Loading does not delay mail, but 10,000 domains should take no more than a second or two. So the garbage collector is
switched off meanwhile: there is no garbage in a tree that only grows.
"""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from mailnotary.config import yaml_check
from mailnotary.config.yaml_check import MAX_DEPTH, Mistake
from mailnotary.config.yaml_nodes import Problem, Report, YamlMapping, YamlNode, YamlScalar, YamlSequence, kind, shown
from mailnotary.config.yaml_reader import unknown_alias
from mailnotary.errors import SetupError
from mailnotary.files import not_permitted, read_regular

MAX_NODES = 3_000_000  # 10,000 domains have 280,000; counted with aliases expanded

# Characters that YAML 1.1 does not allow, and three that it treats as line breaks but editors do not.
_FORBIDDEN = re.compile(
    "\r(?!\n)|[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_COLON = re.compile(r" *:(?=[ \n,\]}]|\Z)")
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML can be built without libyaml


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection inside."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read(path: Path, report: Report, max_bytes: int) -> YamlMapping | None:
    """The top-level mapping of a file; that of an empty file is empty. If the file can't be read, is larger than
    `max_bytes` or is not a YAML mapping, the report gets the reason and the result is None. Other errors, such as
    duplicate keys, are reported too, but leave a mapping to continue with. Never raises OSError."""
    try:
        data = read_regular(path, max_bytes + 1)
    except FileNotFoundError:
        report.error(None, "does not exist: create it, or check the name")
        return None
    except PermissionError:
        report.error(None, not_permitted(path))
        return None
    except IsADirectoryError:
        report.error(None, "is a directory: name a file")
        return None
    except OSError as error:
        report.error(None, f"can't be read: {error.strerror}: check the name")
        return None
    if len(data) > max_bytes:
        report.error(None, f"larger than {max_bytes} octets: is this the right file?")
        return None
    return parse(data, report)


def parse(data: bytes, report: Report) -> YamlMapping | None:
    """Like `read`, for the octets of a file."""
    known = len(report.problems)
    try:
        text = _decode(data)
        root = _Composer(text, report).compose()
    except _BrokenFileError as error:  # other errors depend on how far the parser got
        mistake = error.mistake
        report.problems[known:] = [Problem(report.file, mistake.line, mistake.column, mistake.message)]
        return None
    if root is None or (isinstance(root, YamlScalar) and root.is_null):
        return YamlMapping([], 1, 1)
    if not isinstance(root, YamlMapping):
        report.error(root, f"{kind(root)} where keys are expected: write lines like 'key: value'")
        return None
    return root


class _BrokenFileError(SetupError):
    """The file can't be parsed beyond this place."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _BrokenFileError(Mistake(1, 1, "UTF-16: save the file as UTF-8"))
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark some editors write
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"octet 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise _BrokenFileError(_mistake_after(data[: error.start].decode("utf-8"), message)) from None
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        message = f"character U+{ord(forbidden.group()):04X} is not allowed in YAML: remove it"
        raise _BrokenFileError(_mistake_after(text[: forbidden.start()], message))
    return text.replace("\r\n", "\n")


def _mistake_after(before: str, message: str) -> Mistake:
    return Mistake(before.count("\n") + 1, len(before) - before.rfind("\n"), message)


class _Composer:
    """Builds nodes from the parser's events, without recursion."""

    def __init__(self, text: str, report: Report) -> None:
        self._text = text
        self._report = report
        self._anchors: dict[str, tuple[YamlNode, int]] = {}  # with the number of nodes

    def compose(self) -> YamlNode | None:
        if yaml_check.disputed(self._text) and (mistake := yaml_check.first_mistake(self._text)):
            raise _BrokenFileError(mistake)
        loader = LOADER(self._text)
        try:
            return self._root(loader.get_event)
        except yaml.YAMLError:
            raise _BrokenFileError(yaml_check.first_mistake(self._text) or yaml_check.UNKNOWN) from None
        finally:
            loader.dispose()

    def _root(self, next_event: Callable[[], Any]) -> YamlNode | None:
        """The file's only node. There are 120,000 events in a large file: what most of them need is in this loop."""
        items: list[YamlNode] = []  # of the innermost list or mapping that is open: a mapping's keys and values in turn
        stack: list[tuple[Any, int, list[YamlNode]]] = []  # its start, the nodes before it, the items of what it is in
        nodes = 0
        last: Any = None  # the event before
        node: YamlNode
        while (event := next_event()) is not None:
            kind = type(event)
            if kind is ScalarEvent:
                mark, text = event.start_mark, event.value
                node = YamlScalar(text, not event.style and event.tag is None, mark.line + 1, mark.column + 1)
                if not text:
                    self._place_nothing(node, last)
                nodes += 1
                if event.anchor is not None:
                    self._anchors[event.anchor] = (node, 1)
                items.append(node)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if len(stack) == MAX_DEPTH:
                    self._fail(event, yaml_check.TOO_DEEP)
                self._check_count(nodes, event)
                stack.append((event, nodes, items))
                items = []
                nodes += 1
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                start, before, outer = stack.pop()
                mark = start.start_mark
                if kind is MappingEndEvent:
                    node = YamlMapping(self._pairs(items), mark.line + 1, mark.column + 1)
                else:
                    node = YamlSequence(items, mark.line + 1, mark.column + 1)
                if start.anchor is not None:
                    self._anchors[start.anchor] = (node, nodes - before)
                items = outer
                items.append(node)
            elif kind is AliasEvent:
                node, count = self._of_alias(event)
                nodes += count
                self._check_count(nodes, event)
                items.append(node)
            elif kind is DocumentStartEvent and items:
                self._fail(event, yaml_check.SECOND_DOCUMENT)
            last = event
        return items[0] if items else None

    def _place_nothing(self, node: YamlScalar, last: Any) -> None:
        """An empty value is placed after the ':' of its key; parsers differ in where they place it."""
        end = last.end_mark
        colon = _COLON.match(self._text, end.index)
        if node.plain and colon:
            node.line, node.column = end.line + 1, end.column + len(colon.group()) + 1

    def _of_alias(self, event: Any) -> tuple[YamlNode, int]:
        if event.anchor not in self._anchors:
            self._fail(event, unknown_alias(event.anchor))
        return self._anchors[event.anchor]

    def _check_count(self, nodes: int, event: Any) -> None:
        if nodes > MAX_NODES:
            self._fail(event, f"more than {MAX_NODES} values with all aliases expanded: is this intended?")

    def _pairs(self, items: "list[YamlNode]") -> "list[tuple[YamlScalar, YamlNode]]":
        """Keys with their values; unusable keys are reported and left out."""
        keys, values = items[::2], items[1::2]
        texts = {key.text for key in keys if isinstance(key, YamlScalar)}
        if len(texts) == len(keys) and "<<" not in texts:
            return list(zip(keys, values, strict=True))  # type: ignore[arg-type]  # all keys are scalars
        pairs = []
        seen: dict[str, int] = {}  # with the line of each
        for key, value in zip(keys, values, strict=True):
            if not isinstance(key, YamlScalar):
                self._report.error(key, f"{kind(key)} as a key: write a word before the ':'")
            elif key.text == "<<" and key.plain:
                self._report.error(key, "merge keys are not supported: write the keys out")
            elif key.text in seen:
                first = f"first in line {seen[key.text]}"
                self._report.error(key, f"duplicate key {shown(key.text)}, {first}: remove one of them")
            else:
                seen[key.text] = key.line
                pairs.append((key, value))
        return pairs

    def _fail(self, event: yaml.Event, message: str) -> NoReturn:
        """Fails at an event; but an earlier mistake comes first, even if the parser has not noticed it."""
        raise _BrokenFileError(yaml_check.first_mistake(self._text) or Mistake(*_start(event), message))


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
