"""What we sign, dkimpy and OpenDKIM verify; what they sign, we verify: generated messages, all canonicalizations, both
algorithms."""

import logging
import random
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import dkim as dkimpy
import pytest

from mailnotary import dkim
from mailnotary.resolver import RecordKind, ZoneResolver
from support import dkim as craft

COUNT = 200
CANONICALIZATIONS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]
OPENDKIM = shutil.which("opendkim") or "/usr/sbin/opendkim"
NAMES = {"rsa": "rsa", "ed25519": "ed"}  # selector by algorithm

WORDS = ["Hi", "there,", "", "", "\t", " ", "a  b", "ünï", "=3D", ".", "--", "x" * 70, "From me", ";b=1", "%s"]


def text(source: random.Random, count: int, separator: str) -> str:
    return separator.join(source.choice(WORDS) for _ in range(source.randrange(count)))


def messages(seed: int, *, tame: bool) -> Iterator[bytes]:
    """Mail with odd white space, folds, blank lines, repeated fields and 8-bit text. `tame`: header fields are as MTAs
    write them, since OpenDKIM's test mode normalizes them before its "simple" sees them."""
    source = random.Random(seed)
    while True:
        space, fold = (" ", "\t") if tame else (source.choice(["", " ", "\t  "]), source.choice([" ", "\t", "    "]))
        end = "" if tame else source.choice(["", " ", "\t"])
        words = " ".join(text(source, 6, " ").split()) if tame else text(source, 6, " ")
        fields = [
            f"From:{space}{text(source, 3, ' ').strip()}x <joe@example.org>",
            f"To:{space}ann@example.net,\r\n{fold}b@example.net{end}",
            f"Subject:{space}a{words}\r\n{fold}{words}z{end}",
            f"Date:{space}Fri, 11 Jul 2003 21:00:37 -0700",
        ]
        fields += [f"Received: from {number}" for number in range(source.randrange(3))]
        fields += ["List-Id: <l.example.org>"] * source.randrange(2) + [f"X-Note:{space}a b{end}"] * source.randrange(3)
        source.shuffle(fields)
        lines = [text(source, 8, " ") + source.choice(["", " ", "\t"]) for _ in range(source.randrange(12))]
        lines += [""] * source.randrange(3)
        body = "".join(line + "\r\n" for line in lines)
        yield ("\r\n".join(fields) + "\r\n\r\n" + body).encode()


def resolver() -> ZoneResolver:
    return ZoneResolver(
        {
            f"{selector}._domainkey.example.org": [{"TXT": craft.key_record(craft.key(algorithm))}]
            for algorithm, selector in NAMES.items()
        }
    )


def ours(message: bytes, algorithm: str, canonicalization: str) -> bytes:
    signer = dkim.Signer(
        "example.org", NAMES[algorithm], craft.key(algorithm), canonicalization=canonicalization, expire_after=10**8
    )
    return dkim.sign(message, signer) + b"\r\n" + message


def cases(seed: int, *, tame: bool = False) -> Iterator[tuple[bytes, str, str]]:
    for number, message in enumerate(islice(messages(seed, tame=tame), COUNT)):
        yield message, ["rsa", "ed25519"][number % 2], CANONICALIZATIONS[number // 2 % 4]


def test_dkimpy_verifies_what_we_sign() -> None:
    zone = resolver()

    def dns(name: bytes, timeout: int = 5) -> bytes:
        return zone.lookup(name.decode(), RecordKind.TXT).texts[0]

    for message, algorithm, canonicalization in cases(1):
        signed = ours(message, algorithm, canonicalization)
        assert dkimpy.verify(signed, logger=logging.getLogger("dkimpy"), dnsfunc=dns), signed


def test_we_verify_what_dkimpy_signs() -> None:
    zone = resolver()
    ed25519 = b64encode(b64decode(b"".join(craft.pem("ed25519").splitlines()[1:-1]))[-32:])
    for message, algorithm, canonicalization in cases(2):
        header, _, body = canonicalization.partition("/")
        signature = dkimpy.sign(
            message,
            NAMES[algorithm].encode(),
            b"example.org",
            craft.pem("rsa") if algorithm == "rsa" else ed25519,
            canonicalize=(header.encode(), body.encode()),
            signature_algorithm=f"{algorithm}-sha256".encode(),
            include_headers=[b"from", b"to", b"subject", b"date", b"x-note", b"x-note"],
            logger=logging.getLogger("dkimpy"),
        )
        results = dkim.verify(signature + message, zone)
        assert [(str(result.status), result.reason) for result in results] == [("pass", "")], signature + message


@pytest.fixture
def opendkim(tmp_path: Path) -> Path:
    """A directory that OpenDKIM trusts, with our keys and with configurations to verify and to sign."""
    if not Path(OPENDKIM).exists():
        pytest.skip("OpenDKIM is not installed")
    tmp_path.chmod(0o700)
    records = {name: craft.key_record(craft.key(algorithm)).decode() for algorithm, name in NAMES.items()}
    keys = "".join(f"{name}._domainkey.example.org {record}\n" for name, record in records.items())
    (tmp_path / "keys").write_text(keys)
    (tmp_path / "verify.conf").write_text(f"Mode v\nTestPublicKeys {tmp_path}/keys\nTemporaryDirectory {tmp_path}\n")
    for algorithm, name in NAMES.items():
        (tmp_path / f"{name}.pem").write_bytes(craft.pem(algorithm))
        (tmp_path / f"{name}.pem").chmod(0o600)
        for number, canonicalization in enumerate(CANONICALIZATIONS):
            (tmp_path / f"{name}{number}.conf").write_text(
                f"Mode s\nDomain example.org\nSelector {name}\nKeyFile {tmp_path}/{name}.pem\nRequireSafeKeys no\n"
                f"Canonicalization {canonicalization}\nSignatureAlgorithm {algorithm}-sha256\n"
                f"OversignHeaders From,Subject\nTemporaryDirectory {tmp_path}\n"
            )
    return tmp_path


def run(configuration: Path, files: list[Path], *options: str) -> str:
    command = [OPENDKIM, *options, "-t", ",".join(map(str, files)), "-x", str(configuration)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def test_opendkim_verifies_what_we_sign(opendkim: Path) -> None:
    files = []
    for number, (message, algorithm, canonicalization) in enumerate(cases(3, tame=True)):
        files.append(opendkim / f"{number}.msg")
        files[-1].write_bytes(ours(message, algorithm, canonicalization))
    output = run(opendkim / "verify.conf", files)  # its test mode tells by words alone
    assert len(re.findall("verification .* succeeded", output)) == COUNT, output[-2000:]


def test_we_verify_what_opendkim_signs(opendkim: Path) -> None:
    zone = resolver()
    by_configuration: dict[str, list[tuple[Path, bytes]]] = {}
    for number, (message, algorithm, canonicalization) in enumerate(cases(4, tame=True)):
        if algorithm == "ed25519":  # OpenDKIM 2.11 fails its own Ed25519 signatures over "simple" headers
            canonicalization = canonicalization.replace("simple/", "relaxed/")
        name = f"{NAMES[algorithm]}{CANONICALIZATIONS.index(canonicalization)}.conf"
        path = opendkim / f"{number}.msg"
        path.write_bytes(message)
        by_configuration.setdefault(name, []).append((path, message))
    for name, group in by_configuration.items():
        output = run(opendkim / name, [path for path, _ in group], "-vv")
        inserted = re.findall(r"### INSHEADER: idx=\d+ hname='DKIM-Signature' hvalue='([^']*)'", output)
        assert len(inserted) == len(group), output[-2000:]
        for value, (_, message) in zip(inserted, group, strict=True):
            field = re.sub("\r?\n", "\r\n", f"DKIM-Signature: {value.removeprefix(' ')}\r\n").encode()
            results = dkim.verify(field + message, zone)
            assert [(str(result.status), result.reason) for result in results] == [("pass", "")], field + message
