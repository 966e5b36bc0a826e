"""Keys as people have them: p= of a DNS record, PEM files, and new ones."""

from mailnotary.crypto import choice
from mailnotary.crypto.der import (
    BIT_STRING,
    ED25519_OID,
    INTEGER,
    OCTET_STRING,
    OID,
    RSA_OID,
    SEQUENCE,
    DerError,
    DerReader,
)
from mailnotary.crypto.keys import (
    MAX_PEM_OCTETS,
    MAX_PUBLIC_OCTETS,
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    KeyLoadError,
    PrivateKey,
    PublicKey,
)
from mailnotary.crypto.private_text import KEYGEN, RESTORE, private_der

_FIELD_25519 = 2**255 - 19
# The y coordinates of the points of order 1, 2, 4 and 8: a "key" that is one of them verifies what nobody signed.
SMALL_ORDER = {
    0,
    1,
    _FIELD_25519 - 1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
}


def parse_public_key(algorithm: str, octets: bytes) -> PublicKey:
    """A public key as p= of a key record holds it: RSAPublicKey (RFC 6376 3.6.1) or SubjectPublicKeyInfo (erratum 3017;
    what everybody publishes) for "rsa", 32 octets for "ed25519" (RFC 8463 4.2). Raises KeyLoadError."""
    if len(octets) > MAX_PUBLIC_OCTETS:
        raise KeyLoadError(f"key of {len(octets)} octets is too large")
    if algorithm == "ed25519":
        return _ed25519_public(octets)
    return _rsa_public(octets)


def _rsa_public(octets: bytes) -> PublicKey:
    body = DerReader(octets).only(SEQUENCE)
    if body.next_is(SEQUENCE):  # SubjectPublicKeyInfo (RFC 5280 4.1)
        if body.read(SEQUENCE).read_octets(OID) != RSA_OID:
            raise KeyLoadError("key is not an RSA key")
        bits = body.read_octets(BIT_STRING)
        body.end()
        if bits[:1] != b"\0":
            raise KeyLoadError("key is not valid DER (bit string)")
        body = DerReader(bits[1:]).only(SEQUENCE)
    modulus, exponent = body.read_integer(), body.read_integer()
    body.end()
    _check_rsa(modulus, exponent)
    return choice.backend.rsa_public(modulus, exponent)


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
    if y >= _FIELD_25519 or y in SMALL_ORDER:  # RFC 8032 5.1.3 step 1
        raise KeyLoadError("Ed25519 key is not a usable point")
    return choice.backend.ed25519_public(octets)


def load_private_key(data: bytes, file: str = "FILE") -> PrivateKey:
    """A private key, RSA or Ed25519, in PKCS#1 or PKCS#8, as PEM, DER or the base64 of DER. `file` is its path, for the
    commands in errors. Raises KeyLoadError with what to do."""
    if len(data) > MAX_PEM_OCTETS:
        raise KeyLoadError(f"larger than {MAX_PEM_OCTETS} octets: this is not a private key")
    if not data.strip():
        raise KeyLoadError(f"empty: {KEYGEN}")
    octets = private_der(data, file)
    try:
        return _rsa_private(octets) if _is_pkcs1(octets) else _pkcs8_private(octets)  # whatever the PEM label says
    except DerError as error:
        raise KeyLoadError(f"the key is damaged: {RESTORE}") from error


def _is_pkcs1(octets: bytes) -> bool:
    """Whether a private key is in PKCS#1, where PKCS#8 has its algorithm after the version."""
    body = DerReader(octets).only(SEQUENCE)
    body.read_integer()
    return body.next_is(INTEGER)


def _pkcs8_private(octets: bytes) -> PrivateKey:
    """PrivateKeyInfo (RFC 5208 section 5, RFC 5958 section 2)."""
    body = DerReader(octets).only(SEQUENCE)
    body.read_integer()
    oid = body.read(SEQUENCE).read_octets(OID)
    key = body.read_octets(OCTET_STRING)
    if oid == RSA_OID:
        return _rsa_private(key)
    if oid == ED25519_OID:
        seed = DerReader(key).read_octets(OCTET_STRING)  # CurvePrivateKey (RFC 8410 section 7)
        if len(seed) != 32:
            raise DerError
        return choice.backend.ed25519_private(seed)
    raise KeyLoadError(f"the key is neither RSA nor Ed25519: {KEYGEN}")


def _rsa_private(octets: bytes) -> PrivateKey:
    """RSAPrivateKey (RFC 8017 appendix A.1.2)."""
    body = DerReader(octets).only(SEQUENCE)
    version, n, e, d, p, q, _dp, _dq, _qinv = (body.read_integer() for _ in range(9))
    if version != 0:
        raise KeyLoadError(f"an RSA key of more than two primes can't be used: {KEYGEN}")
    _check_rsa(n, e)
    if n.bit_length() < MIN_RSA_BITS:
        raise KeyLoadError(
            f"an RSA key of {n.bit_length()} bits is too weak (RFC 8301: at least {MIN_RSA_BITS}, better 2048): "
            f"{KEYGEN}"
        )
    if p * q != n or p < 3 or q < 3 or e * d % (p - 1) != 1 or e * d % (q - 1) != 1:
        raise KeyLoadError("the parts of the RSA key don't belong together: " + RESTORE)
    return choice.backend.rsa_private(n, e, d, p, q)


def generate_private_key(algorithm: str, bits: int = 2048) -> bytes:
    """A new private key ("rsa" or "ed25519"; bits: the RSA modulus) as PKCS#8 PEM."""
    if algorithm == "ed25519":
        from Crypto.PublicKey import ECC

        return ECC.generate(curve="ed25519").export_key(format="PEM").encode() + b"\n"
    if algorithm != "rsa" or not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise KeyLoadError(f"rsa of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, or ed25519, not {algorithm} of {bits}")
    return choice.backend.generate_rsa(bits).rstrip() + b"\n"
