"""What the chaos and soak programs share: a zone, keys, messages, and what must come of each message."""

import base64
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailnotary import dkim
from mailnotary.crypto import load_private_key
from mailnotary.resolver import ZoneResolver
from support.milter_client import MilterClient, Outcome

AUTHSERV_ID = "mx.rcpt.example"
OURS = b"From: us@ours.example\nTo: them@theirs.example\nSubject: out\nDate: Sun, 1 Jan 2023 00:00:00 +0000\n\n"
FORGED = f"Authentication-Results: {AUTHSERV_ID}; spf=pass smtp.mailfrom=ceo@theirs.example\n".encode()


@dataclass(frozen=True, slots=True)
class Scene:
    """A configuration that signs for ours.example, the zone that goes with it, and signed mail from theirs.example."""

    keystore: dict[str, Any]
    zone: dict[str, Any]
    inbound: bytes


def make_scene(directory: Path) -> Scene:
    """Writes the keys to `directory`."""
    ed25519, rsa = Ed25519PrivateKey.generate(), generate_private_key(65_537, 2048)
    keys = []
    for selector, key in (("ed", ed25519), ("rsa", rsa)):
        path = directory / f"{selector}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        keys.append({"selector": selector, "file": path.name})
    public = {"ed": dkim_public(ed25519), "rsa": dkim_public(rsa)}
    zone: dict[str, Any] = {
        "theirs.example": [{"TXT": "v=spf1 ip4:192.0.2.10 -all"}],
        "_dmarc.theirs.example": [{"TXT": "v=DMARC1; p=reject"}],
        "_dmarc.ours.example": [{"TXT": "v=DMARC1; p=reject"}],
    }
    for domain in ("ours", "theirs"):
        for selector, text in public.items():
            zone[f"{selector}._domainkey.{domain}.example"] = [{"TXT": text}]
    return Scene({"domains": {"ours.example": {"keys": keys}}}, zone, _signed(rsa))


def dkim_public(key: Any) -> str:
    """The TXT record of a key."""
    if isinstance(key, Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; p={base64.b64encode(der).decode()}"


def _signed(key: Any) -> bytes:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    message = b"From: them@theirs.example\r\nTo: us@ours.example\r\nSubject: in\r\n\r\n" + b"hello, world\r\n" * 60
    field = dkim.sign(message, dkim.Signer("theirs.example", "rsa", load_private_key(pem)))
    return FORGED.replace(b"\n", b"\r\n") + field + b"\r\n" + message


def send_outgoing(client: MilterClient, body: bytes) -> Outcome:
    """One message of ours."""
    return client.send_message(OURS + body, client_ip="192.0.2.77", mail_from="us@ours.example", auth_user="us")


def send_incoming(client: MilterClient, scene: Scene, number: int) -> Outcome:
    """One message of theirs; each number stands for another bounce address, and so for other DNS questions."""
    sender = f"them@n{number}.theirs.example" if number else "them@theirs.example"
    return client.send_message(scene.inbound, mail_from=sender)


def is_signed(outcome: Outcome, scene: Scene | None = None) -> bool:
    """Whether both keys signed; with a scene, whether both signatures verify in what the MTA queues."""
    if len(outcome.headers("DKIM-Signature")) != 2:
        return False
    if scene is None:
        return True
    return [result.status for result in dkim.verify(outcome.message, ZoneResolver(scene.zone))] == ["pass", "pass"]


def is_judged(outcome: Outcome) -> bool:
    """Whether the forged results have gone and ours are there."""
    fields = outcome.message.lower().count(b"authentication-results:")
    return len(outcome.headers("Authentication-Results")) == 1 and fields == 1 and b"ceo@" not in outcome.message


def body(rng: random.Random) -> bytes:
    """A body of 10 octets to 60 KiB, short ones more often."""
    return b"line of text \t \n" * int(2 ** rng.uniform(0, 12))
