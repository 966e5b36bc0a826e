"""Chains of any shape: sealed by our own sealer, with the keys of the DKIM tests."""

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from mailnotary import arc
from mailnotary.dkim import Signer
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import ZoneResolver
from mailnotary.status import ArcStatus
from support import dkim as craft

NOW = craft.NOW
MESSAGE = craft.MESSAGE
LIST = "lists.example"
PASSED = "mx.lists.example; dkim=pass header.d=example.org; dmarc=pass header.from=example.org"


def signer(domain: str = LIST, algorithm: str = "rsa", **changes: Any) -> Signer:
    """A sealer of a domain, whose key DNS has at "sel"."""
    return Signer(domain, "sel", craft.key(algorithm), **{"canonicalization": "relaxed/relaxed", **changes})


def zone(*domains: str, algorithm: str = "rsa", extra: str = "") -> ZoneResolver:
    """A resolver with the key of each domain (and of LIST)."""
    record = craft.key_record(craft.key(algorithm), extra)
    return ZoneResolver({f"sel._domainkey.{domain}": [{"TXT": record}] for domain in (LIST, *domains)})


def sealed(
    message: bytes = MESSAGE,
    domain: str = LIST,
    *,
    assessment: str = PASSED,
    status: ArcStatus | None = None,
    algorithm: str = "rsa",
    now: int = NOW,
    **changes: Any,
) -> bytes:
    """The message with one more set on top; `status` is what its chain has, where None."""
    if status is None:
        status = ArcStatus.PASS if b"\nARC-Seal:" in b"\n" + message else ArcStatus.NONE
    return arc.seal(message, signer(domain, algorithm, **changes), assessment, status, now=now) + b"\r\n" + message


def chain(domains: Sequence[str], message: bytes = MESSAGE, **options: Any) -> bytes:
    """The message, sealed by each domain in turn."""
    for domain in domains:
        message = sealed(message, domain, **options)
    return message


GOOGLE = (
    "ARC-Seal: i={i}; a=rsa-sha256; t=1700000000; cv={cv};\r\n"
    "        d=google.com; s=arc-20240605;\r\n"
    "        b={seal}",
    "ARC-Message-Signature: i={i}; a=rsa-sha256; c=relaxed/relaxed; d=google.com; s=arc-20240605;\r\n"
    "        h=to:from:subject:message-id:date:mime-version:dkim-signature;\r\n"
    "        bh={bh};\r\n"
    "        fh=4wZyfC1DFLLyPRtpdgcaCOjj2j7m9fWOSeSk3FfKSLU=;\r\n"
    "        b={b};\r\n"
    "        dara=google.com",
    "ARC-Authentication-Results: i={i}; mx.google.com;\r\n"
    "       dkim=pass header.i=@example.org header.s=sel header.b=AbCd1234;\r\n"
    "       spf=pass (google.com: domain of joe@example.org designates 192.0.2.1 as permitted sender)"
    " smtp.mailfrom=joe@example.org;\r\n"
    "       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.org;\r\n"
    "       dara=pass header.i=@example.net",
)
"""A set as Gmail writes it, with its tags of its own (fh=, dara=)."""

MICROSOFT = (
    "ARC-Seal: i={i}; a=rsa-sha256; s=arcselector10001; d=microsoft.com; cv={cv};\r\n b={seal}",
    "ARC-Message-Signature: i={i}; a=rsa-sha256; c=relaxed/relaxed; d=microsoft.com;\r\n"
    " s=arcselector10001;\r\n"
    " h=From:Date:Subject:Message-ID:Content-Type:MIME-Version:X-MS-Exchange-AntiSpam-MessageData-ChunkCount:"
    "X-MS-Exchange-AntiSpam-MessageData-0:X-MS-Exchange-AntiSpam-MessageData-1;\r\n"
    " bh={bh};\r\n"
    " b={b}",
    "ARC-Authentication-Results: i={i}; mx.microsoft.com 1; spf=pass (sender ip is\r\n"
    " 192.0.2.1) smtp.rcpttodomain=example.net smtp.mailfrom=example.org; dmarc=pass\r\n"
    " (p=reject sp=none pct=100) action=none header.from=example.org; dkim=pass\r\n"
    " (signature was verified) header.d=example.org; arc={cv} (0 oda=1 ltdi=1\r\n"
    " spf=[1,1,smtp.mailfrom=example.org] dkim=[1,1,header.d=example.org]\r\n"
    " dmarc=[1,1,header.from=example.org])",
)
"""A set as Exchange Online writes it, with an authserv-id that has a version, and a property without its type."""

SHAPES_ZONE = {
    name: [{"TXT": craft.key_record(craft.key())}]
    for name in ("arc-20240605._domainkey.google.com", "arcselector10001._domainkey.microsoft.com")
}


def shaped(message: bytes, shape: tuple[str, str, str], instance: int = 1) -> bytes:
    """The message with a set of this shape on top, sealed in plain steps that have nothing of the package's sealer."""
    parsed = parse(message)
    values = {"i": str(instance), "cv": "pass" if instance > 1 else "none", "b": "", "seal": ""}
    values["bh"] = b64encode(sha256(craft.canonical_body(parsed.body, True)).digest()).decode()
    seal, signature, results = (text.split(": ", 1) for text in shape)
    names = re.findall(r"h=([^;]*)", signature[1])[0].encode().split(b":")
    covered = [craft.canonical_header(field, True) for field in craft.select(parsed, names)]
    values["b"] = _signed([*covered, _canonical(signature, values)])
    arc_fields = sorted(
        (field for field in parsed.fields if field.name.startswith(b"ARC-")),
        key=lambda field: (re.findall(rb"i=(\d+)", field.value)[0], field.name),
    )
    earlier = [craft.canonical_header(field, True) for field in arc_fields]
    own = [_canonical(results, values), _canonical(signature, values)]
    values["seal"] = _signed([*earlier, *own, _canonical(seal, values)])
    return "".join(text.format(**values) + "\r\n" for text in shape).encode() + message


def _canonical(field: list[str], values: dict[str, str]) -> bytes:
    name, value = field[0].encode(), " " + field[1].format(**values)
    return craft.canonical_header(HeaderField(name, value.encode()), True)


def _signed(parts: list[bytes]) -> str:
    return b64encode(craft.key().sign(sha256(b"\r\n".join(parts)).digest())).decode()


def key_record_of_list() -> bytes:
    """The key record of LIST."""
    return craft.key_record(craft.key())
