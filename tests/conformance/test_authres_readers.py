"""Our Authentication-Results field under the readers that people use: SpamAssassin's AuthRes and SPF plugins,
OpenDMARC, Mail::AuthenticationResults and python-authres, as Debian and PyPI have them. Each of them sees exactly our
verdicts, of ordinary mail and where every word that a sender chooses is meant to be read as a verdict."""

import json
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import authres as python_authres
import pytest

from bench import peers
from mailnotary.authres import parse
from mailnotary.config.settings import AuthenticationResultsSettings, Settings
from mailnotary.resolver import ZoneResolver
from support import mail
from support.dkim import craft, key, key_record
from support.dns_server import DnsServer
from support.mail import BAD_IP, GOOD_IP, MESSAGE, Played
from support.milter_client import MilterClient

SUPPORT = Path(__file__).parents[1] / "support"
OURS = "mx.rcpt.example"  # our authserv-id, and the one that bench/peers.py has OpenDMARC trust
ATTACK = "x; dmarc=pass header.from=bank.example"
SPOOFED = b"From: Bank <ceo@bank.example>\r\nSubject: dmarc=pass\r\n\r\nx\r\n"
TAGS = b"v=1; a=rsa-sha256; d=evil.example; s=%s; h=from; bh=AAAA; b=AAAA; i=dmarc=3Dpass@evil.example"
ZONE = mail.zone() | {
    "bank.example": [{"TXT": "v=spf1 -all"}],
    "_dmarc.bank.example": [{"TXT": "v=DMARC1; p=reject"}],
    "evil.example": [{"TXT": "v=spf1 dmarc=pass header.from=bank.example"}],
    "sends.evil.example": [{"TXT": f"v=spf1 ip4:{BAD_IP} -all"}],
    "-sends.evil.example": [{"TXT": f"v=spf1 ip4:{BAD_IP} -all"}],
    "macro.example": [{"TXT": "v=spf1 exists:%{l}.dmarc=pass.evil.example include:spf=pass.evil.example -all"}],
    "dmarc=pass.example": [{"TXT": f"v=spf1 ip4:{BAD_IP} -all"}],
    "_dmarc.evil.example": [{"TXT": "v=DMARC1; p=dmarc=pass; rua=mailto:dmarc=pass@bank.example; sp=spf=pass"}],
    "words._domainkey.evil.example": [{"TXT": "v=dmarc=pass; k=dmarc=pass; p=AAAA"}],
    "k._domainkey.evil.example": [{"TXT": "v=DKIM1; k=dmarc=pass; t=spf=pass; p=AAAA"}],
    "good._domainkey.evil.example": [{"TXT": key_record(key())}],
    "slow.example": [{"TXT": "TIMEOUT"}],
    "two.example": [{"TXT": "v=spf1 -all"}, {"TXT": "v=spf1 +all"}],
}


def signed_by_evil(identity: str) -> bytes:
    return craft(SPOOFED, d="evil.example", s="good", h="from", i=identity)


def with_signatures(*values: bytes, message: bytes = SPOOFED) -> bytes:
    return b"".join(b"DKIM-Signature: " + value + b"\r\n" for value in values) + message


@dataclass(frozen=True, eq=False)
class Case:
    """A message and its verdicts, as method=result in the field's order."""

    name: str
    verdicts: str
    message: bytes
    envelope: dict[str, Any] = field(default_factory=dict)
    helo_too: bool = False

    def __str__(self) -> str:
        return self.name


def hostile(name: str, verdicts: str, message: bytes = SPOOFED, helo_too: bool = False, **envelope: Any) -> Case:
    envelope = {"ip": BAD_IP, "helo": "sends.evil.example", "mail_from": b"<a@bank.example>"} | envelope
    return Case(name, verdicts, message, envelope, helo_too)


CASES = [
    Case("signed", "spf=pass dkim=pass dmarc=pass", mail.signed()),
    Case("signed twice", "spf=pass dkim=pass dkim=pass dmarc=pass", mail.signed(mail.signed(), selector="ed")),
    Case("HELO's result too", "spf=pass spf=pass dkim=none dmarc=pass", MESSAGE, helo_too=True),
    Case("null sender", "spf=pass dkim=none dmarc=pass", MESSAGE, {"mail_from": b"<>"}),
    Case("null sender and HELO's too", "spf=pass dkim=none dmarc=pass", MESSAGE, {"mail_from": b"<>"}, True),
    Case("HELO localhost", "spf=pass spf=none dkim=none dmarc=pass", MESSAGE, {"helo": "localhost"}, True),
    Case(
        "null sender at localhost", "spf=none dkim=none dmarc=fail", MESSAGE, {"helo": "localhost", "mail_from": b"<>"}
    ),
    Case("null sender at [ip]", "spf=none dkim=none dmarc=fail", MESSAGE, {"helo": f"[{GOOD_IP}]", "mail_from": b"<>"}),
    Case("[IPv6]", "spf=none dkim=none dmarc=fail", MESSAGE, {"helo": "[IPv6:2001:db8::1]", "mail_from": b"<>"}, True),
    Case("IPv6 client", "spf=fail dkim=none dmarc=fail", MESSAGE, {"ip": "2001:db8::1"}),
    Case("fail", "spf=fail dkim=none dmarc=fail", MESSAGE, {"ip": BAD_IP}),
    Case("temperror", "spf=temperror dkim=none dmarc=fail", MESSAGE, {"mail_from": b"<a@slow.example>"}),
    Case("permerror", "spf=permerror dkim=none dmarc=fail", MESSAGE, {"mail_from": b"<a@two.example>"}),
    Case("broken", "spf=pass dkim=fail dmarc=pass", mail.signed().replace(b"Noon", b"Nine")),
    Case(
        "no policy",
        "spf=none dkim=none dmarc=none",
        MESSAGE.replace(b"example.org>", b"none.example>"),
        {"mail_from": b"<alice@none.example>"},
    ),
    Case("no author", "spf=pass dkim=none dmarc=permerror", b"Subject: x\r\n\r\nx\r\n"),
    hostile("EHLO", "spf=fail dkim=none dmarc=fail", helo=ATTACK),
    hostile("EHLO and HELO's too", "spf=fail dkim=none dmarc=fail", helo=ATTACK, helo_too=True),
    hostile(
        "EHLO, null sender",
        "spf=none dkim=none dmarc=fail",
        helo="x;spf=pass smtp.mailfrom=bank.example",
        mail_from=b"<>",
    ),
    hostile(
        "EHLO with a quote", "spf=none dkim=none dmarc=fail", helo='"; dmarc=pass (', mail_from=b"<>", helo_too=True
    ),
    hostile("EHLO in eight bits", "spf=none dkim=none dmarc=fail", helo="é\u2028; dmarc=pass", mail_from=b"<>"),
    hostile("EHLO that is not a host name", "spf=fail dkim=none dmarc=fail", helo="-sends.evil.example", helo_too=True),
    hostile(
        "EHLO that is not a host name, null sender",
        "spf=none dkim=none dmarc=fail",
        helo="-sends.evil.example",
        mail_from=b"<>",
    ),
    hostile("HELO passes", "spf=fail spf=pass dkim=none dmarc=fail", helo_too=True),
    hostile("MAIL FROM", "spf=none dkim=none dmarc=fail", mail_from=b"<a@x;dmarc=pass>"),
    hostile("MAIL FROM passes", "spf=none dkim=none dmarc=fail", mail_from=b"<a@dmarc=pass.example>"),
    hostile("local part", "spf=fail dkim=none dmarc=fail", mail_from=b'<"x; spf=pass smtp.mailfrom=z"@bank.example>'),
    hostile("SPF terms", "spf=neutral dkim=none dmarc=fail", mail_from=b"<a@evil.example>"),
    hostile("SPF macros", "spf=permerror dkim=none dmarc=fail", mail_from=b"<spf=pass@macro.example>"),
    hostile(
        "key records",
        "spf=fail dkim=permerror dkim=permerror dkim=permerror dmarc=fail",
        with_signatures(TAGS % b"words", TAGS % b"k", TAGS % b"absent"),
    ),
    hostile(
        "tags",
        "spf=fail dkim=permerror dkim=permerror dkim=neutral dmarc=fail",
        with_signatures(
            b"v=dmarc=pass; a=dmarc=pass; d=dmarc=pass; s=dmarc=pass; h=dmarc=pass; bh=dmarc=pass; b=dmarc=pass",
            b"dmarc=pass header.from=bank.example",
            b'v=1; a=rsa-sha256; d=evil.example; s="; dmarc=pass; h=from; bh=AAAA; b=; dmarc=pass',
        ),
    ),
    hostile(
        "identity",
        "spf=fail dkim=pass dmarc=fail",
        signed_by_evil("dmarc=3Dpass=20header.from=3Dbank.example@evil.example"),
    ),
    hostile(
        "identity as it is",
        "spf=fail dkim=pass dmarc=fail",
        signed_by_evil("dmarc=pass=20header.from=bank.example@evil.example"),
    ),
    hostile("policy", "spf=fail dkim=none dmarc=fail", b"From: dmarc=pass <a@evil.example>\r\n\r\nx\r\n"),
    hostile(
        "From",
        "spf=fail dkim=none dmarc=permerror",
        b'From: "; dmarc=pass" <a@[dmarc=pass]>, dmarc=pass header.from=bank.example\r\n\r\nx\r\n',
    ),
]


EACH = pytest.mark.parametrize("case", CASES, ids=str)


@cache
def field_of(case: Case) -> str:
    """The field's value as the session gives it."""
    settings = Settings(authentication_results=AuthenticationResultsSettings(helo=case.helo_too))
    played = Played(settings=settings, options={"resolver": ZoneResolver(ZONE)})
    return played.play(case.message, mta=OURS, **case.envelope).inserted["Authentication-Results"]


def verdicts(results: list[list[str]]) -> str:
    return " ".join(f"{method}={result}" for method, result, *_ in results)


def expected(case: Case) -> list[list[Any]]:
    """What is in the field as our own reader has it: [method, result, {"ptype.property": value}] each."""
    results = parse(field_of(case)).results
    return [[one.method, one.result, {f"{p.ptype}.{p.property}": p.value for p in one.properties}] for one in results]


def perl(script: str, *arguments: str, given: list[str]) -> Any:
    done = subprocess.run(
        ["perl", SUPPORT / script, *arguments], input=json.dumps(given).encode(), capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return json.loads(done.stdout)


@EACH
def test_the_field_has_these_verdicts(case: Case) -> None:
    assert verdicts(expected(case)) == case.verdicts
    assert "dmarc=pass" not in field_of(case) or "dmarc=pass" in case.verdicts
    assert "spf=pass" not in field_of(case) or "spf=pass" in case.verdicts


@EACH
def test_python_authres(case: Case) -> None:
    header = python_authres.all_features().parse_value(field_of(case).replace("\r\n", ""))
    assert header.authserv_id == OURS
    read = [[r.method, r.result, {f"{p.type}.{p.name}": p.value for p in r.properties}] for r in header.results]
    assert read == expected(case)


def test_mail_authenticationresults() -> None:
    read = perl("read_authres.pl", given=[field_of(case) for case in CASES])
    for case, one in zip(CASES, read, strict=True):
        assert one == {"id": OURS, "results": expected(case)}, case


SPAMASSASSIN = f"""\
loadplugin Mail::SpamAssassin::Plugin::Check
loadplugin Mail::SpamAssassin::Plugin::AuthRes
loadplugin Mail::SpamAssassin::Plugin::SPF
use_bayes 0
internal_networks 192.0.2.250
trusted_networks 192.0.2.250
authres_trusted_authserv {OURS}
header MAIL_FROM_pass eval:check_for_spf_pass()
header MAIL_FROM_fail eval:check_for_spf_fail()
header HELO_pass eval:check_for_spf_helo_pass()
header DMARC_pass eval:check_authres_result('dmarc', 'pass')
header DMARC_fail eval:check_authres_result('dmarc', 'fail')
"""


def test_spamassassin(tmp_path: Path) -> None:
    """Both plugins, as they stand on the machine whose Received field is below ours. The SPF plugin takes the last
    result of a field, or that of each identity: its releases differ."""
    (tmp_path / "rules").write_text(SPAMASSASSIN)
    received = f"Received: from client.example (client.example [{BAD_IP}])\n\tby {OURS} (Postfix) with ESMTP id 4ABC"
    received += "\n\tfor <bob@rcpt.example>; Tue, 14 Nov 2023 22:13:20 +0000 (UTC)\n"
    given = [
        f"Authentication-Results: {field_of(case)}\n{received}From: a@bank.example\n\nx\n".replace("\r\n", "\n")
        for case in CASES
    ]
    read = perl("read_spamassassin.pl", str(tmp_path / "rules"), str(tmp_path), given=given)
    for case, one in zip(CASES, read, strict=True):
        if one["old"] and one["errors"]:
            continue
        assert one["errors"] == [], case
        by_method: dict[str, list[Any]] = {}
        for method, result, properties in expected(case):
            by_method.setdefault(method, []).append([result, properties])
        parsed = {
            method: [
                [r["result"], {f"{t}.{p}": value for t, known in r["properties"].items() for p, value in known.items()}]
                for r in results
            ]
            for method, results in one["parsed"].items()
        }
        assert parsed == by_method, case
        spf = [f"{'HELO' if 'smtp.helo' in names else 'MAIL_FROM'}_{result}" for result, names in by_method["spf"]]
        dmarc = f"DMARC_{by_method['dmarc'][0][0]}"
        known = [{hit for hit in (*hits, dmarc) if hit in SPAMASSASSIN} for hits in (spf[-1:], spf)]
        assert set(one["hits"]) in known, case


# Where OpenDMARC judges otherwise: it takes what HELO's name passed for no evidence, and is stricter or laxer than RFC
# 9989 about what it can't read.
_OPENDMARC = {
    "null sender": "dmarc=fail",
    "null sender and HELO's too": "dmarc=fail",
    "no author": "",
    "policy": "dmarc=permerror",
    "From": "dmarc=none",
}


@pytest.fixture(scope="module")
def opendmarc(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """OpenDMARC, which asks for policies at port 53 of the first nameserver in /etc/resolv.conf."""
    if not shutil.which("opendmarc", path="/usr/sbin:/usr/bin"):
        pytest.skip("OpenDMARC is not installed")
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with DnsServer(ZONE, host=host, port=53):
        peer = peers.opendmarc(tmp_path_factory.mktemp("opendmarc") / "run", f"{host}:53")
        assert peer is not None
        with peer:
            yield peer.address


@pytest.mark.root  # for port 53 and a mount namespace
@EACH
def test_opendmarc(opendmarc: str, case: Case) -> None:
    """OpenDMARC trusts what our field says of SPF and DKIM, and reaches a verdict of its own."""
    message = f"Authentication-Results: {field_of(case)}\r\n".encode() + case.message
    envelope = {"ip": GOOD_IP, "helo": "mail.example.org", "mail_from": b"<alice@example.org>"} | case.envelope
    with MilterClient(opendmarc) as client:
        outcome = client.send_message(
            message,
            client_ip=envelope["ip"],
            helo=envelope["helo"],
            mail_from=envelope["mail_from"].strip(b"<>"),
            mta_name=OURS,
        )
    fields = outcome.headers("Authentication-Results")
    read = " ".join(word for text in fields for word in text.split() if word.startswith("dmarc="))
    assert read == _OPENDMARC.get(case.name, case.verdicts.split()[-1]), fields
