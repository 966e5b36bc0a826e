"""Opening files of which somebody else may have made something else."""

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path | str) -> int:
    """The descriptor of a regular file, for reading. Raises OSError, also for what is another kind of file: a named
    pipe would keep us waiting for somebody to write into it, a device does what it likes. Never waits."""
    # O_NONBLOCK does not wait for a pipe's other end, O_NOCTTY takes no terminal for ours; fstat looks at what was
    # opened, whatever stands under the name by then.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
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
