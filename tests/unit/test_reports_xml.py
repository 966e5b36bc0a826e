"""Reports as XML: by the schema of RFC 9990, whatever senders wrote."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.reports import xml
from mailnotary.reports.facts import Published, Record, Signature, Spf
from mailnotary.reports.gather import Gathered
from mailnotary.reports.names import Reporter, file_name, report_id, subject
from mailnotary.reports.period import Period
from support.reports import BEGIN, NAMESPACE, complaints

DAY = Period(BEGIN, BEGIN + 86_400)
REPORTER = Reporter("Receiver <&>", "mx.example.net", "dmarc@example.net", "https://example.net/dmarc", "0a1b2c")
PUBLISHED = Published(
    "example.org", "reject", "reject", "none", "r", "s", True, "u", "1:d", (), ("sp=x is not one of",)
)
RECORD = Record(
    *("192.0.2.1", "none", "fail", "fail", (("policy_test_mode", ""), ("local_policy", "because")), "example.org", ""),
    (Signature("example.org", "s1", "fail", "the body has changed"),),
    Spf("example.org", "softfail", "matches ~all"),
)


def document(records: Iterable[tuple[Record, int]], published: Published = PUBLISHED, told: int = 3) -> bytes:
    out = io.BytesIO()
    kept = list(records)
    xml.write(out, Gathered(published, 3, told, lambda: iter(kept)), DAY, REPORTER)
    return out.getvalue()


def test_each_element_is_where_it_belongs(tmp_path: Path) -> None:
    text = document([(RECORD, 3)], told=2)
    path = tmp_path / "report.xml"
    path.write_bytes(text)
    assert complaints(path) == ""
    root = ElementTree.fromstring(text)
    values = {element.tag.partition("}")[2]: (element.text or "") for element in root.iter() if not len(element)}
    assert values["version"] == "1.0"
    assert values["org_name"] == "Receiver <&>"
    assert values["email"] == "dmarc@example.net"
    assert values["extra_contact_info"] == "https://example.net/dmarc"
    assert values["report_id"] == "2023-11-14_example.org.0a1b2c@mx.example.net"
    assert (values["begin"], values["end"]) == (str(BEGIN), str(BEGIN + 86_399))
    assert values["error"] == "sp=x is not one of; too many records: 1 of 3 messages are left out"
    assert values["generator"].startswith("mailnotary ")
    assert [values[name] for name in ("p", "sp", "np", "adkim", "aspf", "fo", "testing", "discovery_method")] == [
        *("reject", "reject", "none", "r", "s", "1:d", "y", "treewalk")
    ]
    assert [values[name] for name in ("source_ip", "count", "disposition", "header_from", "envelope_from")] == [
        *("192.0.2.1", "3", "none", "example.org", "")
    ]
    assert [element.text for element in root.iterfind(".//d:reason/d:type", NAMESPACE)] == [
        *("policy_test_mode", "local_policy")
    ]
    assert [element.text for element in root.iterfind(".//d:reason/d:comment", NAMESPACE)] == ["because"]
    assert [element.text for element in root.iterfind(".//d:auth_results/d:dkim/*", NAMESPACE)] == [
        *("example.org", "s1", "fail", "the body has changed")
    ]
    assert [element.text for element in root.iterfind(".//d:auth_results/d:spf/*", NAMESPACE)] == [
        *("example.org", "mfrom", "softfail", "matches ~all")
    ]


def test_the_schema_itself_refuses_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_bytes(document([(RECORD, 3)]).replace(b"<spf>fail</spf>", b"<spf>softfail</spf>"))
    assert "softfail" in complaints(path)


ANYTHING = st.text(
    st.characters() | st.sampled_from("\0\x01\x08\x1f\x7f\x85\ud800\udcff\ufffe\uffff<>&'\"]\u202e"), max_size=300
)
SIGNATURE = st.builds(Signature, ANYTHING, ANYTHING, st.sampled_from(["pass", "policy", "temperror"]), ANYTHING)
HOSTILE = st.builds(
    Record,
    source_ip=ANYTHING,
    disposition=st.sampled_from(["none", "pass", "quarantine", "reject"]),
    dkim=st.just("fail"),
    spf=st.just("pass"),
    reasons=st.lists(st.tuples(st.just("other"), ANYTHING), max_size=2).map(tuple),
    header_from=ANYTHING,
    envelope_from=st.none() | ANYTHING,
    signatures=st.lists(SIGNATURE, max_size=3).map(tuple),
    spf_result=st.none() | st.builds(Spf, ANYTHING, st.sampled_from(["none", "permerror"]), ANYTHING),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("xml") / "report.xml"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.tuples(HOSTILE, st.integers(1, 10**9)), min_size=1, max_size=4), problem=ANYTHING)
def test_no_text_of_a_sender_breaks_the_schema(path: Path, records: list[tuple[Record, int]], problem: str) -> None:
    text = document(records, PUBLISHED._replace(problems=(problem,)))
    path.write_bytes(text)
    assert complaints(path) == ""
    root = ElementTree.fromstring(text)
    assert [int(count.text or "") for count in root.iterfind(".//d:count", NAMESPACE)] == [n for _, n in records]


@given(ANYTHING)
def test_a_text_is_one_line_without_markup(value: str) -> None:
    shown = xml.text(value, 100)
    assert len(shown) < 2200
    assert not set(shown) & set("<>\n\r\0")
    ElementTree.fromstring(f"<a>{shown}</a>")


def test_a_long_report_is_written_piece_by_piece() -> None:
    class Counting(io.RawIOBase):
        longest = total = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.longest = max(self.longest, len(data))
            self.total += len(data)
            return len(data)

    def records() -> Iterator[tuple[Record, int]]:
        for number in range(20_000):
            yield RECORD._replace(source_ip=f"2001:db8::{number:x}"), 1

    out = Counting()
    xml.write(out, Gathered(PUBLISHED, 20_000, 20_000, records), DAY, REPORTER)  # type: ignore[arg-type]
    assert out.total > 10_000_000
    assert out.longest < 2000


def test_the_names_follow_the_abnf() -> None:
    assert file_name("example.org", DAY, REPORTER, "xml.gz") == (
        "mx.example.net!example.org!1699920000!1700006399!0a1b2c.xml.gz"
    )
    assert report_id("example.org", Period(BEGIN + 3600, BEGIN + 7200), REPORTER) == (
        "2023-11-14T01_example.org.0a1b2c@mx.example.net"
    )
    assert " ".join(subject("example.org", DAY, REPORTER)) == (
        "Report Domain: example.org Submitter: mx.example.net Report-ID: <2023-11-14_example.org.0a1b2c@mx.example.net>"
    )
