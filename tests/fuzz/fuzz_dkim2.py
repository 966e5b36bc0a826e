"""Fuzzes DKIM2: recipes, both fields, and whole messages. `python tests/fuzz/fuzz_dkim2.py CORPUS_DIRECTORY` with
atheris installed; pytest runs `one_input` over hypothesis' octets.

The first octet chooses the part, the others are its input."""

import contextlib
from base64 import b64encode

from mailnotary import dkim2
from mailnotary.dkim2.fields import Dkim2Error, parse_instance, parse_signature
from mailnotary.dkim2.hashes import BodyHashes
from mailnotary.dkim2.recipe import RECEIVED, RecipeError, parse_recipe, undo_body
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import ZoneResolver
from support.fuzzing import run

NOW = 1_780_000_000
RECORD = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
ZONE = ZoneResolver({"sel._domainkey.example.org": [{"TXT": RECORD}]})
SIGNATURE = b" i=1; m=1; t=1779999999; d=example.org; mf=PD4=; rt=PD4=; s=sel:ed25519-sha256:"
INSTANCE = b" m=1; h=sha256:AAAA:AAAA"
BODY = b"one\r\n\r\nthree\r\n"


def recipe(data: bytes) -> None:
    """Octets are a recipe that gives a body, or an error."""
    with contextlib.suppress(RecipeError):
        found = parse_recipe(data)
        plan = undo_body(RECEIVED, found.body or ())
        hashed = BodyHashes([plan], ("sha256",))
        hashed.update(BODY)
        hashed.finish()
        lines = [step for step in found.body or () if not hasattr(step, "texts")]
        assert (hashed.digest(plan, "sha256") is None) == any(step.start + step.size - 1 > 3 for step in lines)


def instance(data: bytes) -> None:
    """A field is a Message-Instance with a hash that is known, or its error."""
    for value in (data, INSTANCE + data, INSTANCE + b"; r=" + b64encode(data)):
        with contextlib.suppress(Dkim2Error):
            found = parse_instance(HeaderField(b"Message-Instance", value))
            assert found.number
            assert found.hashes


def signature(data: bytes) -> None:
    """A field is a DKIM2-Signature that can be verified, or its error; what it signs has none of its values."""
    for value in (data, SIGNATURE + data, SIGNATURE + b"AAAA;" + data):
        with contextlib.suppress(Dkim2Error):
            found = parse_signature(HeaderField(b"DKIM2-Signature", value))
            assert found.number
            assert any(one.octets for one in found.values)
            assert (found.mail_from is None) == bool(found.next_domain)
            assert len(found.unsigned.value) < len(value)


def message(data: bytes) -> None:
    """Any message has a result with a reason, however it is cut, and never passes."""
    head = b"Message-Instance:" + INSTANCE + b"\r\nDKIM2-Signature:" + SIGNATURE + b"AAAA\r\n"
    for text in (data, head + data, b"DKIM2-Signature:" + SIGNATURE + data):
        result = dkim2.verify(text, ZONE, now=NOW)
        assert result.status != "pass"
        assert (result.status == "none") == (result.reason == "")
        assert result.reason.isprintable()
        parsed = parse(text)
        verifier = dkim2.Verifier(parsed.fields, ZONE, now=NOW)
        for start in range(0, len(parsed.body), 7):
            verifier.body(parsed.body[start : start + 7])
        assert verifier.finish() == result


PARTS = (recipe, instance, signature, message)


def one_input(data: bytes) -> None:
    """Runs one input; an exception is a finding."""
    if data:
        PARTS[data[0] % len(PARTS)](data[1:])


if __name__ == "__main__":
    run(one_input)
