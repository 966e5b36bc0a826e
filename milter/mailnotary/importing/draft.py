"""What one program's configuration grants and asks for, in the words of mailnotary.yaml and keystore.yaml."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.config.settings_file import check
from mailnotary.config.yaml_nodes import Report
from mailnotary.importing.entries import Entry
from mailnotary.importing.source import Directive, Note
from mailnotary.importing.text import flow

THIS_HOST = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value for mailnotary.yaml, as YAML; `origin` is what the other program's file says, `place` where."""

    value: str
    origin: str
    place: str


@dataclass(slots=True)
class Draft:
    """What is to be written for one program, out of the file `path` and `others`. `mode`: which half of our work it
    does. `settings` by their keys in mailnotary.yaml, "section.name". `entries` of the keystore. `socket_notes`: those
    on its socket. `ignored`: networks whose mail it does not judge. `safe`: whether it refuses key files that others
    can read."""

    program: str
    path: Path
    mode: Mode
    settings: dict[str, Setting] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    key_notes: list[Note] = field(default_factory=list)
    socket_notes: list[Note] = field(default_factory=list)
    others: Sequence[Path] = ()
    ignored: Sequence[str] = ()
    safe: bool = True

    @property
    def signs(self) -> bool:
        """Whether it signs mail."""
        return self.mode in (Mode.SIGN, Mode.BOTH)

    @property
    def all_notes(self) -> list[Note]:
        """Everything that the admin should read."""
        return [*self.notes, *self.key_notes, *(note for entry in self.entries for note in entry.notes)]

    def put(self, key: str, value: str, directive: Directive | None, why: str = "", *, beside: str = "") -> None:
        """Sets a key, unless check-config would refuse the value: that is a note. Without a directive, `why` says where
        it comes from. `beside`: keys of the section without which the value is not valid."""
        if (problem := _problem(key, value, beside)) and directive is not None:
            self.note(directive, problem)
            return
        origin = why or (directive.shown if directive is not None else f"{self.program}'s default")
        self.settings[key] = Setting(value, origin, directive.place if directive is not None else str(self.path))

    def put_list(self, key: str, values: Iterable[str], directive: Directive, needed: Sequence[str] = ()) -> None:
        """Sets a list, without the items that can't be in it. `needed`: items that no such list is valid without."""
        good: list[str] = []
        for value in dict.fromkeys(values):
            if problem := _problem(key, flow(dict.fromkeys([*needed, value]))):
                self.note(directive, problem)
            else:
                good.append(value)
        self.put(key, flow(good), directive)

    def put_number(self, directive: Directive | None, key: str, make: Callable[[int], str | None], why: str) -> None:
        """Sets what `make` makes of a number; None, or no number at all, is the note `why`."""
        if directive is None:
            return
        number = int(directive.value) if directive.value.isascii() and directive.value.isdigit() else -1
        value = make(number) if 0 <= number < 1 << 62 else None
        if value is None:
            self.note(directive, why)
        else:
            self.put(key, value, directive)

    def note(self, directive: Directive, why: str) -> None:
        """Says what becomes of a directive."""
        self.notes.append(directive.note(why))


def ignores_this_host(draft: Draft) -> set[str]:
    """The loopback addresses of this host whose mail a program does not judge."""
    networks = [ip_network(text) for text in draft.ignored]
    return {address for address in THIS_HOST if any(ip_address(address) in network for network in networks)}


def _problem(key: str, value: str, beside: str = "") -> str:
    """What check-config would say of a value, "" for a good one."""
    report = Report("")
    section, _, name = key.rpartition(".")
    check(f"{section}: {{{name}: {value}{', ' if beside else ''}{beside}}}" if section else f"{name}: {value}", report)
    return report.problems[0].message if report.problems else ""
