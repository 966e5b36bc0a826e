"""What is remembered is bounded in octets, whatever others make of their texts."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from mailnotary import dmarc
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.dmarc.policy_record import parse as parse_policy
from mailnotary.remember import Remembered, Remembering, size
from mailnotary.resolver import Answer, RecordKind, ZoneResolver
from mailnotary.spf import check_host
from mailnotary.spf.record import MAX_RECORD, parse_record
from support.verdicts import dkim_result

MIB = 1024 * 1024


def test_the_oldest_make_room() -> None:
    kept: Remembered[str, int] = Remembered(10_000)
    for number in range(100):
        kept.keep(str(number), number, 1000)
    found = [number for number in range(100) if kept.get(str(number)) is not None]
    assert found == list(range(found[0], 100))
    assert 5 <= len(found) <= 10


def test_what_is_used_stays_and_what_nobody_asks_for_again_goes() -> None:
    kept: Remembered[str, int] = Remembered(10_000)
    kept.keep("used", 1, 1000)
    kept.keep("once", 2, 1000)
    for number in range(100):
        assert kept.get("used") == 1
        kept.keep(str(number), number, 1000)
    assert kept.get("once") is None
    for number in range(20):  # and goes at last, where it is used no more
        kept.keep(str(number), number, 1000)
    assert kept.get("used") is None


def test_what_is_larger_than_all_there_is_is_not_kept() -> None:
    kept: Remembered[str, int] = Remembered(10_000)
    kept.keep("k", 1, 20_000)
    assert kept.get("k") is None
    kept.keep("k", 1, 1_000)
    kept.keep("k", 2, 1_000)
    assert kept.get("k") == 2


def test_a_parser_is_asked_once_and_errors_are_not_kept() -> None:
    asked = []

    def parse(text: bytes) -> int:
        asked.append(text)
        if text == b"x":
            raise ValueError("not a number")
        return int(text)

    remembering = Remembering(parse, 10_000, size)
    assert [remembering(b"1"), remembering(b"1"), remembering(b"2")] == [1, 1, 2]
    for _ in range(2):
        with pytest.raises(ValueError, match="not a number"):
            remembering(b"x")
    assert asked == [b"1", b"2", b"x", b"x"]


def _key(number: int) -> None:
    words = b":".join(b"%d%d" % (number, word) for word in range(500))[:3000]
    parse_key_record(b"k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=; t=" + words)


def _spf(number: int) -> None:
    text = b"v=spf1 " + b" ".join(b"a:%d.a" % word for word in range(number * 1000, number * 1000 + 1000))
    parse_record(text[:MAX_RECORD].rpartition(b" ")[0])


def _policy(number: int) -> None:
    uris = b",".join(b"mailto:%d@%d.example" % (number, word) for word in range(300))
    parse_policy((b"v=DMARC1; p=none; rua=" + uris + b";ruf=" + uris)[:8000])


class _Keeping:
    """A resolver with the same Answer each time, as a cache gives it."""

    def __init__(self, text: str) -> None:
        self._zone = ZoneResolver({"x.example": [{"TXT": text}], "_dmarc.x.example": [{"TXT": text}]})
        self._kept: dict[tuple[str, RecordKind], Answer] = {}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        if (name, kind) not in self._kept:
            self._kept[name, kind] = self._zone.lookup(name, kind)
        return self._kept[name, kind]


_SPF_ZONE = _Keeping("v=spf1 ip4:192.0.2.1 ?a:" + "%{d}" * 500)
_MACRO_ZONE = ZoneResolver({"m.example": [{"TXT": "v=spf1 ?a:%{l}.m.example"}]})
_DMARC_ZONE = _Keeping("v=DMARC1; p=reject")


def _check(number: int) -> None:
    check_host(f"2001:db8::{number:x}", "x.example", "u@x.example", helo="h", resolver=_SPF_ZONE)


def _check_macros(number: int) -> None:
    check_host("192.0.2.1", "m.example", f"{number}{'x' * 300}@m.example", helo="h", resolver=_MACRO_ZONE)


def _evaluate(number: int) -> None:
    dkim = [dkim_result(f"{number}.{other}.example") for other in range(100)]
    dmarc.evaluate("x.example", [], dkim, _DMARC_ZONE)


@pytest.mark.parametrize(
    ("remember", "times"),
    [(_key, 1000), (_spf, 60), (_policy, 500), (_check, 3000), (_check_macros, 8000), (_evaluate, 1000)],
)
def test_no_memo_grows_beyond_its_octets(remember: Callable[[int], None], times: int) -> None:
    """Each is made to take what a sender can make it take, until it has to forget."""
    tracemalloc.start()
    try:
        for number in range(times):
            try:
                remember(number)
            except KeyRecordError as error:
                pytest.fail(str(error))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_key_record_keeps_no_words_that_we_do_not_know() -> None:
    record = parse_key_record(
        b"p=" + b"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" + b"; k=ed25519; t=s:x:y; h=sha1; s=a"
    )
    assert record.flags == {"s", "y"}
    assert record.hashes == frozenset()
    assert record.services == frozenset()
