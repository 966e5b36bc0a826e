"""Private key files: who may read them, and what a look at them tells before they are used."""

import os
import shlex
import stat
from collections.abc import Collection
from pathlib import Path

from mailnotary.config.keystore import StoredKey
from mailnotary.crypto import MAX_PEM_OCTETS, KeyLoadError, PrivateKey, load_private_key
from mailnotary.files import closed_directory, group_name, user_name

_NO_KEY = "check the name; for a new key, remove this one and run `mailnotary keygen`"
# Without O_NONBLOCK a named pipe would keep us waiting for someone to write into it.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def read_key(path: str, uid: int, gids: Collection[int], *, unsafe: bool = False, copies: str = "keys") -> bytes:
    """The octets of a private key file; whether they are a key is not looked at. The file must be readable for this
    process and closed to those who have no business with it: its owner is root or the daemon's user `uid` (or the user
    of this process), its group (if that has access) root's or one of `gids`, and others have no access at all. `unsafe`
    skips these rules. `copies` is the directory for which errors suggest a copy of a file that belongs to somebody
    else. Raises KeyLoadError with what to do."""
    data, status = _read(path, uid, copies)
    if not unsafe:
        _check_access(path, status, uid, gids, copies)
    return data


def read_secret(path: str, uid: int, gids: Collection[int], octets: int) -> bytes:
    """The octets of another file with a secret, at most so many, under the rules of `read_key`. Raises KeyLoadError."""
    data, status = _read(path, uid, os.path.dirname(path), "check the name, or create it")
    _check_access(path, status, uid, gids, os.path.dirname(path))
    if len(data) > octets:
        raise KeyLoadError(f"larger than {octets} octets: is this the right file?")
    return data


def load_key(key: StoredKey) -> PrivateKey:
    """The private key of a keystore's key, parsed. Raises KeyLoadError."""
    if key.fault:
        raise KeyLoadError(key.fault)
    return load_private_key(key.pem)


def _read(path: str, uid: int, copies: str, if_missing: str = _NO_KEY) -> tuple[bytes, os.stat_result]:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise KeyLoadError(_not_opened(path, uid, copies, error, if_missing)) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            kind = "is a directory" if stat.S_ISDIR(before.st_mode) else "not a regular file"
            raise KeyLoadError(f"{kind}: name the file of the key")
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


def _not_opened(path: str, uid: int, copies: str, error: OSError, if_missing: str) -> str:
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):
            return f"a symbolic link to {shlex.quote(os.readlink(path))}, which does not exist: fix or remove the link"
        return f"does not exist: {if_missing}"
    if not isinstance(error, PermissionError):
        return f"can't be opened: {error.strerror}"
    if os.geteuid() not in (0, uid):  # whether the daemon can read it is not known, and nothing needs to be changed
        return f"you ({user_name(os.geteuid())}) can't read it: run this as root, which reads keys as {user_name(uid)}"
    try:
        owner = os.stat(path).st_uid
    except PermissionError:
        directory = closed_directory(path) or os.path.dirname(path)
        text = f"the daemon's user {user_name(uid)} cannot enter the directory {shlex.quote(directory)}"
        if Path(directory).is_relative_to("/root") or Path(directory).is_relative_to("/home"):
            # Somebody's own, and hidden from the service by ProtectHome= in its unit.
            return f"{text}: {_copy(path, uid, copies)}"
        return f"{text}: run `setfacl -m u:{user_name(uid)}:x {shlex.quote(directory)}` (from Debian's package acl)"
    except OSError:
        owner = 0
    if owner not in (0, uid):
        text = f"it belongs to {user_name(owner)}, and the daemon's user {user_name(uid)} can't read it"
        return f"{text}: {_copy(path, uid, copies)}"
    return f"the daemon's user {user_name(uid)} can't read it: {_repair(path, owner, uid)}"


def _check_access(path: str, status: os.stat_result, uid: int, gids: Collection[int], copies: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, uid) and status.st_uid != os.geteuid():  # its owner could put another key in its place
        text = f"it belongs to {user_name(status.st_uid)}, not to the daemon's user {user_name(uid)} or root"
        raise KeyLoadError(f"{text}: {_copy(path, uid, copies)}")
    if mode & 0o007:
        text = f"everyone has access to it (mode {mode:04o})"
        raise KeyLoadError(f"{text}: {_repair(path, status.st_uid, uid)}")
    if mode & 0o070 and status.st_gid != 0 and status.st_gid not in gids:
        group = group_name(status.st_gid)
        text = (
            f"the group {group} has access to it (mode {mode:04o}), and the user {user_name(uid)} is not in that group"
        )
        raise KeyLoadError(f"{text}: {_copy(path, uid, copies)}")


def _repair(path: str, owner: int, uid: int) -> str:
    """How to close a file of root or the daemon to others."""
    if _is_read_only(path):
        return _READ_ONLY.format(user=user_name(uid), uid=uid)
    file = shlex.quote(path)
    chown = "" if owner == uid else f"chown {user_name(uid)} {file} && "
    return f"run `{chown}chmod 0600 {file}`"


def _copy(path: str, uid: int, copies: str) -> str:
    """What to do about a file that others may use: to change it would take it from them."""
    if _is_read_only(path):
        return _READ_ONLY.format(user=user_name(uid), uid=uid)
    if os.path.dirname(path) == copies:  # a directory of ours, where nobody else looks for keys
        return _repair(path, -1, uid)
    copy = shlex.quote(os.path.join(copies, os.path.basename(path)))
    command = f"install -D -o {user_name(uid)} -m 0600 {shlex.quote(path)} {copy}"
    return f"leave it as it is, run `{command}`, and name the copy in the keystore"


_READ_ONLY = (
    "it is on a read-only mount, so mount it with mode 0400 and owner {uid} ({user}), or with mode 0440 and a group of "
    "the daemon; if neither can be set (container secrets), write `unsafe_keys: true` in the keystore"
)


def _is_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
