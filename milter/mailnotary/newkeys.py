"""New keys on the disk: the private key beside the keystore, its entry in it; both or neither."""

import fcntl
import os
import pwd
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mailnotary.keystore_edit import NewKey, edit

FOLDER = "keys"  # beside the keystore
MAX_KEYSTORE = 64 * 1_048_576  # octets


class NewKeyError(Exception):
    """A key can't be stored; the text says why and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom key files are to belong to."""

    uid: int
    gid: int


def owner_of(user: str) -> tuple[Owner | None, str]:
    """The daemon's user where this process may give files to it, and a warning ("" for none) where the daemon will not
    be able to read what is written here."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None, (
            f"there is no user '{user}' on this machine: the key belongs to you; create the user "
            f"(adduser --system --group --no-create-home {user}) and give the key to it with chown"
        )
    if os.geteuid() == 0:
        return Owner(entry.pw_uid, entry.pw_gid), ""
    if os.geteuid() == entry.pw_uid:
        return None, ""
    return None, f"the key belongs to you, not to the daemon's user '{user}': give it to it with chown (as root)"


@contextmanager
def locked(keystore: Path) -> Iterator[None]:
    """Nobody else changes this keystore meanwhile. The lock is on its folder: a file would be replaced under it, and a
    lock file of its own would be left behind."""
    folder = keystore.parent
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NewKeyError(f"{folder}: {error.strerror}: create the folder, or name another keystore") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Pem:
    """A private key to be stored."""

    selector: str
    octets: bytes


def store(
    keystore: Path,
    entry: str,
    domain: str,
    keys: Sequence[Pem],
    *,
    owner: Owner | None,
    changed: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Path]:
    """Writes keys of a domain, adds them as `auto` to the keystore's entry, and sets fields of its other keys
    (`changed`: selector -> field -> value); returns the files. Call it within `locked`. Raises NewKeyError,
    KeystoreEditError or ConfigError, and then has changed nothing."""
    target = Path(os.path.realpath(keystore))  # a symbolic link stays one
    data = _read(target)
    files = [keystore.parent / FOLDER / f"{domain}.{key.selector}.pem" for key in keys]
    added = [NewKey(key.selector, f"{FOLDER}/{file.name}", "auto") for key, file in zip(keys, files, strict=True)]
    result = edit(data or b"", entry, added, changed, file=str(keystore))
    written: list[Path] = []
    try:
        _make_folder(keystore.parent / FOLDER, owner)
        for key, file in zip(keys, files, strict=True):
            _write_key(file, key.octets, owner, written)
        _sync(keystore.parent / FOLDER)
        _replace(target, result, new=data is None)
    except BaseException as error:  # an interrupt too: a key without its entry would stand in the next one's way
        for file in written:
            with suppress(OSError):
                file.unlink()
        if isinstance(error, OSError):
            raise NewKeyError(f"{error.filename or target}: {error.strerror}") from error
        raise
    return files


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_KEYSTORE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NewKeyError(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > MAX_KEYSTORE:
        raise NewKeyError(f"{path}: larger than {MAX_KEYSTORE} octets: this can't be a keystore")
    return data


def _make_folder(folder: Path, owner: Owner | None) -> None:
    try:
        os.mkdir(folder, 0o750)
    except FileExistsError:
        return
    if owner is not None:
        os.chown(folder, -1, owner.gid)  # root's own, so that the daemon can't put keys there
    os.chmod(folder, 0o750)  # noqa: S103 - whatever the umask says; the daemon must get in


def _write_key(file: Path, octets: bytes, owner: Owner | None, written: list[Path]) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise NewKeyError(
            f"{file} exists already, and keys are never overwritten: choose another selector, or move it away"
        ) from error
    written.append(file)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600)
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        stream.write(octets)
        stream.flush()
        os.fsync(descriptor)


def _replace(path: Path, data: bytes, *, new: bool) -> None:
    """Puts the octets into the place of a file, at once and for good; its owner and mode stay."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if new:
                os.fchmod(descriptor, 0o644)  # the daemon reads it as its own user; no secret stands in it
            else:
                _take_over(path, descriptor)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.rename(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync(path.parent)


def _take_over(path: Path, descriptor: int) -> None:
    old, ours = os.stat(path), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (ours.st_uid, ours.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError as error:
            raise NewKeyError(f"{path} belongs to somebody else, and would no longer: run this as root") from error
    os.fchmod(descriptor, old.st_mode & 0o7777)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
