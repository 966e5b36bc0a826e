"""Reports on their way: made of a real daemon's history, sent through a real Postfix, checked by our own daemon."""

import email
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mailnotary.history.store import Store
from support.mail import BAD_IP, GOOD_IP, MESSAGE, signed
from support.messages import refused, verified
from support.postfix import Delivered
from support.reports import NAMESPACE, asking, complaints, fill
from support.rig import Rig, start

pytestmark = [pytest.mark.mta, pytest.mark.root]

ZONE = {
    "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; rua=mailto:own@example.org,mailto:in@reader.example"}],
    "example.org._report._dmarc.reader.example": [{"TXT": "v=DMARC1"}],
}
PUBLIC_IP = "192.0.2.10"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    history = {"enabled": True, "store": str(tmp_path / "history.db")}
    reports = {"enabled": True, "org_name": "Empfänger & Söhne", "from": "dmarc@example.org", "spread_seconds": 0}
    with start(zone_too=ZONE, history=history, state_dir=str(tmp_path), reports=reports) as running:
        running.daemon.write_config(reports=reports | {"submit_to": f"127.0.0.1:{running.postfix.port}"})
        yield running


def command(rig: Rig, *arguments: str, path: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | ({"MAIL_CONFIG": path} if path else {})
    run = [sys.executable, "-m", "mailnotary", "reports", *arguments, "-c", str(rig.daemon.file)]
    return subprocess.run(run, capture_output=True, check=False, env=environment, input=stdin)


def remember(tmp_path: Path, days_ago: int, *rua: str) -> str:
    """Three messages of that day, for which reports are asked for there; the day."""
    now = time.time()
    store = Store.open(str(tmp_path / "history.db"), host="mx1")
    records = [*[verified()] * 2, refused(domain="example.org")]
    fill(store, [asking(record, *rua) for record in records], now - now % 86_400 - days_ago * 86_400 + 3600)
    store.close()
    return datetime.fromtimestamp(now - days_ago * 86_400, UTC).date().isoformat()


OWN, READER = "mailto:own@example.org", "mailto:in@reader.example"


def attachment(delivered: Delivered) -> tuple[Any, bytes]:
    message = email.message_from_bytes(delivered.data, policy=default)
    [part] = message.iter_attachments()
    assert part.get_content_type() == "application/gzip"
    return message, gzip.decompress(part.get_content())


def test_a_report_is_delivered_and_passes_dmarc_where_it_arrives(rig: Rig, tmp_path: Path) -> None:
    day = remember(tmp_path, 1, OWN, READER)
    done = command(rig, "--json")
    assert done.returncode == 0, done.stderr
    assert {mail["destination"] for mail in json.loads(done.stdout)["mails"]} == {
        "own@example.org",
        "in@reader.example",
    }
    delivered = rig.postfix.sink.wait_for(lambda one: one.recipients == ("in@reader.example",))
    assert delivered.sender == ""
    message, text = attachment(delivered)
    assert str(message["Subject"]) == (
        f"Report Domain: example.org Submitter: example.org Report-ID: {message['Subject'].rpartition(' ')[2]}"
    )
    assert f"<{day}_example.org." in message["Subject"]
    assert str(message["From"]) == "Empfänger & Söhne <dmarc@example.org>"
    path = tmp_path / "report.xml"
    path.write_bytes(text)
    assert complaints(path) == ""
    counts = [int(count.text or "") for count in ElementTree.fromstring(text).iterfind(".//d:count", NAMESPACE)]
    assert sorted(counts) == [1, 2]
    # On its way to the reader it is mail from elsewhere, with the null reverse-path.
    arrived = rig.deliver(
        delivered.data, ip=PUBLIC_IP, helo="mail.example.org", sender="", recipient="in@reader.example"
    )
    results = email.message_from_bytes(arrived.data, policy=default)["Authentication-Results"]
    assert "dmarc=pass" in results
    assert results.count("dkim=pass") == 2


def test_the_daemon_does_not_sign_it_again_and_a_second_run_sends_nothing(rig: Rig, tmp_path: Path) -> None:
    remember(tmp_path, 1, OWN, READER)
    assert command(rig).returncode == 0
    for _ in range(2):
        mail = rig.postfix.receive()
        assert mail.data.count(b"DKIM-Signature:") == 2  # one for each key
    done = command(rig, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"mails": []})
    assert rig.postfix.sink.take_all() == []


def test_the_sendmail_command_takes_it_too(rig: Rig, tmp_path: Path) -> None:
    remember(tmp_path, 1, OWN)
    rig.daemon.write_config(reports=rig.daemon.config["reports"] | {"submit_to": "sendmail"})
    done = command(rig, path=str(rig.postfix.config))
    assert done.returncode == 0, done.stdout + done.stderr
    mail = rig.postfix.receive()
    assert mail.sender == ""
    assert complaints_of(mail, tmp_path) == ""


def complaints_of(mail: Delivered, tmp_path: Path) -> str:
    (tmp_path / "sent.xml").write_bytes(attachment(mail)[1])
    return complaints(tmp_path / "sent.xml")


def test_what_came_back_is_not_sent_there_for_a_while(rig: Rig, tmp_path: Path) -> None:
    rig.daemon.write_config(reports=rig.daemon.config["reports"] | {"bounces_to": "bounces@example.org"})
    day = remember(tmp_path, 1, "mailto:refuse@example.org")
    remember(tmp_path, 2, "mailto:refuse@example.org")
    assert command(rig, "--date", day).returncode == 0
    bounce = rig.postfix.sink.wait_for(lambda one: one.recipients == ("bounces@example.org",))
    done = command(rig, "bounced", "--json", stdin=bounce.data)
    [told] = json.loads(done.stdout)["bounced"]
    assert (told["destination"], "550" in told["reason"]) == ("refuse@example.org", True)
    done = command(rig, "--json")
    [mail] = json.loads(done.stdout)["mails"]
    assert (mail["destination"], mail["state"]) == ("refuse@example.org", "failed")
    assert mail["reason"].startswith("nothing is sent there for a while: ")


def test_what_the_daemon_saw_is_in_the_report_of_today(rig: Rig, tmp_path: Path) -> None:
    rig.deliver(signed(), ip=GOOD_IP, helo="mail.example.org", sender="alice@example.org")
    rig.deliver(MESSAGE, ip=BAD_IP, helo="bad.example", sender="eve@plain.example")
    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done = command(rig, "--date", today, "--dry-run", "--out", str(tmp_path / "out"), "--json")
        [*found] = json.loads(done.stdout)["reports"]
        if found and found[0]["messages"] == 2:
            break
        time.sleep(0.2)
    [path] = (tmp_path / "out").iterdir()
    assert complaints(path) == ""
    text = path.read_text()
    for part in (GOOD_IP, BAD_IP, "<envelope_from>plain.example</envelope_from>", "<selector>rsa</selector>"):
        assert part in text
