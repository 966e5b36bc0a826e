"""Attacks through a real Postfix: no result is forged, no author is faked, nothing hangs, the next mail is served."""

from collections.abc import Iterator

import pytest

from support.mail import BAD_IP, GOOD_IP, MESSAGE, signed, zone
from support.rig import MTA, Rig, fields, results, start

pytestmark = pytest.mark.mta

ALICE = {"ip": GOOD_IP, "helo": "mail.example.org", "sender": "alice@example.org"}
MALLORY = {"ip": BAD_IP, "helo": "mail.evil.example", "sender": "m@evil.example"}
REST = b"To: bob@example.net\r\nSubject: x\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    evil = {
        "evil.example": [{"TXT": "v=spf1 +all"}],
        "k._domainkey.evil.example": zone()["rsa._domainkey.example.org"],
    }
    with start(limits={"header_bytes": 300_000}, zone_too=evil) as running:
        yield running


AUTHORS = {
    "two fields": b"From: alice@example.org\r\nFrom: ceo@bank.example\r\n",
    "two fields, the other way round": b"From: ceo@bank.example\r\nFrom: alice@example.org\r\n",
    "two fields, one name with a space": b"From : ceo@bank.example\r\nFrom: alice@example.org\r\n",
    "two fields, one in capitals": b"FROM: ceo@bank.example\r\nfrom: alice@example.org\r\n",
    "two addresses": b"From: alice@example.org, ceo@bank.example\r\n",
    "two addresses with a sender": b"From: ceo@bank.example, alice@example.org\r\nSender: alice@example.org\r\n",
    "another in the comment": b"From: ceo@bank.example (alice@example.org)\r\n",
    "another in the name": b'From: "alice@example.org" <ceo@bank.example>\r\n',
    "another in an encoded word": b"From: =?utf-8?q?alice=40example.org?= <ceo@bank.example>\r\n",
    "two angle addresses": b"From: <alice@example.org> <ceo@bank.example>\r\n",
    "text behind the address": b"From: <ceo@bank.example>alice@example.org\r\n",
    "a route": b"From: <@example.org:ceo@bank.example>\r\n",
    "a group": b"From: friends: alice@example.org, ceo@bank.example;\r\n",
    "an empty group": b"From: undisclosed:;\r\n",
    "empty": b"From:\r\n",
    "no address": b"From: Alice\r\n",
    "no domain": b"From: alice@\r\n",
    "a quoted domain": b'From: alice@"example.org"\r\n',
    "an address literal": b"From: alice@[192.0.2.10]\r\n",
    "8-bit in the name": "From: Chef München <ceo@bank.example>\r\n".encode(),
    "octets that are not UTF-8 in the domain": b"From: alice@example.org\xff\xfe\r\n",
    "octets that are not UTF-8 before": b"From: \xff\xfe <alice@example.org>, <ceo@bank.example>\r\n",
    "NUL behind the address": b"From: ceo@bank.example\0alice@example.org\r\n",
    "NUL in the domain": b"From: alice@bank.example\0.example.org\r\n",
    "folds without end": b"From: alice" + b"\r\n " * 500 + b"@bank.example\r\n",
    "many addresses": b"From: " + b"a@example.org,\r\n " * 2000 + b"ceo@bank.example\r\n",
    "nested comments": b"From: " + b"(" * 2000 + b"alice@example.org" + b")" * 2000 + b" ceo@bank.example\r\n",
    "open comments": b"From: " + b"(" * 5000 + b" alice@example.org\r\n",
    "open quotes": b'From: "' + b'\\"' * 5000 + b" alice@example.org\r\n",
    "resent": b"Resent-From: alice@example.org\r\nFrom: ceo@bank.example\r\n",
}


@pytest.mark.parametrize("author", AUTHORS.values(), ids=AUTHORS.keys())
def test_no_trick_with_the_author_comes_to_a_dmarc_pass(rig: Rig, author: bytes) -> None:
    """Each of them is sent from example.org's own server, with its signature, and shows somebody else to a reader."""
    head = b"Subject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n" + author
    said = results(rig.deliver(head + b"\r\nhello\r\n", **ALICE).data)
    assert "spf=pass" in said
    assert "dmarc=pass" not in said


def test_a_comment_behind_the_only_address_does_not_change_it(rig: Rig) -> None:
    said = results(rig.deliver(b"From: alice@example.org (ceo@bank.example)\r\n" + REST, **ALICE).data)
    assert "dmarc=pass" in said
    assert "header.from=example.org" in said


JUNK = [
    b"example.org(.evil.example",
    b"exa mple.org",
    b"@example.org",
    b".example.org",
    b"example..org",
    b"example.org.",
    b"example.org\0.evil.example",
    b"evil.example\0.example.org",
    b'"example.org"',
    b"example.org/evil.example",
    b"example.org%00.evil.example",
    b"example.org\xff",
    b"ex\xc3\xa4mple.org",
    b"x" * 300 + b".example.org",
    b"a." * 200 + b"example.org",
    b"",
    b"example.org smtp.mailfrom=example.org dmarc=pass",
    b"example.org\r\n\tX-Injected:=yes",
    b"evil.example/x",
]


@pytest.mark.parametrize("domain", JUNK)
def test_junk_in_a_signatures_domain_never_passes_nor_writes_results(rig: Rig, domain: bytes) -> None:
    message = b"From: alice@example.org\r\n" + REST
    forged = signed(message).replace(b"d=example.org", b"d=" + domain, 1)
    said = results(rig.deliver(forged, **MALLORY).data)
    assert "dkim=pass" not in said
    assert "dmarc=pass" not in said
    assert "X-Injected" not in said


@pytest.mark.parametrize("tag", [b"s=rsa", b"a=rsa-sha256", b"i=x@example.org", b"h=From", b"bh=x", b"b=AAAA", b"t=1"])
@pytest.mark.parametrize("value", [b'"; dkim=pass header.d=bank.example "', b"a(b", b"\xf0\x9f\x92\xa9", b"x" * 50_000])
def test_junk_in_any_tag_writes_no_results(rig: Rig, tag: bytes, value: bytes) -> None:
    name = tag.partition(b"=")[0]
    tags = b"v=1; a=rsa-sha256; d=evil.example; s=k; h=From; bh=x; b=AAAA; " + name + b"=" + value
    said = results(rig.deliver(b"DKIM-Signature: " + tags + b"\r\nFrom: a@bank.example\r\n" + REST, **MALLORY).data)
    assert "dkim=pass" not in said
    assert "dmarc=pass" not in said


def test_header_names_with_trailing_spaces_are_what_they_are_without(rig: Rig) -> None:
    message = signed(MESSAGE).replace(b"DKIM-Signature:", b"DKIM-Signature \t:", 1)
    said = results(rig.deliver(message, **ALICE).data)
    assert "dkim=pass" in said, "the name's form is not part of a relaxed header"


def test_nine_hundred_header_fields_are_taken(rig: Rig) -> None:
    head = b"".join(b"X-Field-%d: value %d\r\n" % (n, n) for n in range(900))
    assert "dkim=pass" in results(rig.deliver(head + signed(MESSAGE), **ALICE).data)


@pytest.mark.parametrize("login", [None, "bob"])
@pytest.mark.parametrize(
    ("count", "words"), [(101, "Authentication-Results"), (990, "Authentication-Results"), (10_050, "fields")]
)
def test_more_forged_results_than_the_mta_can_bear_to_lose_are_refused(
    rig: Rig, count: int, words: str, login: str | None
) -> None:
    """Postfix's cleanup ends in a panic at ten thousand deletions, and Postfix then throttles the service."""
    forged = b"Authentication-Results: %s; spf=pass\r\n" % MTA.encode()
    code, text = rig.postfix.send(forged * count + MESSAGE, login=login, **ALICE)
    assert 500 <= code < 600, text
    assert words in text
    assert "panic" not in rig.postfix.log()
    taken = rig.deliver(forged * 100 + MESSAGE, login=login, **ALICE)
    assert [value for value in fields(taken.data, "Authentication-Results") if value == f"{MTA}; spf=pass"] == []


def test_a_thousand_signatures_are_answered(rig: Rig) -> None:
    signature = signed(MESSAGE).removesuffix(MESSAGE)
    said = results(rig.deliver(signature * 300 + MESSAGE, **ALICE).data)
    assert said.count("dkim=pass") <= 10


@pytest.mark.parametrize("size", [998, 59_000, 60_000, 65_535, 70_000, 100_000])
@pytest.mark.parametrize("name", [b"Subject", b"X-Long", b"From", b"DKIM-Signature", b"Authentication-Results"])
def test_a_very_long_field_is_taken(rig: Rig, name: bytes, size: int) -> None:
    long = name + b": " + b"x" * 70 + b"\r\n " * 1 + b"y" * (size - 75) + b"\r\n"
    author = b"" if name == b"From" else b"From: alice@example.org\r\n"
    assert results(rig.deliver(long + author + REST, **MALLORY).data)


@pytest.mark.parametrize("padding", [100, 59_900, 60_010, 66_000, 99_000])
@pytest.mark.parametrize("shape", ["({pad}) {id}; spf=pass", "{id}({pad}); spf=pass", '{pad}"{id}"; spf=pass'])
def test_results_forged_behind_much_padding_do_not_stay(rig: Rig, shape: str, padding: int) -> None:
    pad = ("x" * 70 + "\r\n ") * (padding // 73) if shape[0] == "(" else (" " * 70 + "\r\n ") * (padding // 73)
    forged = f"Authentication-Results: {shape.format(pad=pad, id=MTA)}\r\n".encode()
    mail = rig.deliver(forged + b"From: alice@example.org\r\n" + REST, **MALLORY)
    assert results(mail.data)
    assert not any(MTA in value for value in fields(mail.data, "Authentication-Results")[1:])


def test_more_header_than_the_limit_is_refused(rig: Rig) -> None:
    head = b"".join(b"X-%d: " % n + b"x" * 900 + b"\r\n" for n in range(400))
    code, text = rig.postfix.send(head + MESSAGE, **ALICE)
    assert 500 <= code < 600, text
    assert "300000" in text
    assert "header" in text


HEADS = {
    "no header at all": b"\r\nhello\r\n",
    "nothing": b"",
    "a body at once": b"this is not a header\r\nFrom: alice@example.org\r\n\r\nhello\r\n",
    "NUL everywhere": b"Fr\0om: a\0@example.org\r\n\0: \0\r\nX\0: \0\r\n\r\n\0\0\0\r\n",
    "bare CR": b"From: alice@example.org\rX-Forged: yes\r\n\r\nhello\rworld\r\n",
    "bare LF": b"From: alice@example.org\nX-Bare: yes\r\n\r\nhello\nworld\r\n",
    "a name of octets": b"\xff\xfe: x\r\nFrom: alice@example.org\r\n\r\nhello\r\n",
    "a colon first": b": x\r\nFrom: alice@example.org\r\n\r\nhello\r\n",
    "mbox": b"From alice@example.org Sat Jan  3 01:05:34 1996\r\nFrom: alice@example.org\r\n\r\nhello\r\n",
    "random": bytes(range(256)) * 64,
    "percent": b"From: %s%n%x <alice@example.org>\r\nSubject: %d%%\r\n\r\n%s%n\r\n",
    "terminal codes": b"From: \x1b[31malice@example.org\r\nSubject: \x9b2J\x07\r\n\r\n\x1b]0;x\x07\r\n",
}


@pytest.mark.parametrize("message", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("login", [None, "bob"])
def test_any_octets_are_answered(rig: Rig, message: bytes, login: str | None) -> None:
    code, text = rig.postfix.send(message, login=login, **MALLORY)
    if login is None:
        assert code == 250, text
        assert "dmarc=pass" not in results(rig.postfix.receive(text).data)
    else:
        assert code in {250, 451, 550}, text
    assert rig.deliver(MESSAGE, **ALICE)


ENVELOPES = [
    '"a b"@example.org',
    '"\\"@\\""@example.org',
    '"<>"@example.org',
    "@relay.example,@b.example:a@example.org",
    "a@" + "x" * 63 + ".example",
    "a@" + ".".join(["label"] * 45),
    "a" * 500 + "@example.org",
    "a@xn--a.example",
    "a@xn--zckzah.example",
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "%{d}%s%n@example.org",
    "a+%{i}@evil.example",
    "a;spf=pass@evil.example",
    'a"(b@evil.example',
    "nodomain",
    "a@b@c.example",
    "a@evil.example.",
    "=?utf-8?q?x?=@evil.example",
]


@pytest.mark.parametrize("sender", ENVELOPES)
def test_any_sender_is_answered(rig: Rig, sender: str) -> None:
    code, text = rig.postfix.send(MESSAGE, **MALLORY | {"sender": sender})
    if code in {501, 553, 555}:
        return  # Postfix's own word on the syntax
    assert code == 250, text
    said = results(rig.postfix.receive(text).data)
    assert said.count("spf=") == 1, "MAIL FROM's, and no other that the envelope wrote"


@pytest.mark.parametrize(
    "sender", ["jürgen@example.org", "a@bücher.example", "\N{PILE OF POO}@\N{PILE OF POO}.example"]
)
def test_an_internationalized_sender_is_answered(rig: Rig, sender: str) -> None:
    code, text = rig.postfix.send(MESSAGE, **MALLORY | {"sender": sender}, options=" SMTPUTF8")
    assert code == 250, text
    assert results(rig.postfix.receive(text).data)


HELOS = ["x", "[192.0.2.1]", "a" * 255, "%{h}", "-", "evil.example;spf=pass", "a(b", 'a"b', "xn--a", "..", "a..b", "\\"]


@pytest.mark.parametrize("helo", HELOS)
def test_any_helo_name_is_answered(rig: Rig, helo: str) -> None:
    with rig.postfix.client() as client:
        for command in (f"XCLIENT ADDR={BAD_IP} NAME=[UNAVAILABLE]", f"EHLO {helo}"):
            client.command(command, None)
        client.command("MAIL FROM:<m@evil.example>")
        client.command("RCPT TO:<user@rcpt.example>")
        code, text = client.data(MESSAGE)
    assert code == 250, text
    said = results(rig.postfix.receive(text).data)
    assert said.count("spf=") <= 2
    assert "dmarc=fail" in said


def test_helo_octets_are_answered(rig: Rig) -> None:
    with rig.postfix.client() as client:
        client.command(f"XCLIENT ADDR={BAD_IP} NAME=[UNAVAILABLE]", 220)
        client.command(b"EHLO \xff\xfe\x80.example", None)
        client.command("MAIL FROM:<m@evil.example>")
        client.command("RCPT TO:<user@rcpt.example>")
        code, text = client.data(MESSAGE)
    assert code == 250, text
    assert results(rig.postfix.receive(text).data)


def test_a_client_that_vanishes_costs_nothing(rig: Rig) -> None:
    for last in (None, "MAIL FROM:<m@evil.example>", "RCPT TO:<user@rcpt.example>", "DATA"):
        with rig.postfix.client(BAD_IP, "mail.evil.example") as client:
            for command in ("MAIL FROM:<m@evil.example>", "RCPT TO:<user@rcpt.example>", "DATA"):
                if last is None:
                    break
                client.command(command, None)
                if command == last:
                    break
    assert rig.deliver(MESSAGE, **ALICE)


def test_postfix_has_no_complaint_about_the_milter(rig: Rig) -> None:
    # "warning:" is how every Postfix begins what msg_warn(3) logs, and "milter" how milter8.c begins it.
    complaints = [line for line in rig.postfix.log().splitlines() if "warning: milter" in line]
    assert not complaints
