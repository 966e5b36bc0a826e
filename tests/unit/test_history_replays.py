"""Signatures that come from many networks: counted, marked, and never in the way."""

import logging
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary import authres
from mailnotary.config.history import HistorySettings
from mailnotary.config.settings import Settings
from mailnotary.daemon.board import PLACES, WIDTH, Board
from mailnotary.dkim import DkimResult
from mailnotary.history import replays
from mailnotary.history.replays import Replays, network_of, pack, unpack
from mailnotary.history.store import DAY, Store
from mailnotary.history.uses import Use, Uses
from mailnotary.status import DkimStatus
from support.mail import MESSAGE, Played, signed

PASSED = DkimResult(DkimStatus.PASS, "good.example", "s1", signature="AbCd" * 40)
ID = PASSED.signature_id.hex()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "history.db"), host="mx")
    yield opened
    opened.close()


def use(network: int, signature: str = ID) -> Use:
    return Use(signature, f"198.51.{network}.0/24", "good.example", "s1")


class Counted:
    """A count with what it marked."""

    def __init__(self, limit: int = 3) -> None:
        self.now = 1_700_000_000.0
        self.marked: set[bytes] = set()
        self.replays = Replays(limit, 7, self.marked.add, self.marked.discard, lambda: self.now)

    def see(self, *networks: int, signature: str = ID) -> None:
        for network in networks:
            self.replays.see(use(network, signature))


def test_a_signature_that_is_spelled_otherwise_is_the_same() -> None:
    spelled = [f"{digits}{padding}" for digits in ("c2lnbg", "c2lnbh", "c2lnbv") for padding in ("", "=", "==")]
    results = [DkimResult(DkimStatus.PASS, "good.example", "s1", signature=text) for text in spelled]
    assert len({result.signature_id for result in results}) == 1
    assert results[0].signature_id != PASSED.signature_id


def test_a_signature_from_many_networks_is_marked_and_told_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted()
    counted.see(1, 2, 3, 1, 2, 3)
    counted.replays.keep(store)
    assert not counted.marked  # no more networks than it may come from
    counted.see(4)
    counted.replays.keep(store)
    counted.see(5)
    counted.replays.keep(store)
    assert counted.marked == {PASSED.signature_id}
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said.__dict__["fields"] == {"domain": "good.example", "selector": "s1", "networks": 4}
    [found] = Uses(store.database).replays(3, 10)
    assert (found.signature, found.domain, found.networks, found.messages) == (ID, "good.example", 5, 8)


def test_what_is_seen_once_is_not_in_the_store(store: Store) -> None:
    counted = Counted()
    for number in range(100):
        counted.see(1, 1, signature=f"{number:016x}")
    counted.replays.keep(store)
    assert Uses(store.database).replays(0, 1000) == []


def test_hosts_that_share_a_store_add_up(store: Store) -> None:
    here, there = Counted(), Counted()
    here.see(1, 2)
    there.see(3, 4)
    for counted in (here, there):
        counted.replays.keep(store)
    assert not here.marked
    assert there.marked == {PASSED.signature_id}
    again = Counted()  # a new process reads what is known
    again.replays.keep(store)
    assert again.marked == {PASSED.signature_id}


def test_what_is_old_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "_TIDY", 0.0)
    counted = Counted()
    counted.see(1, 2, 3, 4)
    counted.replays.keep(store)
    assert counted.marked
    counted.now += 7 * DAY + 1
    counted.replays.keep(store)
    assert not counted.marked
    assert Uses(store.database).replays(0, 10) == []


def test_nothing_grows_without_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_SEEN", 10), ("MAX_REPEATED", 5), ("MAX_NETWORKS", 6), ("MAX_WAITING", 50)):
        monkeypatch.setattr(replays, name, value)
    counted = Counted()
    for number in range(100):
        counted.see(1, signature=f"{number:016x}")
    for number in range(100):
        counted.see(*range(20), signature=f"{number:016x}")
    inside = counted.replays
    assert len(inside._seen) <= 10
    assert len(inside._repeated) <= 5
    assert all(len(known.networks) <= 6 for known in inside._repeated.values())
    assert len(inside._waiting) <= 50
    inside.keep(store)
    assert Uses(store.database).prune(0, most=10)  # the older half
    assert inside._waiting == []


@given(st.lists(st.integers(0, 255), max_size=30))
def test_what_is_packed_is_unpacked(networks: list[int]) -> None:
    packet = "".join([pack([PASSED], f"198.51.{network}.9") for network in networks]).encode()
    assert list(unpack(packet)) == [use(network) for network in networks]


def test_what_is_counted_of_a_message() -> None:
    failed = DkimResult(DkimStatus.FAIL, "evil.example", "s", signature="x")
    assert list(unpack(pack([PASSED, failed, PASSED], "198.51.7.9").encode())) == [use(7), use(7)]
    assert pack([PASSED], "") == ""


@given(st.ip_addresses())
def test_the_network_of_a_client_is_that_of_its_first_bits(client: IPv4Address | IPv6Address) -> None:
    prefix = 24 if client.version == 4 else 48
    assert network_of(str(client)) == str(ip_network((client, prefix), strict=False))


def test_a_board_has_what_was_put_there_and_forgets_by_turning_out() -> None:
    board = Board()
    first = (1).to_bytes(4, "big") + b"abcd"
    same_place = (1 + PLACES).to_bytes(4, "big") + b"efgh"
    assert first not in board
    assert bytes(WIDTH) in board  # an empty place: no signature has this id, but for one in 2 ** 64
    board.put(first)
    assert first in board
    board.put(same_place)
    assert first not in board
    board.drop(first)
    assert same_place in board
    board.drop(same_place)
    assert same_place not in board


def test_a_known_replay_is_told_in_the_results_and_if_wished_in_the_header() -> None:
    message = signed(MESSAGE)
    first = Played().play(message)
    [result] = first.record.results.signatures
    known = {"replayed": {result.signature_id}}
    quiet = Played(options=known).play(message)
    assert quiet.record.results.signatures[0].replayed
    assert "replayed: this signature has come from many networks" in str(quiet.record.log_fields()["dkim"])
    assert quiet.inserted == first.inserted
    tagged = Played(Settings(history=HistorySettings(replay_tag=True)), options=known).play(message)
    value = tagged.inserted["Authentication-Results"]
    assert value.count("policy.replay=yes") == 1
    [read] = [one for one in authres.parse(value.encode()).results if one.method == "dkim"]
    assert (read.result, read.get("policy", "replay")) == ("pass", "yes")
    failed = Played(options=known).play(message.replace(b"Noon", b"Nine"))
    assert not failed.record.results.signatures[0].replayed
