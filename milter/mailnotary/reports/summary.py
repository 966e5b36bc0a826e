"""What reports of others say of a domain: who sends as it, what passed, and what p=reject would cost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from mailnotary.reports.parse import ReadRecord, ReadReport, parse
from mailnotary.reports.unpack import documents

MAX_SOURCES: Final = 20_000  # of one domain; all further ones are counted together
MAX_DOMAINS: Final = 1000
OTHERS: Final = "others"


@dataclass(slots=True)
class Source:
    """Messages from one address: `passed` DMARC; of those that failed, `refused` and `held` elsewhere, and how many had
    a valid signature or SPF result of some domain (`vouched`), whose names are in `by`."""

    address: str
    messages: int = 0
    passed: int = 0
    refused: int = 0
    held: int = 0
    vouched: int = 0
    by: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Messages that did not pass."""
        return self.messages - self.passed


@dataclass(slots=True)
class Summary:
    """All that was reported of one policy domain. `policies` are the words of p=, with the number of reports."""

    domain: str
    reports: int = 0
    begin: int = 0
    end: int = 0
    organizations: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Source] = field(default_factory=dict)

    def total(self, what: str) -> int:
        """The sum of a number over all sources."""
        return sum(getattr(source, what) for source in self.sources.values())

    def worst(self) -> list[Source]:
        """The sources, those with most failures first."""
        return sorted(self.sources.values(), key=lambda one: (-one.failed, -one.messages, one.address))

    def add(self, record: ReadRecord) -> None:
        """One record more."""
        key = record.source if record.source in self.sources or len(self.sources) < MAX_SOURCES else OTHERS
        source = self.sources.setdefault(key, Source(key))
        source.messages += record.count
        if record.passed:
            source.passed += record.count
            return
        source.refused += record.count * (record.disposition == "reject")
        source.held += record.count * (record.disposition == "quarantine")
        valid = [*record.signers, *record.senders]
        source.vouched += record.count * bool(valid)
        for name in dict.fromkeys(valid):
            if name in source.by or len(source.by) < 10:
                source.by[name] += record.count


class Reading:
    """Reads reports; `summaries` by domain. The same report twice counts once (RFC 9990 section 3.5.4)."""

    def __init__(self) -> None:
        self.summaries: dict[str, Summary] = {}
        self.duplicates = 0
        self._seen: set[tuple[str, str, str, int]] = set()

    def file(self, octets: bytes) -> int:
        """Adds all reports of a file; how many there were. Raises ReadError; what was read before it is kept."""
        number = 0
        for document in documents(octets):
            self._document(document)
            number += 1
        return number

    def _document(self, document: bytes) -> None:
        records: list[ReadRecord] = []  # a document with an error is not to be trusted in any part (RFC 9990 3.1.1)
        report = parse(document, lambda _, record: records.append(record))
        name = report.org_name, report.report_id, report.domain, report.begin
        if name in self._seen:
            self.duplicates += 1
            return
        self._seen.add(name)
        summary = self._summary(report.domain)
        summary.reports += 1
        _note(summary, report)
        for record in records:
            summary.add(record)

    def _summary(self, domain: str) -> Summary:
        key = domain if domain in self.summaries or len(self.summaries) < MAX_DOMAINS else OTHERS
        return self.summaries.setdefault(key, Summary(key))


def _note(summary: Summary, report: ReadReport) -> None:
    if report.org_name in summary.organizations or len(summary.organizations) < MAX_SOURCES:
        summary.organizations[report.org_name] += 1
    if report.policy in summary.policies or len(summary.policies) < 10:
        summary.policies[report.policy + (" (t=y)" if report.testing else "")] += 1
    times = [time for time in (summary.begin, report.begin) if time]
    summary.begin = min(times, default=0)
    summary.end = max(summary.end, report.end)


def cost(summary: Summary) -> str:
    """What p=reject would change, in words."""
    failed, vouched = summary.total("failed"), summary.total("vouched")
    if not failed:
        return "p=reject would cost nothing: all messages passed."
    text = f"p=reject would refuse {failed} of {summary.total('messages')} messages"
    text += f"; {refused} of them were refused already." if (refused := summary.total("refused")) else "."
    if vouched:
        text += (
            f" {vouched} had a valid signature or SPF result of another domain: forwarders and lists, or services that "
            "send for you without a key of yours. Look at these first."
        )
    if failed > vouched:
        text += f" {failed - vouched} had nothing valid: forgeries, or hosts of yours that neither sign nor are in SPF."
    return text
