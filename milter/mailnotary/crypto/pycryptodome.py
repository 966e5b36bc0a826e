"""Keys with pycryptodome."""

import hmac
import threading
from typing import Any

from mailnotary.crypto.der import DIGEST_INFO, rsa_public_info
from mailnotary.crypto.keys import Backend, PrivateKey, PublicKey


class _Digest:
    """A SHA-256 digest in the form in which pycryptodome's pkcs1_15 takes it."""

    oid = "2.16.840.1.101.3.4.2.1"

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest


class _RsaPublic(PublicKey):
    __slots__ = ("_modulus", "_numbers")

    def __init__(self, modulus: int, exponent: int) -> None:
        self.algorithm, self.bits = "rsa", modulus.bit_length()
        self._modulus, self.exponent = modulus, exponent
        self._numbers: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        # RSASSA-PKCS1-v1_5 (RFC 8017 8.2.2): the only valid encoding is compared as a whole. (pycryptodome's own
        # also takes DigestInfo without its NULL, which OpenSSL does not and RFC 8017 A.2.4 forbids.)
        size = (self.bits + 7) // 8
        if len(signature) != size or size < 11 + len(DIGEST_INFO) + 32:
            return False
        if int.from_bytes(signature, "big") >= self._modulus:
            return False
        if self._numbers is None:
            self._numbers = _numbers(self._modulus, self.exponent)
        integer, modulus, exponent = self._numbers
        encoded = b"\0\1" + b"\xff" * (size - 3 - len(DIGEST_INFO) - 32) + b"\0" + DIGEST_INFO + digest
        raised = integer(signature).inplace_pow(exponent, modulus)  # `pow` would copy the number first
        return hmac.compare_digest(bytes(raised.to_bytes(size)), encoded)


def _numbers(modulus: int, exponent: int) -> tuple[Any, Any, Any]:
    """What makes a number of octets, and both numbers of a key. pycryptodome's arithmetic takes a fifth to a half of
    the time of Python's `pow`."""
    from Crypto.Math.Numbers import Integer

    number: Any = Integer
    try:
        return number.from_bytes, number(modulus), number(exponent, public=True)
    except TypeError:  # releases that do not tell public numbers from secret ones: there it takes twice as long
        return number.from_bytes, number(modulus), number(exponent)


class _Ed25519Public(PublicKey):
    __slots__ = ("_key", "_octets")

    def __init__(self, octets: bytes) -> None:
        self.algorithm, self.bits, self.exponent = "ed25519", 256, 0
        self._octets = octets
        self._key: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        from Crypto.Signature import eddsa

        try:
            if self._key is None:
                self._key = eddsa.new(eddsa.import_public_key(self._octets), "rfc8032")
            self._key.verify(digest, signature)
        except ValueError:  # not a point on the curve, or not the key's signature
            return False
        return True


_one_at_a_time = threading.Lock()


class _RsaPrivate(PrivateKey):
    __slots__ = ("_key", "_numbers")

    def __init__(self, n: int, e: int, d: int, p: int, q: int) -> None:
        self.algorithm, self.bits = "rsa", n.bit_length()
        self._numbers = (n, e, d, p, q)
        self._key: Any = None

    @property
    def public(self) -> bytes:
        return rsa_public_info(*self._numbers[:2])

    def sign(self, digest: bytes) -> bytes:
        if self._key is None:
            from Crypto.PublicKey import RSA
            from Crypto.Signature import pkcs1_15

            self._key = pkcs1_15.new(RSA.construct(self._numbers, consistency_check=False))
        # One after the other: pycryptodome lets go of Python's lock for these milliseconds, and the threads of a worker
        # share one core: they would only delay each other.
        with _one_at_a_time:
            return bytes(self._key.sign(_Digest(digest)))


class _Ed25519Private(PrivateKey):
    __slots__ = ("_made", "_seed")

    def __init__(self, seed: bytes) -> None:
        self.algorithm, self.bits = "ed25519", 256
        self._seed = seed
        self._made: tuple[Any, Any] | None = None

    @property
    def public(self) -> bytes:
        key, _ = self._make()
        return bytes(key.public_key().export_key(format="raw"))

    def sign(self, digest: bytes) -> bytes:
        _, signer = self._make()
        return bytes(signer.sign(digest))

    def _make(self) -> tuple[Any, Any]:
        """The key and what signs with it. They take two milliseconds."""
        if self._made is None:
            from Crypto.Signature import eddsa

            key = eddsa.import_private_key(self._seed)
            self._made = key, eddsa.new(key, "rfc8032")
        return self._made


class Pycryptodome(Backend):
    """The backend that is always available."""

    name = "pycryptodome"

    def rsa_public(self, n: int, e: int) -> PublicKey:
        return _RsaPublic(n, e)

    def ed25519_public(self, octets: bytes) -> PublicKey:
        return _Ed25519Public(octets)

    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey:
        return _RsaPrivate(n, e, d, p, q)

    def ed25519_private(self, seed: bytes) -> PrivateKey:
        return _Ed25519Private(seed)

    def generate_rsa(self, bits: int) -> bytes:
        from Crypto.PublicKey import RSA

        return bytes(RSA.generate(bits).export_key("PEM", pkcs=8))
