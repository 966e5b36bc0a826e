"""A report as XML, by the schema of RFC 9990 appendix A. Written as it is read, so that its size does not matter.

Every text is made printable first: senders choose what is in names, selectors and HELO, and most control characters
must not be in XML at all, not even escaped (XML 1.0 section 2.2).
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from mailnotary import __version__
from mailnotary.escape import printable
from mailnotary.reports.facts import Published, Record
from mailnotary.reports.gather import Gathered
from mailnotary.reports.names import Reporter, report_id
from mailnotary.reports.period import Period

NAMESPACE: Final = "urn:ietf:params:xml:ns:dmarc-2.0"
MAX_NAME: Final = 260  # characters of a domain or selector: all that DNS has room for, and what stands for the rest
MAX_TEXT: Final = 1000  # characters of any other text

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Beside those, what is not a character of XML; `printable` has dealt with the others (XML 1.0 section 2.2).
_SPECIAL: Final = re.compile("[&<>\ufffe\uffff]")


def write(out: BinaryIO, report: Gathered, period: Period, reporter: Reporter) -> None:
    """Writes a whole document. Raises what `out` raises."""
    for piece in _document(report, period, reporter):
        out.write(piece.encode("utf-8"))


def _document(report: Gathered, period: Period, reporter: Reporter) -> Iterator[str]:
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<feedback xmlns="{NAMESPACE}">\n'
    yield _line(1, "version", "1.0")
    yield from _metadata(report, period, reporter)
    yield from _policy(report.published)
    for record, count in report.records():
        yield _record(record, count)
    yield "</feedback>\n"


def _metadata(report: Gathered, period: Period, reporter: Reporter) -> Iterator[str]:
    yield " <report_metadata>\n"
    yield _line(2, "org_name", reporter.org_name)
    yield _line(2, "email", reporter.email)
    if reporter.extra_contact_info:
        yield _line(2, "extra_contact_info", reporter.extra_contact_info)
    yield _line(2, "report_id", report_id(report.domain, period, reporter))
    yield f"  <date_range>\n   <begin>{period.begin}</begin>\n   <end>{period.last}</end>\n  </date_range>\n"
    errors = list(report.published.problems)
    if report.told < report.messages:
        errors.append(f"too many records: {report.messages - report.told} of {report.messages} messages are left out")
    if errors:
        yield _line(2, "error", "; ".join(errors))
    yield _line(2, "generator", f"mailnotary {__version__}")
    yield " </report_metadata>\n"


def _policy(published: Published) -> Iterator[str]:
    yield " <policy_published>\n"
    yield _line(2, "domain", published.domain, MAX_NAME)
    yield _line(2, "discovery_method", "treewalk")
    for name, value in (("p", published.p), ("sp", published.sp), ("np", published.np)):
        yield _line(2, name, value)
    for name, value in (("adkim", published.adkim), ("aspf", published.aspf), ("fo", published.fo)):
        yield _line(2, name, value)
    yield _line(2, "testing", "y" if published.testing else "n")
    yield " </policy_published>\n"


def _record(record: Record, count: int) -> str:
    parts = [" <record>\n  <row>\n", _line(3, "source_ip", record.source_ip), _line(3, "count", str(count))]
    parts.append("   <policy_evaluated>\n")
    parts += [_line(4, name, getattr(record, name)) for name in ("disposition", "dkim", "spf")]
    for kind, comment in record.reasons:
        parts += ["    <reason>\n", _line(5, "type", kind)]
        if comment:
            parts.append(_line(5, "comment", comment))
        parts.append("    </reason>\n")
    parts += [
        "   </policy_evaluated>\n  </row>\n  <identifiers>\n",
        _line(3, "header_from", record.header_from, MAX_NAME),
    ]
    if record.envelope_from is not None:
        parts.append(_line(3, "envelope_from", record.envelope_from, MAX_NAME))
    parts.append("  </identifiers>\n  <auth_results>\n")
    for one in record.signatures:
        parts += ["   <dkim>\n", _line(4, "domain", one.domain, MAX_NAME), _line(4, "selector", one.selector, MAX_NAME)]
        parts += [_line(4, "result", one.result), _human(one.reason), "   </dkim>\n"]
    if (spf := record.spf_result) is not None:
        parts += ["   <spf>\n", _line(4, "domain", spf.domain, MAX_NAME), _line(4, "scope", "mfrom")]
        parts += [_line(4, "result", spf.result), _human(spf.reason), "   </spf>\n"]
    parts.append("  </auth_results>\n </record>\n")
    return "".join(parts)


def _human(reason: str) -> str:
    return _line(4, "human_result", reason) if reason else ""


def _line(depth: int, name: str, value: str, limit: int = MAX_TEXT) -> str:
    return f"{' ' * depth}<{name}>{text(value, limit)}</{name}>\n"


def text(value: str, limit: int = MAX_TEXT) -> str:
    """A text as the content of an element: on one line, at most about so long, and nothing in it is markup."""
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), printable(value, limit))
