"""Each report once, whichever host sends it and whatever happens to that host: on SQLite and on PostgreSQL."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mailnotary.history.store import Store
from mailnotary.reports.ledger import (
    FIRST_PAUSE,
    KEPT,
    LEASE,
    SUPPRESSED,
    TRIED,
    LeaseError,
    Ledger,
    Progress,
    State,
    unique_id_of,
)
from mailnotary.reports.period import DAY
from support.postgresql import Postgresql
from support.reports import BEGIN

NOW = BEGIN + DAY + 1000


class Clock:
    """A time of day that stands until it is moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with Postgresql(tmp_path_factory.mktemp("postgresql")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "history.db")
    server: Postgresql = request.getfixturevalue("server")
    return server.empty()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledgers(location: str, clock: Clock) -> Iterator[tuple[Ledger, Ledger]]:
    """Those of two hosts."""
    stores = [Store.open(location, host=f"mx{n}") for n in (1, 2)]
    yield Ledger(stores[0].database, "mx1", clock), Ledger(stores[1].database, "mx2", clock)
    for store in stores:
        store.close()


Two = tuple[Ledger, Ledger]


def test_one_host_at_a_time_has_a_period(ledgers: Two, clock: Clock) -> None:
    one, other = ledgers
    assert one.claim(BEGIN) is Progress.OPEN
    assert other.claim(BEGIN) is None
    assert other.owner_of(BEGIN) == "mx1"
    assert other.claim(BEGIN + DAY) is Progress.OPEN
    one.release(BEGIN, begun=True)
    assert one.owner_of(BEGIN) == ""
    assert other.claim(BEGIN) is None  # nothing is left to do
    clock.now += LEASE + 1
    assert one.claim(BEGIN + DAY) is Progress.OPEN


def test_two_hosts_that_begin_at_once(location: str, clock: Clock) -> None:
    barrier = threading.Barrier(6)

    def claim(host: str) -> bool:
        with closing(Store.open(location, host=host)) as store:
            barrier.wait(60)
            return Ledger(store.database, host, clock).claim(BEGIN) is not None

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(claim, [f"mx{n}" for n in range(6)]))
    assert sum(won) == 1


def test_a_mail_that_was_sent_is_not_sent_again_by_anybody(ledgers: Two) -> None:
    one, other = ledgers
    one.claim(BEGIN)
    assert one.begin(BEGIN, "a.example", "d@a.example", "1@x") == "1@x"
    one.note(BEGIN, "a.example", "d@a.example", State.SENT)
    assert one.begin(BEGIN, "a.example", "d@a.example", "2@x") is None
    one.release(BEGIN, begun=False)
    assert other.claim(BEGIN) is Progress.OPEN
    assert other.begin(BEGIN, "a.example", "d@a.example", "3@x") is None
    assert other.begin(BEGIN, "a.example", "e@a.example", "4@x") == "4@x"


def test_a_host_that_died_before_it_noted_a_mail_leaves_it_to_the_next_under_the_same_name(
    ledgers: Two, clock: Clock
) -> None:
    one, other = ledgers
    one.claim(BEGIN)
    assert one.begin(BEGIN, "a.example", "d@a.example", "1@x") == "1@x"
    assert other.claim(BEGIN) is None
    clock.now += LEASE + 1
    assert other.claim(BEGIN) is Progress.OPEN
    assert other.begin(BEGIN, "a.example", "d@a.example", "2@x") == "1@x"
    other.note(BEGIN, "a.example", "d@a.example", State.SENT)
    other.release(BEGIN, begun=True)
    assert one.claim(BEGIN) is None


def test_a_host_that_hung_sends_nothing_once_another_has_taken_over(ledgers: Two, clock: Clock) -> None:
    one, other = ledgers
    one.claim(BEGIN)
    clock.now += LEASE + 1
    assert other.claim(BEGIN) is Progress.OPEN
    with pytest.raises(LeaseError, match="another host has taken over"):
        one.begin(BEGIN, "a.example", "d@a.example", "1@x")
    one.release(BEGIN, begun=True)  # changes nothing: it is not its own any more
    assert other.begin(BEGIN, "a.example", "d@a.example", "2@x") == "2@x"


def test_each_mail_renews_the_lease(ledgers: Two, clock: Clock) -> None:
    one, other = ledgers
    one.claim(BEGIN)
    for number in range(5):
        clock.now += LEASE * 0.7
        assert one.begin(BEGIN, f"{number}.example", "d@a.example", f"{number}@x")
        assert other.claim(BEGIN) is None


def test_what_could_not_be_sent_is_tried_again_after_longer_and_longer_pauses(ledgers: Two, clock: Clock) -> None:
    one, other = ledgers
    for number, pause in enumerate([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]):
        assert one.claim(BEGIN) is (Progress.TRYING if number else Progress.OPEN)
        assert one.begin(BEGIN, "a.example", "d@a.example", f"{number}@x") == "0@x"
        one.note(BEGIN, "a.example", "d@a.example", State.LATER, "451")
        one.release(BEGIN, begun=True)
        clock.now += pause - 1
        assert one.due(BEGIN) == []
        assert other.claim(BEGIN) is Progress.TRYING
        assert other.begin(BEGIN, "a.example", "d@a.example", "x@x") is None
        other.release(BEGIN, begun=True)
        clock.now += 1
        assert one.due(BEGIN) == ["a.example"]


def test_what_is_too_old_is_given_up_and_then_forgotten(ledgers: Two, clock: Clock) -> None:
    one, _ = ledgers
    one.claim(BEGIN)
    one.begin(BEGIN, "a.example", "d@a.example", "1@x")
    one.note(BEGIN, "a.example", "d@a.example", State.LATER, "451 busy")
    assert one.tidy() == []
    clock.now += TRIED + DAY
    assert one.tidy() == [("a.example", "d@a.example", "451 busy")]
    assert one.tidy() == []
    assert one.destination_of("1@x") == "d@a.example"
    clock.now += KEPT
    one.tidy()
    assert one.destination_of("1@x") is None


def test_a_domain_that_answers_again_needs_no_further_try(ledgers: Two) -> None:
    one, _ = ledgers
    one.claim(BEGIN)
    one.begin(BEGIN, "a.example", "mailto:d@slow.example", "")
    one.note(BEGIN, "a.example", "mailto:d@slow.example", State.LATER, "TIMEOUT")
    one.settle(BEGIN, "a.example", "mailto:d@slow.example")
    one.release(BEGIN, begun=True)
    assert one.claim(BEGIN) is None


def test_a_destination_whose_mail_came_back_gets_nothing_for_a_while(ledgers: Two, clock: Clock) -> None:
    one, other = ledgers
    one.refuse("d@a.example", "550 first")
    one.refuse("d@a.example", "550 no such user")
    assert other.refused("d@a.example") == "550 no such user"
    assert other.refused("e@a.example") == ""
    clock.now += SUPPRESSED
    assert other.refused("d@a.example") == ""


def test_all_hosts_of_a_store_have_its_name(location: str) -> None:
    names = set()
    for host in ("mx1", "mx2"):
        store = Store.open(location, host=host)
        names.add(unique_id_of(store.database))
        store.close()
    [name] = names
    assert name.isalnum()
