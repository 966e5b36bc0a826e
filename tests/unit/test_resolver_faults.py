"""DnsResolver against servers that truncate, delay, drop, lie, stop and return: the answer or DnsTempError, in time."""

import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.resolver import Answer, DnsTempError, RecordKind, dns, transport
from mailnotary.resolver import server as server_module
from mailnotary.resolver.burst import Begun, Burst
from mailnotary.resolver.dns import DnsResolver
from mailnotary.resolver.server import Server
from support.daemon import open_files
from support.dns_server import DnsServer, Faults

A, TXT = RecordKind.A, RecordKind.TXT
RIGHT = (IPv4Address("192.0.2.1"),)
ZONE: dict[str, Any] = {
    "x.org": [{"A": "192.0.2.1"}, {"TXT": "hello"}],
    "large.org": [{"TXT": "y" * 5000}],
    "silent.org": "TIMEOUT",
    "broken.org": "SERVFAIL",
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture
def second() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question is sent every 0.2 s for a minute: what is lost costs little time, and a busy machine has enough."""
    monkeypatch.setattr(transport, "MIN_SENDS", 300)
    monkeypatch.setattr(transport, "MAX_SENDS", 300)


def resolver_of(*servers: DnsServer, timeout: float = 60) -> DnsResolver:
    """Only what ends at the time-out wants a shorter one: a test that takes so long has failed."""
    return DnsResolver([server.address for server in servers], timeout=timeout)


def failure(resolver: DnsResolver, name: str = "x.org", kind: RecordKind = A) -> DnsTempError:
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup(name, kind)
    return caught.value


def test_a_truncated_reply_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.faults.truncate = True
    assert resolver_of(server).lookup("x.org", A).records == RIGHT
    assert (server.count("x.org", "A"), server.tcp_questions) == (2, 1)


@pytest.mark.parametrize(("fault", "word"), [("refuse", "SERVFAIL"), ("cut", "SERVFAIL"), ("hang", "TIMEOUT")])
def test_a_server_that_fails_over_tcp_has_no_answer(server: DnsServer, fault: str, word: str) -> None:
    server.faults = Faults(truncate=True, tcp=fault)
    assert failure(resolver_of(server, timeout=1 if fault == "hang" else 60)).word == word


@pytest.mark.parametrize("fault", ["refuse", "cut", "hang"])
def test_where_one_server_fails_over_tcp_the_next_is_asked(server: DnsServer, second: DnsServer, fault: str) -> None:
    server.faults = Faults(truncate=True, tcp=fault)
    assert resolver_of(server, second, timeout=4 if fault == "hang" else 60).lookup("x.org", A).records == RIGHT


def test_a_reply_larger_than_was_offered_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.faults.ignore_size = True
    assert resolver_of(server).lookup("large.org", TXT).texts == (b"y" * 5000,)
    assert server.tcp_questions == 1


@pytest.mark.usefixtures("often")
def test_a_lost_datagram_is_sent_again(server: DnsServer) -> None:
    server.faults.drop = 2
    assert resolver_of(server).lookup("x.org", A).records == RIGHT
    assert server.count("x.org", "A") >= 3


@pytest.mark.usefixtures("often")
def test_a_late_reply_is_taken_though_the_question_was_sent_again(server: DnsServer) -> None:
    server.faults.delay = 0.5
    assert resolver_of(server).lookup("x.org", A).records == RIGHT


def test_all_tries_together_stay_within_the_time(server: DnsServer, second: DnsServer) -> None:
    start = time.monotonic()
    assert failure(resolver_of(server, second, timeout=2), "silent.org").word == "TIMEOUT"
    assert 1.9 < time.monotonic() - start < 30
    assert 2 <= len(server.questions) + len(second.questions) <= 4


@pytest.mark.parametrize(
    "lie",
    [
        Faults(wrong_id=True),
        Faults(wrong_question=True),
        Faults(other_port=True),
        Faults(garbage=b""),
        Faults(garbage=b"\xff" * 11),
        Faults(garbage=b"\0" * 600),
    ],
)
def test_a_reply_that_is_not_to_our_question_is_ignored(server: DnsServer, lie: Faults) -> None:
    server.faults = lie
    assert failure(resolver_of(server, timeout=0.3)).word == "TIMEOUT"
    lie.then_right = True
    assert resolver_of(server).lookup("x.org", A).records == RIGHT


def test_a_flood_of_wrong_replies_ends_in_tcp_which_nobody_can_guess(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_STRAYS", 0)
    server.faults.wrong_id = True
    assert failure(resolver_of(server)).reason.endswith("not to our question")
    assert server.tcp_questions == 1


def test_a_malformed_reply_is_told_apart_and_the_next_server_asked(server: DnsServer, second: DnsServer) -> None:
    server.faults.garbage_body = b"\xc0"
    error = failure(resolver_of(server))
    assert error.word == "SERVFAIL"
    assert "unusable" in error.reason
    assert resolver_of(server, second).lookup("x.org", A).records == RIGHT


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "NOTAUTH", "12", "BADVERS"])
def test_a_server_that_will_not_answer_is_told_apart_and_the_next_one_asked(
    server: DnsServer, second: DnsServer, rcode: str
) -> None:
    server.faults.rcode = rcode
    start = time.monotonic()
    error = failure(resolver_of(server))
    assert error.word == "SERVFAIL"
    assert rcode in error.reason
    assert resolver_of(server, second).lookup("x.org", A).records == RIGHT
    assert time.monotonic() - start < 15  # nobody waited


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_a_server_without_edns_is_asked_without_and_that_is_remembered(server: DnsServer, rcode: str) -> None:
    server.faults.no_edns = rcode
    resolver = resolver_of(server)
    assert resolver.lookup("x.org", A).records == RIGHT
    assert server.count("x.org", "A") == 2
    assert resolver.lookup("large.org", TXT).texts  # 512 octets over UDP, the rest over TCP
    assert server.count("large.org", "TXT") == 2
    assert resolver.lookup("nowhere.org", A) == Answer((), exists=False)
    assert server.count("nowhere.org", "A") == 1


def test_silence_says_less_than_servfail(server: DnsServer, second: DnsServer) -> None:
    server.faults.drop_udp = True
    error = failure(resolver_of(server, second, timeout=2), "broken.org")
    assert error.word == "SERVFAIL"


@pytest.mark.usefixtures("often")
def test_where_the_first_server_is_silent_the_next_has_the_answer(server: DnsServer, second: DnsServer) -> None:
    server.faults.drop_udp = True
    assert resolver_of(server, second).lookup("x.org", A).records == RIGHT


def test_a_silent_server_is_passed_over_for_a_while_and_asked_again(
    server: DnsServer, second: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MISS_TIME", 0.05)
    server.faults.drop_udp = True
    resolver = resolver_of(server, second)
    with monkeypatch.context() as patch:
        patch.setattr(transport, "MAX_SENDS", 300)
        patch.setattr(transport, "MIN_SENDS", 300)
        for i in range(server_module.MISSES):
            resolver.lookup(f"a{i}.org", A)
    for i in range(10):
        resolver.lookup(f"b{i}.org", A)
    failure(resolver, "broken.org")  # at once: the one that is down is not waited for
    assert [name for name, _ in server.questions if name.startswith("b")] == []
    server.faults.drop_udp = False
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + server_module.DOWN_TIME)
    second.questions.clear()
    for i in range(5):
        resolver.lookup(f"c{i}.org", A)
    assert second.questions == []


def test_slow_questions_alone_do_not_make_a_server_count_as_down(
    server: DnsServer, second: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MISS_TIME", 0.05)
    server.set_zone({**ZONE, **{f"s{i}.org": "TIMEOUT" for i in range(6)}})
    second.set_zone({f"s{i}.org": "TIMEOUT" for i in range(6)})
    resolver = resolver_of(server, second)
    for i in range(6):
        with pytest.raises(DnsTempError):
            resolver.lookup_within(f"s{i}.org", A, 0.2)
        assert resolver.lookup(f"n{i}.org", A) == Answer((), exists=False)
    assert second.count("n5.org", "A") == 0


def test_with_all_servers_down_they_are_asked_all_the_same(
    server: DnsServer, second: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MISS_TIME", 0.05)
    resolver = resolver_of(server, second)
    server.faults.drop_udp = second.faults.drop_udp = True
    for i in range(4):
        with pytest.raises(DnsTempError):
            resolver.lookup_within(f"n{i}.org", A, 0.2)
    server.faults.drop_udp = second.faults.drop_udp = False
    assert resolver.lookup("x.org", A).records == RIGHT


def test_a_server_that_stops_is_known_at_once_and_so_is_its_return(server: DnsServer) -> None:
    resolver = resolver_of(server)
    for _ in range(3):
        server.stop()
        start = time.monotonic()
        assert failure(resolver).word == "SERVFAIL"
        assert time.monotonic() - start < 15
        server.start()
        assert resolver.lookup("x.org", A).records == RIGHT
        resolver = resolver_of(server)


def test_the_first_question_after_a_return_is_answered_even_where_it_failed_before(server: DnsServer) -> None:
    resolver = resolver_of(server)
    server.stop()
    failure(resolver)
    server.start()
    assert resolver.lookup("x.org", A).records == RIGHT


def test_a_server_that_has_stopped_costs_the_next_one_no_time(server: DnsServer, second: DnsServer) -> None:
    resolver = resolver_of(server, second, timeout=200)
    server.stop()
    start = time.monotonic()
    for i in range(20):
        resolver.lookup(f"n{i}.org", A)
    assert time.monotonic() - start < 40


def test_answers_survive_a_server_that_restarts_under_load(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], timeout=2, cache_entries=0)
    stop = threading.Event()
    wrong: list[object] = []
    right = 0

    def ask() -> int:
        count = 0
        end = time.monotonic() + 60
        while not (stop.is_set() and count) and time.monotonic() < end:
            try:
                answer = resolver.lookup("x.org", A)
            except DnsTempError:
                continue
            count += 1
            if answer.records != RIGHT:
                wrong.append(answer)
        return count

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for _ in range(5):
            time.sleep(0.05)
            server.stop()
            time.sleep(0.02)
            server.start()
        time.sleep(0.1)
        stop.set()
        right = min(future.result() for future in asking)
    assert right
    assert wrong == []


def test_no_fault_leaks_a_socket(server: DnsServer, second: DnsServer) -> None:
    resolver = DnsResolver([server.address, second.address], timeout=0.2, cache_entries=0)

    def rounds() -> None:
        for faults in (
            Faults(),
            Faults(truncate=True),
            Faults(truncate=True, tcp="cut"),
            Faults(truncate=True, tcp="hang"),
            Faults(no_edns="FORMERR"),
            Faults(garbage_body=b"\xff\xff"),
            Faults(wrong_id=True),
            Faults(drop_udp=True),
            Faults(rcode="REFUSED"),
        ):
            server.faults = second.faults = faults
            for name in ("x.org", "large.org"):
                try:
                    resolver.lookup(name, TXT)
                except DnsTempError:
                    continue
        server.stop()
        for i in range(20):
            resolver.prefetch([(f"p{i}.org", A), (f"q{i}.org", A)])
            failure(resolver, f"p{i}.org")
            failure(resolver, f"q{i}.org")
        server.start()
        server.faults = second.faults = Faults()

    def sockets() -> int:
        gc.collect()
        return sum(name.startswith("socket:") for name in open_files(os.getpid()))

    before = sockets()
    rounds()
    deadline = time.monotonic() + 30
    while sockets() > before and time.monotonic() < deadline:  # what the servers still close
        time.sleep(0.02)
    assert sockets() <= before


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(drop=4),
        Faults(truncate=True),
        Faults(no_edns="FORMERR"),
        Faults(wrong_id=True, then_right=True),
        Faults(other_port=True, then_right=True),
        Faults(garbage=b"", then_right=True),
    ],
)
def test_questions_of_a_burst_outlive_what_a_single_one_does(server: DnsServer, faults: Faults) -> None:
    server.faults = faults
    resolver = resolver_of(server)
    resolver.prefetch([("x.org", A), ("x.org", TXT), ("nowhere.org", A)])
    assert resolver.lookup("x.org", A).records == RIGHT
    assert resolver.lookup("x.org", TXT).texts == (b"hello",)
    assert not resolver.lookup("nowhere.org", A).exists


def test_who_waits_is_told_of_an_error_that_a_later_question_of_the_burst_met() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = Server(*silent.getsockname())
        burst = Burst(server, server.connect())
        begun = [burst.add(b"\x01%c\x03org\x00" % (97 + i), A) for i in range(4)]
        first, *others = [question for question in begun if question is not None]
        burst.send(first)
        start = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(burst.wait, first, start + 60, lambda: None)
            time.sleep(0.1)  # it leads
            silent.close()
            for question in others:  # one of them, if not the one that leads, gets what the one before has met
                burst.send(question)
            with pytest.raises(OSError, match="refused"):
                waiting.result(30)
        for question in (first, *others):
            question.close()
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_where_a_burst_fails_the_next_server_is_asked(server: DnsServer, second: DnsServer, rcode: str) -> None:
    server.faults.rcode = rcode
    resolver = resolver_of(server, second, timeout=200)
    resolver.prefetch([("x.org", A), ("x.org", TXT)])
    start = time.monotonic()
    assert resolver.lookup("x.org", A).records == RIGHT
    assert resolver.lookup("x.org", TXT).texts == (b"hello",)
    assert time.monotonic() - start < 40


def test_a_burst_to_a_server_that_has_stopped_costs_the_next_one_no_time(server: DnsServer, second: DnsServer) -> None:
    resolver = resolver_of(server, second, timeout=200)
    server.stop()
    resolver.prefetch([("x.org", A), ("x.org", TXT)])
    start = time.monotonic()
    assert resolver.lookup("x.org", A).records == RIGHT
    assert resolver.lookup("x.org", TXT).texts == (b"hello",)
    assert time.monotonic() - start < 40


@pytest.mark.usefixtures("often")
def test_a_late_reply_to_a_burst_is_still_taken(server: DnsServer) -> None:
    server.faults.delay = 0.5
    resolver = resolver_of(server)
    resolver.prefetch([("x.org", A)])
    deadline = time.monotonic() + 30
    while not server.questions and time.monotonic() < deadline:
        time.sleep(0.01)
    server.faults = Faults(drop_udp=True)  # for all that come from now on
    assert resolver.lookup("x.org", A).records == RIGHT


def test_a_flood_of_wrong_replies_to_a_burst_ends_in_tcp(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_STRAYS", 0)
    server.faults.wrong_id = True
    resolver = resolver_of(server)
    resolver.prefetch([("x.org", A)])
    assert failure(resolver).reason.endswith("not to our question")
    assert server.tcp_questions == 1


def test_each_burst_has_a_port_and_each_of_its_questions_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5452 section 9.2."""
    seen: list[tuple[int, bytes]] = []
    monkeypatch.setattr(dns, "BURST_SECONDS", 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(60)
        resolver = DnsResolver([listening.getsockname()])
        for i in range(20):
            resolver.prefetch([(f"n{i}.org", A)])
            wire, (_, port) = listening.recvfrom(600)
            seen.append((port, wire[:2]))
    assert len({port for port, _ in seen}) == 20
    assert len({identity for _, identity in seen}) > 15


def test_without_free_descriptors_a_question_fails_like_any_other(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    resolver = resolver_of(server)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", exhausted)
        assert "Too many open files" in failure(resolver).reason
    assert resolver.lookup("x.org", A).records == RIGHT


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=600), name=st.text(max_size=300), kind=st.sampled_from(RecordKind))
def test_any_octets_in_a_reply_and_any_name_end_in_an_answer_or_a_temporary_error(
    server: DnsServer, body: bytes, name: str, kind: RecordKind
) -> None:
    server.faults.garbage_body = body
    resolver = DnsResolver([server.address], timeout=1, cache_entries=0)
    words: list[str] = []
    for asked in ("x.org", name):
        start = time.monotonic()
        try:
            assert isinstance(resolver.lookup(asked, kind), Answer)
        except DnsTempError as error:
            words.append(error.word)
        assert time.monotonic() - start < 30
    assert set(words) <= {"TIMEOUT", "SERVFAIL"}


def test_a_question_that_was_begun_with_anew_is_not_ended_for_the_old_one(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "LEFT_SECONDS", 0.0)
    resolver = resolver_of(server)
    server.stop()  # its port refuses, which no cache keeps
    resolver.prefetch([("first.org", A)])
    resolver.prefetch([("x.org", A)])
    over = Begun.over

    def another_thread(begun: Begun) -> bool:
        """Works while `tidy` is at the first of what it has found."""
        monkeypatch.setattr(Begun, "over", over)
        failure(resolver)
        resolver.prefetch([("x.org", A)])
        return over(begun)

    monkeypatch.setattr(Begun, "over", another_thread)
    resolver.tidy()
    failure(resolver)
    assert not resolver._flights
    assert set(resolver._begun) <= {("first.org", A)}
