"""Keys with OpenSSL, through the package `cryptography`: four times as fast."""

from typing import Any

from mailnotary.crypto.der import rsa_public_info
from mailnotary.crypto.keys import Backend, PrivateKey, PublicKey


class _RsaPublic(PublicKey):
    __slots__ = ("_key", "_modulus", "_openssl")

    def __init__(self, openssl: "Openssl", modulus: int, exponent: int) -> None:
        self.algorithm, self.bits = "rsa", modulus.bit_length()
        self._openssl, self._modulus, self.exponent = openssl, modulus, exponent
        self._key: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        openssl = self._openssl
        try:
            if self._key is None:
                self._key = openssl.rsa.RSAPublicNumbers(self.exponent, self._modulus).public_key()
            self._key.verify(signature, digest, openssl.padding, openssl.sha256)
        except (openssl.invalid_signature, ValueError):
            return False
        return True


class _Ed25519Public(PublicKey):
    __slots__ = ("_key", "_octets", "_openssl")

    def __init__(self, openssl: "Openssl", octets: bytes) -> None:
        self.algorithm, self.bits, self.exponent = "ed25519", 256, 0
        self._openssl, self._octets = openssl, octets
        self._key: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        openssl = self._openssl
        try:
            if self._key is None:
                self._key = openssl.ed25519.Ed25519PublicKey.from_public_bytes(self._octets)
            self._key.verify(signature, digest)
        except (openssl.invalid_signature, ValueError):
            return False
        return True


class _RsaPrivate(PrivateKey):
    __slots__ = ("_key", "_numbers", "_openssl")

    def __init__(self, openssl: "Openssl", n: int, e: int, d: int, p: int, q: int) -> None:
        self.algorithm, self.bits = "rsa", n.bit_length()
        self._openssl, self._numbers = openssl, (n, e, d, p, q)
        self._key: Any = None

    @property
    def public(self) -> bytes:
        return rsa_public_info(*self._numbers[:2])

    def sign(self, digest: bytes) -> bytes:
        openssl = self._openssl
        if self._key is None:
            n, e, d, p, q = self._numbers
            public = openssl.rsa.RSAPublicNumbers(e, n)
            numbers = openssl.rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
            # The key is the admin's own, and its parts were found to belong together when it was read. OpenSSL would
            # also look whether p and q are prime: 0.1 to 0.4 seconds for each key in each worker.
            self._key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        return bytes(self._key.sign(digest, openssl.padding, openssl.sha256))


class _Ed25519Private(PrivateKey):
    __slots__ = ("_key", "_openssl", "_seed")

    def __init__(self, openssl: "Openssl", seed: bytes) -> None:
        self.algorithm, self.bits = "ed25519", 256
        self._openssl, self._seed = openssl, seed
        self._key: Any = None

    @property
    def public(self) -> bytes:
        return bytes(self._made().public_key().public_bytes_raw())

    def sign(self, digest: bytes) -> bytes:
        return bytes(self._made().sign(digest))

    def _made(self) -> Any:
        if self._key is None:
            self._key = self._openssl.ed25519.Ed25519PrivateKey.from_private_bytes(self._seed)
        return self._key


class Openssl(Backend):
    """Raises ImportError where the package `cryptography` is not installed, or too old."""

    name = "openssl"

    def __init__(self) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        if not hasattr(ed25519.Ed25519PublicKey, "public_bytes_raw"):
            raise ImportError("cryptography is older than 40")
        self.invalid_signature: type[Exception] = InvalidSignature
        self.ed25519: Any = ed25519
        self.rsa: Any = rsa
        self.padding = padding.PKCS1v15()
        self.sha256 = utils.Prehashed(SHA256())

    def rsa_public(self, n: int, e: int) -> PublicKey:
        return _RsaPublic(self, n, e)

    def ed25519_public(self, octets: bytes) -> PublicKey:
        return _Ed25519Public(self, octets)

    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey:
        return _RsaPrivate(self, n, e, d, p, q)

    def ed25519_private(self, seed: bytes) -> PrivateKey:
        return _Ed25519Private(self, seed)

    def generate_rsa(self, bits: int) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = self.rsa.generate_private_key(65537, bits)
        return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
