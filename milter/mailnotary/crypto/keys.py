"""What a key is: the limits, the two kinds of keys, and what makes them."""

from abc import ABC, abstractmethod

from mailnotary.errors import DkimKeyError

MIN_RSA_BITS = 1024  # for signing: "Signers MUST use RSA keys of at least 1024 bits" (RFC 8301 3.2)
MAX_RSA_BITS = 8192  # RFC 8301 3.2 asks verifiers for 4096; beyond 8192 the work helps only attackers
MAX_PUBLIC_OCTETS = 2048  # of a public key in DER: 8192 bits take 1062
MAX_PEM_OCTETS = 65536


class KeyLoadError(DkimKeyError, ValueError):
    """A key can't be used; the text says why and, for a private key, what to do."""


class PublicKey(ABC):
    """A key that verifies. `algorithm` is its k= ("rsa" or "ed25519"), `bits` its size, `exponent` the public exponent
    of an RSA key (0 for Ed25519)."""

    __slots__ = ("algorithm", "bits", "exponent")
    algorithm: str
    bits: int
    exponent: int

    @abstractmethod
    def verify(self, digest: bytes, signature: bytes) -> bool:
        """Whether the signature over a SHA-256 digest is this key's. Never raises."""


class PrivateKey(ABC):
    """A key that signs. `algorithm` is its k= ("rsa" or "ed25519"), `bits` its size."""

    __slots__ = ("algorithm", "bits")
    algorithm: str
    bits: int

    @property
    @abstractmethod
    def public(self) -> bytes:
        """What p= of its DNS record holds before base64 (RSA: SubjectPublicKeyInfo, which every verifier takes;
        Ed25519: 32 octets)."""

    @abstractmethod
    def sign(self, digest: bytes) -> bytes:
        """The signature over a SHA-256 digest."""

    def __repr__(self) -> str:
        return f"<{self.algorithm} private key, {self.bits} bits>"  # never the key itself


class Backend(ABC):
    """Makes the four kinds of keys. A key's inner object is made at its first use: a record is often parsed for nothing
    (weak, revoked, for another service), a keystore holds thousands of keys of which few sign today."""

    name: str

    @abstractmethod
    def rsa_public(self, n: int, e: int) -> PublicKey:
        """An RSA key that verifies: modulus and exponent."""

    @abstractmethod
    def ed25519_public(self, octets: bytes) -> PublicKey:
        """An Ed25519 key that verifies: its 32 octets (RFC 8032 5.1.2)."""

    @abstractmethod
    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey:
        """An RSA key that signs: modulus, both exponents, both primes."""

    @abstractmethod
    def ed25519_private(self, seed: bytes) -> PrivateKey:
        """An Ed25519 key that signs: its seed of 32 octets."""

    @abstractmethod
    def generate_rsa(self, bits: int) -> bytes:
        """A new key as PKCS#8 PEM. OpenSSL finds 4096 bits in a second, pycryptodome in ten."""
