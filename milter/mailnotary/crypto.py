"""Keys, signing and verifying: RSA (RFC 8017 section 8.2, with SHA-256) and Ed25519 (RFC 8032, over a SHA-256 digest:
RFC 8463 section 3).

Keys are read by one small DER reader here, so that both backends take and refuse the same ones. The arithmetic is
pycryptodome's, or OpenSSL's where the package `cryptography` is installed (four times as fast);
MAILNOTARY_CRYPTO=pycryptodome in the environment turns that off.
"""

import base64
import binascii
import hmac
import os
import re
import threading
from abc import ABC, abstractmethod
from typing import Any

MIN_RSA_BITS = 1024  # for signing: "Signers MUST use RSA keys of at least 1024 bits" (RFC 8301 3.2)
MAX_RSA_BITS = 8192  # RFC 8301 3.2 asks verifiers for 4096; beyond 8192 the work is an attacker's gain alone
MAX_PUBLIC_OCTETS = 2048  # of a public key in DER: 8192 bits take 1062
MAX_PEM_OCTETS = 65536

_RSA_OID = bytes.fromhex("2a864886f70d010101")  # rsaEncryption (RFC 8017 appendix A.1)
_ED25519_OID = bytes.fromhex("2b6570")  # id-Ed25519 (RFC 8410 section 3)
_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")  # AlgorithmIdentifier {rsaEncryption, NULL}
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # stands before a SHA-256 hash (RFC 8017 9.2)
_INTEGER, _BIT_STRING, _OCTET_STRING, _OID, _SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30

_FIELD_25519 = 2**255 - 19
# The y coordinates of the points of order 1, 2, 4 and 8: a "key" that is one of them verifies what nobody signed.
_SMALL_ORDER = {
    0,
    1,
    _FIELD_25519 - 1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
}


class KeyLoadError(ValueError):
    """A key can't be used; the text says why and, for a private key, what to do."""


class PublicKey(ABC):
    """A key that verifies. `algorithm` is its k= ("rsa" or "ed25519"), `bits` its size."""

    __slots__ = ("algorithm", "bits")
    algorithm: str
    bits: int

    @abstractmethod
    def verify(self, digest: bytes, signature: bytes) -> bool:
        """Whether the signature over a SHA-256 digest is this key's. Never raises."""


class PrivateKey(ABC):
    """A key that signs. `algorithm` is its k= ("rsa" or "ed25519"), `bits` its size, `public` what p= of its DNS
    record holds before base64 (RSA: SubjectPublicKeyInfo, which every verifier takes; Ed25519: 32 octets)."""

    __slots__ = ("algorithm", "bits", "public")
    algorithm: str
    bits: int
    public: bytes

    @abstractmethod
    def sign(self, digest: bytes) -> bytes:
        """The signature over a SHA-256 digest."""

    def __repr__(self) -> str:
        return f"<{self.algorithm} private key, {self.bits} bits>"  # never the key itself


# --- reading keys ---------------------------------------------------------------------------------------------------


def parse_public_key(algorithm: str, octets: bytes) -> PublicKey:
    """A public key as p= of a key record holds it: RSAPublicKey (RFC 6376 3.6.1) or SubjectPublicKeyInfo (erratum 3017;
    what everybody publishes) for "rsa", 32 octets for "ed25519" (RFC 8463 4.2). Raises KeyLoadError."""
    if len(octets) > MAX_PUBLIC_OCTETS:
        raise KeyLoadError(f"key of {len(octets)} octets is too large")
    if algorithm == "ed25519":
        return _ed25519_public(octets)
    return _rsa_public(octets)


def _rsa_public(octets: bytes) -> PublicKey:
    body = _Der(octets).only(_SEQUENCE)
    if body.next_is(_SEQUENCE):  # SubjectPublicKeyInfo (RFC 5280 4.1)
        if body.read(_SEQUENCE).read_octets(_OID) != _RSA_OID:
            raise KeyLoadError("key is not an RSA key")
        bits = body.read_octets(_BIT_STRING)
        body.end()
        if bits[:1] != b"\0":
            raise KeyLoadError("key is not valid DER (bit string)")
        body = _Der(bits[1:]).only(_SEQUENCE)
    modulus, exponent = body.read_integer(), body.read_integer()
    body.end()
    _check_rsa(modulus, exponent)
    return _backend.rsa_public(modulus, exponent)


def _check_rsa(modulus: int, exponent: int) -> None:
    if modulus.bit_length() > MAX_RSA_BITS:
        raise KeyLoadError(f"RSA key of {modulus.bit_length()} bits, at most {MAX_RSA_BITS} are accepted")
    if modulus.bit_length() < 256 or modulus % 2 == 0:
        raise KeyLoadError("RSA modulus is not usable")
    # Odd and at least 3 (RFC 8017 3.1). 32 bits bound the work; every exponent in use has 17 or fewer.
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 32:
        raise KeyLoadError("RSA exponent is not usable")


def _ed25519_public(octets: bytes) -> PublicKey:
    if len(octets) != 32:
        raise KeyLoadError(f"Ed25519 key has {len(octets)} octets instead of 32")
    y = int.from_bytes(octets, "little") & (2**255 - 1)
    if y >= _FIELD_25519 or y in _SMALL_ORDER:  # RFC 8032 5.1.3 step 1
        raise KeyLoadError("Ed25519 key is not a usable point")
    return _backend.ed25519_public(octets)


_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)


def load_private_key(pem: bytes) -> PrivateKey:
    """A private key in PEM: PKCS#1 or PKCS#8, RSA or Ed25519, as written by `openssl genrsa`, `openssl genpkey` and
    `opendkim-genkey`. Raises KeyLoadError with what to do."""
    if len(pem) > MAX_PEM_OCTETS:
        raise KeyLoadError(f"larger than {MAX_PEM_OCTETS} octets: this is no private key")
    blocks = [match.groups() for match in _PEM.finditer(pem)]
    label, text = next((block for block in blocks if block[0].endswith(b"PRIVATE KEY")), (b"", b""))
    if not label:
        raise KeyLoadError(_no_private_key(pem, [name for name, _ in blocks]))
    if label == b"ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in text:
        raise KeyLoadError("the key is encrypted: decrypt it with `openssl pkey -in FILE -out NEWFILE`")
    if label not in (b"RSA PRIVATE KEY", b"PRIVATE KEY"):
        kind = label.removesuffix(b" PRIVATE KEY").decode()
        raise KeyLoadError(f"an {kind} key can't sign mail: make an RSA or Ed25519 key with `mailnotary keygen`")
    try:
        octets = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise KeyLoadError(f"the PEM block is damaged ({error}): restore the file or make a new key") from error
    try:
        return _rsa_private(octets) if label == b"RSA PRIVATE KEY" else _pkcs8_private(octets)
    except _DerError as error:
        raise KeyLoadError("the PEM block holds no valid key: restore the file or make a new key") from error


def _no_private_key(pem: bytes, labels: list[bytes]) -> str:
    if any(label.endswith(b"PUBLIC KEY") for label in labels):
        return "this is the public key: the file of the private key is needed"
    if b"CERTIFICATE" in labels:
        return "this is a certificate: the file of the private key is needed"
    if pem[:1] == b"\x30":
        return "the key is in DER: convert it with `openssl pkey -inform DER -in FILE -out NEWFILE`"
    return "no PEM private key (-----BEGIN PRIVATE KEY-----): make one with `mailnotary keygen`"


def _pkcs8_private(octets: bytes) -> PrivateKey:
    """PrivateKeyInfo (RFC 5208 section 5, RFC 5958 section 2)."""
    body = _Der(octets).only(_SEQUENCE)
    body.read_integer()
    oid = body.read(_SEQUENCE).read_octets(_OID)
    key = body.read_octets(_OCTET_STRING)
    if oid == _RSA_OID:
        return _rsa_private(key)
    if oid == _ED25519_OID:
        seed = _Der(key).read_octets(_OCTET_STRING)  # CurvePrivateKey (RFC 8410 section 7)
        if len(seed) != 32:
            raise _DerError
        return _backend.ed25519_private(seed)
    raise KeyLoadError("the key is neither RSA nor Ed25519: make one with `mailnotary keygen`")


def _rsa_private(octets: bytes) -> PrivateKey:
    """RSAPrivateKey (RFC 8017 appendix A.1.2)."""
    body = _Der(octets).only(_SEQUENCE)
    version, n, e, d, p, q, _dp, _dq, _qinv = (body.read_integer() for _ in range(9))
    if version != 0:
        raise KeyLoadError("an RSA key of more than two primes can't be used: make one with `mailnotary keygen`")
    _check_rsa(n, e)
    if n.bit_length() < MIN_RSA_BITS:
        raise KeyLoadError(
            f"an RSA key of {n.bit_length()} bits is too weak (RFC 8301: at least {MIN_RSA_BITS}, better 2048): "
            "make one with `mailnotary keygen`"
        )
    if p * q != n or p < 3 or q < 3 or e * d % (p - 1) != 1 or e * d % (q - 1) != 1:
        raise KeyLoadError("the parts of the RSA key don't belong together: restore the file or make a new key")
    return _backend.rsa_private(n, e, d, p, q)


def rsa_public_info(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA key."""
    key = _der(_SEQUENCE, _der_integer(modulus) + _der_integer(exponent))
    return _der(_SEQUENCE, _RSA_ALGORITHM + _der(_BIT_STRING, b"\0" + key))


def generate_private_key(algorithm: str, bits: int = 2048) -> bytes:
    """A new private key ("rsa" or "ed25519"; bits: the RSA modulus) as PKCS#8 PEM."""
    if algorithm == "ed25519":
        from Crypto.PublicKey import ECC

        return ECC.generate(curve="ed25519").export_key(format="PEM").encode() + b"\n"
    if algorithm != "rsa" or not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise KeyLoadError(f"rsa of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, or ed25519, not {algorithm} of {bits}")
    return _backend.generate_rsa(bits).rstrip() + b"\n"


# --- DER (X.690), as much of it as keys need ------------------------------------------------------------------------


class _DerError(KeyLoadError):
    def __init__(self) -> None:
        super().__init__("key is not valid DER")


class _Der:
    """Reads values one after the other; raises _DerError."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def next_is(self, tag: int) -> bool:
        return self._data[self._position : self._position + 1] == bytes([tag])

    def read_octets(self, tag: int) -> bytes:
        """The contents of the next value, which must have this tag."""
        data, start = self._data, self._position + 2
        if not self.next_is(tag) or start > len(data):
            raise _DerError
        length = data[start - 1]
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            # The long form is for lengths that need it, in as few octets as hold them (X.690 10.1).
            if not 1 <= size <= 4 or length < 0x80 or length.bit_length() <= 8 * (size - 1):
                raise _DerError
            start += size
        self._position = start + length
        if self._position > len(data):
            raise _DerError
        return data[start : self._position]

    def read(self, tag: int) -> "_Der":
        return _Der(self.read_octets(tag))

    def only(self, tag: int) -> "_Der":
        """The contents of the one value that the data is."""
        inner = self.read(tag)
        self.end()
        return inner

    def read_integer(self) -> int:
        """A number that is not negative."""
        octets = self.read_octets(_INTEGER)
        if not octets or octets[0] & 0x80:
            raise _DerError
        return int.from_bytes(octets, "big")

    def end(self) -> None:
        if self._position != len(self._data):
            raise _DerError


def _der(tag: int, contents: bytes) -> bytes:
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + contents


def _der_integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


# --- backends -------------------------------------------------------------------------------------------------------
# Each makes the four kinds of keys. A key's inner object is made at its first use: a record is often parsed
# for nothing (weak, revoked, for another service), a keystore holds thousands of keys of which few sign today.


class _Backend(ABC):
    name: str

    @abstractmethod
    def rsa_public(self, n: int, e: int) -> PublicKey: ...

    @abstractmethod
    def ed25519_public(self, octets: bytes) -> PublicKey: ...

    @abstractmethod
    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey: ...

    @abstractmethod
    def ed25519_private(self, seed: bytes) -> PrivateKey: ...

    @abstractmethod
    def generate_rsa(self, bits: int) -> bytes:
        """A new key as PKCS#8 PEM. OpenSSL finds 4096 bits in a second, pycryptodome in ten."""


class _Digest:
    """A SHA-256 digest in the form in which pycryptodome's pkcs1_15 takes it."""

    oid = "2.16.840.1.101.3.4.2.1"

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest


class _PlainRsaPublic(PublicKey):
    __slots__ = ("_exponent", "_modulus")

    def __init__(self, modulus: int, exponent: int) -> None:
        self.algorithm, self.bits = "rsa", modulus.bit_length()
        self._modulus, self._exponent = modulus, exponent

    def verify(self, digest: bytes, signature: bytes) -> bool:
        # RSASSA-PKCS1-v1_5 (RFC 8017 8.2.2): the one right encoding is compared as a whole. (pycryptodome's own
        # also takes DigestInfo without its NULL, which OpenSSL does not and RFC 8017 A.2.4 forbids.)
        size = (self.bits + 7) // 8
        number = int.from_bytes(signature, "big")
        if len(signature) != size or number >= self._modulus or size < 11 + len(_DIGEST_INFO) + 32:
            return False
        encoded = b"\0\1" + b"\xff" * (size - 3 - len(_DIGEST_INFO) - 32) + b"\0" + _DIGEST_INFO + digest
        return hmac.compare_digest(pow(number, self._exponent, self._modulus).to_bytes(size, "big"), encoded)


class _PlainEd25519Public(PublicKey):
    __slots__ = ("_key", "_octets")

    def __init__(self, octets: bytes) -> None:
        self.algorithm, self.bits = "ed25519", 256
        self._octets = octets
        self._key: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        from Crypto.Signature import eddsa

        try:
            if self._key is None:
                self._key = eddsa.new(eddsa.import_public_key(self._octets), "rfc8032")
            self._key.verify(digest, signature)
        except ValueError:  # no point of the curve, or not the key's signature
            return False
        return True


_one_at_a_time = threading.Lock()


class _PlainRsaPrivate(PrivateKey):
    __slots__ = ("_key", "_numbers")

    def __init__(self, n: int, e: int, d: int, p: int, q: int) -> None:
        self.algorithm, self.bits, self.public = "rsa", n.bit_length(), rsa_public_info(n, e)
        self._numbers = (n, e, d, p, q)
        self._key: Any = None

    def sign(self, digest: bytes) -> bytes:
        if self._key is None:
            from Crypto.PublicKey import RSA
            from Crypto.Signature import pkcs1_15

            self._key = pkcs1_15.new(RSA.construct(self._numbers, consistency_check=False))
        # One after the other: pycryptodome lets go of Python's lock for these milliseconds, and the threads of a worker
        # share one core: they would only make each other late.
        with _one_at_a_time:
            return bytes(self._key.sign(_Digest(digest)))


class _PlainEd25519Private(PrivateKey):
    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        from Crypto.Signature import eddsa

        key = eddsa.import_private_key(seed)
        self.algorithm, self.bits = "ed25519", 256
        self.public = bytes(key.public_key().export_key(format="raw"))
        self._key = eddsa.new(key, "rfc8032")

    def sign(self, digest: bytes) -> bytes:
        return self._key.sign(digest)


class _Pycryptodome(_Backend):
    name = "pycryptodome"

    def rsa_public(self, n: int, e: int) -> PublicKey:
        return _PlainRsaPublic(n, e)

    def ed25519_public(self, octets: bytes) -> PublicKey:
        return _PlainEd25519Public(octets)

    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey:
        return _PlainRsaPrivate(n, e, d, p, q)

    def ed25519_private(self, seed: bytes) -> PrivateKey:
        return _PlainEd25519Private(seed)

    def generate_rsa(self, bits: int) -> bytes:
        from Crypto.PublicKey import RSA

        return bytes(RSA.generate(bits).export_key("PEM", pkcs=8))


class _OpensslRsaPublic(PublicKey):
    __slots__ = ("_exponent", "_key", "_modulus", "_openssl")

    def __init__(self, openssl: "_Openssl", modulus: int, exponent: int) -> None:
        self.algorithm, self.bits = "rsa", modulus.bit_length()
        self._openssl, self._modulus, self._exponent = openssl, modulus, exponent
        self._key: Any = None

    def verify(self, digest: bytes, signature: bytes) -> bool:
        openssl = self._openssl
        try:
            if self._key is None:
                self._key = openssl.rsa.RSAPublicNumbers(self._exponent, self._modulus).public_key()
            self._key.verify(signature, digest, openssl.padding, openssl.sha256)
        except (openssl.invalid_signature, ValueError):
            return False
        return True


class _OpensslEd25519Public(PublicKey):
    __slots__ = ("_key", "_octets", "_openssl")

    def __init__(self, openssl: "_Openssl", octets: bytes) -> None:
        self.algorithm, self.bits = "ed25519", 256
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


class _OpensslRsaPrivate(PrivateKey):
    __slots__ = ("_key", "_numbers", "_openssl")

    def __init__(self, openssl: "_Openssl", n: int, e: int, d: int, p: int, q: int) -> None:
        self.algorithm, self.bits, self.public = "rsa", n.bit_length(), rsa_public_info(n, e)
        self._openssl, self._numbers = openssl, (n, e, d, p, q)
        self._key: Any = None

    def sign(self, digest: bytes) -> bytes:
        openssl = self._openssl
        if self._key is None:
            n, e, d, p, q = self._numbers
            public = openssl.rsa.RSAPublicNumbers(e, n)
            numbers = openssl.rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
            # The key is the admin's own, and that its parts belong together was seen when it was read. OpenSSL would
            # also look whether p and q are prime: 0.1 to 0.4 seconds for each key in each worker.
            self._key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        return bytes(self._key.sign(digest, openssl.padding, openssl.sha256))


class _OpensslEd25519Private(PrivateKey):
    __slots__ = ("_key",)

    def __init__(self, openssl: "_Openssl", seed: bytes) -> None:
        self._key = openssl.ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.algorithm, self.bits = "ed25519", 256
        self.public = bytes(self._key.public_key().public_bytes_raw())

    def sign(self, digest: bytes) -> bytes:
        return bytes(self._key.sign(digest))


class _Openssl(_Backend):
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
        return _OpensslRsaPublic(self, n, e)

    def ed25519_public(self, octets: bytes) -> PublicKey:
        return _OpensslEd25519Public(self, octets)

    def rsa_private(self, n: int, e: int, d: int, p: int, q: int) -> PrivateKey:
        return _OpensslRsaPrivate(self, n, e, d, p, q)

    def ed25519_private(self, seed: bytes) -> PrivateKey:
        return _OpensslEd25519Private(self, seed)

    def generate_rsa(self, bits: int) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = self.rsa.generate_private_key(65537, bits)
        return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _choose_backend() -> _Backend:
    if os.environ.get("MAILNOTARY_CRYPTO") != "pycryptodome":
        try:
            return _Openssl()
        except ImportError:
            pass
    return _Pycryptodome()


_backend = _choose_backend()


def backend() -> str:
    """The backend in use: "openssl" or "pycryptodome"."""
    return _backend.name
