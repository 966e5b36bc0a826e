"""The configuration with what the source of keys said last, for commands: they show what the daemon has."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from mailnotary.config.load import Configuration
from mailnotary.config.settings import Settings
from mailnotary.config.yaml_nodes import MAX_PROBLEMS, Problem
from mailnotary.sources import entry, kept
from mailnotary.sources.layers import Layers, SourceEntries, keystore_of
from mailnotary.sources.opening import origin
from mailnotary.sources.table import FAULTY, TableError


def with_source(configuration: Configuration) -> Configuration:
    """The same where there is no source. What cannot be read, and that the source does not answer, are warnings."""
    settings = configuration.settings
    if not settings.source.wanted:
        return configuration
    name, layers, status, problems = origin(settings.source), None, kept.Status(), []
    try:
        layers = kept.read(settings.state_dir, keys=True)
        status = kept.load_status(settings.state_dir)
    except PermissionError:
        problems.append("you can't read what it said last: run this as root")
    except OSError as error:
        problems.append(f"what it said last can't be read: {error.strerror}")
    except TableError as error:
        problems.append(f"what it said last can't be read: {error}")
    if layers is None and not problems:
        problems.append("it has not answered yet, so mail that it may have keys for waits: is the daemon running?")
    if status.error:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(status.since))
        problems.append(f"it does not answer since {since}: {status.error}")
    return replace(
        configuration,
        keystore=keystore_of(settings, configuration.keystore.entries, layers),
        faults=(*configuration.faults, *islice(_faults(layers, name), MAX_PROBLEMS)),
        warnings=(*configuration.warnings, *(Problem(name, 0, 0, text) for text in problems)),
    )


def name_of_source(settings: Settings, domain: str) -> str:
    """The source, where it has the keys of this domain; "" where it has none, or that can't be read."""
    with suppress(OSError, TableError):
        layers = kept.read(settings.state_dir, keys=False) if settings.source.wanted else None
        if layers is not None and domain in SourceEntries(layers):
            return origin(settings.source)
    return ""


def _faults(layers: Layers | None, name: str) -> Iterator[Problem]:
    for record in layers or ():
        if record.kind & FAULTY:
            key = entry.read(record, name).faulty
            yield Problem(name, 0, 0, f"{record.name}: {key.fault if key is not None else ''}")
