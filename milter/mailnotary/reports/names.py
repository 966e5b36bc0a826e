"""What a report is called: its Report-ID, its file and its subject (RFC 9990 sections 3.5.1 and 3.5.2).

All are made of the policy domain, the period and who reports, so that a report that is sent again has the same names:
"the system MUST use the same filename as the original report".
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from mailnotary.reports.period import DAY, Period


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: `domain` is the Mail Receiver's, `email` and `extra_contact_info` are for people, `unique_id`
    (letters and digits) tells this store's reports from those of the receiver's other stores."""

    org_name: str
    domain: str
    email: str
    extra_contact_info: str
    unique_id: str


def report_id(domain: str, period: Period, reporter: Reporter) -> str:
    """The Report-ID: "MUST be unique among reports to the same domain"."""
    begin = datetime.fromtimestamp(period.begin, UTC)
    when = f"{begin:%Y-%m-%d}" if period.end - period.begin == DAY else f"{begin:%Y-%m-%dT%H}"
    return f"{when}_{domain}.{reporter.unique_id}@{reporter.domain}"


def file_name(domain: str, period: Period, reporter: Reporter, extension: str = "xml") -> str:
    """The file's name; `extension` is xml or xml.gz."""
    return f"{reporter.domain}!{domain}!{period.begin}!{period.last}!{reporter.unique_id}.{extension}"


def subject(domain: str, period: Period, reporter: Reporter) -> list[str]:
    """The words of the subject, between which it may be folded."""
    identity = f"<{report_id(domain, period, reporter)}>"
    return ["Report", "Domain:", domain, "Submitter:", reporter.domain, "Report-ID:", identity]
