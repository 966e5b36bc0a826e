"""Messages, keys, zones and sessions that many tests begin with."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from Crypto.PublicKey import ECC, RSA

from mailnotary import dkim
from mailnotary.config.keystore import Allow, KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.settings import Settings
from mailnotary.crypto import generate_private_key, load_private_key
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.policy import Action, DeleteHeader, InsertHeader, Reply
from mailnotary.session.session import Session

NOW = 1_700_000_000
GOOD_IP = "192.0.2.10"
BAD_IP = "198.51.100.66"


@cache
def rsa_pem(bits: int = 2048) -> bytes:
    """A private RSA key, made once in a test run."""
    return generate_private_key("rsa", bits)


@cache
def ed_pem() -> bytes:
    """A private Ed25519 key, made once in a test run."""
    return ECC.generate(curve="ed25519").export_key(format="PEM").encode()


def record_of(pem: bytes) -> str:
    """The DKIM key record of a private key (RFC 6376 3.6.1, RFC 8463 4.2)."""
    if b"RSA" in pem or len(pem) > 400:
        public = RSA.import_key(pem).public_key().export_key("DER")
        return "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
    raw = ECC.import_key(pem).public_key().export_key(format="raw")
    return "v=DKIM1; k=ed25519; p=" + base64.b64encode(raw).decode()


def zone() -> dict[str, Any]:
    """example.org sends from GOOD_IP, signs with the selectors rsa and ed, and asks for p=reject."""
    return {
        "example.org": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}, {"MX": [10, "mx.example.org"]}],
        "mail.example.org": [{"TXT": "v=spf1 a -all"}, {"A": GOOD_IP}],
        "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject"}],
        "rsa._domainkey.example.org": [{"TXT": record_of(rsa_pem())}],
        "ed._domainkey.example.org": [{"TXT": record_of(ed_pem())}],
        "plain.example": [{"TXT": "v=spf1 -all"}],
    }


MESSAGE = (
    b"From: Alice <alice@example.org>\r\n"
    b"To: Bob <bob@example.net>\r\n"
    b"Subject: lunch\r\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Noon,  at the usual place. \r\n"
    b"\r\n"
)


def signed(message: bytes = MESSAGE, *, domain: str = "example.org", selector: str = "rsa", now: int = NOW) -> bytes:
    """The message with a signature of our own on top."""
    key = load_private_key(rsa_pem() if selector == "rsa" else ed_pem())
    return dkim.sign(message, dkim.Signer(domain, selector, key), now=now) + b"\r\n" + message


def keystore(**options: Any) -> KeyStore:
    """A keystore for example.org with both keys active; options replace the entry's fields."""
    keys = tuple(
        StoredKey(selector, f"/keys/{selector}.pem", KeyState.ACTIVE, pem)
        for selector, pem in (("rsa", rsa_pem()), ("ed", ed_pem()))
    )
    fields: dict[str, Any] = {
        "name": "example.org",
        "domain": "example.org",
        "include_subdomains": False,
        "keys": keys,
        "allow": Allow(),
    } | options
    return KeyStore({fields["name"]: KeyEntry(**fields)})


@dataclass
class Outcome:
    """What a session did with one message."""

    record: MessageRecord
    actions: tuple[Action, ...]
    reply_at_mail: Reply | None = None

    @property
    def inserted(self) -> dict[str, str]:
        """The inserted fields; of several of one name the topmost."""
        return {one.name: one.value for one in self.actions if isinstance(one, InsertHeader)}

    @property
    def inserts(self) -> list[InsertHeader]:
        return [one for one in self.actions if isinstance(one, InsertHeader)]

    @property
    def deletes(self) -> list[DeleteHeader]:
        return [one for one in self.actions if isinstance(one, DeleteHeader)]

    @property
    def reply(self) -> Reply | None:
        return next((one for one in self.actions if isinstance(one, Reply)), self.reply_at_mail)

    def applied(self, message: bytes) -> bytes:
        """The message as an MTA writes it after the actions."""
        parsed = parse(message)
        fields = [one.raw for one in parsed.fields]
        names = [one.key for one in parsed.fields]
        for delete in self.deletes:
            places = [i for i, name in enumerate(names) if name == delete.name.lower().encode()]
            del fields[places[delete.index - 1]], names[places[delete.index - 1]]
        for insert in self.inserts:
            fields.insert(insert.index, f"{insert.name}: {insert.value}".encode())
        return b"".join(one + b"\r\n" for one in fields) + b"\r\n" + parsed.body


@dataclass
class Played:
    """A session's surroundings for a test."""

    settings: Settings = field(default_factory=Settings)
    keys: KeyStore = field(default_factory=KeyStore)
    zone: Mapping[str, Any] = field(default_factory=zone)
    options: dict[str, Any] = field(default_factory=dict)  # further ones of Environment

    def play(
        self,
        message: bytes,
        *,
        ip: str | None = GOOD_IP,
        helo: str = "mail.example.org",
        mail_from: bytes = b"<alice@example.org>",
        user: str | None = None,
        tls_client: str | None = None,
        mta: str | None = "mx.example.net",
        daemon: str | None = None,
        chunk: int = 65_535,
        recipients: Sequence[bytes] = (),
        hook: Callable[[Session], None] | None = None,
        leading_space: bool = True,
        mail_replies: bool = True,
    ) -> Outcome:
        """Plays the MTA with one message."""
        records: list[MessageRecord] = []
        options: dict[str, Any] = {"resolver": ZoneResolver(self.zone), "clock": lambda: float(NOW)} | self.options
        environment = Environment(
            settings=self.settings, keystore=self.keys, log=records.append, hostname="host.example.net", **options
        )
        session = Session(lambda: environment, leading_space=leading_space, mail_replies=mail_replies)
        session.connect(ip, mta, daemon)
        session.helo(helo)
        early = session.mail_from(mail_from, user, tls_client)
        if early is not None:
            return Outcome(records[0], (), early)
        for recipient in recipients:
            session.rcpt_to(recipient)
        parsed = parse(message)
        for one in parsed.fields:
            value = one.value.replace(b"\r\n", b"\n")
            session.header(one.name, value if leading_space else value.removeprefix(b" "))
        session.end_of_headers()
        if hook is not None:
            hook(session)
        for start in range(0, len(parsed.body), chunk):
            session.body(parsed.body[start : start + chunk])
        actions = session.end_of_message("4ABC")
        return Outcome(records[0], actions)
