"""What the history keeps of addresses: all of them, their domains, or a keyed hash in place of the local part."""

import hashlib
import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mailnotary.config.history import HistoryAddresses
from mailnotary.files import read_regular

KEY_FILE = "history.key"  # in state_dir; hosts that share a store and want the same hashes share this file
_KEY_OCTETS = 32
_HASH_DIGITS = 16

Hide = Callable[[str], str]
"""What an address (`local-part@domain`, a login name, or "") becomes in the store."""


def hide(addresses: HistoryAddresses, state_dir: Path) -> Hide:
    """The function for this setting. Raises OSError if the key of the hashes can be neither read nor made."""
    match addresses:
        case HistoryAddresses.FULL:
            return str
        case HistoryAddresses.DOMAIN:
            return _domain_only
        case HistoryAddresses.HASH:
            key = hash_key(state_dir)
            return lambda address: _hashed(address, key)


def hash_key(state_dir: Path) -> bytes:
    """The secret that makes hashes useless to those who only have the store: read, or made where there is none."""
    path = state_dir / KEY_FILE
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_OCTETS))
    key = read_regular(path, _KEY_OCTETS)
    if len(key) < _KEY_OCTETS:
        raise OSError(f"{path} is too short to be a key: remove it, and a new one is made")
    return key


def _domain_only(address: str) -> str:
    _, at, domain = address.rpartition("@")
    return f"@{domain}" if at else ("*" if address else "")


def _hashed(address: str, key: bytes) -> str:
    if not address:
        return ""
    _, at, domain = address.rpartition("@")
    octets = address.lower().encode("utf-8", "surrogatepass")
    digest = hmac.new(key, octets, hashlib.sha256).hexdigest()[:_HASH_DIGITS]
    return f"{digest}{at}{domain}"
