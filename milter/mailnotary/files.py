"""Opening files and directories that somebody else may have replaced."""

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_LINKS = 40  # on one path, as in the kernel (path_resolution(7))


def open_regular(path: Path | str, *, dir_fd: int | None = None) -> int:
    """The descriptor of a regular file, for reading. With `dir_fd` it is named relative to that directory, and must not
    be a symbolic link. Raises OSError, also for any other kind of file: a named pipe would keep us waiting for somebody
    to write into it, a device does what it likes. Never waits."""
    # O_NONBLOCK does not wait for a pipe's other end, O_NOCTTY takes no terminal for ours; fstat looks at what was
    # opened, whatever has that name by then.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if dir_fd is None else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=dir_fd)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path | str, octets: int) -> bytes:
    """At most so many octets of a regular file, from its start. Raises OSError as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(octets)


def resolve(path: Path) -> Path:
    """The path without symbolic links; what it names may be missing. Raises OSError, also where a link on it belongs to
    somebody who is neither root nor the user of this process: who could make us write anywhere."""
    done, left, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left:
        part = left.pop()
        step = done.parent if part == ".." else done / part
        try:
            status = os.lstat(step)
        except FileNotFoundError:
            done = step
            continue
        if not stat.S_ISLNK(status.st_mode):
            done = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if status.st_uid not in (0, os.geteuid()):
            owner = f"the user {status.st_uid}, neither root nor you"
            problem = f"is a symbolic link that belongs to {owner}: name what it leads to instead"
            raise OSError(errno.EPERM, problem, str(step))
        target = Path(os.readlink(step))
        done = Path("/") if target.is_absolute() else done
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return done


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory at a path without symbolic links (see `resolve`): what is named relative to it
    (`dir_fd`) is there and nowhere else, whatever happens to the path meanwhile. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.readlink(f"/proc/self/fd/{descriptor}") != str(path):  # a part of the path has become a link
            raise OSError(errno.ENOENT, "was replaced while it was opened", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def user_name(uid: int) -> str:
    """The name of a user, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number if there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def group_of(user: str) -> str:
    """The name of a user's own group, which need not be that of the user; the user's where there is none of it yet."""
    try:
        return group_name(pwd.getpwnam(user).pw_gid)
    except KeyError:
        return user


def closed_directory(path: Path | str) -> str:
    """The first directory on the way to a file that this process cannot enter, "" if it can enter all of them."""
    ways = (Path(path).absolute(), Path(os.path.realpath(path)))  # what the file is a link to has a way of its own
    directories = (str(directory) for way in ways for directory in reversed(way.parents))
    return next((directory for directory in directories if not os.access(directory, os.X_OK, effective_ids=True)), "")


def not_written(path: Path, error: OSError) -> str:
    """Why a file can't be made at a path, and what to do about it where it is for its directory."""
    user, directory = user_name(os.geteuid()), path.absolute().parent
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and not directory.is_dir():
        return f"{reason}: make its directory, as root: `install -d -o {user} {shlex.quote(str(directory))}`"
    if isinstance(error, PermissionError):
        return f"{reason}: let the user {user} write in the directory {directory}"
    return reason


def not_permitted(path: Path | str) -> str:
    """Who has no permission to read what is at a path, and what to do about it."""
    directory = closed_directory(path)
    remedy = f"let that user enter the directory {directory}" if directory else "make it readable for that user"
    return f"can't be read by the user {user_name(os.geteuid())}: {os.strerror(errno.EACCES)}: {remedy}"
