"""The section `history:` of mailnotary.yaml as frozen values: what is kept of each message, where, and for how long."""

from dataclasses import dataclass
from enum import StrEnum


class HistoryAddresses(StrEnum):
    """What the history keeps of a sender's address or login name: all, its domain, or a keyed hash and its domain."""

    FULL = "full"
    DOMAIN = "domain"
    HASH = "hash"


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """Whether each message's outcome is kept, where, and for how long: `store` is a path or a postgresql:// URL (None:
    history/history.db in state_dir), `days` and `size` (octets) bound what is kept; `compare_with` are the
    authserv-ids of other filters whose results are kept beside ours. `replay_networks`: from how many networks one
    signature may come before it counts as replayed (0: not counted), `replay_tag`: our header says so."""

    enabled: bool = False
    store: str | None = None
    days: int = 30
    size: int = 10 * 2**30
    addresses: HistoryAddresses = HistoryAddresses.FULL
    compare_with: tuple[str, ...] = ()
    replay_networks: int = 0
    replay_tag: bool = False
