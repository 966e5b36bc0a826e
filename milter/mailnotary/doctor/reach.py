"""Whether Postfix's processes can connect to the daemon's socket: as their user, in their chroot."""

import errno
import os
import pwd
import socket
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from mailnotary.config.listen import Listen
from mailnotary.config.settings import Settings
from mailnotary.doctor.finding import Finding, error, ok, unknown
from mailnotary.doctor.instance import Postfix
from mailnotary.doctor.milters import address
from mailnotary.files import group_of

_NOBODY_LISTENS = (os.strerror(errno.ENOENT), os.strerror(errno.ECONNREFUSED))  # where all directories let Postfix in


def check(postfix: Postfix, settings: Settings, listen: Listen) -> Iterator[Finding]:
    """Whether Postfix's user can connect to a unix socket from its chroot."""
    if listen.family != "unix":
        return
    queue, user = postfix["queue_directory"] or "/var/spool/postfix", postfix["mail_owner"] or "postfix"
    if not PurePosixPath(listen.path).is_relative_to(queue):
        if postfix.chrooted:
            better = f"{queue}/mailnotary/mailnotary.sock"
            text = f"Postfix runs in the chroot {queue}, where {listen.path} does not exist"
            yield error("reachable", text, f"listen: unix:{better}, and {address(Listen('unix', path=better), queue)}")
            return
        path, root = listen.path, "/"
    else:
        root = queue if postfix.chrooted else "/"
        path = "/" + str(PurePosixPath(listen.path).relative_to(root))
    if os.geteuid() != 0:
        yield unknown("reachable", f"only root can check whether {user} can use {listen.path}", "run this as root")
        return
    problem = as_user(user, root, lambda: _connect(path))
    if problem in _NOBODY_LISTENS:
        yield error("reachable", f"Postfix's user {user} cannot use {listen.path}: {problem}", "start the daemon")
    elif problem:
        advice = (
            f"give the socket's directory to that group (install -d -o {settings.user} -g {group_of(user)} -m 2750 "
            f"{PurePosixPath(listen.path).parent}), leave socket.mode at 0660, and restart mailnotary"
        )
        yield error("reachable", f"Postfix's user {user} cannot use {listen.path}: {problem}", advice)
    else:
        where = f", from the chroot {root}" if root != "/" else ""
        yield ok("reachable", f"Postfix's user {user} can use {listen.path}{where}")


def as_user(user: str, root: str, what: Callable[[], str]) -> str:
    """Calls a function in a child process as this user, in a chroot, and returns its result. Only root can do this."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = _changed(user, root, what)
        except BaseException as problem:
            answer = str(problem) or type(problem).__name__
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return answer


def _changed(user: str, root: str, what: Callable[[], str]) -> str:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return f"there is no user '{user}'"
    os.initgroups(user, entry.pw_gid)
    os.chroot(root)
    os.chdir("/")
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    return what()


def _connect(path: str) -> str:
    """Why this process cannot connect, "" if it can."""
    for directory in reversed(PurePosixPath(path).parents):
        if not os.access(directory, os.X_OK):
            there = os.path.isdir(directory)
            return f"no permission to enter {directory}" if there else f"there is no directory {directory}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except OSError as problem:
            return problem.strerror or str(problem)
    return ""
