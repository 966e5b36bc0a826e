"""Sealing (RFC 8617 section 5.1), and the shapes in which big sealers write their sets."""

import re
from base64 import b64decode
from hashlib import sha256

import pytest

from mailnotary import arc, crypto
from mailnotary.dkim import Signer, SigningError
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import ZoneResolver
from mailnotary.status import ArcStatus
from support import arc as craft
from support import dkim as dkim_craft


def tag(field: HeaderField, name: str) -> str:
    found = re.search(rf"[ \t;]{name}=([^;]*)", field.value.decode())
    assert found is not None
    return re.sub(r"\s", "", found[1])


def fields_of(message: bytes) -> dict[bytes, HeaderField]:
    return {field.name: field for field in reversed(parse(message).fields)}


def test_a_set_has_the_three_fields_in_their_order() -> None:
    fields = parse(craft.sealed()).fields
    assert [field.name for field in fields[:3]] == [
        b"ARC-Seal",
        b"ARC-Message-Signature",
        b"ARC-Authentication-Results",
    ]
    seal, signature, results = fields[:3]
    assert [tag(field, "i") for field in (seal, signature)] == ["1", "1"]
    assert results.value == b" i=1; " + craft.PASSED.encode()
    assert tag(seal, "cv") == "none"
    assert max(len(line) for field in fields[:2] for line in field.raw.split(b"\r\n")) <= 78


def test_the_signature_covers_dkim_but_neither_results_nor_arc() -> None:
    message = b"Authentication-Results: x; none\r\n" + dkim_craft.craft(craft.MESSAGE)
    headers = ("From", "Authentication-Results", "ARC-Seal", "Subject")
    twice = craft.sealed(craft.sealed(message, headers=headers), "b.example", headers=headers)
    names = tag(fields_of(twice)[b"ARC-Message-Signature"], "h").split(":")
    assert {"from", "subject", "dkim-signature"} <= set(names)
    assert not {name for name in names if name == "authentication-results" or name.startswith("arc-")}


def test_a_second_set_says_pass_and_covers_the_first() -> None:
    message = craft.chain(["a.example", "b.example"])
    assert [tag(field, "cv") for field in parse(message).fields if field.name == b"ARC-Seal"] == ["pass", "none"]


@pytest.mark.parametrize("status", list(ArcStatus))
def test_a_broken_chain_gets_a_seal_that_says_so_and_covers_its_own_set_alone(status: ArcStatus) -> None:
    """RFC 8617 5.1.2; whatever the status that is asked for."""
    damaged = craft.sealed().replace(b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature: i=1; i=1;")
    message = craft.sealed(damaged, status=status)
    seal, signature, results = parse(message).fields[:3]
    assert (tag(seal, "i"), tag(seal, "cv")) == ("2", "fail")
    value = tag(seal, "b")
    unsigned = HeaderField(seal.name, re.sub(rb"(;\s*b=).*", rb"\1", seal.value, flags=re.DOTALL))
    covered = [dkim_craft.canonical_header(field, True) for field in (results, signature, unsigned)]
    public = crypto.parse_public_key("rsa", dkim_craft.key().public)
    assert public.verify(sha256(b"\r\n".join(covered)).digest(), b64decode(value))


@pytest.mark.parametrize("status", [ArcStatus.NONE, ArcStatus.PASS])
def test_a_status_that_the_header_contradicts_is_fail(status: ArcStatus) -> None:
    message = craft.MESSAGE if status is ArcStatus.PASS else craft.sealed()
    assert tag(parse(craft.sealed(message, status=status)).fields[0], "cv") == "fail"


def test_nothing_is_added_after_a_seal_that_says_fail() -> None:
    """RFC 8617 5.1, step 2."""
    broken = craft.sealed(craft.sealed() + b"A footer.\r\n", status=ArcStatus.FAIL)
    assert arc.seal(broken, craft.signer(), craft.PASSED, ArcStatus.FAIL, now=craft.NOW) == b""


@pytest.mark.parametrize("assessment", ["x; none\r\nBcc: me", "x;\x00none", "x; none\n"])
def test_an_assessment_that_would_end_its_field_is_refused(assessment: str) -> None:
    with pytest.raises(SigningError, match="assessment"):
        arc.seal(craft.MESSAGE, craft.signer(), assessment, ArcStatus.NONE, now=craft.NOW)


def test_a_signer_that_can_not_be_is_refused() -> None:
    with pytest.raises(SigningError, match="two labels"):
        arc.seal(craft.MESSAGE, Signer("example", "sel", dkim_craft.key()), "x; none", ArcStatus.NONE)


SHAPES = pytest.mark.parametrize("shape", [craft.GOOGLE, craft.MICROSOFT], ids=["Google", "Microsoft"])


@SHAPES
def test_the_sets_of_big_sealers_hold(shape: tuple[str, str, str]) -> None:
    result = arc.verify(craft.shaped(craft.MESSAGE, shape), ZoneResolver(craft.SHAPES_ZONE), now=craft.NOW)
    assert (result.status, result.reason, result.oldest_pass, result.signs_from) == ("pass", "", 0, True)
    assert result.sets[0].domain in ("google.com", "microsoft.com")


def test_they_hold_one_after_the_other() -> None:
    message = craft.shaped(craft.shaped(craft.MESSAGE, craft.MICROSOFT), craft.GOOGLE, 2)
    result = arc.verify(message, ZoneResolver(craft.SHAPES_ZONE), now=craft.NOW)
    assert (result.status, [one.domain for one in result.sets]) == ("pass", ["microsoft.com", "google.com"])
    assert arc.verify(message + b"x\r\n", ZoneResolver(craft.SHAPES_ZONE), now=craft.NOW).status == "fail"
