"""The process of the key watch: it looks at the keys' DNS records, off the mail path, and tells the supervisor which
`auto` keys sign. Nothing waits for it, and where it fails the workers go on with what it last said."""

import logging
import os
import select
import time
from collections import Counter
from contextlib import suppress
from typing import NoReturn

from mailnotary.config.keystore import KeyStore, SigningSet
from mailnotary.config.settings import LogSettings, Settings
from mailnotary.daemon import child
from mailnotary.daemon.channel import CONFIGURATION, END, SIGNING, Channel
from mailnotary.daemon.log import say_lost, set_up
from mailnotary.daemon.snapshot import Snapshot
from mailnotary.daemon.snapshots import Snapshots
from mailnotary.keys import progress
from mailnotary.keys.histories import StateError
from mailnotary.keys.progress import Phase
from mailnotary.keys.watch import KeyWatch
from mailnotary.metrics.counts import Series, Tell
from mailnotary.resolver import Resolver
from mailnotary.resolver.dns import DnsResolver
from mailnotary.sources.layers import keystore_of

log = logging.getLogger(__name__)

NAME = "mailnotary-keys"  # of the process, as `ps -c` and `top` show it
NICE = 10  # mail goes first
LOST_SECONDS = 2.0  # after which it is tried again to say that log lines were lost


def run(control: Channel, snapshots: Snapshots, tell: Tell) -> NoReturn:
    """The life of the process. On `control` the supervisor hands over new configurations, and takes new signing
    sets; its end is this one's too. `tell` takes what there is to say for the metrics. SIGTERM ends it at any time."""
    try:
        child.begin(NAME, NICE)
        _watch(control, snapshots, tell)
    except BaseException as error:
        log.critical("defect in the key watch", exc_info=error)
    os._exit(1)


def _watch(control: Channel, snapshots: Snapshots, tell: Tell) -> None:
    announced = False  # of anything

    def announce(signing: SigningSet) -> None:
        nonlocal announced
        announced = True
        with suppress(ConnectionError):  # the supervisor has gone, and we go when we next listen to it
            control.send(SIGNING, Snapshot.write((signing, snapshots.source is not None)))

    watch = KeyWatch(announce, snapshots.signing.read()[0][0])
    settings, resolver = _adopt(watch, snapshots, None)
    due = time.monotonic() + settings.key_check_seconds
    while True:
        pause = 0.0 if watch.busy else max(due - time.monotonic(), 0.0)
        if not say_lost():
            pause = min(pause, LOST_SECONDS)
        readable, _, _ = select.select([control], [], [], pause)
        if readable:
            messages = control.receive()
            if END in messages:
                os._exit(0)
            if messages:
                begun, had_auto = snapshots.source is None, _has_auto(snapshots)
                snapshots = snapshots.after(messages)
                if CONFIGURATION in messages or had_auto or _has_auto(snapshots):
                    settings, resolver = _adopt(watch, snapshots, settings.log)
                    due = time.monotonic() + settings.key_check_seconds
                if begun and snapshots.source is not None:
                    announce(watch.signing)  # those that wait for the source's keys go on
        if watch.busy:
            watch.step(resolver)
            if not announced and not watch.busy:
                announce(watch.signing)  # the first round is done: those who wait for it go on
            if not watch.busy and settings.metrics.listen is not None:
                tell([*_values(watch), *rotation_values(settings)])
        elif time.monotonic() >= due:
            due = time.monotonic() + settings.key_check_seconds
            watch.begin()


def _values(watch: KeyWatch) -> list[tuple[Series, float]]:
    """What the metrics say of the keys."""
    names = {
        "state": "keys",
        "record": "key_records",
        "signing": "keys_signing",
        "oldest": "oldest_signing_key_seconds",
    }
    return [
        ((names[what], *([label] if label else [])), value)
        for what, values in watch.summary().items()
        for label, value in values.items()
    ]


def rotation_values(settings: Settings) -> list[tuple[Series, float]]:
    """What the metrics say of keys that replace themselves, as the last run of `mailnotary rotate --due` has noted
    it."""
    if settings.rotation.rotate_every is None:
        return []
    try:
        noted = progress.load(settings.state_dir)
    except StateError as error:
        log.warning("the state of key rotation is not known", extra={"fields": {"error": str(error)}})
        return []
    phases = Counter(step.phase for step in noted.steps)
    values: list[tuple[Series, float]] = [(("keys_in_rotation", phase), phases[phase]) for phase in Phase]
    values.append((("key_rotation_problems",), sum(bool(step.problem) for step in noted.steps)))
    if noted.next_due is not None:
        values.append((("key_rotation_next_seconds",), noted.next_due - time.time()))
    return values


def _adopt(watch: KeyWatch, snapshots: Snapshots, old_log: LogSettings | None) -> tuple[Settings, Resolver]:
    (_, settings), entries = snapshots.configuration.read()
    if settings.log != old_log:
        set_up(settings.log)
    dns = settings.dns
    layers = snapshots.layers() if _has_auto(snapshots) else None
    watch.adopt(settings, KeyStore(entries) if layers is None else keystore_of(settings, entries, layers))
    # No cache: each look is to see what DNS has now.
    return settings, DnsResolver(dns.nameservers, timeout=dns.timeout, cache_entries=0)


def _has_auto(snapshots: Snapshots) -> bool:
    """Whether what the source has depends on this process. Its other keys sign whatever DNS has, and to look at a
    hundred thousand of them at each change of one would be work for nothing: `mailnotary keys` shows their records."""
    layers = snapshots.layers()
    return layers is not None and bool(layers.value["auto"])
