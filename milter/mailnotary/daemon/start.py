"""From the command line to a supervisor that serves."""

import gc
import os
import signal
import syslog
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mailnotary.config import settings_file
from mailnotary.config.keystore_files import CheckedKeys
from mailnotary.config.listen import Listen
from mailnotary.config.load import Configuration, Problem, load_configuration
from mailnotary.config.settings import Settings
from mailnotary.config.yaml_file import collector_off
from mailnotary.daemon import descriptors, privileges
from mailnotary.daemon.adapter import Adapter
from mailnotary.daemon.keywatch_parent import KeyWatchProcess
from mailnotary.daemon.listener import Listener, ListenError, StandIns, open_listener
from mailnotary.daemon.log import logger, set_up, standard_error
from mailnotary.daemon.log_pump import LogPump
from mailnotary.daemon.notify import Notifier
from mailnotary.daemon.recorder_parent import RecorderProcess
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.daemon.source_parent import SourceProcess
from mailnotary.daemon.supervisor import Supervisor, Timing, log_findings


def serve(path: Path, listen: str | None = None, timing: Timing | None = None) -> int:
    """Runs the daemon on the configuration at `path` until it is told to stop; the exit status. `listen` goes before
    the file's. Raises yaml_nodes.ConfigError, ListenError, privileges.UserError or OSError if it can't start.

    As root, the file is read twice: first for what has to be done as root (the socket, the user), then as that user,
    with the keys, exactly as each reload will read it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # one that comes too early must not be our end
    settings = _with_listen(settings_file.load(path), listen)
    set_up(settings.log)
    if (limit := descriptors.raise_limit()) < descriptors.ENOUGH:
        text = "few files may be open, and each session of the MTA is one: raise LimitNOFILE in the unit, or ulimit -n"
        logger.warning(text, extra={"fields": {"limit": limit}})
    listener = open_listener(_parse(settings.listen), settings.socket, settings.user if os.geteuid() == 0 else "")
    pump = None
    try:
        callbacks = Adapter()
        callbacks.register()
        stand_ins = StandIns(listener.family)
        privileges.drop(settings.user)
        if problem := privileges.out_of_reach():
            text = "the daemon's user can't read the program, so parts of it will be missing: install it where it can"
            logger.warning(text, extra={"fields": {"problem": problem}})
        # All that is imported is never garbage, and the processes share what they do not write to: a collection in any
        # of them would write to all that it looks at.
        gc.collect()
        gc.freeze()
        pump = _never_wait_for_logs()
        checked = CheckedKeys()

        def load() -> Configuration:
            return _overridden(load_configuration(path, checked), listen)

        supervisor = _supervisor(settings, load, listener, callbacks, stand_ins, timing or Timing(), pump)
        return supervisor.run()
    finally:
        listener.remove()
        if pump is not None:
            pump.finish()


@collector_off()  # it would look at each entry of the keystore, and none is garbage before the end
def _supervisor(
    settings: Settings,
    load: Callable[[], Configuration],
    listener: Listener,
    callbacks: Adapter,
    stand_ins: StandIns,
    timing: Timing,
    pump: LogPump | None,
) -> Supervisor:
    """The supervisor of the first configuration. That ends with this function but for what the supervisor holds, which
    a reload replaces: the keys stay with the workers."""
    configuration = load()
    log_findings(configuration)
    recorder = RecorderProcess(configuration.settings)
    snapshot = Snapshot.write((1, configuration.settings), configuration.keystore.entries)
    return Supervisor(
        settings=settings,
        snapshot=snapshot,
        workers=settings.workers or len(os.sched_getaffinity(0)),
        load=load,
        listener=listener,
        callbacks=callbacks,
        stand_ins=stand_ins,
        key_watch=KeyWatchProcess(snapshot, configuration, recorder.tell),
        recorder=recorder,
        source=SourceProcess(snapshot, configuration.settings, recorder.tell),
        notifier=Notifier(),
        timing=timing,
        log_pump=pump,
        waiting=configuration.keystore.waiting(),
    )


def _with_listen(settings: Settings, listen: str | None) -> Settings:
    return settings if listen is None else replace(settings, listen=listen)


def _overridden(configuration: Configuration, listen: str | None) -> Configuration:
    if listen is None:
        return configuration
    settings = _with_listen(configuration.settings, listen)
    text = "" if settings.socket.peers else _parse(listen).exposure
    warnings = (Problem("--listen", 0, 0, text),) if text else ()
    return replace(configuration, settings=settings, warnings=configuration.warnings + warnings)


def _never_wait_for_logs() -> LogPump | None:
    """From now on no write to standard error waits: not the log's, not what a library prints. A process that it takes
    is not root's, and has seen no key."""
    # libmilter complains to syslog by itself, and syslog(3) waits for a syslog daemon that is stuck.
    syslog.setlogmask(syslog.LOG_MASK(syslog.LOG_EMERG))
    # A terminal with `stty tostop` would stop the whole daemon where it writes from the background (termios(3)).
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    sink, pump = standard_error(), None
    if sink.may_wait:
        pump = LogPump(sink.descriptor)
        sink.descriptor = pump.writer
    if sink.descriptor >= 0:
        os.dup2(sink.descriptor, 2)
    return pump


def _parse(text: str) -> Listen:
    try:
        return Listen.parse(text)
    except ValueError as error:
        raise ListenError(f"--listen: {error}") from error  # the file's own was checked when it was read
