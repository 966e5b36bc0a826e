"""What a run has found out about one entry of the keystore."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mailnotary.config.keystore import KeyEntry, KeyState, StoredKey
from mailnotary.keys.create import EntryKeys, Pem
from mailnotary.keys.progress import Step


@dataclass(slots=True)
class Outcome:
    """What is to be changed of an entry (None: nothing), and how far its keys are."""

    entry: KeyEntry
    edit: EntryKeys | None = None
    steps: list[Step] = field(default_factory=list)

    def change(
        self,
        *,
        keys: Sequence[Pem] = (),
        changed: Mapping[str, Mapping[str, str]] | None = None,
        removed: Sequence[str] = (),
    ) -> None:
        """Adds changes: new keys, fields of keys (selector -> field -> value), selectors of keys to remove."""
        before = self.edit or EntryKeys(self.entry.name, self.entry.domain)
        fields = {selector: dict(values) for selector, values in before.changed.items()}
        for selector, values in (changed or {}).items():
            fields[selector] = fields.get(selector, {}) | dict(values)
        self.edit = replace(
            before,
            keys=[*before.keys, *keys],
            changed=fields,
            removed=[*before.removed, *removed],
            state=KeyState.PENDING,
        )


def is_new(entry: KeyEntry, key: StoredKey, published: Collection[tuple[str, str]]) -> bool:
    """Whether a key was published by a rotation, and does not sign yet."""
    return (
        key.state is KeyState.AUTO
        and (entry.domain, key.selector) not in published
        and any(old.retire_after == key.selector and old.state is not KeyState.RETIRED for old in entry.keys)
    )
