"""The process that asks the source of keys, off the mail path, and hands what has changed to the supervisor. Nothing
waits for it, and where it fails, or the source does, the workers go on with what was said last."""

import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from mailnotary.config.settings import Settings
from mailnotary.daemon import child
from mailnotary.daemon.channel import CHANGES, CONFIGURATION, END, SOURCE, Channel
from mailnotary.daemon.log import say_lost, set_up
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.errors import MailnotaryError
from mailnotary.metrics.counts import Series, Tell
from mailnotary.sources import kept
from mailnotary.sources.asker import Asker, News
from mailnotary.sources.kept import Status
from mailnotary.sources.table import TableError

log = logging.getLogger(__name__)

NAME: Final = "mailnotary-srcs"  # of the process, as `ps -c` and `top` show it
NICE: Final = 10  # mail goes first
LOST_SECONDS: Final = 2.0  # after which it is tried again to say that log lines were lost
MARGIN: Final = 30.0  # seconds beyond source.timeout, after which a look counts as hung


class _OutOfTimeError(MailnotaryError):
    """A look has hung."""


def run(
    control: Channel, configuration: Snapshot, base: Snapshot | None, changes: Snapshot | None, tell: Tell
) -> NoReturn:
    """The life of the process. On `control` the supervisor hands over new configurations, and takes new tables; its
    end is this one's too. `base` and `changes` are what an earlier process has handed over; `tell` takes what the
    metrics say. SIGTERM ends it at any time."""
    try:
        child.begin(NAME, NICE)
        signal.signal(signal.SIGALRM, _hung)
        signal.signal(signal.SIGTERM, _told_to_end)
        _work(control, configuration, base, changes, tell)
    except SystemExit:
        os._exit(0)
    except _OutOfTimeError:
        log.error("a question to the source of keys has hung; starting anew")
    except BaseException as error:
        log.critical("defect in the process of the source", exc_info=error)
    os._exit(1)


def _hung(*_: object) -> None:
    raise _OutOfTimeError


def _told_to_end(*_: object) -> None:
    """Not the default, so that a program that runs ends too."""
    raise SystemExit


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _work(
    control: Channel, configuration: Snapshot, base: Snapshot | None, changes: Snapshot | None, tell: Tell
) -> None:
    settings = _settings(configuration, None)
    asker = Asker(settings)
    if base is None:
        _remembered(control, asker, settings)
    else:
        theirs = None if changes is None else os.dup(changes.descriptor)
        asker.adopt(os.dup(base.descriptor), theirs, is_kept=False)
    while True:
        pause = max(asker.due - time.monotonic(), 0.0)
        if not say_lost():
            pause = min(pause, LOST_SECONDS)
        readable, _, _ = select.select([control], [], [], pause)
        if readable:
            messages = control.receive()
            if END in messages:
                os._exit(0)
            if (newest := messages.get(CONFIGURATION)) is not None:
                settings = _settings(newest, settings)
                asker.reload(settings)
        if time.monotonic() >= asker.due:
            with _at_most(settings.source.timeout + MARGIN):
                news = asker.look()
            if news is not None:
                _tell(control, news)
                asker.keep()
            if settings.metrics.listen is not None:
                tell(values(asker.status))


def values(status: Status) -> list[tuple[Series, float]]:
    """What the metrics say of the source."""
    return [
        (("source_domains",), status.domains),
        (("source_domains_waiting",), status.waiting),
        (("source_failing",), bool(status.error)),
    ]


def _remembered(control: Channel, asker: Asker, settings: Settings) -> None:
    """What the source said before this daemon was started."""
    try:
        base, changes = kept.load(settings.state_dir)
        if base is None:
            return
        asker.adopt(base, changes, is_kept=True)
        _tell(control, News(base, changes))
    except (OSError, TableError) as error:
        text = "what the source of keys said last cannot be read; mail waits until it answers"
        log.error(text, extra={"fields": {"error": str(error)}})


def _tell(control: Channel, news: News) -> None:
    """The base goes first: changes are of one."""
    with suppress(ConnectionError):  # the supervisor has gone, and we go when we next listen to it
        if news.base is not None:
            control.send(SOURCE, Snapshot(os.dup(news.base)))
        control.send(CHANGES, None if news.changes is None else Snapshot(os.dup(news.changes)))


def _settings(configuration: Snapshot, old: Settings | None) -> Settings:
    (_, settings), _ = configuration.read()
    configuration.close()
    if old is None or settings.log != old.log:
        set_up(settings.log)
    new: Settings = settings
    return new
