"""Which connection is on which socket, and which of them may be ended."""

import errno
import os
import select
import socket
import time
from contextlib import ExitStack
from typing import cast

import pytest

from mailnotary.daemon import descriptors
from mailnotary.daemon.connection import Connection
from mailnotary.daemon.descriptors import Sessions, unread
from mailnotary.daemon.room import Pairs


class Idle:
    """A connection as far as pairing looks at it."""

    def __init__(self, seconds: float | None) -> None:
        self.idle_since = None if seconds is None else time.monotonic() - seconds


def idle(seconds: float | None) -> Connection:
    return cast(Connection, Idle(seconds))


def test_the_idlest_are_those_that_have_not_spoken_for_the_longest_time() -> None:
    pairs, young, old, busy = Pairs(), idle(20), idle(100), idle(None)
    pairs.look({young}, {1})
    pairs.look({young, old}, {1, 2})
    pairs.look({young, old, busy}, {1, 2, 3})
    assert pairs.idlest(5) == [2, 1]
    assert pairs.idlest(50) == [2]


def test_those_that_came_together_are_safe_while_one_of_them_is_in_a_message() -> None:
    pairs, busy, other = Pairs(), Idle(None), idle(100)
    both = {cast(Connection, busy), other}
    pairs.look(both, {1, 2})
    assert pairs.idlest(5) == []
    busy.idle_since = time.monotonic() - 50
    assert sorted(pairs.idlest(5)) == [1, 2]
    assert pairs.idlest(60) == []


def test_a_socket_without_a_connection_keeps_others_from_being_paired_until_it_is_old() -> None:
    pairs, first, second = Pairs(), idle(100), idle(100)
    pairs.look({first}, {1, 2})
    assert pairs.idlest(5) == []
    assert sorted(pairs.idlest(0)) == [1, 2]
    assert pairs.longest_unknown() > 0
    pairs.look({first, second}, {1, 2})
    assert sorted(pairs.idlest(5)) == [1, 2]
    assert pairs.longest_unknown() == 0


def test_a_socket_without_a_connection_is_safe_while_one_that_may_be_its_own_is_in_a_message() -> None:
    pairs, busy = Pairs(), idle(None)
    pairs.look({busy}, {1, 2})
    assert pairs.idlest(1e-9) == []
    pairs.look(set(), {1, 2})
    assert sorted(pairs.idlest(0)) == [1, 2]


def test_a_session_that_begins_anew_over_its_socket_is_paired_again() -> None:
    pairs, before, after = Pairs(), idle(100), idle(100)
    pairs.look({before}, {1})
    for _ in range(3):
        pairs.look({after}, {1})
    assert pairs.idlest(5) == [1]


def test_one_that_ends_leaves_the_others_paired() -> None:
    pairs, gone, left = Pairs(), idle(None), idle(100)
    pairs.look({gone, left}, {1, 2})
    pairs.look({left}, {1, 2})  # its socket is closed a moment later
    assert pairs.idlest(5) == []
    pairs.look({left}, {2})
    assert pairs.idlest(5) == [2]


def test_sessions_are_what_was_accepted_at_the_listener_and_nothing_else() -> None:
    with ExitStack() as stack:
        listener, other = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        client, stranger = (
            stack.enter_context(socket.create_connection(one.getsockname())) for one in (listener, other)
        )
        accepted, _ = (stack.enter_context(one.accept()[0]) for one in (listener, other))
        for end in socket.socketpair():
            stack.enter_context(end)
        sessions = Sessions(listener)
        for _ in range(2):
            assert sessions.look() == {accepted.fileno(): os.fstat(accepted.fileno()).st_ino}
        assert stranger.send(b"x") == 1
        assert client.send(b"four") == 4
        select.select([accepted], [], [])
        assert unread(accepted.fileno()) == 4
        assert accepted.recv(4) == b"four"  # what was only looked at stays open
        accepted.close()
        assert sessions.look() == {}


def test_where_no_file_can_be_opened_all_count_as_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(_: str) -> list[str]:
        raise OSError(errno.ENFILE, "the whole system's table is full")

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            monkeypatch.setattr(os, "listdir", listdir)
            monkeypatch.setattr(descriptors, "limit", lambda: 1 << 30)
            sessions = Sessions(listener)
            assert list(sessions.look()) == [accepted.fileno()]
            assert sessions.open == 1 << 30
