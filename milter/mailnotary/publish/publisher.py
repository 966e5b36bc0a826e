"""The ways in which records get into DNS, and which of them is for a name."""

import os
import shlex
import stat
import subprocess
from dataclasses import dataclass
from typing import Final, Protocol

from mailnotary.config.publishing import PublishSettings
from mailnotary.errors import SetupError
from mailnotary.escape import printable
from mailnotary.files import user_name
from mailnotary.publish import tsig
from mailnotary.resolver import DnsTempError
from mailnotary.resolver.authority import Address, Authority, Place
from mailnotary.resolver.update import Change, Primary, UpdateError

PROGRAM_SECONDS: Final = 120  # for one call of a program: some providers' APIs take their time
MAX_SHOWN: Final = 300  # characters of what it printed


class ProgramError(SetupError):
    """A program did not publish a record."""


class Publisher(Protocol):
    """Changes TXT records at one place."""

    def texts(self) -> tuple[bytes, ...]:
        """Those that are there now. Raises UpdateError, DnsTempError."""
        ...

    def change(self, change: Change) -> None:
        """Makes a change, or raises UpdateError or ProgramError."""
        ...


@dataclass(frozen=True, slots=True)
class ByUpdate:
    """By dynamic updates (RFC 2136)."""

    primary: Primary
    name: str
    ttl: int

    def texts(self) -> tuple[bytes, ...]:
        """See `Publisher`."""
        return self.primary.texts(self.name)

    def change(self, change: Change) -> None:
        """See `Publisher`."""
        self.primary.change([change], self.ttl)


@dataclass(frozen=True, slots=True)
class ByProgram:
    """By a program of the administrator's: COMMAND... add|remove NAME TYPE VALUE. It must take what is done already for
    success."""

    command: tuple[str, ...]
    place: Place
    authority: Authority

    def texts(self) -> tuple[bytes, ...]:
        """As the first nameserver that answers has them."""
        problem = "no nameserver was asked"
        for served in self.authority.ask_each(self.place):
            if not served.problem:
                return served.answer.texts
            problem = f"{served.server}: {served.problem}"
        raise DnsTempError(problem)

    def change(self, change: Change) -> None:
        """See `Publisher`. Nobody else's change is noticed between the look and the call."""
        if change.before is not None and set(self.texts()) != set(change.before):
            raise UpdateError(
                f"{change.name} has other records than expected: somebody else changed them", conflict=True
            )
        for text in change.remove:
            self._call("remove", change.name, text)
        for text in change.add:
            self._call("add", change.name, text)

    def _call(self, action: str, name: str, text: bytes) -> None:
        _check_program(self.command[0])
        command = [*self.command, action, name, "TXT", text.decode("latin-1")]
        shown = shlex.join([*self.command, action, name])
        try:
            done = subprocess.run(  # noqa: S603 - the administrator's own, without a shell
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"`{shown}` did not end within {PROGRAM_SECONDS} s") from error
        except OSError as error:
            raise ProgramError(f"`{shown}` can't be run: {error.strerror}") from error
        if done.returncode != 0:
            said = printable((done.stderr or done.stdout).decode("utf-8", "replace").strip(), MAX_SHOWN)
            raise ProgramError(f"`{shown}` failed with status {done.returncode}: {said or 'it said nothing'}")


def _check_program(path: str) -> None:
    """Raises ProgramError where another user could change what is run here."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror}: check `program`") from error
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ProgramError(
            f"{path}: others than {user_name(os.geteuid())} can change it: run `chown root {shlex.quote(path)} && "
            f"chmod go-w {shlex.quote(path)}`"
        )


class Publishers:
    """The publisher for each name. Safe to call from any thread."""

    def __init__(self, settings: PublishSettings, authority: Authority) -> None:
        self._settings = settings
        self.authority = authority

    def place_of(self, name: str) -> Place:
        """Where the records of a name are. Raises DnsTempError."""
        return self.authority.place_of(name, self._nameservers)

    def at(self, place: Place) -> Publisher | None:
        """Who changes the records of a place; None: they are changed by hand. Raises TsigFileError."""
        rule = self._settings.of(place.name)
        if rule.program:
            return ByProgram(rule.program, place, self.authority)
        if rule.server is None or rule.key is None:
            return None
        return ByUpdate(Primary(rule.server, rule.zone or place.zone, tsig.read(rule.key)), place.name, rule.ttl)

    def _nameservers(self, zone: str) -> tuple[Address, ...]:
        return self._settings.of(zone).nameservers


def problems(settings: PublishSettings) -> list[str]:
    """What is wrong with the files that publishing needs, a sentence each."""
    found = []
    for rule in (settings, *settings.domains.values()):
        try:
            if rule.key is not None:
                tsig.read(rule.key)
            if rule.program:
                _check_program(rule.program[0])
        except (tsig.TsigFileError, ProgramError) as error:
            found.append(str(error))
    return list(dict.fromkeys(found))
