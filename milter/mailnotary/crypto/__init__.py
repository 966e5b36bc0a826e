"""Keys, signing and verifying: RSA (RFC 8017 section 8.2, with SHA-256) and Ed25519 (RFC 8032, over a SHA-256 digest:
RFC 8463 section 3)."""

from mailnotary.crypto import choice
from mailnotary.crypto.keys import (
    MAX_PEM_OCTETS,
    MAX_PUBLIC_OCTETS,
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    KeyLoadError,
    PrivateKey,
    PublicKey,
)
from mailnotary.crypto.parse import generate_private_key, load_private_key, parse_public_key
from mailnotary.crypto.private_text import private_der
from mailnotary.crypto.seal import MAX_SEAL_FILE, Sealer, is_sealed, new_seal

__all__ = [
    "MAX_PEM_OCTETS",
    "MAX_PUBLIC_OCTETS",
    "MAX_RSA_BITS",
    "MAX_SEAL_FILE",
    "MIN_RSA_BITS",
    "KeyLoadError",
    "PrivateKey",
    "PublicKey",
    "Sealer",
    "backend",
    "generate_private_key",
    "is_sealed",
    "load_private_key",
    "new_seal",
    "parse_public_key",
    "private_der",
]


def backend() -> str:
    """The backend in use: "openssl" or "pycryptodome"."""
    return choice.backend.name
