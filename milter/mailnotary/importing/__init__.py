"""Turns the configurations of other mail filters into mailnotary.yaml and keystore.yaml that mean the same, where there
is a match: one reader a program, which makes a `Draft`; `combine` makes one configuration of several.

What has no match is a note, never a guess, and a wrong grant is worse than a missing one: no address is trusted, and no
mail signed, that the other program did not trust or sign.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailnotary.escape import printable
from mailnotary.importing import amavis, dkimpy, opendkim, opendmarc, policyd_spf, postfix, rspamd
from mailnotary.importing.combine import combine
from mailnotary.importing.draft import Draft
from mailnotary.importing.entries import place_copies
from mailnotary.importing.recognize import recognize
from mailnotary.importing.source import Note, SourceError

__all__ = ["Imported", "Note", "SourceError", "convert"]

_READERS: Mapping[str, Callable[[Sequence[Path]], Draft]] = {
    "OpenDKIM": lambda paths: opendkim.read(_only("OpenDKIM", paths)),
    "OpenDMARC": lambda paths: opendmarc.read(_only("OpenDMARC", paths)),
    "policyd-spf": lambda paths: policyd_spf.read(_only("policyd-spf", paths)),
    "dkimpy-milter": lambda paths: dkimpy.read(_only("dkimpy-milter", paths)),
    "Amavis": amavis.read,
    "rspamd": rspamd.read,
    "Postfix": postfix.read,
}


@dataclass(frozen=True, slots=True)
class Imported:
    """The two files, and what the admin should read: `notes` on what has no match; `programs`, each with its files;
    `key_files`; `copies`: key files, and where their copies are to be."""

    settings: str
    keystore: str
    notes: tuple[Note, ...]
    programs: tuple[tuple[str, tuple[Path, ...]], ...]
    key_files: tuple[str, ...]
    copies: tuple[tuple[str, str], ...] = ()


def convert(paths: Sequence[Path], copies: Path | None = None) -> Imported:
    """Reads the files, with the tables that they name. With `copies`, the keystore names copies of the keys in that
    directory. Raises SourceError where that fails."""
    found: dict[str, list[Path]] = {}
    for path in dict.fromkeys(paths):
        found.setdefault(recognize(path), []).append(path)
    drafts = [_READERS[program](files) for program, files in found.items()]
    if set(found) <= {"Postfix"}:
        raise SourceError(_nothing_but_postfix(drafts))
    made = combine(drafts)
    files = dict.fromkeys(key.file for entry in made.entries for key in entry.keys)
    placed = place_copies(made.entries, copies) if copies is not None else {}
    return Imported(
        made.settings_text(),
        made.keystore_text(),
        tuple(Note(printable(note.place), printable(note.text)) for note in made.notes),
        tuple((program, tuple(files)) for program, files in found.items()),
        tuple(files),
        tuple(placed.items()),
    )


def _only(program: str, paths: Sequence[Path]) -> Path:
    """The one configuration of a program that has one."""
    if len(paths) > 1:
        raise SourceError(f"{paths[1]}: this is of {program} too, as {paths[0]} is: import one of them")
    return paths[0]


def _nothing_but_postfix(drafts: Sequence[Draft]) -> str:
    """What to do with Postfix's own files, which say which filters there are, and nothing of what these do."""
    notes = [f"{note.place}: {note.text}" for draft in drafts for note in draft.notes]
    advice = "These are Postfix's own files: name those of the filters that it calls, with or without these."
    return "\n".join([advice, *notes])
