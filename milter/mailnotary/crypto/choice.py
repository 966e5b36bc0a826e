"""The backend in use: OpenSSL where the package `cryptography` is installed, else pycryptodome.
MAILNOTARY_CRYPTO=pycryptodome in the environment turns OpenSSL off."""

import os

from mailnotary.crypto.keys import Backend
from mailnotary.crypto.openssl import Openssl
from mailnotary.crypto.pycryptodome import Pycryptodome


def _choose() -> Backend:
    if os.environ.get("MAILNOTARY_CRYPTO") != "pycryptodome":
        try:
            return Openssl()
        except ImportError:
            pass
    return Pycryptodome()


backend = _choose()
