"""Mail from elsewhere through a real Postfix: SPF, DKIM, and one Authentication-Results field that can be trusted."""

import re
from collections.abc import Iterator

import pytest

from support.bodies import BODIES, ended
from support.mail import BAD_IP, GOOD_IP, MESSAGE, signed
from support.rig import MTA, Rig, body, fields, results, start

pytestmark = pytest.mark.mta

ALICE = {"ip": GOOD_IP, "helo": "mail.example.org", "sender": "alice@example.org"}
HEAD = b"From: alice@example.org\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with start() as running:
        yield running


def test_good_mail_passes_spf_dkim_and_dmarc(rig: Rig) -> None:
    mail = rig.deliver(signed(), **ALICE)
    said = results(mail.data)
    assert said.startswith(f"{MTA}; ")
    for part in ("smtp.mailfrom=example.org", "header.d=example.org"):
        assert part in said
    assert said.count("spf=pass") == 1, "the HELO name vouches for nobody"
    assert "dkim=pass" in said
    assert "dmarc=pass" in said
    assert mail.data.endswith(signed()), "nothing else is touched"


def test_mail_from_a_wrong_server_fails_spf(rig: Rig) -> None:
    said = results(rig.deliver(MESSAGE, **ALICE | {"ip": BAD_IP}).data)
    assert "spf=fail" in said
    assert "spf=pass" not in said
    assert "dkim=none" in said
    assert "dmarc=fail" in said


def test_an_ipv6_client_is_checked_by_its_address(rig: Rig) -> None:
    said = results(rig.deliver(MESSAGE, **ALICE | {"ip": "2001:db8::1"}).data)
    assert "spf=fail" in said


def test_a_bounce_from_elsewhere_is_checked_by_its_helo_name(rig: Rig) -> None:
    said = results(rig.deliver(MESSAGE, **ALICE | {"sender": ""}).data)
    assert "spf=pass" in said
    assert "smtp.helo=mail.example.org" in said


def test_two_signatures_are_both_checked(rig: Rig) -> None:
    message = signed(signed(), selector="ed")
    said = results(rig.deliver(message, **ALICE).data)
    assert said.count("dkim=pass") == 2
    assert "header.a=rsa-sha256" in said
    assert "header.a=ed25519-sha256" in said
    said = results(rig.deliver(message.replace(b"Noon", b"Nine"), **ALICE).data)
    assert said.count("dkim=fail") == 2


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_every_body_verifies_and_arrives_as_it_was_sent(rig: Rig, text: bytes) -> None:
    received = ended(text)
    message = signed(HEAD + b"\r\n" + received)
    mail = rig.deliver(message.removesuffix(received) + text, options=" BODY=8BITMIME", **ALICE)
    assert "dkim=pass" in results(mail.data)
    assert body(mail.data) == received


FORGED = [
    f"{MTA}; spf=pass",
    f"{MTA.upper()}; spf=pass",
    f" {MTA} 1; dkim=pass",
    f'"{MTA}"; spf=pass',
    f"(hi) {MTA} (there) 1 (too); spf=pass",
    f"\r\n\t{MTA};\r\n spf=pass",
    f"{MTA}.; spf=pass",
    f"{MTA}",
    f"{MTA} ; none",
    f"({MTA} spf=pass",  # can't be parsed, and names us
]
OTHERS = [f"relay{n}.example.com; spf=fail smtp.mailfrom={n}" for n in range(10)] + [f"x{MTA}; spf=pass"]


@pytest.mark.parametrize("value", FORGED)
def test_a_forged_field_in_our_name_is_removed(rig: Rig, value: str) -> None:
    forged = f"Authentication-Results: {value}\r\n".encode()
    mail = rig.deliver(forged + MESSAGE, **ALICE)
    assert results(mail.data)
    assert len(fields(mail.data, "Authentication-Results")) == 1
    assert mail.data.endswith(MESSAGE)


@pytest.mark.parametrize("name", ["AUTHENTICATION-results", "Authentication-Results ", "Authentication-Results\t"])
def test_the_name_of_a_forged_field_may_be_spelled_oddly(rig: Rig, name: str) -> None:
    mail = rig.deliver(f"{name}: {MTA}; spf=pass\r\n".encode() + MESSAGE, **ALICE)
    assert results(mail.data)
    assert len(fields(mail.data, "Authentication-Results")) == 1


@pytest.mark.parametrize("value", OTHERS[-2:])
def test_others_results_are_kept(rig: Rig, value: str) -> None:
    mail = rig.deliver(f"Authentication-Results: {value}\r\n".encode() + MESSAGE, **ALICE)
    assert results(mail.data)
    assert fields(mail.data, "Authentication-Results")[1:] == [value]


def test_ten_forged_fields_between_those_of_others_are_removed_and_no_other(rig: Rig) -> None:
    lines = [line for pair in zip(FORGED, OTHERS, strict=False) for line in pair]
    head = "".join(f"Authentication-Results: {line}\r\n" for line in lines).encode()
    mail = rig.deliver(head + MESSAGE, **ALICE)
    assert results(mail.data)
    assert fields(mail.data, "Authentication-Results")[1:] == OTHERS[:10]


def test_one_connection_carries_many_messages(rig: Rig) -> None:
    replies = []
    with rig.postfix.client(GOOD_IP, "mail.example.org") as client:
        for n in range(5):
            sender = f"<alice@{'example.org' if n % 2 == 0 else 'plain.example'}>"
            client.command(f"MAIL FROM:{sender}")
            client.command("RCPT TO:<user@rcpt.example>")
            replies.append(client.data(MESSAGE)[1])
        client.command("MAIL FROM:<gone@example.org>")
        client.command("RSET")
    for n, reply in enumerate(replies):
        said = results(rig.postfix.receive(reply).data)
        assert said.count("spf=pass") == 1 - n % 2, said
        assert said.count("spf=fail") == n % 2, said


def test_the_log_tells_the_whole_story_on_one_line(rig: Rig) -> None:
    rig.deliver(signed(), **ALICE)
    queue_id = re.findall(r": (\w+): client=", rig.postfix.log())[-1]  # smtpd's oldest log line
    [line] = rig.daemon.wait_for(queue_id)
    for part in ("alice@example.org", GOOD_IP, "mail.example.org", "pass"):
        assert part in line
