"""Files of TSIG keys, in the form of BIND's `tsig-keygen` or Knot's `keymgr -t`."""

import binascii
import os
import re
import shlex
import stat
from base64 import b64decode
from pathlib import Path

from mailnotary.domain import is_domain_name
from mailnotary.errors import SetupError
from mailnotary.files import open_regular, user_name
from mailnotary.resolver.update import ALGORITHMS, TsigKey

MAX_FILE = 4096  # octets
_BIND = re.compile(
    r'\s*key\s+"?(?P<name>[^\s"{;]+)"?\s*\{\s*algorithm\s+"?(?P<algorithm>[\w.-]+?)"?\s*;\s*'
    r'secret\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?\s*;\s*\}\s*;?\s*\Z'
)
_KNOT = re.compile(r"\s*#?\s*(?P<algorithm>hmac-[a-z0-9]+):(?P<name>[^\s:]+):(?P<secret>[A-Za-z0-9+/=]+)\s*(?:\n|\Z)")


class TsigFileError(SetupError):
    """The file of a TSIG key can't be used; the text says what to do."""


def read(path: Path) -> TsigKey:
    """The key in a file, to which only root and the user of this process may have access. Raises TsigFileError."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise TsigFileError(f"{path}: does not exist: write it with `tsig-keygen NAME` or `keymgr -t NAME`") from None
    except OSError as error:
        who = user_name(os.geteuid())
        raise TsigFileError(f"{path}: can't be read by the user {who}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _check_access(path, os.fstat(descriptor))
        octets = file.read(MAX_FILE + 1)
    text = octets.decode("ascii", "replace")
    match = _BIND.match(text) or _KNOT.match(text)
    if match is None or len(octets) > MAX_FILE:
        raise TsigFileError(f"{path}: this is not a TSIG key: write it with `tsig-keygen NAME` or `keymgr -t NAME`")
    algorithm, name = match["algorithm"].lower().rstrip("."), match["name"].lower().rstrip(".")
    if algorithm not in ALGORITHMS:
        raise TsigFileError(f"{path}: {algorithm} is not safe, or not known: make a key with {ALGORITHMS[1]}")
    try:
        secret = b64decode(match["secret"], validate=True)
    except binascii.Error:
        secret = b""
    if not secret or not is_domain_name(name):
        raise TsigFileError(f"{path}: its secret is not base64, or its name not one of DNS: copy the file anew")
    return TsigKey(name, algorithm, secret)


def _check_access(path: Path, status: os.stat_result) -> None:
    mode, owner = stat.S_IMODE(status.st_mode), status.st_uid
    if owner not in (0, os.geteuid()):
        who = f"neither to root nor to {user_name(os.geteuid())}"
        raise TsigFileError(
            f"{path}: it belongs to {user_name(owner)}, {who}: run `chown root {shlex.quote(str(path))}`"
        )
    if mode & 0o007 or (mode & 0o070 and status.st_gid not in (0, os.getegid())):
        raise TsigFileError(
            f"{path}: others have access to it (mode {mode:04o}): run `chmod 0600 {shlex.quote(str(path))}`"
        )
