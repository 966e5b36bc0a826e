"""Turns an OpenDKIM configuration into mailnotary.yaml and keystore.yaml that mean the same, where there is a match.

What has none becomes a comment, never a guess: mail that OpenDKIM does not sign must not be signed, for a table may be
what keeps customers apart.
"""

from dataclasses import dataclass
from pathlib import Path

from mailnotary.escape import printable
from mailnotary.opendkim.conf import OpendkimError, read_conf
from mailnotary.opendkim.entries import keystore_text, place_copies
from mailnotary.opendkim.keys import Keys
from mailnotary.opendkim.recognize import other_program
from mailnotary.opendkim.settings import SettingsText

__all__ = ["Imported", "OpendkimError", "convert"]


@dataclass(frozen=True, slots=True)
class Imported:
    """The two files, and what the admin should read: `notes` on what has no match, one sentence each; `key_files`."""

    settings: str
    keystore: str
    notes: tuple[str, ...]
    key_files: tuple[str, ...]
    copies: tuple[tuple[str, str], ...] = ()
    """Key files, and where their copies are to be."""


def convert(path: Path, copies: Path | None = None) -> Imported:
    """Reads opendkim.conf at `path` with the tables that it names. With `copies`, the keystore names copies of the keys
    in that directory. Raises OpendkimError where that fails."""
    conf = read_conf(path)
    if program := other_program(conf):
        raise OpendkimError(f"{path}: this is a file of {program}; name OpenDKIM's, often /etc/opendkim.conf")
    entries, key_notes = Keys(conf).convert()
    placed = place_copies(entries, copies) if copies is not None else {}
    settings = SettingsText(conf)
    settings_text = settings.convert(path)
    notes = [*settings.notes, *key_notes, *(f"{entry.name}: {note}" for entry in entries for note in entry.notes)]
    files = dict.fromkeys(key.file for entry in entries for key in entry.keys)
    keystore = keystore_text(path, entries, key_notes, safe=conf.is_on("RequireSafeKeys", default=True))
    return Imported(
        settings_text, keystore, tuple(printable(note) for note in notes), tuple(files), tuple(placed.items())
    )
