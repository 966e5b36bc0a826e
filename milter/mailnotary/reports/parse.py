"""Reads the XML of a report, in the format of RFC 9990 and in the older ones (RFC 7489 and its drafts).

Readers of reports get what others wrote: a document type, which entities need (RFC 9990 section 8.1: "XML bomb"), ends
it at once, and all that is kept of a document is bounded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from xml.parsers import expat

from mailnotary.domain import to_ascii
from mailnotary.escape import printable
from mailnotary.reports.unpack import ReadError

MAX_RECORDS: Final = 200_000  # of one report
MAX_ELEMENTS_DEEP: Final = 20
MAX_VALUE: Final = 1000  # characters of one text
MAX_COUNT: Final = 10**12  # messages of one record
MAX_RESULTS: Final = 100  # DKIM results of one record
_CHUNK: Final = 64 * 1024


@dataclass(slots=True)
class ReadRecord:
    """Messages of one source with the same results. `dkim` and `spf` say whether those passed aligned; `signers` and
    `senders` are the domains whose DKIM and SPF passed, aligned or not."""

    source: str = ""
    count: int = 0
    disposition: str = ""
    dkim: bool = False
    spf: bool = False
    header_from: str = ""
    signers: list[str] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether DMARC did."""
        return self.dkim or self.spf


@dataclass(slots=True)
class ReadReport:
    """What the head of a report says. Times are seconds since the epoch; 0 where they cannot be read."""

    org_name: str = ""
    report_id: str = ""
    begin: int = 0
    end: int = 0
    domain: str = ""
    policy: str = ""
    testing: bool = False


Take = Callable[[ReadReport, ReadRecord], None]


def parse(document: bytes, take: Take) -> ReadReport:
    """Reads a document; `take` gets each record as soon as it is read, with what is known of its report. Raises
    ReadError."""
    reader = _Reader(take)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.EntityDeclHandler = _refuse_document_type
    try:
        for start in range(0, len(document), _CHUNK):
            parser.Parse(document[start : start + _CHUNK], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ReadError(f"its XML has an error in line {error.lineno}: {expat.ErrorString(error.code)}") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise ReadError(f"its XML cannot be read: {printable(str(error), 200)}") from error
    if not reader.records:
        raise ReadError("it has no records: is it a DMARC aggregate report?")
    return reader.report


def _refuse_document_type(*_: object) -> None:
    raise ReadError("its XML has a document type, which no report needs")


class _Reader:
    """Follows the elements of a document. Their names count, not their namespace: older formats have none."""

    def __init__(self, take: Take) -> None:
        self.report = ReadReport()
        self.records = 0
        self._take = take
        self._path: list[str] = []
        self._text = ""
        self._record = ReadRecord()
        self._result = {"domain": "", "result": ""}

    def start(self, name: str, _attributes: object) -> None:
        self._path.append(name.rpartition(" ")[2])
        if len(self._path) > MAX_ELEMENTS_DEEP:
            raise ReadError(f"its XML has elements more than {MAX_ELEMENTS_DEEP} deep")
        if len(self._path) == 1 and self._path[0] != "feedback":
            raise ReadError(
                f"its XML is of another kind: <{printable(self._path[0], 40)}> where <feedback> is expected"
            )
        self._text = ""
        match self._path[1:]:
            case ["record"]:
                self._record = ReadRecord()
            case ["record", "auth_results", "dkim" | "spf"]:
                self._result = {"domain": "", "result": ""}

    def text(self, text: str) -> None:
        if len(self._text) < MAX_VALUE:
            self._text += text[: MAX_VALUE - len(self._text)]

    def end(self, _name: str) -> None:
        path, value = self._path[1:], self._text.strip()
        self._path.pop()
        self._text = ""
        match path:
            case ["report_metadata" | "policy_published", *rest]:
                self._head(rest, value)
            case ["record"]:
                self._finish()
            case ["record", *rest]:
                self._in_record(rest, value)

    def _head(self, path: list[str], value: str) -> None:
        report = self.report
        match path:
            case ["org_name"]:
                report.org_name = printable(value, 200)
            case ["report_id"]:
                report.report_id = printable(value, 300)
            case ["date_range", "begin"]:
                report.begin = _number(value)
            case ["date_range", "end"]:
                report.end = _number(value)
            case ["domain"]:
                report.domain = _name(value)
            case ["p"]:
                report.policy = printable(value.lower(), 20)
            case ["testing"]:
                report.testing = value.lower() == "y"

    def _in_record(self, path: list[str], value: str) -> None:
        record = self._record
        match path:
            case ["row", "source_ip"]:
                record.source = _address(value)
            case ["row", "count"]:
                record.count = min(_number(value), MAX_COUNT)
            case ["row", "policy_evaluated", "disposition"]:
                record.disposition = printable(value.lower(), 20)
            case ["row", "policy_evaluated", "dkim"]:
                record.dkim = value.lower() == "pass"
            case ["row", "policy_evaluated", "spf"]:
                record.spf = value.lower() == "pass"
            case ["identifiers", "header_from"]:
                record.header_from = _name(value)
            case ["auth_results", "dkim" | "spf", "domain" | "result" as what]:
                self._result[what] = value
            case ["auth_results", "dkim"]:
                self._passed(record.signers)
            case ["auth_results", "spf"]:
                self._passed(record.senders)

    def _passed(self, names: list[str]) -> None:
        name = _name(self._result["domain"])
        if self._result["result"].lower() == "pass" and name and name not in names and len(names) < MAX_RESULTS:
            names.append(name)

    def _finish(self) -> None:
        self.records += 1
        if self.records > MAX_RECORDS:
            raise ReadError(f"it has more than {MAX_RECORDS} records")
        if not self.report.domain:
            raise ReadError("it has records before it says which domain they are about")
        if self._record.count > 0:
            self._take(self.report, self._record)


def _number(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else 0


def _name(value: str) -> str:
    return printable(to_ascii(value) or value.lower(), 260)


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        return printable(value, 60)
