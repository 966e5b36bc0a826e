"""Both files of the configuration in one call, read as the daemon will read them."""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailnotary.config import forwarding, keystore_file, keystore_files, settings_file, settings_reports
from mailnotary.config.keystore import KeyStore
from mailnotary.config.keystore_files import CheckedKeys
from mailnotary.config.settings import Settings
from mailnotary.config.yaml_nodes import ConfigError, Problem, Report, YamlMapping
from mailnotary.files import not_permitted, user_name

__all__ = ["ConfigError", "Configuration", "Problem", "load_configuration"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration, checked. `faults` are keys that can't be used: the mail of their domains waits, all other mail
    does not. `warnings` are for the log; none of them is an error. `stranger`: the user of this process, if that is
    neither root nor the daemon's and therefore perhaps can't read what the daemon can; "" otherwise."""

    settings: Settings
    keystore: KeyStore
    faults: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    stranger: str = ""


@dataclass(frozen=True, slots=True)
class _Account:
    """Who the daemon is once it has dropped its privileges."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def load_configuration(path: Path, checked: CheckedKeys | None = None) -> Configuration:
    """Reads mailnotary.yaml, the keystore that it names and all key files; root reads the latter two as the daemon's
    user. `checked` has the keys that need not be checked again, and is brought up to date (see `keystore_file.read`).
    Raises ConfigError with all errors of either file; keys that can't be used are in `faults` instead."""
    report = Report(path)
    settings, root = settings_file.read(path, report)
    account = _account(settings.user, root, report)
    _check_group(settings, root, report)
    keys_report = Report(settings.keystore)
    keystore = KeyStore()
    with _acting_as(account):
        if not report.problems and not os.access(path, os.R_OK, effective_ids=True):
            report.warn(
                None, f"the user {settings.user} can't read it, so a reload will fail: make it readable for that user"
            )
        if _has_keystore(settings.keystore, root, report):
            keystore = keystore_file.read(
                settings.keystore, keys_report, uid=account.uid, gids=account.groups, checked=checked
            )
    settings_reports.check_keystore(settings, keystore, root, report)
    forwarding.check_keystore(settings.arc, keystore, root, report)
    if report.problems or keys_report.problems:
        raise ConfigError(report.sorted_problems() + keys_report.sorted_problems())
    faults = tuple(dict.fromkeys(keys_report.faults))
    stranger = user_name(os.geteuid()) if os.geteuid() not in (0, account.uid) else ""
    return Configuration(settings, keystore, faults, tuple(report.warnings + keys_report.warnings), stranger)


def _has_keystore(path: Path, root: YamlMapping, report: Report) -> bool:
    """Whether there is a keystore. The default one may be missing: then nothing is signed. One that the file names must
    exist."""
    named = root.get("keystore")
    try:
        path.stat()
    except FileNotFoundError:
        if keystore_files.directory_of(path).is_dir():
            return True
        if named is not None:
            report.error(named, f"{path} does not exist: create it, or remove this key to sign nothing")
        return False
    except PermissionError:
        report.error(named, f"{path} {not_permitted(path)}")
        return False
    except OSError as error:
        report.error(named, f"{path} can't be read: {error.strerror}: check the name")
        return False
    return True


def _account(user: str, root: YamlMapping, report: Report) -> _Account:
    """The daemon's user; that of this process if there is none of that name."""
    own = _own()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if own.uid != 0:
            return own
        report.warn(
            root.get("user"), f"there is no user '{user}' on this machine, so root can't start the daemon: create it"
        )
        return own
    groups = os.getgrouplist(user, entry.pw_gid)
    if own.uid != 0:  # its own groups count, too, for it may be the daemon itself: Kubernetes adds fsGroup
        groups += [own.gid, *own.groups]
    return _Account(entry.pw_uid, entry.pw_gid, tuple(groups))


def _own() -> _Account:
    return _Account(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _check_group(settings: Settings, root: YamlMapping, report: Report) -> None:
    """Reports a group that does not exist. Only unix sockets have one."""
    section = root.get("socket")
    if settings.socket.group is None or not settings.listen.startswith("unix:") or not isinstance(section, YamlMapping):
        return
    try:
        grp.getgrnam(settings.socket.group)
    except KeyError:
        message = f"there is no group '{settings.socket.group}' on this machine: create it, or write another"
        report.error(section.get("group"), message)


@contextmanager
def _acting_as(account: _Account) -> Iterator[None]:
    """Inside, file accesses by root have the rights of another user."""
    own = _own()
    if own.uid != 0 or account.uid == 0:
        yield
        return
    try:
        os.setgroups(account.groups)
        os.setegid(account.gid)
        os.seteuid(account.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own.gid)
        os.setgroups(own.groups)
