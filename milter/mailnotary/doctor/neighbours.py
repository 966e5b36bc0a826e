"""Other programs in Postfix that do what the daemon does: with them mail is signed twice, or refused by either."""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from mailnotary.config.listen import Listen
from mailnotary.config.settings import Mode, Settings
from mailnotary.doctor.finding import Finding, ok, warning
from mailnotary.doctor.instance import RESTRICTIONS, Postfix
from mailnotary.doctor.listeners import listening
from mailnotary.doctor.milters import Milter, milters
from mailnotary.escape import printable

_POLICY = re.compile(r"check_policy_service\s+(\{\s*([^\s,}]+)[^}]*\}|([^\s,]+))")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of program: how its name is recognized, and whether it signs, checks, or both."""

    name: re.Pattern[str]
    signs: bool
    checks: bool


_KINDS = (
    _Kind(re.compile(r"opendkim|dkim-?filter|dkimpy|dkim-?milter", re.IGNORECASE), signs=True, checks=True),
    _Kind(re.compile(r"opendmarc|dmarc", re.IGNORECASE), signs=False, checks=True),
    _Kind(re.compile(r"spf", re.IGNORECASE), signs=False, checks=True),
)


def check(postfix: Postfix, settings: Settings, calls: Callable[[str], bool]) -> Iterator[Finding]:
    """`calls`: whether the address of a milter is that of the daemon."""
    for where, value in _lists(postfix):
        entries = milters(value)
        programs = {entry: "" if calls(entry.address) else _program(entry, postfix) for entry in entries}
        others = {entry: harm for entry in entries if (harm := harm_of(programs[entry], settings.mode))}
        # Where the daemon itself is missing, that comes first: without the others nothing would sign or check.
        if others and any(calls(entry.address) for entry in entries):
            rest = ", ".join(entry.text for entry in entries if entry not in others)
            names = ", ".join(f"{programs[entry]} ({printable(entry.address, 100)})" for entry in others)
            harm = "; ".join(dict.fromkeys(others.values()))
            yield warning("neighbours", f"{where} calls {names}, too: {harm}", _without(where, rest))
    if not any(calls(entry.address) for entry in milters(postfix["smtpd_milters"])):
        return
    called = set()
    for where, value in _restrictions(postfix):
        for match in _POLICY.finditer(value):
            address = match[2] or match[3]
            called.add(PurePosixPath(address).name)
            text = f"{address} {_command(postfix, address)}"
            if settings.mode is not Mode.SIGN and re.search("spf", text, re.IGNORECASE):
                text = f"{where} asks an SPF policy server, too: mail is checked twice, and can be refused by either"
                yield warning("neighbours", text, f"remove `{printable(match[0])}` from it, then: postfix reload")
    for service, command in sorted(postfix.commands.items()):
        name = PurePosixPath(service.rpartition("/")[0]).name
        if postfix.services.get(service) == "spawn" and name not in called and re.search("spf", command, re.IGNORECASE):
            yield ok("neighbours", f"master.cf has {printable(service)}, an SPF policy server that nothing calls")


def _lists(postfix: Postfix) -> Iterator[tuple[str, str]]:
    """Each list of milters, with the place that sets it."""
    for name in ("smtpd_milters", "non_smtpd_milters"):
        yield name, postfix[name]
    yield from (pair for pair in sorted(postfix.overrides.items()) if pair[0].endswith("/smtpd_milters"))


def _without(where: str, rest: str) -> str:
    if "/" not in where:
        return f"postconf {where}={shlex.quote(rest)} && postfix reload"
    value = f"{{ smtpd_milters = {rest} }}" if " " in rest else f"smtpd_milters={rest}"
    return f"-o {value} for {where.rpartition('/')[0]} in master.cf"


def _program(entry: Milter, postfix: Postfix) -> str:
    """The program behind a milter: the process that listens there, or else a name that its address tells."""
    family, _, path = entry.address.partition(":")
    process = None
    if family in {"unix", "local"}:
        process = listening(Listen("unix", path=str(PurePosixPath(postfix["queue_directory"] or "/", path))))
    else:
        with suppress(ValueError):
            listen = Listen.parse(entry.address)
            process = listening(listen) if listen.host in {"localhost", "127.0.0.1", "::1"} else None
    return process.name if process else printable(entry.address, 100)


def harm_of(program: str, mode: Mode) -> str:
    """What is bad about a program beside the daemon, "" if it is none of our kinds or does something else."""
    kind = next((kind for kind in _KINDS if kind.name.search(program)), None)
    if kind is None:
        return ""
    harms = []
    if kind.signs and mode is not Mode.VERIFY:
        harms.append("mail can be signed twice")
    if kind.checks and mode is not Mode.SIGN:
        harms.append("mail is checked twice, and can be refused by either")
    return ", and ".join(harms)


def _restrictions(postfix: Postfix) -> Iterator[tuple[str, str]]:
    for name in RESTRICTIONS:
        yield name, postfix[name]
        yield from (
            (f"master.cf: {key}", value) for key, value in postfix.overrides.items() if key.endswith(f"/{name}")
        )


def _command(postfix: Postfix, address: str) -> str:
    """The command that master.cf spawns for "unix:private/NAME"."""
    name = PurePosixPath(address).name
    return postfix.commands.get(f"{name}/unix", "")
