"""Private keys sealed for a place that others can read, such as a database.

A sealed key is the text `sealed:1:` and the base64 of a nonce of 12 octets, the key encrypted with AES-256 in Galois/
Counter Mode (NIST SP 800-38D), and the tag of 16 octets. The associated data are the domain and the selector, in lower
case with a NUL between them: moved to another row, it no longer opens.
"""

import base64
import binascii
import re
import secrets
from typing import Final

from mailnotary.crypto.keys import MAX_PEM_OCTETS, KeyLoadError

_PREFIX: Final = b"sealed:"
_VERSION: Final = b"sealed:1:"
_NONCE: Final = 12  # octets (SP 800-38D section 5.2.1.1)
_TAG: Final = 16
KEY_OCTETS: Final = 32
MAX_SEAL_FILE: Final = 256  # octets
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{64}\Z")


def is_sealed(octets: bytes) -> bool:
    """Whether this is a sealed key, of whichever version."""
    return octets.lstrip().startswith(_PREFIX)


def new_seal() -> str:
    """What a new file with the key of a seal holds."""
    return secrets.token_hex(KEY_OCTETS) + "\n"


class Sealer:
    """Seals and opens with the key in a file: 64 hexadecimal digits. Raises KeyLoadError."""

    def __init__(self, data: bytes) -> None:
        text = data.strip()
        if not _HEX.match(text):
            raise KeyLoadError(
                f"not the key of a seal, which is {2 * KEY_OCTETS} hexadecimal digits: make one with `mailnotary "
                "source seal --new FILE`"
            )
        self._key = bytes.fromhex(text.decode())

    def seal(self, octets: bytes, domain: str, selector: str) -> str:
        """A private key, sealed for a domain (A-labels) and a selector."""
        from Crypto.Cipher import AES

        cipher = AES.new(self._key, AES.MODE_GCM, nonce=secrets.token_bytes(_NONCE), mac_len=_TAG)
        cipher.update(_about(domain, selector))
        encrypted, tag = cipher.encrypt_and_digest(octets)
        return _VERSION.decode() + base64.b64encode(cipher.nonce + encrypted + tag).decode()

    def open(self, sealed: bytes, domain: str, selector: str) -> bytes:
        """The private key. Raises KeyLoadError."""
        from Crypto.Cipher import AES

        text = b"".join(sealed.split())
        if not text.startswith(_VERSION):
            raise KeyLoadError("the key is sealed in a way that is not known here: it begins with `sealed:1:`")
        if len(text) > 2 * MAX_PEM_OCTETS:
            raise KeyLoadError("the sealed key is too long")
        try:
            octets = base64.b64decode(text[len(_VERSION) :], validate=True)
        except binascii.Error:
            octets = b""
        if len(octets) <= _NONCE + _TAG:
            raise KeyLoadError("the base64 of the sealed key is damaged: seal it again")
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=octets[:_NONCE], mac_len=_TAG)
        cipher.update(_about(domain, selector))
        try:
            return cipher.decrypt_and_verify(octets[_NONCE:-_TAG], octets[-_TAG:])
        except ValueError:
            raise KeyLoadError(
                f"the seal does not open: it was made with another key, for another row than {domain} {selector}, or "
                "is damaged: seal it again"
            ) from None


def _about(domain: str, selector: str) -> bytes:
    return f"{domain}\0{selector}".lower().encode("utf-8", "backslashreplace")
