"""Mail of our own users through a real Postfix: what was signed verifies after Postfix wrote it, by mailnotary and by
dkimpy alike."""

import re
from collections.abc import Iterator

import pytest

from support.bodies import BODIES, ended
from support.mail import MESSAGE, zone
from support.rig import KEYS, MTA, Rig, body, fields, start

pytestmark = pytest.mark.mta

BOB = {"ip": "203.0.113.77", "helo": "laptop", "login": "bob", "sender": "bob@example.org"}
HEAD = b"From: Bob <bob@example.org>\r\nTo: alice@example.com\r\nSubject:  odd   spacing\t\r\n"

HEADERS = {
    "folds": b"References: <1@a>\r\n <2@a>\r\n\t<3@a>\r\n  \t <4@a>\r\n",
    "a fold at the start": b"Comments:\r\n begins on the next line\r\n",
    "a line of white space in a fold": b"Comments: one\r\n \r\n two\r\n",
    "no space after the colon": b"Cc:carol@example.com\r\nReply-To:bob@example.org\r\n",
    "white space before the colon": b"Reply-To : bob@example.org\r\nCc\t: carol@example.com\r\n",
    "many spaces": b"Reply-To:    bob@example.org   \r\nCc:\t\tcarol@example.com\t\r\n",
    "empty": b"Comments:\r\nReply-To: \r\nCc:\r\n",
    "several of a name": b"Cc: one@example.com\r\nCc: two@example.com\r\nCC: three@example.com\r\n",
    "8-bit": "Cc: Jürgen <j@example.com>\r\n".encode() + b"Comments: \xff\xfe\r\n",
    "long": b"References:" + b" <0123456789@example.com>\r\n" * 300,
    "addresses that Postfix completes": b"Cc: root, postmaster\r\nReply-To: bob\r\n",
    "fields that Postfix drops": b"Bcc: secret@example.com\r\nContent-Length: 5\r\nReturn-Path: <x@y.example>\r\n",
    "MIME": b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="x y"\r\nContent-ID: <1>\r\n',
}


@pytest.fixture(scope="module", params=["simple/simple", "relaxed/simple", "relaxed/relaxed"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    key = zone()["rsa._domainkey.example.org"]
    with start(
        signing={"canonicalization": request.param},
        keystore={MTA: {"keys": KEYS[:1]}},
        zone_too={f"rsa._domainkey.{MTA}": key},
        postfix_settings={"internal_mail_filter_classes": "bounce"},
    ) as running:
        yield running


def check(rig: Rig, message: bytes, signatures: int = 2) -> None:
    """So many signatures, and each of them verifies."""
    ours, dkimpys = rig.verified(message)
    assert ours == ["pass rsa", "pass ed"][:signatures], message
    assert dkimpys == [True] * signatures, message
    assert not fields(message, "Authentication-Results")


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_every_body_verifies_after_smtp(rig: Rig, text: bytes) -> None:
    mail = rig.deliver(HEAD + b"\r\n" + text, options=" BODY=8BITMIME", **BOB)
    check(rig, mail.data)
    assert body(mail.data) == ended(text)


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_every_body_verifies_after_the_sendmail_command(rig: Rig, text: bytes) -> None:
    rig.postfix.sendmail(
        (HEAD + b"\r\n" + text).replace(b"\r\n", b"\n"), "-i", "-f", "bob@example.org", "al@example.com"
    )
    mail = rig.postfix.receive()
    check(rig, mail.data)
    assert body(mail.data) == ended(text)


@pytest.mark.parametrize("head", HEADERS.values(), ids=HEADERS.keys())
def test_every_header_verifies(rig: Rig, head: bytes) -> None:
    check(rig, rig.deliver(HEAD + head + b"\r\nhello\r\n", **BOB).data)


def test_mail_with_nothing_added_by_postfix_verifies(rig: Rig) -> None:
    mail = rig.deliver(MESSAGE, **BOB)
    check(rig, mail.data)
    assert mail.data.endswith(MESSAGE)


@pytest.mark.parametrize("way", ["login", "network", "sendmail"])
def test_date_and_message_id_that_postfix_adds_are_signed(rig: Rig, way: str) -> None:
    if way == "sendmail":
        rig.postfix.sendmail(b"From: bob@example.org\nTo: al@example.com\n\nhello\n", "-t")
        mail = rig.postfix.receive()
    else:
        envelope = BOB if way == "login" else {"sender": "bob@example.org"}
        mail = rig.deliver(b"From: bob@example.org\r\n\r\nhello\r\n", **envelope)
    check(rig, mail.data)
    assert len(fields(mail.data, "Date")) == len(fields(mail.data, "Message-ID")) == 1
    # Postfix adds them before it calls milters: they are signed, and once more against a second one.
    for signature in fields(mail.data, "DKIM-Signature"):
        signed = re.sub(r"\s", "", re.search(r"h=([^;]*)", signature)[1]).split(":")  # type: ignore[index]
        assert signed.count("date") == signed.count("message-id") == 2


def test_a_change_after_signing_breaks_both_signatures(rig: Rig) -> None:
    changed = rig.deliver(MESSAGE, **BOB).data.replace(b"usual", b"other")
    ours, dkimpys = rig.verified(changed)
    assert [one.split()[0] for one in ours] == ["fail", "fail"]
    assert dkimpys == [False, False]


def test_a_second_author_put_in_later_breaks_both_signatures(rig: Rig) -> None:
    changed = b"From: ceo@example.org\r\n" + rig.deliver(MESSAGE, **BOB).data
    assert [one.split()[0] for one in rig.verified(changed)[0]] == ["fail", "fail"]


def test_forged_results_do_not_leave_with_our_signature(rig: Rig) -> None:
    forged = f"Authentication-Results: {MTA}; spf=pass\r\n".encode()
    check(rig, rig.deliver(forged + MESSAGE, **BOB).data)


def test_a_bounce_is_signed_where_postfix_shows_it(rig: Rig) -> None:
    rig.postfix.send(MESSAGE, recipient="refuse@rcpt.example", **BOB)
    bounce = rig.postfix.receive()
    assert (bounce.sender, bounce.recipients) == ("", ("bob@example.org",))
    check(rig, bounce.data, signatures=1)


def test_mail_of_a_domain_without_keys_leaves_unsigned_and_the_log_says_why(rig: Rig) -> None:
    mail = rig.deliver(MESSAGE.replace(b"alice@example.org", b"alice@nokeys.example"), **BOB)
    assert not fields(mail.data, "DKIM-Signature")
    assert not fields(mail.data, "Authentication-Results")
    assert "keystore" in rig.daemon.wait_for("nokeys.example")[0]


def test_a_large_message_verifies(rig: Rig) -> None:
    text = b"".join(b"%076d\r\n" % n for n in range(65_000))  # 5 MB
    check(rig, rig.deliver(HEAD + b"\r\n" + text, **BOB).data)
