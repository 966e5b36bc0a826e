"""Caches of what others wrote, bounded in octets because the others choose its length."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import Generic, TypeVar

_OBJECT = 56  # octets, about: what an object takes beside its text or its members
_PLACE = 150  # octets, about: what a place in `Remembered` takes

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key, of at most about so many octets; the oldest make room. Whoever keeps one says how much memory it
    takes with its key. Safe to use from several threads."""

    __slots__ = ("_entries", "_left", "_lock")

    def __init__(self, octets: int) -> None:
        self._entries: dict[Key, tuple[Value, int]] = {}
        self._left = octets
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value kept for a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def keep(self, key: Key, value: Value, octets: int) -> None:
        """Keeps a value."""
        octets += _PLACE
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._left += (0 if replaced is None else replaced[1]) - octets
            self._entries[key] = value, octets
            while self._left < 0:
                oldest = next(iter(self._entries))
                self._left += self._entries.pop(oldest)[1]


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
