"""Fuzzes ARC: whole messages, and chains of ours with octets put into their fields. `python tests/fuzz/fuzz_arc.py
CORPUS_DIRECTORY` with atheris installed; pytest runs `one_input` over hypothesis' octets.

The first octet chooses the part, the others are its input."""

import contextlib
from functools import cache

from mailnotary import arc, dkim
from mailnotary.arc.fields import assessment
from mailnotary.dkim.values import SignatureError
from mailnotary.mail.message import HeaderField, parse
from mailnotary.status import ArcStatus
from support import arc as craft
from support.fuzzing import run

HEAD = (
    b"ARC-Seal: i=1; a=rsa-sha256; d=lists.example; s=sel; cv=none; b=YQ==;%b\r\n"
    b"ARC-Message-Signature: i=1; a=rsa-sha256; d=lists.example; s=sel; h=from; bh=YQ==; b=;%b\r\n"
    b"ARC-Authentication-Results: i=1; %b\r\n"
)


@cache
def base() -> bytes:
    """A chain of two sets."""
    return craft.chain(["lists.example", "lists.example"])


def message(data: bytes) -> None:
    """Any message gives a result with a reason, however it is cut; and is sealed so that the seal holds."""
    for text in (data, HEAD % (data, data, data) + craft.MESSAGE):
        result = arc.verify(text, craft.zone(), now=craft.NOW)
        assert bool(result.reason) == (result.status is ArcStatus.FAIL)
        assert result.reason.isprintable()
        parsed = parse(text)
        verifier = arc.Verifier(parsed.fields, craft.zone(), now=craft.NOW)
        for start in range(0, len(parsed.body), 7):
            verifier.body(parsed.body[start : start + 7])
        assert verifier.finish() == result
        if text[:1] in b" \t":  # that would continue a field put before it
            continue
        with contextlib.suppress(dkim.SigningError):
            status = result.status
            fields = arc.seal(text, craft.signer(), craft.PASSED, status, now=craft.NOW)
            sealed = arc.verify(fields + b"\r\n" + text, craft.zone(), now=craft.NOW) if fields else result
            assert (sealed.status is ArcStatus.FAIL) == (status is ArcStatus.FAIL), (status, sealed)


def changed(data: bytes) -> None:
    """Octets anywhere in the fields of an intact chain leave it as it was or break it."""
    if len(data) < 3:
        return
    whole = base()
    end = whole.index(b"Received:")
    place = int.from_bytes(data[:2], "big") % end
    text = whole[:place] + data[2:] + whole[place + 1 :]
    result = arc.verify(text, craft.zone(), now=craft.NOW)
    assert result.status is not ArcStatus.PASS or len(result.sets) <= 2


def results(data: bytes) -> None:
    """An ARC-Authentication-Results has an instance and what follows it, or an error."""
    with contextlib.suppress(SignatureError):
        instance, payload = assessment(HeaderField(b"ARC-Authentication-Results", data))
        assert 1 <= instance <= 50
        assert len(payload) < len(data)


PARTS = (message, changed, results)


def one_input(data: bytes) -> None:
    """Runs one input; an exception is a finding."""
    if data:
        PARTS[data[0] % len(PARTS)](data[1:])


if __name__ == "__main__":
    run(one_input)
