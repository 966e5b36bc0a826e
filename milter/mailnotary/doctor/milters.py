"""The milters in Postfix's settings, and which of them is the daemon (MILTER_README)."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath

from mailnotary.config.listen import Listen
from mailnotary.doctor.instance import Postfix, assignments

_UNIX = {"unix", "local"}
_FAMILIES = _UNIX | {"inet", "inet6"}
_MILTER = re.compile(r"\{([^{}]*)\}|([^\s,{}]+)")  # an entry of smtpd_milters: bare, or in braces with its own settings


@dataclass(frozen=True, slots=True)
class Milter:
    """An entry of smtpd_milters: its address, its own settings, and the entry as it is written."""

    address: str
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    text: str = ""


def address(listen: Listen, queue_directory: str) -> str:
    """The daemon's socket as it is written in Postfix's milter settings. A relative path is below the queue directory,
    both inside and outside the chroot."""
    if listen.family == "unix":
        path, queue = PurePosixPath(listen.path), PurePosixPath(queue_directory or "/var/spool/postfix")
        return f"unix:{path.relative_to(queue) if path.is_relative_to(queue) else path}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104, compared
    return f"inet:[{host}]:{listen.port}" if ":" in host else f"inet:{host}:{listen.port}"


def milters(value: str) -> list[Milter]:
    """The entries of smtpd_milters: "inet:host:port, { unix:path, protocol=6 }" (MILTER_README)."""
    entries = []
    for match in _MILTER.finditer(value):
        words = [word.strip() for word in match[1].split(",")] if match[1] else [match[2] or ""]
        entries.append(Milter(words[0], assignments("\n".join(words[1:])), match[0]))
    return entries


def calls(text: str, listen: Listen, postfix: Postfix) -> bool:
    """Whether a milter's address is that of the daemon."""
    if listen.family == "unix":
        family, _, path = text.partition(":")
        queue = PurePosixPath(postfix["queue_directory"] or "/var/spool/postfix")
        inside = str(queue) if postfix.chrooted else "/"
        places = {queue / path} if not path.startswith("/") else {PurePosixPath(inside, path.lstrip("/"))}
        return family in _UNIX and PurePosixPath(listen.path) in places
    try:
        called = Listen.parse(text)
    except ValueError:
        return False
    if called.family == "unix" or called.port != listen.port:
        return False
    return listen.host in {"0.0.0.0", "::"} or bool(_addresses(called.host) & _addresses(listen.host))  # noqa: S104


def misses(text: str, listen: Listen, postfix: Postfix) -> bool:
    """Whether a milter's address is the path of the daemon's socket, which in Postfix's chroot is a different file."""
    family, _, path = text.partition(":")
    return family in _UNIX and listen.family == "unix" and path == listen.path and not calls(text, listen, postfix)


def mistyped(text: str, listen: Listen, postfix: Postfix) -> bool:
    """Whether a milter's address is none that Postfix knows, or has almost the name of the daemon's socket, in its
    directory."""
    family, colon, path = text.partition(":")
    if not colon or family not in _FAMILIES:
        return not text.startswith("$")  # a variable that is defined nowhere may be somebody else's
    if family not in _UNIX or listen.family != "unix" or calls(text, listen, postfix) or misses(text, listen, postfix):
        return False
    ours, theirs = PurePosixPath(listen.path), PurePosixPath(path)
    alike = bool(get_close_matches(theirs.name, [ours.name], cutoff=0.8))
    return alike and calls(f"{family}:{theirs.with_name(ours.name)}", listen, postfix)


def corrected(value: str, listen: Listen, postfix: Postfix, wanted: str) -> str:
    """The list of milters with the daemon in it exactly once, under its right address."""
    entries = milters(value)
    present = any(calls(milter.address, listen, postfix) for milter in entries)
    kept: list[str] = []
    for milter in entries:
        if not misses(milter.address, listen, postfix) and not mistyped(milter.address, listen, postfix):
            kept.append(milter.text)
        elif not present:
            kept.append(milter.text.replace(milter.address, wanted))
            present = True
    return ", ".join(kept if present else [*kept, wanted])


def _addresses(host: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return {host}
