"""A report as a message (RFC 9990 section 3.5.2): text for people, and the gzip file; signed with our own keys."""

import gzip
import hashlib
import io
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from mailnotary import dkim
from mailnotary.mail.message import parse
from mailnotary.reports import xml
from mailnotary.reports.gather import Gathered
from mailnotary.reports.names import Reporter, file_name, subject
from mailnotary.reports.period import Period

_LINE: Final = 76  # characters (RFC 2045 section 6.8, RFC 5322 section 2.1.1)
_WORD: Final = 45  # octets in one encoded word, which has 75 characters then (RFC 2047 section 2)
_SPECIALS: Final = '"\\'  # what a quoted-string has to quote (RFC 5322 section 3.2.4)


def compressed(report: Gathered, period: Period, reporter: Reporter) -> bytes:
    """The report as XML in gzip, the same octets for the same report."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
        xml.write(file, report, period, reporter)  # type: ignore[arg-type]  # it writes, which is all that is needed
    return out.getvalue()


def compose(
    report: Gathered, period: Period, reporter: Reporter, *, sender: str, recipient: str, message_id: str, now: float
) -> bytes:
    """The message, unsigned; lines end with CRLF, and all is US-ASCII."""
    content = compressed(report, period, reporter)
    name = file_name(report.domain, period, reporter, "xml.gz")
    boundary = "report-" + hashlib.sha256(message_id.encode()).hexdigest()[:24]
    lines = [
        *_folded(["From:", *_display_name(reporter.org_name), f"<{sender}>"]),
        f"To: <{recipient}>",
        *_folded(["Subject:", *subject(report.domain, period, reporter)]),
        f"Date: {format_datetime(datetime.fromtimestamp(now, UTC))}",
        f"Message-ID: <{message_id}>",
        "Auto-Submitted: auto-generated",  # RFC 3834 section 5: nobody's program answers it
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        "",
        f"--{boundary}",
        *_text_part(_text(report, period, reporter)),
        f"--{boundary}",
        "Content-Type: application/gzip",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{name}"',
        "",
        *_base64(content),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def signed(message: bytes, signers: Sequence[dkim.Signer], now: float) -> bytes:
    """The message with a signature of each signer on top: "MUST conform to the DMARC mechanism, thereby resulting in an
    aligned "pass"". Raises SigningError."""
    parsed = parse(message)
    job = dkim.MessageSigner(parsed.fields, signers, now=int(now), again=True)
    job.body(parsed.body)
    return b"".join(field.raw + b"\r\n" for field in job.finish()) + message


def _text(report: Gathered, period: Period, reporter: Reporter) -> str:
    begin, last = (datetime.fromtimestamp(second, UTC) for second in (period.begin, period.last))
    contact = f"Questions: {reporter.email}"
    if reporter.extra_contact_info:
        contact += f" or {reporter.extra_contact_info}"
    lines = [
        f"This is a DMARC aggregate report (RFC 9990) about {report.domain}, made by",
        f"{reporter.org_name} ({reporter.domain}).",
        "",
        f"Period: {begin:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC",
        f"Messages: {report.messages}",
        contact,
        "",
        "The report is attached, as XML in a gzip file.",
        "",
    ]
    return "\r\n".join(lines)


def _text_part(text: str) -> list[str]:
    if text.isascii() and max(map(len, text.split("\r\n"))) <= 998:
        return ["Content-Type: text/plain; charset=us-ascii", "", *text.split("\r\n")]
    kind = "Content-Type: text/plain; charset=utf-8"
    return [kind, "Content-Transfer-Encoding: base64", "", *_base64(text.encode("utf-8"))]


def _base64(octets: bytes) -> list[str]:
    text = b64encode(octets).decode("ascii")
    return [text[start : start + _LINE] for start in range(0, len(text), _LINE)]


def _display_name(name: str) -> list[str]:
    """The words of a display name: a quoted-string (RFC 5322 section 3.2.4), or encoded words (RFC 2047)."""
    if name.isascii() and len(name) <= _LINE - 10:
        return ['"' + "".join("\\" + one if one in _SPECIALS else one for one in name) + '"']
    words, rest = [], name
    while rest:
        end = len(rest)
        while len(rest[:end].encode("utf-8")) > _WORD:
            end -= 1
        words.append(f"=?utf-8?b?{b64encode(rest[:end].encode('utf-8')).decode('ascii')}?=")
        rest = rest[end:]
    return words


def _folded(words: Sequence[str]) -> list[str]:
    """The words of a field on lines of the usual length; a word that is longer has one of its own."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return lines
