"""All that a worker or the key watch gets from the supervisor, and how a word replaces a part of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from mailnotary.daemon.channel import CHANGES, CONFIGURATION, SIGNING, SOURCE
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.sources import kept
from mailnotary.sources.layers import Layers


@dataclass(frozen=True, slots=True)
class Snapshots:
    """`signing`: the auto keys that sign, as the key watch has found out, and whether it knew those of the source;
    `source` and `changes`: what the source of keys has said, None for nothing."""

    configuration: Snapshot
    signing: Snapshot
    source: Snapshot | None = None
    changes: Snapshot | None = None

    def after(self, said: Mapping[bytes, Snapshot | None]) -> Self:
        """With what was said in the place of what it replaces, which is closed: the supervisor's objects, with which
        this process was forked, would keep it."""
        result = self
        if (configuration := said.get(CONFIGURATION)) is not None:
            self.configuration.close()
            result = replace(result, configuration=configuration)
        if (signing := said.get(SIGNING)) is not None:
            self.signing.close()
            result = replace(result, signing=signing)
        if (source := said.get(SOURCE)) is not None:
            _close(self.source, self.changes)
            result = replace(result, source=source, changes=None)
        if CHANGES in said:  # those of another base are left out by `Layers.of`
            _close(self.changes)
            result = replace(result, changes=said[CHANGES])
        return result

    def layers(self) -> Layers | None:
        """The keys of the source. Raises OSError, MemoryError."""
        return kept.layers_of(*(None if one is None else one.descriptor for one in (self.source, self.changes)))


def _close(*snapshots: Snapshot | None) -> None:
    for snapshot in snapshots:
        if snapshot is not None:
            snapshot.close()
