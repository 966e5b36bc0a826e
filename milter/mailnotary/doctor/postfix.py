"""Postfix: its settings for milters, as postconf(1) tells them, and whether its processes reach the daemon."""

import grp
import os
import pwd
import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mailnotary.config.keystore import KeyStore
from mailnotary.config.listen import Listen
from mailnotary.config.settings import Mode, Settings
from mailnotary.doctor import filters
from mailnotary.doctor.filters import FILTER_SETTINGS
from mailnotary.doctor.finding import Finding, error, ok, warning
from mailnotary.doctor.instance import Postfix, public
from mailnotary.doctor.machine import command
from mailnotary.domain import is_domain_name, is_subdomain, to_ascii
from mailnotary.escape import printable
from mailnotary.files import read_regular

COMMAND_TIMEOUT = 30.0  # seconds; Postfix's default for milter_command_timeout
PROTOCOL = 6  # the first that carries the white space after a header's colon (HDR_LEADSPC)

_WANTED = (
    "queue_directory",
    "mail_owner",
    "smtpd_milters",
    "non_smtpd_milters",
    "milter_protocol",
    "milter_default_action",
    "milter_command_timeout",
    "milter_content_timeout",
    "internal_mail_filter_classes",
    "receive_override_options",
    "milter_connect_macros",
    "milter_mail_macros",
    "milter_end_of_data_macros",
    "smtpd_milter_maps",
    "myorigin",
    *FILTER_SETTINGS,
)
_MACROS = {
    "milter_connect_macros": "j",
    "milter_mail_macros": "{auth_authen}",
    "milter_end_of_data_macros": "i",
}
_UNIX = {"unix", "local"}
# What milter_default_action does while the daemon is away (postconf(5)).
_WAITING = {
    "tempfail": "mail waits while the daemon is away",
    "shutdown": "Postfix ends the session with a 421, and mail waits, while the daemon is away",  # since 3.10.8
}
_HARM = {
    "accept": "accept lets mail pass unchecked and unsigned while the daemon is away",
    "reject": "reject refuses all mail for good while the daemon is away",
    "quarantine": "quarantine puts all mail on hold, unchecked and unsigned, while the daemon is away",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # postconf(5), of time
_MILTER = re.compile(r"\{([^{}]*)\}|([^\s,{}]+)")  # an entry of smtpd_milters: plain, or in braces with parameters


@dataclass(frozen=True, slots=True)
class Milter:
    """An entry of smtpd_milters: where it listens, the settings of its own that follow it, and all as it is written."""

    address: str
    settings: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


def read() -> Postfix | None:
    """This machine's Postfix; None where there is none."""
    expanded = command("postconf", "-x", *_WANTED)  # with $names expanded
    if expanded is None:
        return None
    services = _services(command("postconf", "-M") or "")
    return Postfix(
        _assignments(expanded),
        _assignments(command("postconf", "-Px") or ""),
        _chrooted(command("postconf", "-F", "*/*/chroot") or "", services),
        services,
    )


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _services(text: str) -> dict[str, str]:
    """The lines of master.cf as "service/type" to the command's name (master(5))."""
    lines = (line.split() for line in text.splitlines())
    return {f"{words[0]}/{words[1]}": words[7] for words in lines if len(words) > 7}


def _chrooted(chroot: str, services: Mapping[str, str]) -> bool:
    """master(5): "-" is the default, which means no for all but very old configurations."""
    callers = {f"{name}/chroot" for name, program in services.items() if program in {"smtpd", "cleanup"}}
    return any(name in callers and value == "y" for name, value in _assignments(chroot).items())


def check(postfix: Postfix, settings: Settings, keystore: KeyStore | None = None) -> Iterator[Finding]:
    """Everything that this Postfix and these settings have to agree on."""
    listen = Listen.parse(settings.listen)
    wanted = address(listen, postfix["queue_directory"])
    found = None
    for name in ("smtpd_milters", "non_smtpd_milters"):
        entry = next((one for one in milters(postfix[name]) if _calls(one.address, listen, postfix)), None)
        found = found or entry
        yield from _listed(name, postfix[name], listen, postfix, wanted)
    yield from _switched_off(postfix, listen)
    yield from _reachable(postfix, settings, listen)
    yield from _overridden(postfix, listen, wanted)
    own = found.settings if found else {}
    yield from _behaviour(postfix, own, settings)
    yield from _protocol(postfix, own)
    if settings.mode is not Mode.VERIFY:
        if "bounce" not in postfix["internal_mail_filter_classes"]:
            advice = "postconf internal_mail_filter_classes=bounce"
            yield warning("internal_mail_filter_classes", "Postfix's own bounces are not signed", advice)
        yield from own_mail(postfix["myorigin"], keystore or KeyStore())
    yield from filters.check(
        postfix, settings, lambda value: any(_calls(one.address, listen, postfix) for one in milters(value))
    )


def own_mail(myorigin: str, keystore: KeyStore) -> Iterator[Finding]:
    """What Postfix and programs of this machine write has myorigin in From: whether it is signed."""
    domain = to_ascii(_content(myorigin)) or ""
    if not keystore.entries or not is_domain_name(domain):
        return
    if (entry := keystore.find(domain)) is not None:
        yield ok("myorigin", f"bounces and mail of this machine come from {domain}, which {entry.name} signs for")
        return
    parent = next((name for name in keystore.entries if is_subdomain(domain, name)), None)
    ways = [f"postconf myorigin={parent} && postfix reload", f"include_subdomains: true for {parent} in the keystore"]
    ways = [*(ways if parent else []), f"`mailnotary keygen {domain} SELECTOR`"]
    text = (
        f"bounces and mail of this machine (cron) come from {domain}, which no domain of the keystore covers: unsigned"
    )
    yield warning("myorigin", text, ", or ".join(ways))


def _content(name: str) -> str:
    """The name, or that in the file that it names, as Debian has it in /etc/mailname (postconf(5), myorigin)."""
    if not name.startswith("/"):
        return name
    try:
        return read_regular(name, 1024).decode("ascii", "replace").strip()
    except OSError:
        return ""


# -- where it calls


def address(listen: Listen, queue_directory: str) -> str:
    """How Postfix's milter settings name the daemon's socket. Relative paths begin at the queue directory, in its
    chroot and outside of it."""
    if listen.family == "unix":
        path, queue = PurePosixPath(listen.path), PurePosixPath(queue_directory or "/var/spool/postfix")
        return f"unix:{path.relative_to(queue) if path.is_relative_to(queue) else path}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104, compared
    return f"inet:[{host}]:{listen.port}" if ":" in host else f"inet:{host}:{listen.port}"


def milters(value: str) -> list[Milter]:
    """The entries of smtpd_milters: "inet:host:port, { unix:path, protocol=6 }" (MILTER_README)."""
    found = []
    for match in _MILTER.finditer(value):
        words = [word.strip() for word in match[1].split(",")] if match[1] else [match[2] or ""]
        found.append(Milter(words[0], _assignments("\n".join(words[1:])), match[0]))
    return found


def _calls(text: str, listen: Listen, postfix: Postfix) -> bool:
    """Whether a milter's address is the daemon's."""
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


def _misses(text: str, listen: Listen, postfix: Postfix) -> bool:
    """Whether a milter's address is the daemon's socket by a path that leads elsewhere in Postfix's chroot."""
    family, _, path = text.partition(":")
    return family in _UNIX and listen.family == "unix" and path == listen.path and not _calls(text, listen, postfix)


def _corrected(value: str, listen: Listen, postfix: Postfix, wanted: str) -> str:
    """A list of milters with the daemon in it, once and by the right address."""
    entries = milters(value)
    present = any(_calls(one.address, listen, postfix) for one in entries)
    kept: list[str] = []
    for one in entries:
        if not _misses(one.address, listen, postfix):
            kept.append(one.text)
        elif not present:
            kept.append(one.text.replace(one.address, wanted))
            present = True
    return ", ".join(kept if present else [*kept, wanted])


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return {host}


def _listed(name: str, value: str, listen: Listen, postfix: Postfix, wanted: str) -> Iterator[Finding]:
    entries = milters(value)
    advice = f"postconf {name}={shlex.quote(_corrected(value, listen, postfix, wanted))} && postfix reload"
    if wrong := next((one for one in entries if _misses(one.address, listen, postfix)), None):
        text = f"Postfix looks for {printable(wrong.address)} in its chroot, where it is not: all mail waits"
        yield error(name, text, advice)
        return
    if mine := next((one for one in entries if _calls(one.address, listen, postfix)), None):
        yield ok(name, f"Postfix calls {printable(mine.address)}")
        return
    whose = "mail by SMTP" if name == "smtpd_milters" else "mail of the sendmail command"
    now = f"names {printable(', '.join(one.address for one in entries))}" if entries else "is empty"
    make = error if name == "smtpd_milters" else warning
    yield make(name, f"it {now}, so that {whose} does not pass the daemon", advice)


def _switched_off(postfix: Postfix, listen: Listen) -> Iterator[Finding]:
    """smtpd_milter_maps goes before smtpd_milters, by the client's address: DISABLE, or other milters."""
    values = {"smtpd_milter_maps": postfix["smtpd_milter_maps"]}
    values |= {name: value for name, value in postfix.overrides.items() if name.endswith("/smtpd_milter_maps")}
    for name, value in sorted(values.items()):
        if not value:
            continue
        for_all = value.partition("static:")[2].strip("{} ")
        if for_all and not any(_calls(one.address, listen, postfix) for one in milters(for_all)):
            text = f"{printable(value)} keeps all mail by SMTP from the daemon"
            yield error(name, text, "remove it: it goes before smtpd_milters")
        elif not for_all:
            text = f"{printable(value)} may keep the mail of some clients from the daemon"
            yield warning(name, text, "make sure that it names none whose mail must be checked or signed")


def _overridden(postfix: Postfix, listen: Listen, wanted: str) -> Iterator[Finding]:
    """Services of master.cf that have milters of their own, or none."""
    for name, value in sorted(postfix.overrides.items()):
        service, _, parameter = name.rpartition("/")
        if not public(service):
            continue  # one for a content filter rightly has none
        mine = any(_calls(one.address, listen, postfix) for one in milters(value))
        if parameter == "smtpd_milters" and not mine:
            text = f"{service} has its own smtpd_milters, so that its mail does not pass the daemon"
            better = _corrected(value, listen, postfix, wanted)
            advice = (
                f"remove it, or write -o {{ smtpd_milters = {better} }}"
                if "," in better
                else f"-o smtpd_milters={better}"
            )
            yield warning("master.cf", text, advice)
        if parameter == "receive_override_options" and "no_milters" in value:
            yield warning("master.cf", f"{service} has no_milters: its mail does not pass the daemon", "remove it")
    if "no_milters" in postfix["receive_override_options"]:
        text = "no_milters switches all milters off"
        yield error("receive_override_options", text, "remove it from main.cf: it is for services of master.cf")


# -- whether it gets there


def _reachable(postfix: Postfix, settings: Settings, listen: Listen) -> Iterator[Finding]:
    """Postfix's user can connect to a unix socket, from its chroot."""
    if listen.family != "unix":
        return
    queue, user = postfix["queue_directory"] or "/var/spool/postfix", postfix["mail_owner"] or "postfix"
    if not PurePosixPath(listen.path).is_relative_to(queue):
        if postfix.chrooted:
            better = f"{queue}/mailnotary/mailnotary.sock"
            text = f"Postfix runs in the chroot {queue}, from which {listen.path} can't be seen"
            yield error("reachable", text, f"listen: unix:{better}, and {address(Listen('unix', path=better), queue)}")
            return
        path, root = listen.path, "/"
    else:
        root = queue if postfix.chrooted else "/"
        path = "/" + str(PurePosixPath(listen.path).relative_to(root))
    if os.geteuid() != 0:
        yield warning("reachable", f"whether {user} can use {listen.path} can't be told", "run it as root")
        return
    problem = as_user(user, root, lambda: _connect(path))
    if problem:
        group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name if _exists(user) else user
        advice = (
            f"give the socket's directory to that group (install -d -o {settings.user} -g {group} -m 2750 "
            f"{PurePosixPath(listen.path).parent}), leave socket.mode at 0660, and restart mailnotary"
        )
        yield error("reachable", f"Postfix's user {user} can't use {listen.path}: {problem}", advice)
    else:
        where = f", from the chroot {root}" if root != "/" else ""
        yield ok("reachable", f"Postfix's user {user} can use {listen.path}{where}")


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def as_user(user: str, root: str, what: Callable[[], str]) -> str:
    """What a function says in a process of this user, in a chroot. Only for root."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = _changed(user, root, what)
        except BaseException as problem:
            said = str(problem) or type(problem).__name__
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return said


def _changed(user: str, root: str, what: Callable[[], str]) -> str:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return f"there is no user '{user}'"
    os.initgroups(user, entry.pw_gid)
    os.chroot(root)
    os.chdir("/")
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    return what()


def _connect(path: str) -> str:
    """Why this process can't connect, "" if it can."""
    for directory in reversed(PurePosixPath(path).parents):
        if not os.access(directory, os.X_OK):
            there = os.path.isdir(directory)
            return f"it may not enter {directory}" if there else f"there is no directory {directory}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except OSError as problem:
            return problem.strerror or str(problem)
    return ""


# -- how it calls


def _behaviour(postfix: Postfix, own: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    action = own.get("default_action") or postfix["milter_default_action"]
    if action in _WAITING:
        yield ok("milter_default_action", f"{action}: {_WAITING[action]}")
    else:
        text = _HARM.get(action) or f"'{printable(action)}' is none of {', '.join(sorted({**_WAITING, **_HARM}))}"
        yield warning("milter_default_action", text, _setting(own, "default_action", "tempfail"))
    for name, needed, because in (
        ("command_timeout", max(COMMAND_TIMEOUT, settings.limits.spf_seconds + 5), "limits.spf_seconds"),
        ("content_timeout", settings.limits.message_seconds + 15, "limits.message_seconds"),
    ):
        value = own.get(name) or postfix[f"milter_{name}"]
        seconds = _seconds(value)
        if seconds is not None and seconds < needed:
            text = f"{value} is less than the daemon may take ({because}), so that mail is delayed"
            yield warning(f"milter_{name}", text, _setting(own, name, f"{needed:.0f}s"))
        else:
            yield ok(f"milter_{name}", f"{value} is enough")


def _protocol(postfix: Postfix, own: Mapping[str, str]) -> Iterator[Finding]:
    value = own.get("protocol") or postfix["milter_protocol"]
    version = re.match(r"\d+", value)
    if version and int(version[0]) >= PROTOCOL:
        yield ok("milter_protocol", f"{value}: headers come with their white space (HDR_LEADSPC)")
        return
    text = f"{printable(value)} hides the white space after a header's colon, which breaks simple/ signatures"
    yield error("milter_protocol", text, _setting(own, "protocol", str(PROTOCOL)))
    # From protocol 6 on the daemon names the macros that it wants, and these settings don't count.
    for name, macro in _MACROS.items():
        if macro not in re.split(r"[\s,]+", postfix[name]):
            advice = f"postconf -# {name} && postfix reload"
            yield error(name, f"{macro} is missing, which the daemon needs", advice)


def _setting(own: Mapping[str, str], name: str, value: str) -> str:
    """What to do for a setting: one of the milter's own stands before main.cf's."""
    if name in own:
        return f"write {name}={value} between the braces of this milter in main.cf, then: postfix reload"
    return f"postconf milter_{name}={value} && postfix reload"


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+)([smhdw]?)", text)
    return int(match[1]) * _UNITS[match[2] or "s"] if match else None
