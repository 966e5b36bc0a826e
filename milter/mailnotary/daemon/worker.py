"""One worker process: libmilter in a thread of its own, and in the main thread all that is not mail.

The main thread takes what the supervisor says (a new snapshot, the end), sends the heartbeats, and gets the signals:
libmilter's own thread would take SIGHUP, SIGTERM and SIGINT for "stop at once", but the kernel gives a signal that is
sent to the process to its main thread first where that does not block it.
"""

import encodings.idna  # noqa: F401 - what the first socket.getaddrinfo() would load, in each worker anew
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import idna  # noqa: F401 - what the first name in Unicode would load, in each worker anew

from mailnotary.config.keystore import KeyStore, Published
from mailnotary.config.settings import DnsSettings, Settings
from mailnotary.daemon import adapter
from mailnotary.daemon.adapter import Adapter
from mailnotary.daemon.board import Board
from mailnotary.daemon.channel import END, STOP, Channel
from mailnotary.daemon.heartbeat import Heartbeats
from mailnotary.daemon.listener import Listener, StandIns
from mailnotary.daemon.log import Log, say_lost, set_up
from mailnotary.daemon.recording import Recording
from mailnotary.daemon.room import Room
from mailnotary.daemon.snapshots import Snapshots
from mailnotary.daemon.waker import Waker
from mailnotary.history.privacy import hide
from mailnotary.metrics.counts import Counts
from mailnotary.resolver.dns import DnsResolver, system_nameservers
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.sources.layers import keystore_of

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
SHORT_SECONDS = 0.05  # between two looks for room while no session can begin
IDLE_SECONDS = 1.0  # after a message, in which the next one of its session may begin while the daemon stops
STUCK_MARGIN = 30.0  # seconds beyond what a message may take, after which a callback will never end
# Cyclic garbage is looked for among the newest objects after so many were made and not freed, among those that stayed
# after OLDER such looks, and among all after OLDEST of these. Messages make next to none, but mail of domains that are
# not known yet fills the caches. All messages wait meanwhile: 10,000 new objects take 5 to 13 ms, once in some 300 such
# messages, and 1,000 take a tenth of that ten times as often. With Python's own numbers (700, 10, 10) a worker looked
# through all that is in its caches (40 ms for 80,000 objects) once in some thousand such messages.
NEW = 1_000
OLDER = 100
OLDEST = 10
HOSTNAME_SECONDS = 5.0  # for the host's full name
ACCEPT_SECONDS = 0.1  # in which a connection that was just accepted shows up as a session


class Worker:
    """The life of one worker. `control` is where the supervisor speaks; at its end it is gone. `recorder` is where
    outcomes go for the history, `board` has what it knows of replays."""

    def __init__(
        self,
        number: int,
        control: Channel,
        snapshots: Snapshots,
        heartbeats: Heartbeats,
        callbacks: Adapter,
        listener: Listener,
        stand_ins: StandIns,
        recorder: socket.socket,
        board: Board,
    ) -> None:
        self._number = number
        self._control = control
        self._snapshots = snapshots
        self._heartbeats = heartbeats
        self._adapter = callbacks
        self._listener = listener
        self._stand_ins = stand_ins
        self._generation = 0
        self._waker = Waker()
        self._environments = Environments(self._waker.wake, recorder, board)
        self._terminated = False
        self._said_stuck = False

    def run(self) -> NoReturn:
        """Serves until the supervisor says stop, ends, or something is broken beyond repair."""
        try:
            self._adapter.source = self._environments.current
            signal.signal(signal.SIGTERM, self._on_sigterm)
            for number in (signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _keep_to_one_core(self._number)
            self._load()
            thread = threading.Thread(target=_run_milter, name="libmilter", daemon=True)
            self._adapter.gate.clear()
            self._waker.begin(thread, self._stand_ins, self._listener.socket)
            self._adapter.gate.set()
            self._send_heartbeat()
            room = Room(self._number, self._adapter, self._stand_ins, self._listener.socket, thread)
            while thread.is_alive():
                self._step(room)
            log.error("libmilter has ended by itself", extra={"fields": {"worker": self._number}})
        except BaseException as error:
            log.critical("defect in a worker", exc_info=error, extra={"fields": {"worker": self._number}})
        os._exit(1)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True

    def _step(self, room: Room) -> None:
        patience = SHORT_SECONDS if room.short else HEARTBEAT_SECONDS
        sources: list[Channel | int] = [self._control, room.full]
        readable, _, _ = select.select(sources, [], [], patience)
        self._send_heartbeat()
        self._environments.flush()
        say_lost()
        self._waker.wake_for_unread()  # and libmilter closes a session that is silent for 2 hours, ours too
        if self._terminated:
            self._drain()
        if not room.look():
            log.warning(
                "nearly all files are open: a new worker takes over", extra={"fields": {"worker": self._number}}
            )
            self._drain()
        if self._control not in readable:
            return
        try:
            messages = self._control.receive()
            if STOP in messages or END in messages:
                self._drain()
            self._snapshots = self._snapshots.after(messages)
            self._load()
        except (MemoryError, OSError) as error:
            # A fresh process may do better, and no worker stays behind on the old configuration for good.
            log.error("can't take over the configuration; making room for a new worker", exc_info=error)
            self._drain(status=1)
        self._send_heartbeat()

    # -- the configuration

    def _load(self) -> None:
        gc.collect()  # before what is garbage is frozen with the rest
        gc.disable()  # it would look through a tree that only grows
        try:
            (generation, settings), entries = self._snapshots.configuration.read()
            (signing, with_source), _ = self._snapshots.signing.read()
            keystore = keystore_of(settings, entries, self._snapshots.layers(), with_source=with_source)
            self._environments.adopt(settings, keystore, signing)
            self._generation = generation
        finally:
            gc.freeze()  # what a configuration is made of is never garbage before it is replaced as a whole
            gc.set_threshold(NEW, OLDER, OLDEST)
            gc.enable()

    # -- life and death

    def _send_heartbeat(self) -> None:
        """Sends a heartbeat, unless a callback is stuck: then the supervisor is to think that we are dead."""
        settings = self._environments.current().settings
        since = self._adapter.live.stuck_since()
        allowed = max(settings.limits.message_seconds, settings.limits.spf_seconds) + STUCK_MARGIN
        if since is None or time.monotonic() - since < allowed:
            self._heartbeats.beat(self._number, self._generation)
        elif not self._said_stuck:
            self._said_stuck = True
            fields = {"worker": self._number, "seconds": int(time.monotonic() - since), "threads": _stacks()}
            log.error("a message is stuck", extra={"fields": fields})

    def _drain(self, status: int = 0) -> NoReturn:
        """Accepts no more, serves the messages under way to their end or to the end of our patience, and leaves without
        libmilter's clean-up, which would serve nobody. Sessions between two messages may last long, and are ended."""
        self._stand_ins.put(self._stand_ins.idle)
        self._heartbeats.let_go(self._number)
        deadline = time.monotonic() + self._environments.current().settings.stop_seconds
        time.sleep(ACCEPT_SECONDS)
        while self._adapter.live.in_messages(IDLE_SECONDS) and time.monotonic() < deadline:
            self._send_heartbeat()
            time.sleep(0.05)
        if left := len(self._adapter.live.in_messages(0)):
            log.warning(
                "stopping with messages under way", extra={"fields": {"worker": self._number, "messages": left}}
            )
        self._environments.flush()
        os._exit(status)


class Environments:
    """What the sessions of this process judge with; taking over a new configuration replaces it in one step.
    `before_wait` is the resolver's, `recorder` where outcomes go for the history."""

    def __init__(self, before_wait: Callable[[], object], recorder: socket.socket, board: Board) -> None:
        self._before_wait = before_wait
        self._recorder = recorder
        self._board = board
        self._recording: Recording | None = None
        self._resolver: DnsResolver | None = None
        self._counts = Counts()
        self._current: Environment | None = None
        self._dns: tuple[DnsSettings, list[tuple[str, int]]] | None = None

    def current(self) -> Environment:
        """The newest environment."""
        if self._current is None:
            raise RuntimeError("no configuration was loaded yet")
        return self._current

    def adopt(self, settings: Settings, keystore: KeyStore, published: Published) -> None:
        """Judges with these from now on; `published` are the auto keys that sign. The resolver, and its cache with it,
        stays where nothing about it has changed."""
        old = self._current
        dns = settings.dns
        wanted = (dns, list(dns.nameservers) or system_nameservers())
        if old is not None and wanted == self._dns:
            resolver = old.resolver
        else:
            resolver = self._resolver = DnsResolver(
                wanted[1],
                timeout=dns.timeout,
                cache_entries=dns.cache_entries,
                before_wait=self._before_wait,
                note=self._counts.query,
            )
        if old is None or _recorded(old.settings) != _recorded(settings):
            self.flush()
            lost = self._recording.lost if self._recording is not None else 0
            self._recording = _recording(settings, self._recorder, self._counts, lost)
            self._outcome = Outcome(set_up(settings.log), self._recording)
        hostname = settings.authserv_id or (old.hostname if old is not None else _hostname())
        replayed = self._board if settings.history.enabled and settings.history.replay_networks else ()
        self._current = Environment(
            settings, keystore, resolver, self._outcome, hostname, published=published, replayed=replayed
        )
        self._dns = wanted

    def flush(self) -> None:
        """Hands over what has been gathered for the recorder."""
        if self._resolver is not None:
            self._resolver.tidy()
        if self._resolver is not None and self._resolver.hits:
            hits, self._resolver.hits = self._resolver.hits, 0
            self._counts.add("dns_cache_hits", by=hits)
        if self._recording is not None:
            self._recording.flush()
        else:
            self._counts.take()


def _recorded(settings: Settings) -> tuple[object, ...]:
    """What an `Outcome` is made of."""
    return settings.log, settings.history, settings.metrics, settings.state_dir


def _recording(settings: Settings, recorder: socket.socket, counts: Counts, lost: int) -> Recording | None:
    hides, history = None, settings.history
    if history.enabled:
        try:
            hides = hide(history.addresses, settings.state_dir)
        except OSError as error:
            text = "the history is not kept: the key of its hashes can be neither read nor made"
            log.error(text, extra={"fields": {"error": str(error)}})
    counted = settings.metrics.listen is not None
    if hides is None and not counted:
        return None
    replays = hides is not None and history.replay_networks > 0
    return Recording(recorder, hides, counts if counted else None, count_replays=replays, lost=lost)


class Outcome:
    """Writes one log line a message, and hands the message over to the history."""

    def __init__(self, log: Log, recording: Recording | None) -> None:
        self._log = log
        self._recording = recording

    def __call__(self, record: MessageRecord) -> None:
        """Never raises: what happens to a message does not depend on its log line."""
        if self._recording is not None:
            self._recording(record)
        try:
            level = logging.ERROR if record.error else logging.INFO
            if level >= self._log.level:
                self._log.line(level, "message", record.log_fields())
        except Exception as error:
            log.error("defect in a message's log line", exc_info=error)


def _keep_to_one_core(number: int) -> None:
    """Python runs one thread at a time. Where libmilter's threads are on several cores, each callback (one a header
    field) hands its turn over to a thread that first has to wake up there. Kept to one core, whoever has the turn goes
    on until nothing is left to do: 40 % more messages of 4 KB for 17 % less CPU, 60 % more of 2 MB for 30 % less; and
    no fewer beside another program that keeps a core busy. Daemons with fewer workers than there are cores begin at
    different ones."""
    with suppress(OSError):  # a sandbox may forbid it
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(os.getppid() + number) % len(cores)]})


def _run_milter() -> None:
    try:
        adapter.run()
    except BaseException as error:
        log.error("libmilter failed", exc_info=error)


def _hostname() -> str:
    """The host's full name, "localhost" where it has none. May ask DNS, though not for long: the system's resolver has
    the patience of a minute where no server answers, in which this worker would be killed as unresponsive."""
    name = socket.gethostname()
    if "." in name:
        return name
    names = [name or "localhost"]
    asking = threading.Thread(target=lambda: names.append(socket.getfqdn(name)), name="hostname", daemon=True)
    asking.start()
    asking.join(HOSTNAME_SECONDS)
    return names[-1]


def _stacks() -> str:
    """Where each thread is, for the log."""
    frames = sys._current_frames().values()
    return " | ".join(
        "; ".join(f"{f.name}:{f.lineno}" for f in traceback.extract_stack(frame)[-4:]) for frame in frames
    )
