"""The configuration, and who can write the files that the daemon trusts."""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from mailnotary.config import settings_file
from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import ConfigError, Configuration, load_configuration
from mailnotary.config.settings import Mode, Settings
from mailnotary.doctor.finding import Finding, error, ok, unknown, warning
from mailnotary.sources.beside import with_source


def read(path: Path) -> tuple[Settings | None, KeyStore | None, list[Finding]]:
    """As much of the configuration at `path` as can be read, and what is wrong with it."""
    if path.exists() and not os.access(path, os.R_OK):
        return None, None, [unknown("configuration", f"this account cannot read {path}", "run this as root")]
    findings = list(_account(path))
    try:
        configuration = with_source(load_configuration(path))
    except ConfigError as problems:
        findings += [error("configuration", str(problem)) for problem in problems.problems]
        return _settings_alone(path), None, findings
    findings += [warning("configuration", str(problem)) for problem in configuration.warnings]
    if not configuration.stranger:  # whose faults say nothing about the daemon, as `_account` does
        findings += [error("keys", f"{fault}; the mail of its domain waits") for fault in configuration.faults]
    findings.append(ok("configuration", f"{path} is good"))
    findings += _keys(path, configuration)
    return configuration.settings, configuration.keystore, findings


def _settings_alone(path: Path) -> Settings | None:
    """The settings if only the keystore is broken: the rest can still be checked."""
    try:
        return settings_file.load(path)
    except ConfigError:
        return None


def _account(path: Path) -> Iterator[Finding]:
    settings = _settings_alone(path)
    if os.geteuid() == 0 or settings is None:
        return
    try:
        ours = pwd.getpwnam(settings.user).pw_uid == os.geteuid()
    except KeyError:
        ours = False
    if not ours:
        text = f"only root and {settings.user} can check which files the daemon can read and others can write"
        yield unknown("account", text, "run this as root")


def _keys(path: Path, configuration: Configuration) -> Iterator[Finding]:
    entries = configuration.keystore.entries
    if not entries:
        if configuration.settings.mode is not Mode.VERIFY:
            advice = "make a key with `mailnotary keygen DOMAIN SELECTOR`, or set mode: verify"
            yield warning("keys", "the keystore has no domains, so nothing is signed", advice)
        return
    in_files = [entry for entry in entries.values() if not entry.from_source]
    key_files = {Path(key.file) for entry in in_files for key in entry.keys}
    sources = {Path(entry.source) for entry in in_files}
    if len(in_files) < len(entries):
        yield ok("source", f"{len(entries) - len(in_files)} domains have their keys from the source of keys")
    trusted = {path, configuration.settings.keystore} | sources | key_files
    exposed = [file for file in sorted(trusted | {file.parent for file in trusted}) if _others_write(file)]
    for file in exposed:
        text = f"users other than its owner can write {file}, and so could sign as you"
        yield error("keys", text, f"chmod go-w {shlex.quote(str(file))}")
    if not exposed and not configuration.faults:
        count, domains = len(key_files), len(in_files)
        names = f"{count} key{'s' * (count != 1)} of {domains} domain{'s' * (domains != 1)}"
        yield ok("keys", f"{names}, which the daemon can read and no other user can change")


def _others_write(path: Path) -> bool:
    """Whether a group or everybody can write to it. In a directory with the sticky bit nobody can replace the files of
    others."""
    try:
        status = path.stat()
    except OSError:
        return False
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    return bool((group or status.st_mode & stat.S_IWOTH) and not sticky)
