"""A chain of DKIM2 through a real Postfix: the field's words, and the recipients that Postfix passes on for it."""

import time
from collections.abc import Iterator

import pytest

from support.dkim import key, key_record
from support.dkim2 import BOUNCES, FOOTER, LIST_RECIPE, original, retold, with_instance, with_signature
from support.postfix import SmtpClient
from support.rig import Rig, fields, results, start

pytestmark = pytest.mark.mta

KEYS = {
    f"sel._domainkey.{domain}": [{"TXT": key_record(key("ed25519")).decode()}]
    for domain in ("example.org", "lists.example.net")
}
ANN, BEN, EVE = "ann@reader.example", "ben@reader.example", "eve@reader.example"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with start(dkim2={"mode": "observe"}, zone_too=KEYS) as running:
        yield running


def listed() -> bytes:
    """What a list sends to two members, signed now."""
    now = int(time.time())
    changed = retold(original(t=now), "[list] Lunch on Friday", FOOTER)
    members = (f"<{ANN}>", f"<{BEN}>")
    return with_signature(
        with_instance(changed, 2, LIST_RECIPE),
        2,
        "lists.example.net",
        BOUNCES,
        members,
        revision=2,
        t=now,
        fold="\r\n ",
    )


def send(client: SmtpClient, *recipients: str, message: bytes) -> str:
    """Sends one message; Postfix's reply."""
    client.command(f"MAIL FROM:{BOUNCES}")
    for recipient in recipients:
        client.command(f"RCPT TO:<{recipient}>")
    code, text = client.data(message)
    assert code == 250, text
    return text


@pytest.mark.parametrize(
    ("recipients", "word"), [((ANN,), "pass"), ((BEN, ANN), "pass"), ((EVE,), "permerror"), ((ANN, EVE), "permerror")]
)
def test_a_message_of_a_list_is_for_its_members_alone(rig: Rig, recipients: tuple[str, ...], word: str) -> None:
    with rig.postfix.client("192.0.2.9", "lists.example.net") as client:
        mail = rig.postfix.receive(send(client, *recipients, message=listed()))
    said = results(mail.data)
    assert f"dkim2={word}" in said
    assert ("header.d=example.org" in said.partition("dkim2=")[2]) is (word == "pass")
    (field,) = fields(mail.data, "Authentication-Results")
    assert "(experimental, draft-ietf-dkim-dkim2-spec-06, 2 signatures)" in field


def test_each_message_of_a_connection_has_recipients_of_its_own(rig: Rig) -> None:
    with rig.postfix.client("192.0.2.9", "lists.example.net") as client:
        for recipient, word in ((EVE, "permerror"), (ANN, "pass")):
            mail = rig.postfix.receive(send(client, recipient, message=listed()))
            assert f"dkim2={word}" in results(mail.data)


def test_a_message_that_was_changed_on_its_way_fails_and_is_taken(rig: Rig) -> None:
    with rig.postfix.client("192.0.2.9", "lists.example.net") as client:
        mail = rig.postfix.receive(send(client, ANN, message=listed().replace(b"noon", b"one")))
    assert "dkim2=fail" in results(mail.data)
