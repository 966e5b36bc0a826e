"""The log line of a message: its names, its values in text and in JSON, and config/log.md, which documents them."""

import json
import logging
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mailnotary.authres import Results
from mailnotary.config.settings import DmarcMode, DmarcSettings, LogFormat, LogSettings, Settings
from mailnotary.daemon.log import MAX_LINE, Log, format_json, format_text
from mailnotary.dkim import DkimResult
from mailnotary.session.outcome import LoggedList, LoggedResult, MessageMode, MessageRecord
from mailnotary.session.policy import Reply
from mailnotary.status import DkimStatus
from support.mail import MESSAGE, Played, keystore, signed

PAGE = (Path(__file__).parents[2] / "config" / "log.md").read_text("utf-8")
ZONE = {
    "example.org": [{"TXT": "v=spf1 -all"}],
    "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject"}],
}
ENFORCE = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE))


def refused() -> MessageRecord:
    """Mail that SPF and DMARC refuse, with a signature that has no key."""
    message = b"Authentication-Results: mx.example.net; dkim=pass\r\n" + signed()
    return Played(zone=ZONE, settings=ENFORCE).play(message, mail_from=b"<a@example.org>").record


def as_json(record: MessageRecord) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(format_json("info", "message", record.log_fields(), False, 1000))
    return fields


def test_results_are_objects_and_numbers_are_numbers_in_json() -> None:
    fields = as_json(refused())
    for name, method in (("spf_mailfrom", "spf"), ("dmarc", "dmarc")):
        assert list(fields[name]) == ["method", "result", "domain", "selector", "reason"]
        assert (fields[name]["method"], fields[name]["result"]) == (method, "fail")
        assert fields[name]["domain"] == "example.org"
    [signature] = fields["dkim"]
    assert (signature["result"], signature["domain"], signature["selector"]) == ("permerror", "example.org", "rsa")
    assert fields["reply"]["code"] == 550
    assert fields["author"] == ["example.org"]
    assert isinstance(fields["ms"], float)
    assert isinstance(fields["dns"], int)


def test_text_has_the_same_names_with_the_results_as_words() -> None:
    record = refused()
    line = format_text("info", "message", record.log_fields(), False, 1000)
    assert re.findall(r'(?:^| )(\w+)=(?="|[^ ]*)', re.sub(r'"(?:\\.|[^"])*"', '""', line)) == list(record.log_fields())
    assert 'spf_mailfrom="fail:example.org (' in line
    assert 'dkim="permerror:example.org/rsa (' in line
    assert 'reply="550 5.7.1 ' in line
    assert "author=example.org " in line


def test_without_signatures_dkim_is_none() -> None:
    record = Played(zone=ZONE).play(MESSAGE).record
    assert [one["result"] for one in as_json(record)["dkim"]] == ["none"]
    assert str(record.log_fields()["dkim"]) == "none"


def test_signatures_that_were_made_are_listed() -> None:
    record = Played(zone={}, keys=keystore()).play(MESSAGE, user="alice").record
    assert as_json(record)["signed"] == [{"domain": "example.org", "selector": name} for name in ("rsa", "ed")]
    assert str(record.log_fields()["signed"]) == "example.org/rsa,example.org/ed"
    assert as_json(record)["user"] == "alice"


def test_an_author_without_a_domain_is_an_empty_array_with_the_problem() -> None:
    record = Played(zone={}).play(b"Subject: x\r\n\r\nx\r\n").record
    assert as_json(record)["author"] == []
    assert as_json(record)["author_problem"]
    assert str(record.log_fields()["author"]) == "none"


def test_each_name_is_documented_with_its_type() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+)", PAGE, re.MULTILINE))
    source = (Path(__file__).parents[2] / "milter/mailnotary/session/outcome.py").read_text("utf-8")
    names = set(re.findall(r'fields\["(\w+)"\]|^            "(\w+)": ', source, re.MULTILINE))
    assert {first or second for first, second in names} | {"spf_helo", "spf_mailfrom"} <= set(documented)
    types = {str: "string", int: "number", float: "number", list: "array"}
    for name, value in as_json(refused()).items():
        result = isinstance(value, dict) and "method" in value
        assert documented[name] == ("result" if result else types.get(type(value), "object")), name


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("text", ["x" * 300, "\x1b" * 300, "\U0001f600" * 300], ids=["plain", "escapes", "emoji"])
def test_the_longest_line_fits_and_is_whole(form: LogFormat, text: str) -> None:
    lines: list[bytes] = []

    class Sink:
        timestamps = True

        def write(self, _level: int, line: bytes) -> bool:
            lines.append(line)
            return True

        def close(self) -> None:
            pass

    dkim = tuple(DkimResult(DkimStatus.PERMERROR, domain=text, selector=text, reason=text) for _ in range(100))
    record = MessageRecord(
        queue_id=text,
        client=ip_address("2001:db8::1"),
        helo=text,
        mail_from=text,
        auth_user=text,
        mode=MessageMode.VERIFY,
        why=text,
        results=Results(dkim=dkim),
        signed=((text, text),) * 20,
        actions=(Reply(550, "5.7.1", text),),
        error=text,
    )
    fields = record.log_fields() | {
        "author": LoggedList((text,) * 20),
        "spf_helo": LoggedResult("spf", "fail", text, reason=text),
        "spf_mailfrom": LoggedResult("spf", "fail", text, reason=text),
        "dmarc": LoggedResult("dmarc", "fail", text, reason=text),
        "dmarc_why": text,
        "author_problem": text,
    }
    Log(LogSettings(format=form), Sink()).line(logging.INFO, "message", fields)
    [line] = lines
    assert len(line) <= MAX_LINE
    if form is LogFormat.JSON:
        assert json.loads(line)["signed"]
