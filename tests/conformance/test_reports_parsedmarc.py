"""Our DMARC reports under the reader that most people use, parsedmarc: the file and the mail, with ordinary values and
with what senders can put there."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mailnotary.reports import message, xml
from mailnotary.reports.facts import Published, Record, Signature, Spf
from mailnotary.reports.gather import Gathered
from mailnotary.reports.names import Reporter, report_id
from mailnotary.reports.period import Period
from support.reports import BEGIN, complaints

PARSEDMARC = Path(__file__).parents[2] / ".venv" / "parsedmarc" / "bin" / "python"
SCRIPT = Path(__file__).parents[1] / "support" / "read_parsedmarc.py"
DAY = Period(BEGIN, BEGIN + 86_400)
REPORTER = Reporter("Receiver <&>", "mx.example.net", "dmarc@example.net", "https://example.net/dmarc", "0a1b2c")
PUBLISHED = Published("example.org", "reject", "quarantine", "none", "r", "s", True, "u", "1:d", (), ("sp=x is wrong",))
NASTY = "]]><!--&#0;\0\x1b\u202e\ud800\uffff</record>\r\n' \" é"


def record(text: str, ip: str = "192.0.2.1") -> Record:
    return Record(
        *(ip, "none", "fail", "fail", (("local_policy", text),), "example.org", text),
        (Signature("example.org", text, "fail", text), Signature(text, "s2", "policy", "")),
        Spf(text, "softfail", text),
    )


ORDINARY = [(record("mail.example.org"), 3), (record("mail.example.org", "2001:db8::1"), 10**9)]
HOSTILE = [(record(NASTY), 1), (record(NASTY * 300), 2)]


def gathered(records: list[tuple[Record, int]]) -> Gathered:
    return Gathered(PUBLISHED, len(records), len(records), lambda: iter(records))


def read(*files: Path) -> list[dict[str, Any]]:
    done = subprocess.run([PARSEDMARC, "-P", SCRIPT, *files], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("records", [ORDINARY, HOSTILE], ids=["ordinary", "hostile"])
def test_parsedmarc_reads_the_file_and_the_mail_alike(tmp_path: Path, records: list[tuple[Record, int]]) -> None:
    report = gathered(records)
    file, mail = tmp_path / "report.xml", tmp_path / "report.eml"
    with file.open("wb") as out:
        xml.write(out, report, DAY, REPORTER)
    addresses = {"sender": "dmarc@example.net", "recipient": "reports@example.org", "message_id": "1@example.net"}
    mail.write_bytes(message.compose(report, DAY, REPORTER, now=BEGIN + 90_000, **addresses))
    assert complaints(file) == ""
    of_file, of_mail = read(file, mail)
    assert of_file["report_type"] == of_mail["report_type"] == "aggregate"
    assert of_file["report"] == of_mail["report"]
    found = of_file["report"]
    assert found["report_metadata"]["report_id"] == report_id("example.org", DAY, REPORTER).partition("@")[0]
    assert found["report_metadata"]["org_name"] == "Receiver <&>"
    policy = found["policy_published"]
    expected = {"domain": "example.org", "p": "reject", "sp": "quarantine", "np": "none", "adkim": "r", "aspf": "s"}
    assert {name: policy[name] for name in expected} == expected
    assert (policy["testing"], policy["discovery_method"]) == ("y", "treewalk")
    assert [one["count"] for one in found["records"]] == [count for _, count in records]
    assert [one["source"]["ip_address"] for one in found["records"]] == [one.source_ip for one, _ in records]
    for one in found["records"]:
        assert one["policy_evaluated"]["disposition"] == "none"
        assert [signature["result"] for signature in one["auth_results"]["dkim"]] == ["fail", "policy"]
        assert [spf["result"] for spf in one["auth_results"]["spf"]] == ["softfail"]
