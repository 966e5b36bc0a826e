"""What the tests of the SPF engine share."""

import zlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, ZoneResolver
from mailnotary.spf import MAX_QUESTIONS, SpfIdentity, SpfResult, TraceStep, check_helo, check_host, check_mail_from
from mailnotary.spf.record import SpfRecord, parse_record
from mailnotary.status import SpfStatus

CLIENT = "192.0.2.1"
CLIENT6 = "2001:db8::1"


def record_of(text: str) -> SpfRecord:
    """A record of US-ASCII text, parsed."""
    return parse_record(text.encode("ascii"))


def words(text: str) -> list[str]:
    """The words of a text: a long list of terms that stays readable."""
    return text.split()


class CountingResolver:
    """A zone, and the questions that were asked of it."""

    def __init__(self, zone: Mapping[str, Any]) -> None:
        self._inner = ZoneResolver(zone)
        self.questions: list[tuple[str, RecordKind]] = []

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.questions.append((name, kind))
        return self._inner.lookup(name, kind)


def spf(record: str, zone: Mapping[str, Any] | None = None, ip: str = CLIENT, **options: Any) -> SpfResult:
    """Checks user@example.com, whose record is given, in a zone of what else is needed."""
    resolver = ZoneResolver({"example.com": [{"TXT": record}], **(zone or {})})
    return check_host(ip, "example.com", "user@example.com", helo="mail.example.com", resolver=resolver, **options)


class AnyZone:
    """A zone in which every name has something, by its hash: what an attacker could serve for any question."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._records = records
        self.asked = 0

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked += 1
        assert all(ord(character) < 0x100 for character in name)  # the resolver's contract: a character is an octet
        number = zlib.crc32(f"{name.lower()} {kind}".encode())
        if number % 11 == 0:
            raise DnsTempError(f"{name} is out", "TIMEOUT")
        if number % 11 == 1:
            return Answer((), exists=number % 2 == 0)
        count = number // 11 % 13
        match kind:
            case RecordKind.TXT:
                start = number % max(len(self._records), 1)
                return Answer(tuple(self._records[start : start + (2 if number % 17 == 0 else 1)]))
            case RecordKind.A:
                return Answer(tuple(IPv4Address(number + i & 0xFFFFFFFF) for i in range(count)))
            case RecordKind.AAAA:
                return Answer(tuple(IPv6Address(number + i << 64) for i in range(count)))
            case RecordKind.MX:
                return Answer(tuple(MxRecord(i, f"{name[-60:]}{i}.mx" * (i % 7)) for i in range(count)))
            case RecordKind.PTR:
                return Answer(tuple(f"{i}.example.com" for i in range(count * 9)))


def check_everything(ip: str, sender: bytes, helo: bytes, records: Sequence[bytes]) -> None:
    """Checks both identities in `AnyZone`, and all that is promised of every result."""
    for identity in SpfIdentity:
        zone, trace = AnyZone(records), list[TraceStep]()
        if identity is SpfIdentity.HELO:
            result = check_helo(ip, helo, zone, now=0)
            traced = check_helo(ip, helo, AnyZone(records), now=0, trace=trace)
        else:
            result = check_mail_from(ip, sender, helo, zone, now=0)
            traced = check_mail_from(ip, sender, helo, AnyZone(records), now=0, trace=trace)
        assert result.identity is identity
        assert_sound(result)
        assert zone.asked <= MAX_QUESTIONS
        assert traced == result
        assert sum(len(step.questions) for step in trace) == zone.asked


def assert_sound(result: SpfResult) -> None:
    """What holds for every result, whatever was asked and answered."""
    assert result.status in set(SpfStatus)
    assert result.lookups <= 10
    assert result.void_lookups <= 3
    assert result.explanation == "" or result.status is SpfStatus.FAIL
    for shown, longest in (
        (result.explanation, 400),
        (result.domain, 10 * 253),
        (result.reason, 400_000),
        (result.mechanism, 65_535),
    ):
        assert shown.isascii()
        assert shown.isprintable()
        assert len(shown) <= longest
