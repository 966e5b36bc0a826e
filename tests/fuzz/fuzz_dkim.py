"""Fuzzes DKIM: tag lists, key records, keys and whole messages. `python tests/fuzz/fuzz_dkim.py CORPUS_DIRECTORY` with
atheris installed; pytest runs `one_input` over hypothesis' octets.

The first octet chooses the part, the others are its input."""

import contextlib

from mailnotary import crypto, dkim
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.dkim.tags import TagError, parse_tags
from mailnotary.mail.message import parse
from mailnotary.resolver import ZoneResolver
from mailnotary.status import DkimStatus
from support.fuzzing import run

NOW = 1_700_000_000
KEY_NAME = "sel._domainkey.example.org"
RECORD = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
PEM = (
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    b"-----END PRIVATE KEY-----\n"
)
SIGNER = dkim.Signer("example.org", "sel", crypto.load_private_key(PEM))
ZONE = ZoneResolver({KEY_NAME: [{"TXT": RECORD}]})
HEAD = b"DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=sel; h=from; bh=YQ==; b="


def tags(data: bytes) -> None:
    """A list gives the tags at their places, or its error."""
    with contextlib.suppress(TagError):
        found = parse_tags(data)
        for name, (start, end) in found.spans.items():
            assert data[start:end].strip(b" \t\r\n") == found[name]


def key_record(data: bytes) -> None:
    """A record gives a key or its error; the key judges any signature."""
    with contextlib.suppress(KeyRecordError):
        assert not parse_key_record(data).public.verify(bytes(32), data)


def public_key(data: bytes) -> None:
    """Octets give a key or an error."""
    for algorithm in ("rsa", "ed25519"):
        with contextlib.suppress(crypto.KeyLoadError):
            assert not crypto.parse_public_key(algorithm, data).verify(bytes(32), bytes(64))


def private_key(data: bytes) -> None:
    """A file gives a key that signs, or an error."""
    with contextlib.suppress(crypto.KeyLoadError):
        crypto.load_private_key(data).sign(bytes(32))


def message(data: bytes) -> None:
    """Any message gives results with reasons, however it is cut; and is signed so that it verifies, or refused."""
    for text in (data, HEAD + data):
        results = dkim.verify(text, ZONE, now=NOW)
        assert all(one.reason and one.reason.isprintable() for one in results)
        parsed = parse(text)
        verifier = dkim.Verifier(parsed.fields, ZONE, now=NOW)
        for start in range(0, len(parsed.body), 7):
            verifier.body(parsed.body[start : start + 7])
        assert [one.status for one in verifier.finish()] == [one.status for one in results]
    with contextlib.suppress(dkim.SigningError):
        signed = dkim.sign(data, SIGNER, now=NOW) + b"\r\n" + data
        first = dkim.verify(signed, ZONE, now=NOW)[0]
        assert first.status is DkimStatus.PASS, first


PARTS = (tags, key_record, public_key, private_key, message)


def one_input(data: bytes) -> None:
    """Runs one input; an exception is a finding."""
    if data:
        PARTS[data[0] % len(PARTS)](data[1:])


if __name__ == "__main__":
    run(one_input)
