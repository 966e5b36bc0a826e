"""Stored mail, judged as it was when it arrived."""

import json
from pathlib import Path

import pytest
import yaml

from mailnotary.cli import main
from mailnotary.mail.message import parse
from mailnotary.session.stored import Arrival, arrival

ZONE = {
    "bank.example": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}],
    "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
}
TOP = """\
Return-Path: <joe@bank.example>
Delivered-To: user@example.org
Authentication-Results: mx.example.org; dmarc=pass
"""
BACK = "Received: from localhost (localhost [127.0.0.1])\n\tby mx.example.org (Postfix) with ESMTP id 1\n"
IN = "Received: from mail.bank.example (mail.bank.example [{ip}])\n\tby mx.example.org (Postfix) with ESMTP id 2\n"
REST = "Received: from x (x [203.0.113.9]) by mx.example.org\nFrom: joe@bank.example\nSubject: x\n\nhi\n"


def message(ip: str, top: str = TOP) -> str:
    return top + BACK + IN.format(ip=ip) + REST


def arrived(text: str, host: str = "mx.example.org") -> Arrival | str:
    return arrival(parse(text.replace("\n", "\r\n").encode()), host)


def test_the_client_is_the_one_that_came_from_outside() -> None:
    found = arrived(message("192.0.2.1"), "MX.example.org.")
    assert isinstance(found, Arrival)
    assert (str(found.client.address), found.client.helo) == ("192.0.2.1", "mail.bank.example")
    assert found.mail_from == b"joe@bank.example"
    assert [field.key for field in found.fields] == [b"received", b"from", b"subject"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (message("192.0.2.1", "Delivered-To: x\n"), "it has no Return-Path above that Received field"),
        (BACK + "From: a@b.example\n\n", "no Received field of mx.example.org names a client other than this host"),
        ("From: a@b.example\n\n", "it has no Received field of mx.example.org"),
        (IN.format(ip="192.0.2.1") + "Return-Path: <a@b>\n\n", "it has no Return-Path above that Received field"),
        (message("192.0.2.1").replace("by mx.example.org", "by mx.evil.example"), "it has no Received field of"),
    ],
)
def test_what_is_not_known_is_said(text: str, why: str) -> None:
    found = arrived(text)
    assert isinstance(found, str)
    assert found.startswith(why)


def test_a_mailbox_is_judged_by_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mbox, config, zone = tmp_path / "mbox", tmp_path / "m.yaml", tmp_path / "zone.yaml"
    messages = [message("192.0.2.1"), message("198.51.100.7"), "From: a@b.example\n\nhi\n"]
    mbox.write_text("".join(f"From x Thu Nov 26 12:00:00 2026\n{text}\n" for text in messages))
    config.write_text("dmarc: {mode: enforce, reject: reject}\n")
    zone.write_text(yaml.safe_dump(ZONE))
    arguments = ["replay", "--received-by", "mx.example.org", "-c", str(config), "--zone", str(zone), str(mbox)]
    assert main([*arguments, "--json"]) == 1
    output = capsys.readouterr()
    told = json.loads(output.out)
    assert told["skipped"] == 1
    assert "it has no Received field of mx.example.org" in output.err
    good, forged = told["messages"]
    assert (good["action"], good["dmarc"]["status"], good["client"]) == ("accept", "pass", "192.0.2.1")
    assert (forged["action"], forged["dmarc"]["status"]) == ("reject", "fail")
    assert main(arguments) == 1
    text = capsys.readouterr().out
    assert "1 accept, 1 reject; 1 skipped. DNS was asked today." in text
    assert "bank.example" in text
