"""The public suite of ARC (Valimail's, for RFC 8617), and dkimpy as a second opinion."""

from pathlib import Path

import dkim as dkimpy
import pytest
import yaml

from mailnotary import arc
from mailnotary.mail.message import crlf
from mailnotary.resolver import RecordKind, ZoneResolver
from mailnotary.status import ArcStatus
from support import arc as craft
from support import dkim
from support.backends import each_backend

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")

SUITE = Path(__file__).parents[1] / "data" / "valimail" / "arc-draft-validation-tests.yml"
CASES = [
    pytest.param(scenario["txt-records"] or {}, case["message"] or "", case["cv"], id=name)
    for scenario in yaml.load_all(SUITE.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for name, case in scenario["tests"].items()
]


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 171


@pytest.mark.parametrize(("records", "message", "cv"), CASES)
def test_the_chain_has_the_status_of_the_suite(records: dict[str, str], message: str, cv: str) -> None:
    zone = ZoneResolver({name: [{"TXT": text.encode()}] for name, text in records.items()})
    result = arc.verify(crlf(message.encode()), zone, now=craft.NOW)
    assert result.status == (cv or "fail").lower(), result.reason
    assert bool(result.reason) == bool(result.brief) == (result.status == "fail")


def dkimpys(message: bytes, zone: ZoneResolver) -> str:
    def dns(name: bytes, timeout: int = 5) -> bytes:
        return zone.lookup(name.decode().rstrip("."), RecordKind.TXT).texts[0]

    status, _, reason = dkimpy.arc_verify(message, dnsfunc=dns)
    return f"{status.decode() if status else 'none'}: {reason}"


@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/simple", "simple/relaxed", "relaxed/relaxed"])
def test_dkimpy_validates_what_we_seal(canonicalization: str) -> None:
    message = craft.chain(["lists.example", "b.example", "c.example"], canonicalization=canonicalization)
    assert dkimpys(message, craft.zone("b.example", "c.example")) == "pass: success"


def test_dkimpy_finds_the_seal_of_a_broken_chain_marked() -> None:
    broken = craft.sealed(craft.sealed() + b"A footer.\r\n", status=ArcStatus.FAIL)
    assert "fail" in dkimpys(broken, craft.zone())


def test_we_validate_what_dkimpy_seals() -> None:
    message = b"Authentication-Results: lists.example; arc=none; dmarc=pass header.from=example.org\r\n" + craft.MESSAGE
    for number in range(3):
        fields = dkimpy.arc_sign(message, b"sel", b"lists.example", dkim.pem("rsa"), b"lists.example")
        assert len(fields) == 3
        message = b"".join(fields) + message
        message = message.replace(b"; arc=none;", b"; arc=pass;")
        result = arc.verify(message, craft.zone())
        assert (result.status, result.reason, len(result.sets), result.oldest_pass) == ("pass", "", number + 1, 0)
