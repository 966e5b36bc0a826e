"""RecordingResolver: each question once, whatever came of it, at the pace of the resolver within."""

import time

import pytest

from mailnotary.cli.common import RecordingResolver
from mailnotary.resolver import DnsTempError, MessageResolver, RecordKind, Share, ZoneResolver, prefetch
from mailnotary.resolver.dns import DnsResolver
from support.dns_server import DnsServer

A, MX, TXT = RecordKind.A, RecordKind.MX, RecordKind.TXT
SHARE = Share(100, 100_000)
ZONE = {
    "b.org": [{"TXT": "hello\x1b"}, {"MX": [10, "mx.b.org"]}],
    "a.org": [{"A": "192.0.2.1"}],
    "broken.org": "SERVFAIL",
    "silent.org": "TIMEOUT",
}


def test_each_question_is_kept_once_in_the_order_first_asked() -> None:
    resolver = RecordingResolver(ZoneResolver(ZONE))
    for name, kind in [("b.org", TXT), ("a.org", A), ("b.org", TXT), ("b.org", MX), ("a.org", TXT), ("c.org", A)]:
        resolver.lookup(name, kind)
    assert resolver.questions == [
        {"name": "b.org", "kind": "TXT", "answer": ["hello\\x1b"]},
        {"name": "a.org", "kind": "A", "answer": ["192.0.2.1"]},
        {"name": "b.org", "kind": "MX", "answer": ["10 mx.b.org"]},
        {"name": "a.org", "kind": "TXT", "answer": "NODATA"},
        {"name": "c.org", "kind": "A", "answer": "NXDOMAIN"},
    ]


@pytest.mark.parametrize(("name", "word"), [("broken.org", "SERVFAIL"), ("silent.org", "TIMEOUT")])
def test_a_fault_is_kept_as_its_word_and_raised(name: str, word: str) -> None:
    resolver = RecordingResolver(ZoneResolver(ZONE))
    for _ in range(2):
        with pytest.raises(DnsTempError) as caught:
            resolver.lookup(name, A)
        assert caught.value.word == word
    assert resolver.questions == [{"name": name, "kind": "A", "answer": word}]


def test_a_messages_time_holds_through_it() -> None:
    with DnsServer(ZONE) as server:
        recording = RecordingResolver(DnsResolver([server.address], timeout=30))
        start = time.monotonic()
        with pytest.raises(DnsTempError):
            MessageResolver(recording, SHARE, 0.2).lookup("silent.org", A)
        assert time.monotonic() - start < 20
    assert recording.questions == [{"name": "silent.org", "kind": "A", "answer": "TIMEOUT"}]


def test_questions_begin_early_through_it_and_count_once_they_are_waited_for() -> None:
    with DnsServer(ZONE) as server:
        recording = RecordingResolver(DnsResolver([server.address]))
        prefetch(MessageResolver(recording, SHARE, 30), [("a.org", A), ("b.org", TXT)])
        deadline = time.monotonic() + 10
        while len(server.questions) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(server.questions) == [("a.org", "A"), ("b.org", "TXT")]
        assert recording.questions == []
        recording.lookup("b.org", TXT)
        assert [question["name"] for question in recording.questions] == ["b.org"]


def test_over_a_zone_there_is_nothing_to_begin_early() -> None:
    recording = RecordingResolver(ZoneResolver(ZONE))
    prefetch(MessageResolver(recording, SHARE, 30), [("a.org", A)])
    assert recording.questions == []
