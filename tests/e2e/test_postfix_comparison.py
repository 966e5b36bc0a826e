"""Beside the real OpenDKIM and OpenDMARC in one Postfix: nothing is changed, and what they found is kept beside our
results."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bench import peers
from mailnotary import dkim
from mailnotary.crypto import load_private_key
from mailnotary.mail.message import parse
from support.daemon import Daemon, free_port
from support.dns_server import DnsServer
from support.mail import MESSAGE, record_of, rsa_pem, zone
from support.postfix import Delivered, Postfix, postfix
from support.rig import fields

pytestmark = [pytest.mark.mta, pytest.mark.root]

OLD = "mx.rcpt.example"  # the authserv-id of both
# OpenDMARC takes this for an error, RFC 9989 (4.10.1) for p=none, since there is a valid rua=.
ODD = {"_dmarc.odd.example": [{"TXT": "v=DMARC1; p=nonsense; rua=mailto:dmarc@odd.example"}]}


class Beside:
    """A Postfix with OpenDKIM, OpenDMARC and the observing daemon."""

    def __init__(self, daemon: Daemon, mta: Postfix) -> None:
        self.daemon = daemon
        self.postfix = mta

    def deliver(self, message: bytes, **envelope: str) -> Delivered:
        code, text = self.postfix.send(message, **envelope)
        assert code == 250, text
        return self.postfix.receive(text)

    def history(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "mailnotary", "history", *arguments, "-c", str(self.daemon.file)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def wait_for(self, sender: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            messages = json.loads(self.history("--json") or '{"messages": []}')["messages"]
            found = [message for message in messages if message["mail_from"] == sender]
            if found:
                return found[0]  # type: ignore[no-any-return]
            time.sleep(0.3)
        raise AssertionError(self.daemon.text())


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    data = {**zone(), **ODD}
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="mailnotary-")))
        directory.chmod(0o755)
        stack.enter_context(DnsServer(data, host=host, port=53))
        opendkim = peers.opendkim(directory / "opendkim", {"rsa._domainkey.example.org": record_of(rsa_pem())})
        opendmarc = peers.opendmarc(directory / "opendmarc", f"{host}:53")
        assert opendkim is not None
        assert opendmarc is not None
        stack.enter_context(opendkim)
        stack.enter_context(opendmarc)
        port = free_port()
        daemon = Daemon(
            directory,
            listen=f"inet:{port}@127.0.0.1",
            mode="observe",
            authserv_id="mx.example.net",
            state_dir=str(directory),
            history={"enabled": True, "compare_with": [OLD]},
            dns={"nameservers": [f"{host}:53"], "timeout": 2},
        )
        stack.enter_context(daemon)
        milters = f"{opendkim.address}, {opendmarc.address}, inet:127.0.0.1:{port}"
        mta = stack.enter_context(postfix(milters))
        yield Beside(daemon, mta)


def signed() -> bytes:
    key = load_private_key(rsa_pem())
    return dkim.sign(MESSAGE, dkim.Signer("example.org", "rsa", key)) + b"\r\n" + MESSAGE


def test_what_they_found_is_kept_beside_our_results_and_nothing_is_changed(beside: Beside) -> None:
    delivered = beside.deliver(signed(), ip="192.0.2.10", helo="mail.example.org", sender="alice@example.org")
    assert b"mx.example.net;" not in b"".join(
        field.value for field in parse(delivered.data).fields if field.key == b"authentication-results"
    )
    message = beside.wait_for("alice@example.org")
    theirs = dict(re.findall(r"\b(dkim|dmarc)=(\w+)", " ".join(fields(delivered.data, "Authentication-Results"))))
    assert theirs["dkim"] == "pass", fields(delivered.data, "Authentication-Results")
    compared = {one["method"]: one for one in message["compared"]}
    assert {method: one["theirs"] for method, one in compared.items()} == theirs
    assert compared["dkim"]["ours"] == message["dkim"][0]["status"] == "pass"
    assert compared["dmarc"]["ours"] == message["dmarc"]["status"] == "pass"


def test_a_disagreement_is_shown_with_both_reasons(beside: Beside) -> None:
    odd = MESSAGE.replace(b"alice@example.org", b"joe@odd.example")
    delivered = beside.deliver(odd, ip="198.51.100.66", helo="mail.odd.example", sender="joe@odd.example")
    message = beside.wait_for("joe@odd.example")
    [theirs] = re.findall(r"\bdmarc=(\w+)", " ".join(fields(delivered.data, "Authentication-Results")))
    compared = {one["method"]: one for one in message["compared"]}
    assert (compared["dmarc"]["theirs"], compared["dmarc"]["ours"]) == (theirs, message["dmarc"]["status"])
    assert theirs != message["dmarc"]["status"]
    text = beside.history("--disagreements")
    assert f"{OLD} dmarc: the same in " in text
    assert re.search(rf"dmarc +theirs {theirs}: ", text)
    assert f"ours   {message['dmarc']['status']}: odd.example" in text


def test_our_own_mail_is_not_signed_while_observing(beside: Beside) -> None:
    delivered = beside.deliver(MESSAGE, ip="203.0.113.77", helo="laptop", login="bob", sender="bob@example.org")
    assert fields(delivered.data, "DKIM-Signature") == []
