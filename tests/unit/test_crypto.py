"""Keys as people have them, and the two backends held against each other."""

import base64
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from Crypto.PublicKey import RSA
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary import crypto
from mailnotary.crypto import KeyLoadError, load_private_key, parse_public_key
from mailnotary.crypto.der import DIGEST_INFO, encode, encode_integer
from mailnotary.crypto.parse import SMALL_ORDER
from support.backends import BACKENDS, each_backend, use
from support.dkim import key, pem

__all__ = ["each_backend"]

DIGEST = sha256(b"x").digest()
P25519 = 2**255 - 19


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60).stdout


# --- private keys ---


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("arguments", "algorithm", "bits"),
    [
        (("genrsa", "-traditional", "1024"), "rsa", 1024),  # PKCS#1
        (("genrsa", "2048"), "rsa", 2048),  # PKCS#8
        (("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024"), "rsa", 1024),
        (("genrsa", "-3", "-traditional", "1024"), "rsa", 1024),  # the exponent 3
        (("genpkey", "-algorithm", "ed25519"), "ed25519", 256),
    ],
)
def test_keys_of_openssl_sign_what_their_public_part_verifies(
    arguments: tuple[str, ...], algorithm: str, bits: int
) -> None:
    private = load_private_key(openssl(*arguments))
    assert (private.algorithm, private.bits) == (algorithm, bits)
    public = parse_public_key(algorithm, private.public)
    assert (public.algorithm, public.bits) == (algorithm, bits)
    assert public.verify(DIGEST, private.sign(DIGEST))
    assert not public.verify(bytes(32), private.sign(DIGEST))


@pytest.mark.usefixtures("each_backend")
def test_keys_of_opendkim_genkey(tmp_path: Path) -> None:
    program = Path("/usr/sbin/opendkim-genkey")
    if not program.exists():
        pytest.skip("opendkim-genkey is not installed")
    subprocess.run([str(program), "-D", str(tmp_path), "-d", "example.org", "-s", "s", "-b", "1024"], check=True)
    private = load_private_key((tmp_path / "s.private").read_bytes())
    published = "".join((tmp_path / "s.txt").read_text().split('"')[1::2])
    assert base64.b64encode(private.public).decode() in published


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(("algorithm", "bits"), [("rsa", 1024), ("rsa", 2048), ("ed25519", 256)])
def test_keys_that_we_make_are_read_by_us_and_by_openssl(algorithm: str, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(algorithm, bits, 1))
    private = load_private_key(path.read_bytes())
    assert (private.algorithm, private.bits) == (algorithm, bits)
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert openssl("pkey", "-in", str(path), "-pubout", "-outform", "DER").endswith(private.public)


@pytest.mark.parametrize(("algorithm", "bits"), [("rsa", 512), ("rsa", 16384), ("dsa", 2048), ("", 0)])
def test_keys_that_nobody_may_make(algorithm: str, bits: int) -> None:
    with pytest.raises(KeyLoadError):
        crypto.generate_private_key(algorithm, bits)


def test_text_around_the_key_and_line_ends_of_windows_are_fine() -> None:
    text = b"Bag Attributes\n  x: y\n" + pem() + b"\ntrailing text\n"
    assert load_private_key(text).public == key().public
    assert load_private_key(text.replace(b"\n", b"\r\n")).public == key().public


def refusal(data: bytes) -> str:
    with pytest.raises(KeyLoadError) as error:
        load_private_key(data)
    return str(error.value)


def test_keys_that_can_not_be_used_are_refused_with_what_to_do() -> None:
    assert refusal(openssl("genrsa", "512")).startswith("an RSA key of 512 bits is too weak (RFC 8301: at least 1024")
    assert "neither RSA nor Ed25519" in refusal(openssl("genpkey", "-algorithm", "ed448"))
    assert "neither RSA nor Ed25519" in refusal(openssl("genpkey", "-algorithm", "x25519"))
    assert refusal(b"").startswith("empty")
    assert "-----BEGIN PRIVATE KEY-----" in refusal(b"hello")
    assert "larger than" in refusal(pem() + b"x" * 70_000)


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_a_damaged_key_is_refused(algorithm: str) -> None:
    lines = pem(algorithm, number=1).splitlines(keepends=True)
    octets = base64.b64decode(b"".join(lines[1:-1]))
    for position in range(0, len(octets), 7):
        broken = bytearray(octets)
        broken[position] ^= 0x55
        text = lines[0] + base64.encodebytes(bytes(broken)) + lines[-1]
        try:
            private = load_private_key(text)
        except KeyLoadError as error:
            assert str(error)  # noqa: PT017 - any of several texts
        else:  # octets that carry nothing we use: a seed is as good as another, the CRT numbers are computed
            public = parse_public_key(private.algorithm, private.public)
            assert public.verify(DIGEST, private.sign(DIGEST))
    assert "damaged" in refusal(lines[0] + b"!!!\n" + lines[-1])


@given(st.binary(max_size=300))
def test_any_octets_as_a_private_key_are_refused(data: bytes) -> None:
    for text in (data, b"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % base64.b64encode(data)):
        with pytest.raises(KeyLoadError):
            load_private_key(text)


def test_a_key_does_not_show_itself() -> None:
    assert repr(key()) == "<rsa private key, 1024 bits>"


# --- public keys ---


def der(tag: int, contents: bytes) -> bytes:
    return encode(tag, contents)


def rsa(modulus: int, exponent: int) -> bytes:
    return der(0x30, encode_integer(modulus) + encode_integer(exponent))


ODD = (1 << 1023) + 1


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (rsa((1 << 8192) + 1, 65537), "RSA key of 8193 bits, at most 8192 are accepted"),
        (rsa((1 << 16384) - 1, 65537), "key of 2062 octets is too large"),
        (b"\x30\x82\xff\xff" + bytes(2045), "key of 2049 octets is too large"),
        (rsa(ODD + 1, 65537), "RSA modulus is not usable"),
        (rsa(15, 3), "RSA modulus is not usable"),
        (rsa(ODD, 1), "RSA exponent is not usable"),
        (rsa(ODD, 0), "RSA exponent is not usable"),
        (rsa(ODD, 65536), "RSA exponent is not usable"),
        (rsa(ODD, (1 << 32) + 1), "RSA exponent is not usable"),
        (rsa(ODD, 65537) + b"\0", "key is not valid DER"),
        (b"", "key is not valid DER"),
        (b"\x30", "key is not valid DER"),
        (b"\x30\x80\x02\x01\x03\x02\x01\x03\0\0", "key is not valid DER"),  # indefinite length: BER
        (b"\x30\x81\x06\x02\x01\x0f\x02\x01\x03", "key is not valid DER"),  # a long form that is not needed
        (b"\x30\x06\x02\x01\x8f\x02\x01\x03", "key is not valid DER"),  # a negative number
        (b"\x30\x05\x02\x00\x02\x01\x03", "key is not valid DER"),
        (b"\x30\x84\xff\xff\xff\xff", "key is not valid DER"),
        (b"\x30\x88" + b"\x01" * 8, "key is not valid DER"),
    ],
)
def test_rsa_keys_that_are_refused_before_any_work(octets: bytes, reason: str) -> None:
    with pytest.raises(KeyLoadError) as error:
        parse_public_key("rsa", octets)
    assert str(error.value) == reason


def test_public_keys_of_another_algorithm_are_refused() -> None:
    ed448 = der(0x30, der(0x30, der(0x06, b"\x2b\x65\x71")) + der(0x03, b"\0" * 58))
    with pytest.raises(KeyLoadError, match="not an RSA key"):
        parse_public_key("rsa", ed448)
    for size in (0, 31, 33, 44):
        with pytest.raises(KeyLoadError, match=f"Ed25519 key has {size} octets instead of 32"):
            parse_public_key("ed25519", bytes(size))


BAD_POINTS = [*SMALL_ORDER, P25519, P25519 + 1]


@pytest.mark.parametrize("y", BAD_POINTS)
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_points_that_verify_what_nobody_signed_are_refused(y: int, sign: int) -> None:
    with pytest.raises(KeyLoadError, match="not a usable point"):
        parse_public_key("ed25519", (y | sign).to_bytes(32, "little"))


def test_the_list_of_small_points_is_right() -> None:

    from Crypto.Signature import eddsa

    for y in SMALL_ORDER - {0x0, 0x1, P25519 - 1}:
        point = eddsa.import_public_key(y.to_bytes(32, "little")).pointQ
        fourfold, eightfold = point * 4, point * 8

        assert (fourfold.x, fourfold.y) == (0, P25519 - 1)
        assert (eightfold.x, eightfold.y) == (0, 1)


# --- backends ---


def test_the_environment_chooses_the_backend() -> None:
    for value, expected in (("pycryptodome", "pycryptodome"), ("", "openssl")):
        environment = os.environ | {"MAILNOTARY_CRYPTO": value}
        program = "from mailnotary import crypto; print(crypto.backend())"
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        assert done.stdout.decode().strip() == expected


def test_without_the_extra_pycryptodome_does_everything() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from mailnotary import crypto\n"
        "key = crypto.load_private_key(crypto.generate_private_key('ed25519'))\n"
        "assert crypto.parse_public_key('ed25519', key.public).verify(bytes(32), key.sign(bytes(32)))\n"
        "print(crypto.backend())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "pycryptodome"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[crypto.PrivateKey, crypto.PublicKey, crypto.PrivateKey, crypto.PublicKey]]:
    """Each key as both backends have it."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for algorithm, bits in (("rsa", 1024), ("rsa", 2048), ("ed25519", 256)):
            both = []
            for name in ("openssl", "pycryptodome"):
                use(patch, name)
                private = key(algorithm, bits)
                both += [private, parse_public_key(algorithm, private.public)]
            found.append(tuple(both))
    return found  # type: ignore[return-value]


def test_both_backends_sign_alike(pairs: list[tuple[crypto.PrivateKey, ...]]) -> None:
    """PKCS#1 v1.5 and Ed25519 are deterministic: equal octets."""
    for number in range(20):
        digest = sha256(b"%d" % number).digest()
        for private, _, other, _ in pairs:
            assert private.public == other.public
            assert private.sign(digest) == other.sign(digest)


def test_both_backends_judge_alike(
    pairs: list[tuple[crypto.PrivateKey, crypto.PublicKey, crypto.PrivateKey, crypto.PublicKey]],
) -> None:
    source = random.Random(1)
    for private, public, _, other in pairs:
        good = private.sign(DIGEST)
        assert public.verify(DIGEST, good)
        assert other.verify(DIGEST, good)
        variants = [
            b"",
            good[:-1],
            good + b"\0",
            b"\0" + good,
            good[1:],
            bytes(len(good)),
            b"\xff" * len(good),
            good * 2,
        ]
        for _ in range(100):
            changed = bytearray(good)
            changed[source.randrange(len(good))] ^= 1 << source.randrange(8)
            variants.append(bytes(changed))
        for signature in variants:
            assert not public.verify(DIGEST, signature)
            assert not other.verify(DIGEST, signature)


def test_both_backends_want_the_one_right_padding() -> None:
    """RFC 8017 9.2: no DigestInfo without NULL, no other padding, no signature that is not below the modulus."""
    numbers = RSA.import_key(pem())
    n, d, size = int(numbers.n), int(numbers.d), 128
    info = DIGEST_INFO + DIGEST
    without_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + DIGEST

    def encoded(tail: bytes, first: bytes = b"\0\1", fill: bytes = b"\xff") -> bytes:
        return first + fill * (size - 3 - len(tail)) + b"\0" + tail

    good = pow(int.from_bytes(encoded(info), "big"), d, n)
    bad = [encoded(without_null), encoded(info, b"\0\2"), encoded(info, fill=b"\xfe"), encoded(info + b"\0")]
    bad.append(b"\0\1" + b"\xff" * 8 + b"\0" + info + bytes(size - 11 - len(info)))  # Bleichenbacher's of 2006
    for backend in BACKENDS.values():
        public = backend.rsa_public(n, int(numbers.e))
        assert public.verify(DIGEST, good.to_bytes(size, "big"))
        for block in bad:
            signature = pow(int.from_bytes(block, "big"), d, n).to_bytes(size, "big")
            assert not public.verify(DIGEST, signature)
        if (good + n).bit_length() <= 8 * size:
            assert not public.verify(DIGEST, (good + n).to_bytes(size, "big"))


@settings(max_examples=60)
@given(
    st.sampled_from(["rsa", "ed25519"]),
    st.binary(max_size=200) | st.binary(min_size=32, max_size=32),
    st.binary(max_size=64),
)
def test_any_octets_as_a_public_key_are_judged_alike(algorithm: str, octets: bytes, signature: bytes) -> None:
    outcomes = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in BACKENDS:
            use(patch, name)
            try:
                outcomes.add(str(parse_public_key(algorithm, octets).verify(DIGEST, signature.ljust(64, b"\1"))))
            except KeyLoadError as error:
                outcomes.add(str(error))
    assert len(outcomes) == 1


@settings(max_examples=40)
@given(st.integers(1 << 1023, (1 << 1024) - 1), st.sampled_from([3, 17, 65537, (1 << 32) - 1]), st.binary(max_size=130))
def test_any_numbers_as_an_rsa_key_are_judged_alike(modulus: int, exponent: int, signature: bytes) -> None:
    verdicts = {
        backend.rsa_public(modulus | 1, exponent).verify(DIGEST, signature.ljust(128, b"\1"))
        for backend in BACKENDS.values()
    }
    assert verdicts == {False}


def test_a_key_verifies_in_several_threads_at_once(
    pairs: list[tuple[crypto.PrivateKey, crypto.PublicKey, crypto.PrivateKey, crypto.PublicKey]],
) -> None:
    digests = [sha256(b"%d" % number).digest() for number in range(50)]
    for private, *_ in pairs:
        signatures = [private.sign(digest) for digest in digests]
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as threads:
            for name in BACKENDS:
                use(patch, name)
                public = parse_public_key(private.algorithm, private.public)  # not used before
                assert all(threads.map(public.verify, digests, signatures))
                assert not any(threads.map(public.verify, digests, signatures[1:]))


@pytest.mark.parametrize("exponent", [3, 17, 65537, (1 << 32) - 1])
def test_every_exponent_verifies_what_it_is_to_verify(exponent: int) -> None:
    numbers = RSA.generate(1024, e=exponent)
    n, d = int(numbers.n), int(numbers.d)
    encoded = b"\0\1" + b"\xff" * (128 - 3 - len(DIGEST_INFO + DIGEST)) + b"\0" + DIGEST_INFO + DIGEST
    signature = pow(int.from_bytes(encoded, "big"), d, n).to_bytes(128, "big")
    for backend in BACKENDS.values():
        assert backend.rsa_public(n, exponent).verify(DIGEST, signature)
        assert not backend.rsa_public(n, exponent + 2).verify(DIGEST, signature)
