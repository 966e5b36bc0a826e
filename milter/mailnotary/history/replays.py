"""Signatures that come again: one message of a good sender, sent to thousands by somebody else (RFC 6376 section 8.6).

Its signature passes each time, for nothing that it covers was changed. What tells it from honest mail is only how many
networks hand it in: a message for many recipients comes from the few of its sender or its list. So it is counted, per
signature, from how many networks it was accepted.

Nearly every signature is seen once. Those cost an entry in memory; only from the second network on a signature is in
the store, where all hosts that share it add up. All memory is bounded; what does not fit is not counted, which lets
mail pass as if nobody had looked."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from mailnotary.dkim import DkimResult
from mailnotary.history.store import DAY, Store
from mailnotary.history.uses import Use, Uses
from mailnotary.status import DkimStatus

log = logging.getLogger(__name__)

MAX_SEEN: Final = 50_000  # signatures that came from one network; 10 MiB
MAX_REPEATED: Final = 5_000  # signatures that came from several
MAX_NETWORKS: Final = 1_000  # of one signature: beyond, it is known well enough
MAX_WAITING: Final = 20_000  # uses that are not in the store yet
MAX_USES: Final = 1_000_000  # in the store; beyond, the oldest go
_TIDY: Final = 60.0  # seconds between two looks at what is old


def network_of(client: str) -> str:
    """The network that is counted for a client's address: of IPv4 its first three numbers, of IPv6 48 bits. What is
    counted as one network is as a rule one operator's."""
    if ":" in client:
        return str(ip_network((client, 48), strict=False))
    return f"{client[: client.rindex('.')]}.0/24"


def pack(signatures: Iterable[DkimResult], client: str) -> str:
    """What there is to count in an accepted message of this client ("" where it is not known), for its way to the
    recorder: a line for each signature that passes. Domains and selectors have no white space."""
    if not client:
        return ""
    network = network_of(client)
    return "".join(
        [
            f"{one.signature_id.hex()} {network} {one.domain} {one.selector}\n"
            for one in signatures
            if one.status is DkimStatus.PASS
        ]
    )


def unpack(packet: bytes) -> Iterator[Use]:
    """The uses in a packet of `pack`ed ones."""
    for line in packet.decode("ascii").splitlines():
        signature, network, domain, selector = line.split(" ")
        yield Use(signature, network, domain, selector)


@dataclass(slots=True)
class _Repeated:
    networks: set[str]
    last: float
    told: bool = False


class Replays:
    """Counts. `see` is for one thread, `keep` for another. `limit`: from how many networks a signature may come; `put`
    and `drop` are called with the id of one that comes from more, and of one that has not been seen for `days`."""

    def __init__(
        self,
        limit: int,
        days: int,
        put: Callable[[bytes], object],
        drop: Callable[[bytes], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limit = limit
        self._days = days
        self._put = put
        self._drop = drop
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, str] = OrderedDict()  # the network of each signature that came from one
        self._repeated: OrderedDict[str, _Repeated] = OrderedDict()
        self._waiting: list[Use] = []
        self._is_read = False
        self._tidy_due = 0.0

    def see(self, use: Use) -> None:
        """A signature was accepted."""
        with self._lock:
            known = self._repeated.get(use.signature)
            if known is None:
                first = self._seen.get(use.signature)
                if first is None or first == use.network:
                    self._seen[use.signature] = use.network
                    self._seen.move_to_end(use.signature)
                    if len(self._seen) > MAX_SEEN:
                        self._seen.popitem(last=False)
                    return
                del self._seen[use.signature]
                known = self._repeated[use.signature] = _Repeated({first}, self._clock())
                self._wait(use._replace(network=first))
                if len(self._repeated) > MAX_REPEATED:
                    self._repeated.popitem(last=False)
            known.last = self._clock()
            self._repeated.move_to_end(use.signature)
            if len(known.networks) < MAX_NETWORKS:
                known.networks.add(use.network)
            if use.network in known.networks:
                self._wait(use)

    def _wait(self, use: Use) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(use)

    def keep(self, store: Store) -> None:
        """Brings what was counted into the store, and marks what comes from too many networks there. Raises StoreError;
        nothing is lost by that."""
        table = Uses(store.database)
        if not self._is_read:
            for replay in table.replays(self._limit, MAX_REPEATED):
                self._put(bytes.fromhex(replay.signature))
            self._is_read = True
        with self._lock:
            uses = list(self._waiting)
        if uses:
            table.add(uses, int(self._clock()))
            with self._lock:
                del self._waiting[: len(uses)]
            self._mark(uses, table)
        if time.monotonic() >= self._tidy_due:
            self._tidy_due = time.monotonic() + _TIDY
            self._tidy(table)

    def _mark(self, uses: list[Use], table: Uses) -> None:
        by_id = {use.signature: use for use in uses}
        for signature, networks in table.networks(list(by_id)).items():
            if networks <= self._limit:
                continue
            self._put(bytes.fromhex(signature))
            known = self._repeated.get(signature)
            if known is not None and not known.told:
                known.told = True
                use = by_id[signature]
                fields = {"domain": use.domain, "selector": use.selector, "networks": networks}
                log.warning("a signature is replayed", extra={"fields": fields})

    def _tidy(self, table: Uses) -> None:
        for signature in table.prune(int(self._clock()) - self._days * DAY, MAX_USES):
            self._drop(bytes.fromhex(signature))
