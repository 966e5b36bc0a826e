"""The daemon with a fault built in, for tests: `python faulty_daemon.py -c FILE`, the fault chosen by the environment.

FAULT: "stuck": a message with the field X-Stuck never ends; "spin": nor does it, and it holds the
interpreter lock; "defect-METHOD,METHOD": the session's methods of these names raise; "clock": the wall clock runs ahead
by the seconds in the file $CLOCK_FILE; "slow": each message takes $SLOW seconds at its end. STALE: seconds
after which the supervisor takes a worker for wedged; MARGIN: seconds that a message may take beyond those configured.
"""

import argparse
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

FAULT = os.environ.get("FAULT", "")

if FAULT == "clock":
    real_time = time.time
    clock_file = Path(os.environ["CLOCK_FILE"])
    time.time = lambda: real_time() + float(clock_file.read_text())

# First the clock, then those who look at it.
from mailnotary.cli import CommandError, run  # noqa: E402
from mailnotary.daemon import start, supervisor, worker  # noqa: E402
from mailnotary.session.session import Session  # noqa: E402


def defect(*_: object) -> None:
    """What a method of ours never should do, with a text that is up to no good in a log."""
    raise RuntimeError("built-in defect \x1b[31m\r\ninjected: line")


def build_in() -> None:
    """Puts the fault where it belongs."""
    if FAULT.startswith("defect-"):
        for name in FAULT.removeprefix("defect-").split(","):
            setattr(Session, name, defect)
    elif FAULT in ("stuck", "spin", "slow"):
        header, end_of_message = Session.header, Session.end_of_message
        marked = set[Session]()

        def mark(self: Session, name: bytes, value: bytes) -> None:
            if name == b"X-Stuck":
                marked.add(self)
            header(self, name, value)

        def end(self: Session, queue_id: str | None) -> object:
            if self in marked and FAULT == "stuck":
                time.sleep(3600)
            if self in marked and FAULT == "spin":
                re.match(r"(a|aa)+$", "a" * 200 + "b")  # one call, and the universe is too young for its end
            if FAULT == "slow":
                time.sleep(float(os.environ["SLOW"]))
            return end_of_message(self, queue_id)

        Session.header, Session.end_of_message = mark, end  # type: ignore[method-assign, assignment]
    worker.STUCK_MARGIN = float(os.environ.get("MARGIN", worker.STUCK_MARGIN))


def main() -> int:
    """`mailnotary run`, with the fault."""
    build_in()
    stale = float(os.environ.get("STALE", "30"))
    timing = supervisor.Timing(tick=min(1.0, stale / 10), stale=stale)
    start.serve = partial(start.serve, timing=timing)
    parser = argparse.ArgumentParser()
    run.configure(parser)
    try:
        return run.run(parser.parse_args())
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
