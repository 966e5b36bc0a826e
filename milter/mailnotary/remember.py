"""Caches of what others wrote, bounded in octets because the others choose its length."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import Generic, TypeVar

_OBJECT = 56  # octets, about: what an object takes beside its text or its members
_PLACE = 150  # octets, about: what a place in `Remembered` takes

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    __slots__ = ("octets", "used", "value")

    def __init__(self, value: Value, octets: int) -> None:
        self.value = value
        self.octets = octets
        self.used = False  # since it was kept, or since it last stayed for being used


class Remembered(Generic[Key, Value]):
    """Values by key, of at most about so many octets. The oldest make room, but one that was used since it was kept
    stays once more: what many ask for is not driven out by what nobody asks for again. Whoever keeps one says how much
    memory it takes with its key. Safe to use from several threads."""

    __slots__ = ("_entries", "_left", "_lock")

    def __init__(self, octets: int) -> None:
        # A plain dict looks for its oldest entry from the place of the first that it ever had.
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._left = octets
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value kept for a key."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = True
        return entry.value

    def keep(self, key: Key, value: Value, octets: int) -> None:
        """Keeps a value."""
        entry = _Entry(value, octets + _PLACE)
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._left += (0 if replaced is None else replaced.octets) - entry.octets
            self._entries[key] = entry
            while self._left < 0:
                self._make_room()

    def _make_room(self) -> None:
        """Takes the oldest out; puts it back as the newest where it was used."""
        key, entry = self._entries.popitem(last=False)
        if entry.used:
            entry.used = False
            self._entries[key] = entry
        else:
            self._left += entry.octets


def size(value: object) -> int:
    """About how many octets of memory a value takes: a text, a number, a tuple or a dataclass of such."""
    if isinstance(value, str | bytes):
        return _OBJECT + len(value)
    if isinstance(value, tuple):
        return _OBJECT + sum([8 + size(member) for member in value])
    if is_dataclass(value):
        return _OBJECT + sum([8 + size(getattr(value, field.name)) for field in fields(value)])
    return _OBJECT


class Remembering(Generic[Value]):
    """A parser of octets, called like itself: what it returned is kept, in about so many octets of memory. `cost` says
    what a value takes beside its text. What it raised is not kept."""

    __slots__ = ("_cost", "_kept", "_octets", "_parse")

    def __init__(self, parse: Callable[[bytes], Value], octets: int, cost: Callable[[Value], int]) -> None:
        self._parse = parse
        self._octets = octets
        self._cost = cost
        self.cache_clear()

    def __call__(self, text: bytes) -> Value:
        """What the parser returns for this text, now or before; raises what it raises."""
        value = self._kept.get(text)
        if value is None:
            value = self._parse(text)
            self._kept.keep(text, value, len(text) + self._cost(value))
        return value

    def cache_clear(self) -> None:
        """Forgets everything."""
        self._kept: Remembered[bytes, Value] = Remembered(self._octets)
