"""What the tests of the SPF engine share."""

from collections.abc import Mapping
from typing import Any

from mailnotary.resolver import Answer, RecordKind, ZoneResolver
from mailnotary.spf import SpfResult, check_host
from mailnotary.spf.record import Record, parse_record

CLIENT = "192.0.2.1"
CLIENT6 = "2001:db8::1"


def record_of(text: str) -> Record:
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
