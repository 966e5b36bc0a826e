"""Private key files: who may read them, and what a look at them tells before they are used."""

import os
import pwd
import shlex
import stat
from collections.abc import Collection

from mailnotary.config.keystore import StoredKey
from mailnotary.crypto import MAX_PEM_OCTETS, KeyLoadError, PrivateKey, load_private_key


def read_key(path: str, uid: int, gids: Collection[int], *, unsafe: bool = False) -> tuple[bytes, PrivateKey]:
    """The octets of a private key file, and the key. The file must be readable for this process and closed to those who
    have no business with it: its owner is root or `uid`, its group (if that has access) root's or one of `gids`, and
    others have no access at all. `unsafe` skips these rules. Raises KeyLoadError with what to do."""
    data, status = _read(path, uid)
    if not unsafe:
        _check_access(path, status, uid, gids)
    return data, load_private_key(data, path)


def load_key(key: StoredKey) -> PrivateKey:
    """The private key of a keystore's key, parsed. Raises KeyLoadError."""
    if key.fault:
        raise KeyLoadError(key.fault)
    return load_private_key(key.pem)


def _read(path: str, uid: int) -> tuple[bytes, os.stat_result]:
    try:
        # Without O_NONBLOCK a named pipe would keep us waiting for someone to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyLoadError(_not_opened(path, uid, error)) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise KeyLoadError("no regular file: name the file of the key")
        data = os.read(descriptor, MAX_PEM_OCTETS + 1)
        after = os.fstat(descriptor)
    except OSError as error:
        raise KeyLoadError(f"can't be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > MAX_PEM_OCTETS:
        raise KeyLoadError(f"larger than {MAX_PEM_OCTETS} octets: this is not a private key")
    if len(data) != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise KeyLoadError("changed while it was read: try again, and put new keys into place by renaming them")
    return data, before


def _not_opened(path: str, uid: int, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):
            return f"a symbolic link to {shlex.quote(os.readlink(path))}, which does not exist: fix or remove the link"
        return "does not exist: check the name, or make the key with `mailnotary keygen`"
    if not isinstance(error, PermissionError):
        return f"can't be opened: {error.strerror}"
    try:
        os.stat(path)
    except PermissionError:
        directory = shlex.quote(os.path.dirname(path))
        return f"{_name(uid)} cannot enter its directory: run `chown -R {_name(uid)} {directory}`"
    except OSError:
        pass
    return f"{_name(uid)} can't read it: run `{_repair(path, None, uid)}`"


def _check_access(path: str, status: os.stat_result, uid: int, gids: Collection[int]) -> None:
    mode = stat.S_IMODE(status.st_mode)
    repair = _repair(path, status.st_uid, uid)
    if status.st_uid not in (0, uid):  # its owner could read it, and put another key in its place
        raise KeyLoadError(f"it belongs to {_name(status.st_uid)}, not to {_name(uid)} or root: run `{repair}`")
    if mode & 0o007:
        raise KeyLoadError(f"everyone has access to it (mode {mode:04o}): run `{repair}`")
    if mode & 0o070 and status.st_gid != 0 and status.st_gid not in gids:
        raise KeyLoadError(
            f"the group {status.st_gid} has access to it (mode {mode:04o}), which is neither root's nor "
            f"{_name(uid)}'s: run `{repair}`"
        )


def _repair(path: str, owner: int | None, uid: int) -> str:
    file = shlex.quote(path)
    chown = "" if owner == uid else f"chown {_name(uid)} {file} && "
    return f"{chown}chmod 0600 {file}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
