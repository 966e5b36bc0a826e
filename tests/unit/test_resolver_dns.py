"""DnsResolver against a real server that behaves: answers, the cache, questions shared by threads, prefetching."""

import gc
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, ZoneResolver, dns
from mailnotary.resolver.burst import MAX_QUESTIONS
from mailnotary.resolver.cache import MIN_TTL
from mailnotary.resolver.dns import DnsResolver
from mailnotary.resolver.types import MAX_CNAMES
from support.daemon import open_files
from support.dns_server import DnsServer

A, AAAA, MX, PTR, TXT = RecordKind.A, RecordKind.AAAA, RecordKind.MX, RecordKind.PTR, RecordKind.TXT

ZONE: dict[str, Any] = {
    "x.org": [
        {"A": "192.0.2.1"},
        {"A": "192.0.2.2"},
        {"AAAA": "2001:db8::1"},
        {"AAAA": "::ffff:192.0.2.1"},
        {"MX": [10, "Mx.x.org"]},
        {"MX": [0, "."]},
        {"TXT": ["v=spf1 ", "-all"]},
        {"TXT": "x" * 700},
    ],
    "1.2.0.192.in-addr.arpa": [{"PTR": "Host.x.org."}],
    "a.b.c.org": [{"A": "192.0.2.3"}],
    "alias.org": [{"CNAME": "X.org"}],
    "dangling.org": [{"CNAME": "nowhere.org"}],
    "loop.org": [{"CNAME": "pool.org"}],
    "pool.org": [{"CNAME": "loop.org"}],
    "large.org": [{"TXT": str(number) * 7_500} for number in range(8)],
    "octets\x80\xc9\x00.org": [{"TXT": "\xff\x00"}],
    "silent.org": "TIMEOUT",
    "broken.org": "SERVFAIL",
}


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> DnsResolver:
    return DnsResolver([server.address], timeout=60)


def test_each_kind_of_record_has_its_python_type(resolver: DnsResolver) -> None:
    assert resolver.lookup("x.org", A).records == (IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"))
    assert resolver.lookup("x.org", AAAA).records == (IPv6Address("2001:db8::1"), IPv6Address("::ffff:192.0.2.1"))
    assert set(resolver.lookup("x.org", MX).records) == {MxRecord(10, "Mx.x.org"), MxRecord(0, "")}
    assert resolver.lookup("x.org", TXT).texts == (b"v=spf1 -all", b"x" * 700)
    assert resolver.lookup("1.2.0.192.in-addr.arpa", PTR).records == ("Host.x.org",)


def test_every_question_of_the_zone_is_answered_as_the_zone_resolver_does(resolver: DnsResolver) -> None:
    zone = ZoneResolver(ZONE)
    for name in [*ZONE, "c.org", "org", "nowhere.org"]:
        if name == "silent.org":
            continue
        for kind in RecordKind:
            assert _outcome(resolver, name, kind) == _outcome(zone, name, kind), (name, kind)


def _outcome(resolver: DnsResolver | ZoneResolver, name: str, kind: RecordKind) -> object:
    try:
        answer = resolver.lookup(name, kind)
    except DnsTempError as error:
        return error.word
    return set(answer.records), answer.exists


def test_nodata_and_nxdomain_are_told_apart(resolver: DnsResolver) -> None:
    assert resolver.lookup("x.org", PTR) == Answer((), exists=True)
    assert resolver.lookup("b.c.org", A) == Answer((), exists=True)
    assert resolver.lookup("nowhere.org", A) == Answer((), exists=False)


def test_servfail_and_timeout_are_told_apart(resolver: DnsResolver) -> None:
    for name, word, seconds in (("broken.org", "SERVFAIL", 60), ("silent.org", "TIMEOUT", 0.2)):
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup_within(name, TXT, seconds)
        assert caught.value.word == word
        assert f"TXT {name}" in caught.value.reason


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".org", "a." * 127 + "b", "\u20ac.org", ".org"])
def test_a_name_that_dns_cannot_carry_does_not_exist_and_is_not_asked(
    server: DnsServer, resolver: DnsResolver, name: str
) -> None:
    assert resolver.lookup(name, A) == Answer((), exists=False)
    resolver.prefetch([(name, A)])
    assert server.questions == []


def test_case_and_a_trailing_dot_do_not_make_another_question(server: DnsServer, resolver: DnsResolver) -> None:
    for name in ("x.org", "X.ORG", "x.org."):
        assert resolver.lookup(name, A).records
    assert server.questions == [("x.org", "A")]


def test_an_answer_that_udp_cannot_carry_comes_over_tcp(server: DnsServer, resolver: DnsResolver) -> None:
    assert resolver.lookup("large.org", TXT).texts == tuple(b"%d" % number * 7_500 for number in range(8))
    assert server.tcp_questions == 1


def test_a_cname_that_the_server_does_not_follow_is_asked_for(server: DnsServer, resolver: DnsResolver) -> None:
    server.faults.cname_only = True
    assert len(resolver.lookup("alias.org", A).records) == 2
    assert server.questions == [("alias.org", "A"), ("x.org", "A")]
    assert not resolver.lookup("dangling.org", A).exists
    with pytest.raises(DnsTempError):
        resolver.lookup("loop.org", A)
    assert len(server.questions) <= 2 + 2 + MAX_CNAMES + 1


@pytest.mark.parametrize("cname_only", [False, True])
@pytest.mark.parametrize("length", [MAX_CNAMES, MAX_CNAMES + 1])
def test_a_chain_of_cnames_is_followed_as_far_as_promised(
    server: DnsServer, resolver: DnsResolver, length: int, cname_only: bool
) -> None:
    chain: dict[str, Any] = {f"n{i}": [{"CNAME": f"n{i + 1}"}] for i in range(length)}
    server.set_zone({**chain, f"n{length}": [{"A": "192.0.2.1"}]})
    server.faults.cname_only = cname_only
    if length > MAX_CNAMES:
        with pytest.raises(DnsTempError):
            resolver.lookup("n0", A)
    else:
        assert resolver.lookup("n0", A).records


def test_a_kept_answer_is_the_same_object_and_costs_no_question(server: DnsServer, resolver: DnsResolver) -> None:
    assert resolver.lookup("x.org", A) is resolver.lookup("x.org", A)
    assert server.count("x.org", "A") == 1


def test_answers_are_kept_for_their_ttl() -> None:
    clock = Clock()
    with DnsServer(ZONE, ttl=100, negative_ttl=40) as server:
        resolver = DnsResolver([server.address], clock=clock)
        ages = {"x.org": 100, "nowhere.org": 40}
        for name, ttl in ages.items():
            resolver.lookup(name, A)
            clock.now += ttl - 1
            resolver.lookup(name, A)
            assert server.count(name, "A") == 1
            clock.now += 1
            resolver.lookup(name, A)
            assert server.count(name, "A") == 2


def test_a_ttl_of_zero_lasts_for_a_message() -> None:
    clock = Clock()
    with DnsServer(ZONE, ttl=0) as server:
        resolver = DnsResolver([server.address], clock=clock)
        resolver.lookup("x.org", A)
        clock.now += MIN_TTL - 0.1
        resolver.lookup("x.org", A)
        assert server.count("x.org", "A") == 1


def test_failures_are_kept_for_a_moment_only(server: DnsServer) -> None:
    clock = Clock()
    resolver = DnsResolver([server.address], timeout=3, clock=clock)
    for name in ("broken.org", "silent.org"):
        for _ in range(3):
            with pytest.raises(DnsTempError):
                resolver.lookup(name, A)
    asked = len(server.questions)
    assert server.count("broken.org", "A") == 1
    server.set_zone({"broken.org": [{"A": "192.0.2.1"}], "silent.org": [{"A": "192.0.2.1"}]})
    clock.now += 1
    for name in ("broken.org", "silent.org"):
        assert resolver.lookup(name, A).records
    assert len(server.questions) == asked + 2


def test_the_entries_are_bounded(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], cache_entries=10)
    for i in range(30):
        resolver.lookup(f"n{i}.org", A)
    server.questions.clear()
    for i in range(29, -1, -1):
        resolver.lookup(f"n{i}.org", A)
    assert len(server.questions) == 20


def test_equal_questions_at_the_same_time_are_asked_once(server: DnsServer, resolver: DnsResolver) -> None:
    server.faults.delay = 0.1
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(lambda name: resolver.lookup(name, A), ["x.org", "X.org."] * 10))
    assert len({id(answer) for answer in found}) == 1
    assert server.questions == [("x.org", "A")]


def test_those_who_wait_for_a_failed_question_fail_with_it(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], timeout=1)
    with ThreadPoolExecutor(5) as threads:
        words = list(threads.map(lambda _: _outcome(resolver, "silent.org", A), range(5)))
    assert words == ["TIMEOUT"] * 5
    assert server.count("silent.org", "A") <= 3  # one question with its tries


def test_one_with_little_time_does_not_spoil_the_question_for_others(server: DnsServer, resolver: DnsResolver) -> None:
    hurried_has_left = threading.Event()
    server.faults.hold = lambda _name: hurried_has_left.wait(30)
    errors: list[str] = []

    def hurried() -> None:
        try:
            resolver.lookup_within("x.org", A, 0.3)
        except DnsTempError as error:
            errors.append(error.word)
        hurried_has_left.set()

    thread = threading.Thread(target=hurried)
    thread.start()
    time.sleep(0.03)  # so that the other joins its question, as a rule
    assert resolver.lookup("x.org", A).records
    thread.join()
    assert errors == ["TIMEOUT"]


def test_one_who_waits_waits_no_longer_than_the_time_it_has(server: DnsServer, resolver: DnsResolver) -> None:
    server.faults.hold = lambda _name: time.sleep(20)
    resolver.prefetch([("x.org", A)])
    start = time.monotonic()
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup_within("x.org", A, 0.05)
    assert caught.value.word == "TIMEOUT"
    assert time.monotonic() - start < 15


def test_no_time_at_all_is_a_timeout_unless_the_answer_is_known(server: DnsServer, resolver: DnsResolver) -> None:
    for seconds in (0.0, -1.0):
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup_within("x.org", A, seconds)
        assert caught.value.word == "TIMEOUT"
    assert server.questions == []
    resolver.lookup("x.org", A)
    assert resolver.lookup_within("x.org", A, 0).records


def test_prefetched_questions_run_side_by_side_and_are_asked_once(server: DnsServer, resolver: DnsResolver) -> None:
    names = [f"n{i}.org" for i in range(10)]
    all_are_there = threading.Barrier(len(names) + 1)
    server.faults.hold = lambda _name: all_are_there.wait(30)
    resolver.prefetch([(name, A) for name in names])
    resolver.prefetch([(name, A) for name in names])
    all_are_there.wait(30)  # and nobody was kept waiting
    for name in names:
        resolver.lookup(name, A)
    assert sorted(server.questions) == sorted((name, "A") for name in names)


def test_a_prefetch_of_what_is_known_asks_nothing(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], timeout=60, clock=Clock())
    for name in ("x.org", "broken.org"):
        _outcome(resolver, name, A)
    asked = list(server.questions)
    resolver.prefetch([("x.org", A), ("broken.org", A)])
    time.sleep(0.05)
    assert server.questions == asked


def test_a_lookup_does_not_wait_behind_prefetches(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], timeout=60)
    server.set_zone({**{f"s{i}.org": "TIMEOUT" for i in range(100)}, "z.org": [{"A": "192.0.2.1"}]})
    resolver.prefetch([*((f"s{i}.org", A) for i in range(100)), ("z.org", A)])
    start = time.monotonic()
    assert resolver.lookup("z.org", A).records
    assert time.monotonic() - start < 30
    assert server.count("z.org", "A") == 1


def test_questions_that_nobody_waits_for_are_bounded_and_asked_again_later(
    server: DnsServer, resolver: DnsResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "MAX_BEGUN", 5)
    all_are_begun = threading.Event()
    server.faults.hold = lambda _name: all_are_begun.wait(60)
    before, threads = _sockets(), threading.active_count()
    for i in range(100):
        resolver.prefetch([(f"n{i}.org", A)])
    assert _sockets() - before <= 5
    assert threading.active_count() <= threads + 100  # the server has one for each late reply, we have none
    all_are_begun.set()
    for i in (0, 50, 99):
        assert not resolver.lookup(f"n{i}.org", A).exists
    assert [server.count(f"n{i}.org", "A") for i in (0, 50, 99)] == [2, 2, 1]
    monkeypatch.setattr(dns, "LEFT_SECONDS", 0.0)
    resolver.tidy()
    assert _sockets() == before


def test_an_answer_that_nobody_waits_for_is_kept(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "LEFT_SECONDS", 0.0)
    resolver = DnsResolver([server.address])
    before = _sockets()
    resolver.prefetch([("x.org", A), ("broken.org", A), ("alias.org", A)])
    deadline = time.monotonic() + 60
    while _sockets() > before and time.monotonic() < deadline:
        resolver.tidy()
    assert _sockets() == before
    for name, again in (("x.org", 0), ("broken.org", 1), ("alias.org", 0)):
        _outcome(resolver, name, A)
        assert server.count(name, "A") == 1 + again


@pytest.mark.parametrize("left", [False, True])
def test_what_gets_no_answer_is_ended_at_some_time(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    monkeypatch.setattr(dns, "LEFT_SECONDS", 0.0)
    resolver = DnsResolver([server.address], timeout=0.2)
    before = _sockets()
    resolver.prefetch([("silent.org", A)])
    resolver.tidy()
    assert _sockets() == before + 1
    monkeypatch.setattr(dns, "BEGUN_SECONDS", 0)
    if left:
        resolver.tidy()
    else:
        assert _outcome(resolver, "silent.org", A) == "TIMEOUT"
    assert _sockets() == before


def _sockets() -> int:
    gc.collect()
    return sum(name.startswith("socket:") for name in open_files(os.getpid()))


def test_the_questions_of_a_message_go_out_on_one_socket_and_no_thread_is_started(
    server: DnsServer, resolver: DnsResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "BURST_SECONDS", 60)
    server.faults.delay = 0.2
    before, threads = _sockets(), set(threading.enumerate())
    resolver.prefetch([(f"n{i}.org", A) for i in range(10)])
    assert _sockets() == before + 1
    assert [thread.name for thread in set(threading.enumerate()) - threads if "dns" in thread.name] == []
    with ThreadPoolExecutor(10) as pool:  # they read it for each other
        assert not any(pool.map(lambda i: resolver.lookup(f"n{i}.org", A).exists, range(10)))
    assert _sockets() == before
    assert len(server.questions) == 10


def test_the_questions_of_messages_at_the_same_time_go_out_on_one_socket(
    server: DnsServer, resolver: DnsResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "BURST_SECONDS", 60)
    server.faults.delay = 0.2
    before = _sockets()
    resolver.prefetch([("n0.org", A)])  # first: threads that begin a burst in the same moment have one each
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: resolver.prefetch([(f"n{i}.org", A)]), range(1, MAX_QUESTIONS)))
        assert _sockets() == before + 1
        names = [f"n{i}.org" for i in reversed(range(MAX_QUESTIONS))]  # nobody leads for long
        assert not any(pool.map(lambda name: resolver.lookup(name, A).exists, names))
    assert _sockets() == before
    assert len(server.questions) == MAX_QUESTIONS


def test_who_waits_for_a_burst_is_told_what_others_read(server: DnsServer) -> None:
    """The thread that reads for all has no time left before the reply of another is there."""
    resolver = DnsResolver([server.address], timeout=60)
    server.set_zone({**ZONE, "silent.org": "TIMEOUT"})
    server.faults.delay = 0.4
    resolver.prefetch([("silent.org", A), ("x.org", A), ("x.org", TXT)])
    with ThreadPoolExecutor(3) as pool:
        hurried = pool.submit(_word_within, resolver, "silent.org", 0.1)
        others = [pool.submit(resolver.lookup, "x.org", kind) for kind in (A, TXT)]
        assert hurried.result() == "TIMEOUT"
        assert all(other.result().records for other in others)
    assert [server.count("x.org", kind) for kind in ("A", "TXT")] == [1, 1]


def _word_within(resolver: DnsResolver, name: str, seconds: float) -> str:
    with pytest.raises(DnsTempError) as caught:
        resolver.lookup_within(name, A, seconds)
    return caught.value.word


def test_nobody_is_told_to_expect_a_wait_for_what_has_come(server: DnsServer) -> None:
    waits: list[int] = []
    resolver = DnsResolver([server.address], before_wait=lambda: waits.append(1))
    resolver.prefetch([("x.org", A)])
    [flight] = resolver._flights.values()
    assert flight.begun is not None
    assert select.select([flight.begun], [], [], 60)[0]  # its reply is there
    assert resolver.lookup("x.org", A).records
    assert waits == []
    resolver.lookup("x.org", TXT)
    assert waits == [1]


def test_a_resolver_that_was_replaced_leaves_no_socket_behind() -> None:
    """Workers freeze what is there after a reload: what is in a cycle then stays for good."""
    before, was_on = open_files(os.getpid()), gc.isenabled()
    gc.disable()
    try:
        resolver = DnsResolver([("127.0.0.1", 1)], timeout=1)  # where nothing listens
        resolver.prefetch([("a.example", RecordKind.TXT), ("a.example", RecordKind.A)])
        with pytest.raises(DnsTempError, match="refused"):
            resolver.lookup("a.example", RecordKind.TXT)
        del resolver
        assert open_files(os.getpid()) == before
    finally:
        if was_on:
            gc.enable()


def test_questions_under_way_do_not_hold_up_the_end_of_the_process(server: DnsServer) -> None:
    program = (
        "import sys; from mailnotary.resolver import RecordKind; from mailnotary.resolver.dns import DnsResolver\n"
        "resolver = DnsResolver([('127.0.0.1', int(sys.argv[1]))], timeout=100)\n"
        "resolver.prefetch([('silent.org', RecordKind.A)] + [(f'n{i}.org', RecordKind.A) for i in range(50)])\n"
    )
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program, str(server.port)], timeout=100, capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")
    assert time.monotonic() - start < 80


def test_each_process_after_a_fork_has_a_resolver_of_its_own(server: DnsServer) -> None:
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                mine = DnsResolver([server.address], timeout=60)
                mine.prefetch([("x.org", TXT)])
                status = 0 if mine.lookup("x.org", A).records and mine.lookup("x.org", TXT).records else 1
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]


def test_a_server_on_ipv6_is_asked() -> None:
    try:
        server = DnsServer(ZONE, host="::1").start()
    except OSError:
        pytest.skip("no IPv6 on this host")
    with server:
        resolver = DnsResolver([server.address], timeout=2)
        assert resolver.lookup("x.org", A).records
        assert resolver.lookup("large.org", TXT).records


@pytest.mark.parametrize("address", ["ns.example.org", "", "192.0.2.256", "127.0.0.1:53", "a\0b", "\u20ac"])
def test_a_nameserver_that_is_no_ip_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        DnsResolver([(address, 53)])


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_nameserver_with_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        DnsResolver([("127.0.0.1", port)])


def test_without_nameservers_the_systems_are_asked() -> None:
    found = dns.system_nameservers()
    assert found
    assert all(port == 53 for _, port in found)
    DnsResolver()


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("nameserver 192.0.2.1\nnameserver\t2001:db8::1  \n", ["192.0.2.1", "2001:db8::1"]),
        ("# nameserver 192.0.2.1\n;nameserver 192.0.2.1\nsearch nameserver 192.0.2.1\n", ["127.0.0.1"]),
        ("nameserver ns.example\nnameserver\nnameserver fe80::1%lo\n", ["fe80::1%lo"]),
        ("", ["127.0.0.1"]),
        ("\xff\x00", ["127.0.0.1"]),
    ],
)
def test_the_systems_nameservers_are_those_of_resolv_conf(tmp_path: Path, text: str, addresses: list[str]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(text.encode("latin-1"))
    assert dns.system_nameservers(str(file)) == [(address, 53) for address in addresses]


def test_a_system_without_resolv_conf_has_a_nameserver_on_this_host(tmp_path: Path) -> None:
    assert dns.system_nameservers(str(tmp_path / "missing")) == [("127.0.0.1", 53)]


def test_a_resolver_that_is_given_up_goes_at_once_whatever_its_questions_have_met() -> None:
    """Workers put all that is alive at a reload out of the garbage collector's sight: cycles in it would stay."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nameserver = closed.getsockname()
    resolver = DnsResolver([nameserver], timeout=2)
    resolver.prefetch([("a.org", A), ("b.org", A), ("c.org", A)])  # the first is refused, which the others are told
    with pytest.raises(DnsTempError):
        resolver.lookup("a.org", A)
    gone = weakref.ref(resolver)
    del resolver
    assert gone() is None
