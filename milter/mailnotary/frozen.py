"""Classes of values that never change, made in little time: a message makes some thirty."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A dataclass with slots, frozen for the type checker, which refuses whatever would set a field. Python itself does
    not: to do so, it sets each field of a new object in a way that takes twenty times as long."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
