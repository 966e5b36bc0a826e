"""DKIM: canonicalization by kind of body, verifying and signing by kind of key and backend, and a whole message beside
dkimpy."""

import logging
from collections.abc import Callable
from hashlib import sha256

import dkim as dkimpy
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mailnotary import dkim
from mailnotary.crypto import parse_public_key
from mailnotary.dkim.canon import BodyHash
from mailnotary.resolver import ZoneResolver
from support.backends import BACKENDS, use
from support.dkim import DOMAIN, KEY_NAME, MESSAGE, SELECTOR, key, key_record, zone

SIZE = 1_000_000
CHUNK = 65_535  # octets; as much as the milter protocol passes at once
BODIES = {
    "base64": b"A" * 76 + b"\r\n",
    "prose": b"We lost the game.  Are you hungry yet?  It is getting late, and dinner waits.\r\n",
    "indented": b"        if dinner.ready:\r\n            return   eat(dinner)\r\n",
    "spaces": b" " * 100,
}
KEYS = {"rsa 1024": ("rsa", 1024), "rsa 2048": ("rsa", 2048), "ed25519": ("ed25519", 256)}


@pytest.mark.parametrize("relaxed", [False, True], ids=["simple", "relaxed"])
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_of_1_mb(benchmark: BenchmarkFixture, kind: str, relaxed: bool) -> None:
    benchmark.group = f"body, {kind}"
    body = (BODIES[kind] * (SIZE // len(BODIES[kind]) + 1))[:SIZE]
    chunks = [body[start : start + CHUNK] for start in range(0, SIZE, CHUNK)]

    def run() -> bytes | None:
        hashes = BodyHash(relaxed, [None])
        for chunk in chunks:
            hashes.update(chunk)
        hashes.finish()
        return hashes.digest(None)

    assert benchmark(run)
    benchmark.extra_info["MB/s"] = round(SIZE / 1e6 / benchmark.stats.stats.min) if benchmark.stats else 0


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("kind", KEYS)
def test_signing_a_digest(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, kind: str, backend: str
) -> None:
    benchmark.group = f"sign, {kind}"
    use(monkeypatch, backend)
    assert benchmark(key(*KEYS[kind]).sign, sha256(b"x").digest())


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("kind", KEYS)
def test_verifying_a_digest(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, kind: str, backend: str
) -> None:
    benchmark.group = f"verify, {kind}"
    use(monkeypatch, backend)
    private, digest = key(*KEYS[kind]), sha256(b"x").digest()
    public = parse_public_key(private.algorithm, private.public)
    assert benchmark(public.verify, digest, private.sign(digest))


def ours(message: bytes, resolver: ZoneResolver) -> Callable[[], bool]:
    return lambda: dkim.verify(message, resolver)[0].status == "pass"


def theirs(message: bytes, resolver: ZoneResolver) -> Callable[[], bool]:
    record = resolver.lookup(KEY_NAME, "TXT").texts[0]  # type: ignore[arg-type]
    logger = logging.getLogger("dkimpy")
    return lambda: bool(dkimpy.verify(message, logger=logger, dnsfunc=lambda *_, **__: record))


@pytest.mark.parametrize("engine", [ours, theirs], ids=["mailnotary", "dkimpy"])
@pytest.mark.parametrize("size", [0, 50_000, SIZE], ids=["small", "50 kB", "1 MB"])
def test_a_message(
    benchmark: BenchmarkFixture, engine: Callable[[bytes, ZoneResolver], Callable[[], bool]], size: int
) -> None:
    benchmark.group = f"message, {size} octets of prose"
    message = MESSAGE + BODIES["prose"] * (size // len(BODIES["prose"]))
    signer = dkim.Signer(DOMAIN, SELECTOR, key("rsa", 2048), canonicalization="relaxed/relaxed")
    signed = dkim.sign(message, signer) + b"\r\n" + message
    assert benchmark(engine(signed, zone(key_record(key("rsa", 2048)))))
