"""Stores new keys: the private key in a file, and its entry in the keystore; both or neither."""

import fcntl
import os
import pwd
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.config.keystore import KeyState
from mailnotary.config.keystore_files import KEYS_DIRECTORY
from mailnotary.errors import DkimKeyError
from mailnotary.files import open_directory, open_regular, resolve, user_name
from mailnotary.keys.edit import EntryEdit, NewKey, edit

MAX_KEYSTORE = 64 * 1_048_576  # octets


class NewKeyError(DkimKeyError):
    """A key can't be stored; the text says why and what to do. Nothing has been changed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner that key files get."""

    uid: int
    gid: int


def owner_of(user: str) -> tuple[Owner | None, str]:
    """The daemon's user where this process may give files to it, and a warning ("" for none) where the daemon will not
    be able to read what is written here."""
    you = user_name(os.geteuid())
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None, (
            f"there is no user '{user}' on this machine, so the new files belong to you ({you}): create the user with "
            f"`adduser --system --group --no-create-home {user}`, and run `chown {user}` on them"
        )
    if os.geteuid() == 0:
        return Owner(entry.pw_uid, entry.pw_gid), ""
    if os.geteuid() == entry.pw_uid:
        return None, ""
    return None, (
        f"the new files belong to you ({you}), and the daemon's user '{user}' can't read them: as root, run "
        f"`chown {user}` on them"
    )


@contextmanager
def locked(keystore: Path) -> Iterator[None]:
    """No other command changes this keystore meanwhile. The lock is on its directory, because the file itself is
    replaced and a separate lock file would be left over."""
    directory = keystore.parent
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        missing = ": create the directory, or name another keystore"
        remedy = "" if isinstance(error, PermissionError) else missing
        raise NewKeyError(f"{directory}: {_reason(error)}{remedy}") from error
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
    suffix: str = ""  # of its file's name, where the selector has been used before


@dataclass(frozen=True, slots=True)
class EntryKeys:
    """What to store for one entry of the keystore: keys of the domain that it signs as, fields of its other keys to set
    (selector -> field -> value), and selectors of keys to remove."""

    name: str
    domain: str
    keys: Sequence[Pem] = ()
    changed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    removed: Sequence[str] = ()
    state: KeyState = KeyState.AUTO  # of the new keys

    def file(self, key: Pem) -> str:
        """The name of a key's file in the directory of the keys."""
        return f"{self.domain}.{key.selector}{key.suffix}.pem"

    def edit(self) -> EntryEdit:
        """The change of the keystore."""
        added = [NewKey(key.selector, f"{KEYS_DIRECTORY}/{self.file(key)}", str(self.state)) for key in self.keys]
        return EntryEdit(self.name, added, self.changed, self.removed)


def store(
    keystore: Path, entries: Sequence[EntryKeys], *, owner: Owner | None, source: Path | None = None
) -> list[Path]:
    """Writes the keys of entries and adds them to the keystore, all or none; returns their files. `source` is
    the file that has the entries, if that is not the keystore itself but one of its directory. Key files are never
    removed. Call it within `locked`. Raises NewKeyError, KeystoreEditError or ConfigError, and then has changed
    nothing."""
    keys_directory = keystore.parent / KEYS_DIRECTORY
    changes = [entry.edit() for entry in entries]
    files: list[Path] = []
    try:
        target = resolve(source or keystore)  # a symbolic link is kept
        with open_directory(target.parent) as home:
            old = _read(home, target, owner)
            result = edit(old.octets if old else b"", changes, file=str(source or keystore))
            with _made(resolve(keys_directory), owner) as keys_home, _all_or_none(keys_home) as written:
                for entry in entries:
                    for key in entry.keys:
                        files.append(keys_directory / entry.file(key))
                        _write_key(keys_home, files[-1], key.octets, owner, written)
                os.fsync(keys_home)
                _replace(home, target, result, old)
    except OSError as error:
        raise _failed(source or keystore, error) from error
    return files


def _failed(path: Path, error: OSError) -> NewKeyError:
    """The error for a path, or for the part of it that the system names."""
    named = str(error.filename or "")
    return NewKeyError(f"{named if named.startswith('/') else path}: {_reason(error)}")


def _reason(error: OSError) -> str:
    as_root = ": run this as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    return f"{error.strerror}{as_root}"


@dataclass(frozen=True, slots=True)
class _Old:
    """A keystore as it was."""

    octets: bytes
    status: os.stat_result


def _read(home: int, path: Path, owner: Owner | None) -> _Old | None:
    """The keystore in the directory `home`, or None. It must belong to root, the daemon's user or the user of this
    process."""
    try:
        descriptor = open_regular(path.name, dir_fd=home)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NewKeyError(f"{path}: can't be read: {_reason(error)}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        data = file.read(MAX_KEYSTORE + 1)
    if status.st_uid not in (0, os.geteuid(), owner.uid if owner else 0):
        raise NewKeyError(
            f"{path}: belongs to the user {status.st_uid}, neither to root, nor to you or the daemon's user: check "
            "that this is the right keystore, and run `chown root` on it"
        )
    if len(data) > MAX_KEYSTORE:
        raise NewKeyError(f"{path}: larger than {MAX_KEYSTORE} octets: this can't be a keystore")
    return _Old(data, status)


@contextmanager
def _made(path: Path, owner: Owner | None) -> Iterator[int]:
    """The directory of the keys, which is created if missing; see `files.open_directory`."""
    with open_directory(path.parent) as home:
        try:
            os.mkdir(path.name, 0o750, dir_fd=home)
        except FileExistsError:
            new = False
        except OSError as error:
            raise _failed(path, error) from error
        else:
            new = True
    with open_directory(path) as descriptor:
        if new:
            if owner is not None:
                os.fchown(descriptor, -1, owner.gid)  # owned by root, so that the daemon can't put keys there
            os.fchmod(descriptor, 0o750)  # regardless of the umask: the daemon must be able to enter
        yield descriptor


@contextmanager
def _all_or_none(home: int) -> Iterator[list[Path]]:
    """The list of files written inside. They are removed on any failure, even an interrupt: a key file without an entry
    would block the next attempt."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for file in written:
            with suppress(OSError):
                os.unlink(file.name, dir_fd=home)
        raise


def _write_key(home: int, file: Path, octets: bytes, owner: Owner | None, written: list[Path]) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file.name, flags, 0o600, dir_fd=home)
    except FileExistsError as error:
        raise NewKeyError(
            f"{file} exists already, and keys are never overwritten: choose another selector, or move the file away"
        ) from error
    except OSError as error:
        raise _failed(file, error) from error
    written.append(file)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600)
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        stream.write(octets)
        stream.flush()
        os.fsync(descriptor)


def _replace(home: int, path: Path, data: bytes, old: _Old | None) -> None:
    """Replaces a file atomically and durably; owner and mode are kept."""
    name = f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=home)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if old is None:
                os.fchmod(descriptor, 0o644)  # the daemon reads it as its own user, and it holds no secret
            else:
                _keep_owner_and_mode(path, old.status, descriptor)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.rename(name, path.name, src_dir_fd=home, dst_dir_fd=home)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=home)
        raise
    os.fsync(home)


def _keep_owner_and_mode(path: Path, old: os.stat_result, descriptor: int) -> None:
    ours = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (ours.st_uid, ours.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError as error:
            raise NewKeyError(
                f"{path} belongs to another user, and its owner could not be kept: run this as root"
            ) from error
    os.fchmod(descriptor, old.st_mode & 0o777)
