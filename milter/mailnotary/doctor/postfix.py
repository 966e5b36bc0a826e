"""Postfix: its settings for milters, as postconf(1) reports them."""

import re
import shlex
from collections.abc import Iterator, Mapping

from mailnotary.config.keystore import KeyStore
from mailnotary.config.listen import Listen
from mailnotary.config.settings import Mode, Settings
from mailnotary.doctor import filters, forwarding, neighbours, reach, transport
from mailnotary.doctor.filters import FILTER_SETTINGS
from mailnotary.doctor.finding import Finding, error, ok, unknown, warning
from mailnotary.doctor.forwarding import FORWARDING_SETTINGS
from mailnotary.doctor.instance import Postfix, assignments, public
from mailnotary.doctor.machine import command, failure
from mailnotary.doctor.milters import address, calls, corrected, milters, misses, mistyped
from mailnotary.doctor.transport import TRANSPORT_SETTINGS
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
    *FORWARDING_SETTINGS,
    *TRANSPORT_SETTINGS,
)
_MACROS = {
    "milter_connect_macros": "j",
    "milter_mail_macros": "{auth_authen}",
    "milter_end_of_data_macros": "i",
}
# What milter_default_action does while the daemon is down (postconf(5)).
_WAITING = {
    "tempfail": "mail waits while the daemon is down",
    "shutdown": "Postfix ends the session with a 421, and mail waits, while the daemon is down",  # since 3.10.8
}
_HARM = {
    "accept": "accept lets mail pass unchecked and unsigned while the daemon is down",
    "reject": "reject refuses all mail permanently while the daemon is down",
    "quarantine": "quarantine puts all mail on hold, unchecked and unsigned, while the daemon is down",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # postconf(5), of time


def read() -> Postfix | None:
    """This machine's Postfix; None if there is none."""
    expanded = command("postconf", "-x", *_WANTED)  # with $names expanded
    if expanded is None:
        return None
    commands = _commands(command("postconf", "-M") or "")
    services = {name: line.partition(" ")[0] for name, line in commands.items()}
    return Postfix(
        assignments(expanded),
        assignments(command("postconf", "-Px") or ""),
        _chrooted(command("postconf", "-F", "*/*/chroot") or "", services),
        services,
        commands,
    )


def unreadable() -> Iterator[Finding]:
    """Where `read` has nothing: whether there is a Postfix all the same, whose configuration cannot be read."""
    if why := failure("postconf", "-x", "queue_directory"):
        yield unknown("Postfix", f"its configuration cannot be read: {why}", "repair it, and run this again")


def _commands(text: str) -> dict[str, str]:
    """The lines of master.cf: "service/type" to the command with its arguments (master(5))."""
    lines = (line.split() for line in text.splitlines())
    return {f"{words[0]}/{words[1]}": " ".join(words[7:]) for words in lines if len(words) > 7}


def _chrooted(chroot: str, services: Mapping[str, str]) -> bool:
    """master(5): "-" is the default, which means no except in very old configurations."""
    callers = {f"{name}/chroot" for name, program in services.items() if program in {"smtpd", "cleanup"}}
    return any(name in callers and value == "y" for name, value in assignments(chroot).items())


def check(postfix: Postfix, settings: Settings, keystore: KeyStore | None = None) -> Iterator[Finding]:
    """Everything on which this Postfix and these settings must agree."""
    listen = Listen.parse(settings.listen)
    wanted = address(listen, postfix["queue_directory"])
    own_entry = None
    for name in ("smtpd_milters", "non_smtpd_milters"):
        entry = next((milter for milter in milters(postfix[name]) if calls(milter.address, listen, postfix)), None)
        own_entry = own_entry or entry
        yield from _listed(name, postfix[name], listen, postfix, wanted)
    yield from _switched_off(postfix, listen)
    yield from reach.check(postfix, settings, listen)
    yield from _overridden(postfix, listen, wanted)
    own = own_entry.settings if own_entry else {}
    yield from _behaviour(postfix, own, settings)
    yield from _protocol(postfix, own)
    if settings.mode is not Mode.VERIFY:
        if "bounce" not in postfix["internal_mail_filter_classes"]:
            advice = "postconf internal_mail_filter_classes=bounce"
            yield warning("internal_mail_filter_classes", "Postfix's own bounces are not signed", advice)
        yield from own_mail(postfix["myorigin"], keystore or KeyStore())
    yield from filters.check(
        postfix, settings, lambda value: any(calls(milter.address, listen, postfix) for milter in milters(value))
    )
    yield from neighbours.check(postfix, settings, lambda text: calls(text, listen, postfix))
    yield from transport.check(postfix, settings)
    yield from forwarding.check(postfix)


def own_mail(myorigin: str, keystore: KeyStore) -> Iterator[Finding]:
    """Mail that Postfix and the programs of this machine write has myorigin in From: whether it is signed."""
    domain = to_ascii(_content(myorigin)) or ""
    if not keystore.entries or not is_domain_name(domain):
        return
    if (entry := keystore.find(domain)) is not None:
        yield ok(
            "myorigin", f"bounces and mail of this machine come from {domain}, for which the entry {entry.name} signs"
        )
        return
    parent = next((name for name in keystore.entries if is_subdomain(domain, name)), None)
    ways = [f"postconf myorigin={parent} && postfix reload", f"include_subdomains: true for {parent} in the keystore"]
    ways = [*(ways if parent else []), f"`mailnotary keygen {domain} SELECTOR`"]
    text = (
        f"bounces and mail of this machine (cron) come from {domain}, which no domain of the keystore covers: unsigned"
    )
    yield warning("myorigin", text, ", or ".join(ways))


def _content(name: str) -> str:
    """The name; if it is a path, the name in that file, Debian's /etc/mailname for one (postconf(5), myorigin)."""
    if not name.startswith("/"):
        return name
    try:
        return read_regular(name, 1024).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _listed(name: str, value: str, listen: Listen, postfix: Postfix, wanted: str) -> Iterator[Finding]:
    entries = milters(value)
    advice = f"postconf {name}={shlex.quote(corrected(value, listen, postfix, wanted))} && postfix reload"
    if wrong := next((milter for milter in entries if misses(milter.address, listen, postfix)), None):
        text = f"Postfix looks for {printable(wrong.address)} in its chroot, where it does not exist: all mail waits"
        yield error(name, text, advice)
        return
    if wrong := next((milter for milter in entries if mistyped(milter.address, listen, postfix)), None):
        yield error(name, f"{printable(wrong.address)} is not there, as Postfix reads it: all mail waits", advice)
        return
    if daemon := next((milter for milter in entries if calls(milter.address, listen, postfix)), None):
        yield ok(name, f"Postfix calls {printable(daemon.address)}")
        return
    whose = "mail by SMTP" if name == "smtpd_milters" else "mail of the sendmail command"
    now = f"names {printable(', '.join(milter.address for milter in entries))}" if entries else "is empty"
    make = error if name == "smtpd_milters" else warning
    yield make(name, f"it {now}, so {whose} does not pass through the daemon", advice)


def _switched_off(postfix: Postfix, listen: Listen) -> Iterator[Finding]:
    """smtpd_milter_maps overrides smtpd_milters by the client's address: DISABLE, or other milters."""
    values = {"smtpd_milter_maps": postfix["smtpd_milter_maps"]}
    values |= {name: value for name, value in postfix.overrides.items() if name.endswith("/smtpd_milter_maps")}
    for name, value in sorted(values.items()):
        if not value:
            continue
        for_all = value.partition("static:")[2].strip("{} ")
        if for_all and not any(calls(milter.address, listen, postfix) for milter in milters(for_all)):
            text = f"{printable(value)} keeps all mail that comes by SMTP away from the daemon"
            yield error(name, text, "remove it: it overrides smtpd_milters")
        elif not for_all:
            text = f"{printable(value)} can keep the mail of some clients away from the daemon"
            yield warning(name, text, "make sure that it lists no client whose mail must be checked or signed")


def _overridden(postfix: Postfix, listen: Listen, wanted: str) -> Iterator[Finding]:
    """Services of master.cf with milters of their own, or none."""
    for name, value in sorted(postfix.overrides.items()):
        service, _, parameter = name.rpartition("/")
        if not public(service):
            continue  # a listener for a content filter rightly has none
        listed = any(calls(milter.address, listen, postfix) for milter in milters(value))
        if parameter == "smtpd_milters" and not listed:
            text = f"{service} has its own smtpd_milters, so its mail does not pass through the daemon"
            better = corrected(value, listen, postfix, wanted)
            advice = (
                f"remove it, or write -o {{ smtpd_milters = {better} }}"
                if "," in better
                else f"-o smtpd_milters={better}"
            )
            yield warning("master.cf", text, advice)
        if parameter == "receive_override_options" and "no_milters" in value:
            yield warning(
                "master.cf", f"{service} has no_milters: its mail does not pass through the daemon", "remove it"
            )
    if "no_milters" in postfix["receive_override_options"]:
        text = "no_milters switches all milters off"
        yield error("receive_override_options", text, "remove it from main.cf: it is meant for services of master.cf")


def _behaviour(postfix: Postfix, own: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    action = own.get("default_action") or postfix["milter_default_action"]
    if action in _WAITING:
        yield ok("milter_default_action", f"{action}: {_WAITING[action]}")
    else:
        text = _HARM.get(action) or f"'{printable(action)}' is not one of {', '.join(sorted({**_WAITING, **_HARM}))}"
        yield warning("milter_default_action", text, _setting(own, "default_action", "tempfail"))
    for name, needed, because in (
        ("command_timeout", max(COMMAND_TIMEOUT, settings.limits.spf_seconds + 5), "limits.spf_seconds"),
        ("content_timeout", settings.limits.message_seconds + 15, "limits.message_seconds"),
    ):
        value = own.get(name) or postfix[f"milter_{name}"]
        seconds = _seconds(value)
        if seconds is not None and seconds < needed:
            text = f"{value} is less than the daemon can take ({because}), so mail is delayed"
            yield warning(f"milter_{name}", text, _setting(own, name, f"{needed:.0f}s"))
        else:
            yield ok(f"milter_{name}", f"{value} is enough")


def _protocol(postfix: Postfix, own: Mapping[str, str]) -> Iterator[Finding]:
    value = own.get("protocol") or postfix["milter_protocol"]
    version = re.match(r"\d+", value)
    if version and int(version[0]) >= PROTOCOL:
        yield ok("milter_protocol", f"{value}: header fields come with their white space (HDR_LEADSPC)")
        return
    text = f"{printable(value)} hides the white space after a header field's colon, which breaks simple/ signatures"
    yield error("milter_protocol", text, _setting(own, "protocol", str(PROTOCOL)))
    # From protocol 6 on, the daemon names the macros that it wants, and these settings have no effect.
    for name, macro in _MACROS.items():
        if macro not in re.split(r"[\s,]+", postfix[name]):
            advice = f"postconf -# {name} && postfix reload"
            yield error(name, f"the daemon needs {macro}, which is missing", advice)


def _setting(own: Mapping[str, str], name: str, value: str) -> str:
    """How to change a setting: the milter's own setting overrides that of main.cf."""
    if name in own:
        return f"write {name}={value} between the braces of this milter in main.cf, then: postfix reload"
    return f"postconf milter_{name}={value} && postfix reload"


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+)([smhdw]?)", text)
    return int(match[1]) * _UNITS[match[2] or "s"] if match else None
