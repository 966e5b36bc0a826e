"""Short ways to write SPF and DKIM results, and a resolver that tells what it was asked."""

from collections.abc import Mapping
from typing import Any

from mailnotary.dkim.result import DkimResult
from mailnotary.resolver import Answer, RecordKind, ZoneResolver
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, SpfStatus


class AskedResolver:
    """A zone in memory, and the questions it got, in order."""

    def __init__(self, zone: Mapping[str, Any]) -> None:
        self._zone = ZoneResolver(zone)
        self.asked: list[tuple[str, str]] = []

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked.append((name, str(kind)))
        return self._zone.lookup(name, kind)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def dmarc_zone(**records: str) -> dict[str, Any]:
    """A zone with a DMARC record at each domain ("_" stands for "." in the keys)."""
    return {"_dmarc." + domain.replace("_", "."): [{"TXT": text}] for domain, text in records.items()}


def spf_result(
    domain: str, status: SpfStatus = SpfStatus.PASS, identity: SpfIdentity = SpfIdentity.MAILFROM
) -> SpfResult:
    return SpfResult(status, identity, domain)


def dkim_result(domain: str, status: DkimStatus = DkimStatus.PASS) -> DkimResult:
    return DkimResult(status, domain, "sel", "@" + domain, "rsa-sha256", 2048)
