"""The parent of the workers: it starts and restarts them, hands them new configurations, and ends them.

It does no mail and no DNS, holds no threads, and gets its signals one at a time from sigtimedwait: nothing in it is
interrupted in the middle.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mailnotary.config.load import Configuration
from mailnotary.config.settings import Settings
from mailnotary.config.yaml_file import collector_off
from mailnotary.config.yaml_nodes import ConfigError
from mailnotary.daemon.adapter import Adapter
from mailnotary.daemon.channel import CONFIGURATION, SIGNING, STOP, Channel
from mailnotary.daemon.heartbeat import Heartbeats
from mailnotary.daemon.keywatch_parent import KeyWatchProcess
from mailnotary.daemon.listener import Listener, StandIns
from mailnotary.daemon.log import say_lost, set_up
from mailnotary.daemon.log_pump import LogPump
from mailnotary.daemon.notify import Notifier
from mailnotary.daemon.place import Place
from mailnotary.daemon.recorder_parent import RecorderProcess
from mailnotary.daemon.restarts import Restarts
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.daemon.snapshots import Snapshots
from mailnotary.daemon.source_parent import SourceProcess
from mailnotary.daemon.worker import Worker

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    tick: float = 1.0  # between two looks at the workers
    stale: float = 30.0  # without a heartbeat, after which a worker counts as unresponsive
    first_delay: float = 0.1  # before a worker that died is replaced; doubled each time
    longest_delay: float = 5.0
    healthy: float = 10.0  # after so long a life, the delay begins anew
    stop_margin: float = 5.0  # beyond `stop_seconds`, after which workers are killed


_NEED_RESTART = ("listen", "socket", "workers", "user")
SHOWN_WAITING = 5  # domains in the status
STARTS = 3  # a worker that never served is tried so often at the start before we give up


@dataclass(slots=True)
class Supervisor:
    """`settings` are those that were read at the start and lie in `snapshot`, together with the keys and as generation
    1; `load` reads both files anew and raises ConfigError, and the old ones then stay in force. The keys themselves are
    not kept here."""

    settings: Settings
    snapshot: Snapshot
    workers: int
    load: Callable[[], Configuration]
    listener: Listener
    callbacks: Adapter
    stand_ins: StandIns
    key_watch: KeyWatchProcess
    recorder: RecorderProcess
    source: SourceProcess
    notifier: Notifier
    timing: Timing = field(default_factory=Timing)
    log_pump: LogPump | None = None
    waiting: Sequence[str] = ()
    _places: list[Place] = field(init=False)
    _heartbeats: Heartbeats = field(init=False)
    _ready: bool = field(init=False, default=False)
    _generation: int = field(init=False, default=1)
    _restarts: int = field(init=False, default=0)  # of workers
    _refusals: int = field(init=False, default=0)  # of configurations
    _reloading: int = field(init=False, default=0)  # the generation that not all workers have yet
    _grace: float = field(init=False, default=0.0)  # until then no worker counts as unresponsive
    _looked: float = field(init=False, default=0.0)
    _pinged: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        timing = self.timing
        self._places = [
            Place(number, Restarts(timing.first_delay, timing.longest_delay, timing.healthy))
            for number in range(self.workers)
        ]
        self._heartbeats = Heartbeats(self.workers)

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._looked = time.monotonic()
        while True:
            self._fill_places()
            received = signal.sigtimedwait(_SIGNALS, self._pause())
            number = received.si_signo if received is not None else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                return self._stop(signal.Signals(number).name)
            # The lowest number comes first: one SIGHUP after the other must not keep SIGTERM waiting.
            if number == signal.SIGHUP and not signal.sigpending() & {signal.SIGTERM, signal.SIGINT}:
                self._reload()
            self._reap()
            self._look()
            say_lost()
            if not self._ready and all(place.restarts.deaths >= STARTS for place in self._places):
                log.error("no worker could be started")
                self.listener.shut()
                return 1

    def _pause(self) -> float:
        tick = min(self.timing.tick, self.notifier.watchdog_interval or self.timing.tick)
        if not self._ready or self._reloading:
            tick = min(tick, 0.005)  # workers say in shared memory how far they are
        return min([tick, *(place.restarts.wait for place in self._places if not place.pid)])

    # -- workers

    def _fill_places(self) -> None:
        if self.log_pump is not None:
            self.log_pump.keep()
        self.recorder.keep()
        controls = [place.control for place in self._places if place.control]
        self.source.keep([self.listener.socket, *_open(self.key_watch.control), *controls])
        said = self.source.base, self.source.changes
        self.key_watch.keep([self.listener.socket, *_open(self.source.control), *controls], said)
        if not self._ready and (self.source.holds_start or self.key_watch.holds_start):
            return
        for place in self._places:
            if not place.pid and not place.restarts.wait:
                self._start(place)

    def _start(self, place: Place) -> None:
        self._heartbeats.clear(place.number)
        theirs = place.fork()
        if theirs is not None:
            try:
                self._become_worker(place, theirs)
            finally:
                os._exit(1)

    def _become_worker(self, place: Place, control: Channel) -> None:
        # Else the end of the supervisor would not be the end of these channels.
        for other in [*(other.control for other in self._places), self.key_watch.control, self.source.control]:
            if other is not None:
                other.close()
        snapshots = Snapshots(self.snapshot, self.key_watch.signing, self.source.base, self.source.changes)
        Worker(
            place.number,
            control,
            snapshots,
            self._heartbeats,
            self.callbacks,
            self.listener,
            self.stand_ins,
            self.recorder.writer,
            self.recorder.board,
        ).run()

    def _reap(self) -> None:
        for pid, status in _ended_children():
            self.key_watch.ended(pid, status)
            self.recorder.ended(pid, status)
            self.source.ended(pid, status)
            if self.log_pump is not None:
                self.log_pump.ended(pid)
            for place in self._places:
                if place.pid == pid:
                    place.ended(status)
                    self._restarts += 1

    def _look(self) -> None:
        """The workers' heartbeats, and ours."""
        now = time.monotonic()
        if now - self._looked > self.timing.stale / 2:
            self._grace = now + self.timing.stale  # we were stopped ourselves, and so were they
        self._looked = now
        heartbeats = {place.number: self._heartbeats.last(place.number) for place in self._places if place.pid}
        for place in self._places:
            if place.pid and not place.killed:
                silent = now - max(heartbeats[place.number][0], place.restarts.started)
                place.judge(silent, stale=silent > self.timing.stale and now > self._grace)
        for word, snapshot in self.source.news():
            self._tell(word, snapshot)
            self.key_watch.tell(word, snapshot)
        if self.key_watch.has_news():
            self._tell(SIGNING, self.key_watch.signing)
        if self.settings.metrics.listen is not None:
            self._tell_metrics()
        self._say_ready([generation for _, generation in heartbeats.values()])
        if self.notifier.watchdog_interval and now - self._pinged >= self.notifier.watchdog_interval * 0.9:
            self._pinged = now
            self.notifier.watchdog()

    def _tell_metrics(self) -> None:
        alive = sum(bool(place.pid) for place in self._places)
        values: list[tuple[tuple[str, ...], float]] = [
            (("workers",), alive),
            (("configuration_generation",), self._generation),
            (("worker_restarts",), self._restarts),
            (("reload_failures",), self._refusals),
        ]
        self._restarts = self._refusals = 0
        self.recorder.tell(values)

    def _say_ready(self, generations: list[int]) -> None:
        if not self._ready and any(generations):
            self._ready = True
            log.info("ready", extra={"fields": {"listen": self.settings.listen, "workers": len(self._places)}})
            self.notifier.ready(self._status())
        if self._reloading and generations and min(generations) >= self._reloading:
            log.info("reloaded", extra={"fields": {"generation": self._reloading}})
            self._reloading = 0
            self.notifier.ready(self._status())

    def _status(self) -> str:
        status = f"serving on {self.settings.listen}, configuration {self._generation}"
        if not self.waiting:
            return status
        more = len(self.waiting) - SHOWN_WAITING
        names = ", ".join(self.waiting[:SHOWN_WAITING]) + (f" and {more} more" if more > 0 else "")
        return f"{status}; keys can't be used, so mail of {names} waits: see the log"

    # -- the configuration

    @collector_off()  # as at the start
    def _reload(self) -> None:
        """Takes over the admin's files as a whole, or says what is wrong with them and stays as it is."""
        self.notifier.reloading()
        problems: list[str] = []
        try:
            new = self.load()
            snapshot = Snapshot.write((self._generation + 1, new.settings), new.keystore.entries)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
        except Exception as error:  # a defect of ours, no memory: anything but the end of the service
            log.error("defect while reloading", exc_info=error)
            problems = [f"{type(error).__name__}: {error}"]
        if problems:
            self._refusals += 1
            for problem in problems:
                log.error("reload refused", extra={"fields": {"problem": problem}})
            self.notifier.ready(f"{self._status()}; a newer one is faulty, see the log")
            return
        self._generation += 1
        self._reloading = self._generation
        self.snapshot = snapshot
        self._adopt(new)
        self._tell(CONFIGURATION, snapshot)
        self.source.reload(self.settings, snapshot)
        self.key_watch.reload(new, snapshot)
        self.recorder.reload(self.settings)

    def _adopt(self, new: Configuration) -> None:
        if new.settings.log != self.settings.log:
            set_up(new.settings.log)
        log_findings(new)
        self.waiting = new.keystore.waiting()
        kept = {name: getattr(self.settings, name) for name in _NEED_RESTART}
        for name, value in kept.items():
            if getattr(new.settings, name) != value:
                log.warning("a changed setting needs a restart", extra={"fields": {"setting": name}})
        self.settings = replace(new.settings, **kept)

    def _tell(self, word: bytes, snapshot: Snapshot | None = None) -> None:
        for place in self._places:
            place.tell(word, snapshot)

    # -- the end

    def _stop(self, why: str) -> int:
        """No new connections; the workers serve theirs for `stop_seconds`. A second signal ends it at once."""
        log.info("stopping", extra={"fields": {"signal": why}})
        self.notifier.stopping(self.settings.stop_seconds + 2 * self.timing.stop_margin)
        self.listener.remove()
        self.key_watch.stop()
        self.source.stop()
        self._tell(STOP)
        patience = time.monotonic() + self.timing.stop_margin
        deadline = patience + self.settings.stop_seconds
        listens = True
        while any(place.pid for place in self._places):
            # libmilter ends all sessions at once where it finds that the socket it listens on was shut.
            if listens and (self._all_let_go() or time.monotonic() > patience):
                self.listener.shut()
                listens = False
            received = signal.sigtimedwait(_SIGNALS, 0.005 if listens else self.timing.tick)
            self.notifier.watchdog()
            hurried = received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT)
            if hurried or time.monotonic() > deadline:
                for place in self._places:
                    if place.pid:
                        os.kill(place.pid, signal.SIGKILL)
            gone = dict(_ended_children())
            for pid, status in gone.items():
                self.recorder.ended(pid, status)
            for place in self._places:
                place.pid = 0 if place.pid in gone else place.pid
        self.listener.shut()
        self.recorder.finish()
        log.info("stopped")
        return 0

    def _all_let_go(self) -> bool:
        return all(self._heartbeats.has_let_go(place.number) for place in self._places if place.pid)


def log_findings(configuration: Configuration) -> None:
    """Logs what is not right with a configuration that is taken over."""
    for fault in configuration.faults:
        log.error("a key can't be used, and the mail of its domain waits", extra={"fields": {"problem": str(fault)}})
    for warning in configuration.warnings:
        log.warning("configuration", extra={"fields": {"problem": str(warning)}})


def _open(channel: Channel | None) -> list[Channel]:
    return [] if channel is None else [channel]


def _ended_children() -> Iterator[tuple[int, int]]:
    """Every child that has ended, with its status; as process 1 of a container those of others, too."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status
