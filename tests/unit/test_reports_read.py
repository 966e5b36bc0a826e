"""What others report, in whatever it comes: old and new formats, archives, messages, and things made to hurt."""

import gzip
import io
import json
import sys
import zipfile
import zlib
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.reports import parse as parse_module
from mailnotary.reports import unpack
from mailnotary.reports.parse import ReadRecord, parse
from mailnotary.reports.summary import Reading, cost
from mailnotary.reports.unpack import ReadError, documents

HEAD = """<report_metadata><org_name>{org}</org_name><email>x@r.example</email><report_id>{name}</report_id>
<date_range><begin>1700000000</begin><end>1700086399</end></date_range></report_metadata>
<policy_published><domain>a.example</domain><adkim>r</adkim><p>none</p><pct>100</pct></policy_published>"""


def record(source: str, count: int, *, dkim: str = "fail", spf: str = "fail", results: str = "") -> str:
    return (
        f"<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated>"
        f"<disposition>none</disposition><dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row>"
        f"<identifiers><header_from>a.example</header_from></identifiers><auth_results>{results}</auth_results></record>"
    )


RECORDS = (
    record("192.0.2.1", 10, dkim="pass", results="<dkim><domain>a.example</domain><result>pass</result></dkim>")
    + record("198.51.100.1", 3, results="<dkim><domain>List.example</domain><result>Pass</result></dkim>")
    + record("203.0.113.1", 5, results="<spf><domain>a.example</domain><result>fail</result></spf>")
)


def old(name: str = "1", org: str = "r.example", records: str = RECORDS) -> bytes:
    """The format of RFC 7489: no namespace, no version."""
    text = f'<?xml version="1.0" encoding="UTF-8" ?>\n<feedback>{HEAD.format(org=org, name=name)}{records}</feedback>'
    return text.encode()


def new(name: str = "2") -> bytes:
    """The format of RFC 9990."""
    return old(name).replace(
        b"<feedback>", b'<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version>'
    )


def zipped(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.xml", content)
    return out.getvalue()


def attached(content: bytes, kind: str = "gzip") -> bytes:
    message = EmailMessage()
    message["Subject"] = "Report Domain: a.example Submitter: r.example"
    message.set_content("hello")
    message.add_attachment(content, "application", kind, filename="r!a.example!1!2.xml.gz")
    return message.as_bytes()


def forwarded(mail: bytes) -> bytes:
    message = EmailMessage()
    message.set_content("see below")
    message.add_attachment(message_from_bytes(mail, policy=default))
    return message.as_bytes()


def as_body(content: bytes) -> bytes:
    message = EmailMessage()
    message.set_content(content, "application", "gzip")
    return message.as_bytes()


@pytest.mark.parametrize(
    "octets",
    [
        *(
            old(),
            new(),
            b"\xef\xbb\xbf" + old(),
            b"\r\n " + old(),
            old().decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        ),
        *(gzip.compress(old()), zipped(old()), gzip.compress(zipped(old())), attached(gzip.compress(old()))),
        *(attached(zipped(old()), "x-zip-compressed"), attached(old(), "octet-stream"), as_body(gzip.compress(old()))),
        forwarded(attached(gzip.compress(old()))),
        gzip.compress(old()) + b"trailing",
    ],
)
def test_every_form_says_the_same(octets: bytes) -> None:
    reading = Reading()
    assert reading.file(octets) == 1
    summary = reading.summaries["a.example"]
    assert [summary.total(what) for what in ("messages", "passed", "failed", "vouched")] == [18, 10, 8, 3]
    assert [(one.address, one.failed, dict(one.by)) for one in summary.worst()] == [
        *(("203.0.113.1", 5, {}), ("198.51.100.1", 3, {"list.example": 3}), ("192.0.2.1", 0, {}))
    ]
    assert (summary.begin, summary.end, dict(summary.policies)) == (1700000000, 1700086399, {"none": 1})


def test_several_reports_in_one_archive_and_one_that_came_twice() -> None:
    reading = Reading()
    assert reading.file(zipped(old("1"), old("2"), old("1"))) == 3
    assert reading.duplicates == 1
    summary = reading.summaries["a.example"]
    assert (summary.reports, summary.total("messages"), dict(summary.organizations)) == (2, 36, {"r.example": 2})


# --- what is made to hurt ---------------------------------------------------------------------------------------------


def refused(octets: bytes) -> str:
    with pytest.raises(ReadError) as raised:
        Reading().file(octets)
    return str(raised.value)


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><feedback><record>&c;</record></feedback>"""
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><feedback>&x;</feedback>'


@pytest.mark.parametrize("document", [LAUGHS, OUTSIDE, b"<!DOCTYPE feedback><feedback></feedback>"])
def test_a_document_type_ends_it(document: bytes) -> None:
    assert refused(document) == "its XML has a document type, which no report needs"
    assert refused(gzip.compress(document)) == "its XML has a document type, which no report needs"


def test_what_grows_beyond_all_bounds_is_refused_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED", 2 * 2**20)
    monkeypatch.setattr(unpack._Room, "__init__", lambda self: setattr(self, "octets", 2 * 2**20))
    bomb = gzip.compress(bytes(50 * 2**20))
    assert "more than 2 MiB once it is unpacked" in refused(bomb)
    assert "more than 2 MiB" in refused(zipped(bytes(50 * 2**20)))
    assert "more than 2 MiB" in refused(zipped(*[old() + b" " * 2**20] * 3))
    assert "more than 2 MiB" in refused(attached(bomb))


def test_a_zip_archive_that_lies_about_its_size_is_read_no_further() -> None:
    honest = bytearray(zipped(b"<feedback>" + bytes(2**20)))
    for place in (22, honest.rindex(b"PK\x01\x02") + 24):  # the size of the file once it is unpacked
        honest[place : place + 4] = (100).to_bytes(4, "little")
    assert refused(bytes(honest))


def test_packed_too_often_and_too_many_parts() -> None:
    nested = old()
    for _ in range(unpack.MAX_DEPTH + 1):
        nested = gzip.compress(nested)
    assert "packed more than 5 times" in refused(nested)
    assert "more than 100 files" in refused(zipped(*[b"<x/>"] * 101))
    message = EmailMessage()
    message.make_mixed()
    for _ in range(unpack.MAX_PARTS + 1):
        message.add_attachment(b"x", "application", "gzip")
    assert "more than 100 parts" in refused(message.as_bytes())


def test_a_message_nested_without_end_is_an_error_and_no_crash() -> None:
    head = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000))
    assert refused(b"Subject: x\r\n" + head)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", "it is neither XML, gzip nor zip"),
        (b"hello", "it is neither XML, gzip nor zip"),
        (gzip.compress(old())[:-20], "its gzip data is cut off"),
        (b"\x1f\x8b" + bytes(30), "its gzip data is damaged"),
        (b"PK\x03\x04" + bytes(30), "its zip archive is damaged"),
        (old()[:-5], "its XML has an error in line"),
        (b"<html></html>", "its XML is of another kind: <html> where <feedback> is expected"),
        (b"<feedback></feedback>", "it has no records"),
        (b"<feedback>" + b"<a>" * 30, "more than 20 deep"),
        (b"<feedback><record></record></feedback>", "it has records before it says which domain"),
        (b'<?xml version="1.0" encoding="klingon"?><feedback/>', "its XML"),
    ],
)
def test_what_is_wrong_is_said(octets: bytes, error: str) -> None:
    assert error in refused(octets)


def test_more_records_than_anybody_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_module, "MAX_RECORDS", 2)
    assert "more than 2 records" in refused(old())


def test_nothing_of_a_report_with_an_error_is_counted() -> None:
    reading = Reading()
    with pytest.raises(ReadError):
        reading.file(old()[:-20])
    assert reading.summaries == {}


def test_no_value_is_longer_than_so_much_or_acts_on_a_terminal() -> None:
    taken: list[ReadRecord] = []
    text = old(records=record("\u202e1" + "x" * 10**6, 2) + record("192.0.2.1", 10**30))
    parse(text, lambda _, one: taken.append(one))
    [one] = taken
    assert len(one.source) < 200
    assert "\u202e" not in one.source


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"<feedback>", b"Content-Type: x\n\n"]),
)
def test_no_octets_raise_anything_else(octets: bytes, start: bytes) -> None:
    for data in (start + octets, zlib.compress(start + octets, wbits=31)):
        try:
            list(documents(data))
            Reading().file(data)
        except ReadError:
            pass


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_who_sends_and_what_reject_would_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.xml").write_bytes(old())
    (tmp_path / "b.gz").write_bytes(gzip.compress(new()))
    (tmp_path / "c.txt").write_bytes(b"hello")
    assert main(["reports", "read", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "a.example: 2 reports from 1 organization, 2023-11-14 to 2023-11-15; p=none" in said.out
    assert [line.split() for line in said.out.splitlines()[2:5]] == [
        *(["203.0.113.1", "10", "0", "10", "0"], ["198.51.100.1", "6", "0", "6", "0", "list.example"]),
        ["192.0.2.1", "20", "20", "0", "0"],
    ]
    assert "p=reject would refuse 16 of 36 messages. 6 had a valid" in said.out
    assert "10 had nothing valid" in said.out
    assert "c.txt: it is neither XML" in said.err


def test_json_an_mbox_and_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mbox = tmp_path / "mbox"
    mails = [attached(gzip.compress(old(name))) for name in "12"]
    mbox.write_bytes(b"".join(b"From a@b Thu Jan  1 00:00:00 1970\n" + mail + b"\n" for mail in mails))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(old("1"))))
    assert main(["reports", "read", str(mbox), "-", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["duplicates"], told["errors"]) == (1, [])
    [domain] = told["domains"]
    assert (domain["domain"], domain["reports"], domain["messages"], domain["vouched"]) == ("a.example", 2, 36, 6)
    assert domain["sources"][1]["valid_for"] == {"list.example": 6}


def test_a_maildir_and_a_report_that_came_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in ("cur", "new", "tmp"):
        (tmp_path / directory).mkdir()
    for place in ("cur/1", "new/2"):
        (tmp_path / place).write_bytes(attached(gzip.compress(old())))
    assert main(["reports", "read", str(tmp_path)]) == 0
    assert "1 report came again and did not count." in capsys.readouterr().out


def test_many_sources_are_not_all_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.xml").write_bytes(old(records="".join(record(f"192.0.2.{n}", 1) for n in range(40))))
    assert main(["reports", "read", str(tmp_path / "a.xml")]) == 0
    assert "and 10 more sources" in capsys.readouterr().out


def test_where_all_passes_reject_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reading = Reading()
    reading.file(old(records=record("192.0.2.1", 4, spf="pass")))
    assert cost(reading.summaries["a.example"]) == "p=reject would cost nothing: all messages passed."
    assert main(["reports", "read"]) == 1
    assert main(["reports", "read", "/nowhere"]) == 1
    assert "/nowhere: can't be read: No such file" in capsys.readouterr().err
