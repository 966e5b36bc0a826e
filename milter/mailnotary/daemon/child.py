"""What the processes that the supervisor starts beside the workers have in common when they begin."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def begin(name: str, nice: int) -> None:
    """Makes a process that was just forked one of its own: SIGTERM ends it at any time, what is for the supervisor (a
    reload, a ^C) passes it by, `ps -c` and `top` show it as `name`, and mail goes before it (`nice`)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(nice)
