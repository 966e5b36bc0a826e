"""The socket on which the MTA calls.

A unix socket is made under a temporary name, with its mode, gets its group there, and is renamed into place, so that
at no moment is it wrong, and at none an old one is gone and the new one not yet there.

Its directory may belong to the service's user while we are still root, and whatever has a name there may become
something else at any time. So names are looked up in the directory that was opened, and what is changed is the very
file that was looked at, never a name.
"""

import errno
import fcntl
import grp
import os
import shlex
import signal
import socket
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from mailnotary.config.listen import Listen
from mailnotary.config.settings import SocketSettings
from mailnotary.daemon import adapter, peers
from mailnotary.errors import SetupError
from mailnotary.files import group_of, open_directory, resolve, user_name

POSTFIX = "/var/spool/postfix/"  # Debian's queue directory, which is its chroot
BACKLOG = 512  # connections that wait while all workers are busy accepting others


_REMEDIES = {  # of what keeps a port from being had
    errno.EADDRINUSE: ": stop the program that listens there (`ss -ltnp` names it), or choose another port",
    errno.EADDRNOTAVAIL: ": choose an address that this machine has (`ip addr` lists them)",
    errno.EACCES: ": ports below 1024 are root's: choose another port, or start the daemon as root",
}


class ListenError(SetupError):
    """The socket can't be had; the text says why and what to do."""


class Listener:
    """The open socket, non-blocking. `remove` takes a unix socket's name away if it is still ours; `identity` is what
    it was made as: device and inode."""

    def __init__(self, sock: socket.socket, path: Path | None = None, identity: tuple[int, int] | None = None) -> None:
        self.socket = sock
        self._path = path
        self._identity = identity

    @property
    def family(self) -> int:
        """AF_UNIX, AF_INET or AF_INET6."""
        return self.socket.family

    def shut(self) -> None:
        """Makes the kernel refuse new connections, in all processes that hold the socket."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.remove()
        self.socket.close()

    def remove(self) -> None:
        """Removes the name, unless another instance has put its own socket there."""
        if self._path is None:
            return
        # A directory that our user cannot write to, or that is gone: the next start replaces the stale socket.
        with suppress(OSError), open_directory(self._path.parent) as home:
            if _identity(os.lstat(self._path.name, dir_fd=home)) == self._identity:
                os.unlink(self._path.name, dir_fd=home)


def open_listener(listen: Listen, settings: SocketSettings, user: str = "") -> Listener:
    """Opens the socket. `user`: the one that this process becomes later, "" where it stays. Raises ListenError."""
    if listen.family == "unix":
        return _open_unix(listen.path, settings, user)
    return _open_inet(listen, settings)


def _open_inet(listen: Listen, settings: SocketSettings) -> Listener:
    family = socket.AF_INET6 if listen.family == "inet6" else socket.AF_INET
    try:
        address = socket.getaddrinfo(listen.host, listen.port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)[0][4]
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{listen}: {_reason(error)}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as written: IPv6 and nothing else
        # Each answer is a packet or two that the MTA waits for; accepted sockets inherit this from the listener.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if settings.peers:
            _admit(sock, settings)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"{listen}: {_reason(error)}{_REMEDIES.get(error.errno or 0, '')}") from error
    except ValueError as error:
        sock.close()
        raise ListenError(f"socket.peers: {error}: add the addresses of those who call {listen}") from error
    return Listener(sock)


def _admit(sock: socket.socket, settings: SocketSettings) -> None:
    try:
        peers.admit(sock, settings.peers)
    except PermissionError as error:  # some kernels and sandboxes allow it to root alone
        sock.close()
        raise ListenError(
            "socket.peers: this system lets only root filter who connects: start the daemon as root (it becomes `user` "
            "later), or use a unix socket, or remove socket.peers and keep strangers out with a firewall"
        ) from error


def _open_unix(path: str, settings: SocketSettings, user: str) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        target = resolve(Path(path).parent) / Path(path).name
        with open_directory(target.parent) as home:
            fcntl.flock(home, fcntl.LOCK_EX)  # two instances that start at once look and rename one after the other
            _refuse_second_instance(path, home, target.name)
            identity = _bind(sock, home, target.name, settings)
    except ListenError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        reason = _no_directory(path, settings, user) if isinstance(error, FileNotFoundError) else _reason(error)
        raise ListenError(f"unix:{path}: {reason}") from error
    return Listener(sock, target, identity)


def _no_directory(path: str, settings: SocketSettings, user: str) -> str:
    """That the socket's directory is missing, and the command that makes it as systemd/mailnotary.tmpfiles would."""
    directory = os.path.dirname(path)
    user = user or user_name(os.geteuid())
    group = settings.group or ("postfix" if directory.startswith(POSTFIX) else group_of(user))
    command = f"install -d -o {user} -g {group} -m 2750 {shlex.quote(directory)}"
    return f"there is no directory {directory}: make it, as root: `{command}`"


def _bind(sock: socket.socket, home: int, name: str, settings: SocketSettings) -> tuple[int, int]:
    """Binds the socket to a name in the directory `home`, and listens; its identity."""
    temporary = f".{name}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=home)
    old_umask = os.umask(~settings.mode & 0o777)
    try:
        sock.bind(_within(home, temporary))
    finally:
        os.umask(old_umask)
    try:
        identity = _set_access(home, temporary, settings)
        sock.listen(BACKLOG)
        os.rename(temporary, name, src_dir_fd=home, dst_dir_fd=home)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=home)
        raise
    return identity


def _within(home: int, name: str) -> str:
    """A path to what has a name in a directory, for calls that take no `dir_fd`."""
    return f"/proc/self/fd/{home}/{name}"


def _refuse_second_instance(path: str, home: int, name: str) -> None:
    try:
        mode = os.lstat(name, dir_fd=home).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"unix:{path}: exists but is not a socket: remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(_within(home, name))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # stale: what it belonged to has ended
        except BlockingIOError:
            pass  # its queue is full: somebody is there
    raise ListenError(f"unix:{path}: another instance is running there: stop it first, or choose another socket")


def _set_access(home: int, name: str, settings: SocketSettings) -> tuple[int, int]:
    """The group, and the mode where a default ACL went before our umask; the identity of what has them now."""
    made = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    try:
        status = os.fstat(made)
        # A link, a file with a second name elsewhere, a socket of somebody else: not the one that was just bound.
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise ListenError(f"{name} was replaced while the daemon started: look who may write to its directory")
        this = f"/proc/self/fd/{made}"  # leads to what was opened, whatever its name leads to by now
        if settings.group is not None:
            _give_to_group(this, status, settings.group, os.readlink(f"/proc/self/fd/{home}"))
        if stat.S_IMODE(status.st_mode) != settings.mode:
            os.chmod(this, settings.mode)
        return _identity(status)
    finally:
        os.close(made)


def _give_to_group(this: str, status: os.stat_result, name: str, directory: str) -> None:
    """Leaves alone what has the group already, by its directory's setgid bit: a sandbox may forbid chown altogether."""
    gid = _group_id(name)
    if status.st_gid == gid:
        return
    try:
        os.chown(this, -1, gid)
    except PermissionError as error:
        raise ListenError(
            f"socket.group: the daemon cannot give its socket to the group '{name}': give the directory to it instead "
            f"(chgrp {name} {directory} && chmod g+s {directory})"
        ) from error


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isascii() and name.isdigit():
            return int(name)
        raise ListenError(f"socket.group: there is no group '{name}' on this machine") from None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class StandIns:
    """Sockets that take the place of the real one.

    libmilter opens its own socket and has no way to be given one. So it opens a harmless one of the same family
    (`spec`), and the real one is put into its place by dup2. `idle` takes that place in a worker that accepts no more:
    it listens, under a name that is gone, so that nobody can ever connect to it.
    """

    def __init__(self, family: int) -> None:
        with tempfile.TemporaryDirectory(prefix="mailnotary-") as directory:
            self.idle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self.idle.bind(f"{directory}/idle")
            self.idle.listen(1)
            before = _open_sockets()
            self._open(family, directory)
            (self.descriptor,) = _open_sockets() - before  # libmilter's, by number

    def _open(self, family: int, directory: str) -> None:
        if family == socket.AF_UNIX:
            adapter.open_socket(f"unix:{directory}/stand-in")
        elif family == socket.AF_INET6:
            adapter.open_socket("inet6:0@[::1]")
        else:
            adapter.open_socket("inet:0@[127.0.0.1]")

    def put(self, sock: socket.socket) -> None:
        """Makes libmilter listen on `sock`."""
        os.dup2(sock.fileno(), self.descriptor, inheritable=False)


def wake_up(libmilter: threading.Thread) -> None:
    """Has libmilter look again at what it listens on, where it may be waiting at another socket, for up to five seconds
    (MI_CHK_TIME). A signal ends that, if a handler gets it. Only the main thread may call this."""
    signal.signal(signal.SIGURG, lambda *_: None)
    signal.pthread_kill(libmilter.ident or 0, signal.SIGURG)


def _open_sockets() -> set[int]:
    descriptors = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                descriptors.add(int(name))
    return descriptors
