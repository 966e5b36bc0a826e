"""Key records as panels and hurried people publish them."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.crypto import load_private_key
from mailnotary.crypto.der import encode, encode_integer
from mailnotary.dkim.misprint import MAX_SHOWN, misplaced, misprint, served
from mailnotary.keys.observe import KeyRecordStatus, observe
from mailnotary.resolver import ZoneResolver
from support.dkim import craft
from support.mail import ed_pem, record_of, rsa_pem

GOOD = record_of(rsa_pem()).encode()
P = GOOD.partition(b"p=")[2]
ED = record_of(ed_pem()).encode()
PRIVATE = b"".join(rsa_pem().splitlines()[1:-1])
SSH = base64.b64encode(b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01" + bytes(40))
CERTIFICATE = base64.b64encode(encode(0x30, encode(0x30, encode_integer(1) * 20)))
ED_DER = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + base64.b64decode(ED.partition(b"p=")[2]))

MISPRINTS: dict[str, tuple[bytes, str]] = {
    "literal quotes": (b'"' + GOOD + b'"', "it has literal quotes"),
    "zone line": (b's._domainkey.example.org. IN TXT ( "' + GOOD + b'" )', "the whole line of a zone file"),
    "zone line with a TTL": (b's._domainkey 3600 IN TXT "' + GOOD + b'"', "the whole line of a zone file"),
    "backslash": (GOOD.replace(b";", b"\\;"), "it has a backslash before the semicolon"),
    "host name": (b"s1.dkim.provider.example.", "it is a host name"),
    "quotes inside": (GOOD[:200] + b'" "' + GOOD[200:], 'p= has `" "` in it'),
    "PEM": (b"v=DKIM1; p=-----BEGIN PUBLIC KEY-----" + P + b"-----END PUBLIC KEY-----", "it holds a PEM file"),
    "PEM certificate": (b"v=DKIM1; p=-----BEGIN CERTIFICATE-----" + CERTIFICATE, "it holds a certificate"),
    "certificate": (b"v=DKIM1; p=" + CERTIFICATE, "p= holds a certificate"),
    "cut at 255": (GOOD[:255], "the key is cut at 255 characters"),
    "cut": (GOOD[:-40], "the key is cut: "),
    "ssh": (b"v=DKIM1; p=ssh-rsa " + SSH, "it holds a public key of SSH"),
    "ssh in p=": (b"v=DKIM1; p=" + SSH, "p= holds a public key of SSH"),
    "Ed25519 without k=": (ED.replace(b"k=ed25519; ", b""), "p= holds an Ed25519 key, so k=ed25519 is missing"),
    "Ed25519 in DER": (b"v=DKIM1; k=ed25519; p=" + ED_DER, "with k=ed25519, p= holds only"),
    "Ed25519 in DER without k=": (b"v=DKIM1; p=" + ED_DER, "p= holds an Ed25519 key in DER"),
    "the key alone": (P, "it has the key alone"),
    "commas": (GOOD.replace(b";", b","), "a semicolon is missing"),
    "no p=": (b"v=DKIM1; k=rsa", "it has no p="),
    "SPF": (b"v=spf1 -all", "it is a record of SPF"),
    "typographic quotes": ("\u201cv=DKIM1; p=AAAA\u201d".encode(), "it has characters that are not ASCII"),
    "not base64": (b"v=DKIM1; k=rsa; p=MII#B", "p= is not base64"),
}


@pytest.mark.parametrize(("text", "expected"), MISPRINTS.values(), ids=MISPRINTS)
def test_a_misprint_is_named(text: bytes, expected: str) -> None:
    mistake = misprint(text)
    assert mistake is not None
    assert mistake.text.startswith(expected)
    assert not mistake.exposed


@pytest.mark.parametrize(
    "text",
    [
        PRIVATE,
        b"v=DKIM1; k=rsa; p=" + PRIVATE,
        b"v=DKIM1;p=" + PRIVATE[:64] + b" " + PRIVATE[64:],
        b'"v=DKIM1; p=' + PRIVATE + b'"',
        b"v=DKIM1; p=" + PRIVATE[:200] + b'" "' + PRIVATE[200:],
        b"v=DKIM1; p=" + PRIVATE[:200],
        rsa_pem(),
        b"v=DKIM1; k=ed25519; p=" + b"".join(ed_pem().splitlines()[1:-1]),
    ],
)
def test_a_private_key_in_dns_is_an_alarm(text: bytes) -> None:
    mistake = misprint(text)
    assert mistake is not None
    assert mistake.exposed
    assert mistake.text.startswith("ALARM: this is a private key")
    zone = ZoneResolver({"s._domainkey.example.org": [{"TXT": GOOD.decode()}, {"TXT": text.decode()}]})
    assert observe(zone, "example.org", "s", load_private_key(rsa_pem())).result is KeyRecordStatus.EXPOSED


@pytest.mark.parametrize("text", [GOOD, ED, b"v=DKIM1; p=", GOOD + b";", b"p=" + P])
def test_what_is_right_is_no_misprint(text: bytes) -> None:
    assert misprint(text) is None


@given(st.binary(max_size=400) | st.binary(max_size=60).map(lambda data: b"v=DKIM1; p=" + base64.b64encode(data)))
def test_any_record_is_looked_at_and_shown_without_harm(text: bytes) -> None:
    mistake = misprint(text)
    assert mistake is None or mistake.text.isprintable()
    assert served(text).isprintable()
    assert len(served(text)) <= 6 * MAX_SHOWN + 6


def test_a_record_at_a_doubled_name_is_found() -> None:
    key = load_private_key(rsa_pem())
    zone = ZoneResolver({"s._domainkey.example.org.example.org": [{"TXT": GOOD.decode()}]})
    observation = observe(zone, "example.org", "s", key)
    assert observation.result is KeyRecordStatus.MISSING
    assert observation.reason.endswith(
        "; the record is at s._domainkey.example.org.example.org instead: the panel has added example.org to the name: "
        "enter s._domainkey there"
    )
    assert misplaced(ZoneResolver({"s.example.org": [{"TXT": GOOD.decode()}]}), "example.org", "s").endswith(
        "the name lacks ._domainkey"
    )
    assert misplaced(ZoneResolver({"s.example.org": "TIMEOUT"}), "example.org", "s") == ""


def test_what_is_served_is_shown_with_the_mistake() -> None:
    zone = ZoneResolver({"s._domainkey.example.org": [{"TXT": "\x1b[31m" + GOOD.decode().replace(";", "\\;")}]})
    observation = observe(zone, "example.org", "s", load_private_key(rsa_pem()))
    assert observation.reason.startswith("it has a backslash before the semicolon")
    assert "v=DKIM1" in observation.reason
    assert observation.reason.isprintable()


def test_verify_names_the_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.eml").write_bytes(craft())
    zone = tmp_path / "zone.yaml"
    zone.write_text(yaml.safe_dump({"sel._domainkey.example.org": [{"TXT": f'"{GOOD.decode()}"'}]}))
    main(["verify", str(tmp_path / "m.eml"), "--zone", str(zone)])
    assert "it has literal quotes" in capsys.readouterr().out
    main(["verify", str(tmp_path / "m.eml"), "--zone", str(zone), "--json"])
    (advice,) = json.loads(capsys.readouterr().out)["key_records"]
    assert "it has literal quotes" in advice
