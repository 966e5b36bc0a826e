"""What the demo shows: a little world of domains, and the messages that come by with what must become of them."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mailnotary import dkim
from mailnotary.crypto import PrivateKey, generate_private_key, load_private_key
from mailnotary.resolver import ZoneResolver
from support.milter_client import Outcome

OUR_ID = "mx.example.org"
ATTACKER = "198.51.100.66"

Check = tuple[str, Callable[[Outcome], bool]]  # what is promised, and whether it was kept


@dataclass(frozen=True, slots=True)
class World:
    """Keys, and the DNS that publishes them. `files` are our own private keys as the keystore reads them."""

    zone: Mapping[str, Any]
    files: Mapping[str, bytes]
    friend: PrivateKey


@dataclass(frozen=True, slots=True)
class Scene:
    """One message. `message` is what the client sends."""

    title: str
    story: str
    message: bytes
    checks: tuple[Check, ...]
    client_ip: str
    helo: str
    mail_from: str
    rcpt: str = "bob@example.org"
    auth_user: str | None = None


def make_world() -> World:
    """New keys, published."""
    ours = {"rsa": generate_private_key("rsa"), "ed": generate_private_key("ed25519")}
    friend = load_private_key(generate_private_key("ed25519"))
    zone = {
        "friend.example": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}],
        "mail.friend.example": [{"A": "192.0.2.10"}, {"TXT": "v=spf1 a -all"}],
        "s1._domainkey.friend.example": [{"TXT": _key_record(friend)}],
        "_dmarc.friend.example": [{"TXT": "v=DMARC1; p=none"}],
        "list.example": [{"TXT": "v=spf1 ip4:203.0.113.5 -all"}],
        "bank.example": [{"TXT": "v=spf1 ip4:192.0.2.99 -all"}],
        "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
        **{
            f"{selector}._domainkey.example.org": [{"TXT": _key_record(load_private_key(pem))}]
            for selector, pem in ours.items()
        },
    }
    return World(zone, ours, friend)


def _key_record(key: PrivateKey) -> str:
    return f"v=DKIM1; k={key.algorithm}; p={base64.b64encode(key.public).decode()}"


def _mail(sender: str, recipient: str, subject: str, text: str) -> bytes:
    head = f"From: {sender}\nTo: {recipient}\nSubject: {subject}\nDate: Mon, 06 Jul 2026 10:00:00 +0000\n"
    return f"{head}Message-ID: <1@{sender.partition('@')[2].strip('>')}>\n\n{text}\n".replace("\n", "\r\n").encode()


def make_scenes(world: World) -> list[Scene]:
    """The messages in the order in which they are shown."""
    invoice = _mail("Alice <alice@friend.example>", "bob@example.org", "Invoice", "Please pay 100 to account 1111.")
    signer = dkim.Signer("friend.example", "s1", world.friend)
    signed = dkim.sign(invoice, signer) + b"\r\n" + invoice
    changed = signed.replace(b"account 1111", b"account 6666").replace(b"Subject: Invoice", b"Subject: [list] Invoice")
    forged = b'Authentication-Results: "MX.Example.ORG" (trust me) 1; spf=pass; dkim=pass\r\n'
    others = b"Authentication-Results: relay.friend.example; spf=pass\r\n"
    phish = _mail("Your Bank <security@bank.example>", "bob@example.org", "Urgent", "Click here.")
    ours = _mail("Bob <bob@example.org>", "alice@friend.example", "Re: Invoice", "Done. ")
    return [
        Scene(
            "An honest message",
            "A friend's server sends it: the network that SPF lists, and the signature that DKIM's key in DNS fits.",
            signed,
            (
                ("SPF passes", lambda o: "spf=pass" in _results(o)),
                ("DKIM passes", lambda o: "dkim=pass" in _results(o)),
                ("DMARC passes", lambda o: "dmarc=pass" in _results(o)),
                ("it is taken", lambda o: o.reply is None),
            ),
            "192.0.2.10",
            "mail.friend.example",
            "alice@friend.example",
        ),
        Scene(
            "A forger",
            "Somebody else's server says it was Alice, and brings a header by which we would have found all well.",
            forged + others + invoice,
            (
                ("SPF fails", lambda o: "spf=fail" in _results(o)),
                ("no signature is found", lambda o: "dkim=none" in _results(o)),
                ("the forged header is gone", lambda o: b"trust me" not in o.message),
                ("another server's header stays", lambda o: others in o.message),
            ),
            ATTACKER,
            "pc.attacker.example",
            "alice@friend.example",
        ),
        Scene(
            "A message changed on its way",
            "A mailing list passes Alice's message on, and the number of the account is no longer hers.",
            changed,
            (
                ("SPF passes, for the list", lambda o: "spf=pass" in _results(o)),
                ("DKIM fails", lambda o: "dkim=fail" in _results(o)),
                ("DMARC fails: the list's domain is not the author's", lambda o: "dmarc=fail" in _results(o)),
            ),
            "203.0.113.5",
            "list.example",
            "bounces@list.example",
        ),
        Scene(
            "A message in a bank's name",
            "The bank asks to reject what fails DMARC, and the configuration says that we do.",
            phish,
            (
                ("it is refused for good", lambda o: o.reply is not None and o.reply.code == 550),
                ("the sender is told why", lambda o: o.reply is not None and "bank.example" in o.reply.text),
            ),
            ATTACKER,
            "pc.attacker.example",
            "x@attacker.example",
        ),
        Scene(
            "A message of our own",
            "Bob has logged in and writes as bob@example.org, a domain for which the keystore has two keys.",
            ours,
            (
                ("two signatures are added", lambda o: len(o.headers("DKIM-Signature")) == 2),
                ("both verify, whoever checks", partial(_both_verify, world)),
                ("no results are claimed for it", lambda o: not _results(o)),
            ),
            "203.0.113.77",
            "laptop",
            "bob@example.org",
            "alice@friend.example",
            auth_user="bob@example.org",
        ),
    ]


def _results(outcome: Outcome) -> str:
    """Our Authentication-Results field, "" where none was added."""
    return "".join(value for value in outcome.headers("Authentication-Results") if value.startswith(OUR_ID))


def _both_verify(world: World, outcome: Outcome) -> bool:
    return [result.status for result in dkim.verify(outcome.message, ZoneResolver(world.zone))] == ["pass", "pass"]
