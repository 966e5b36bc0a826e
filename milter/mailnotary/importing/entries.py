"""The entries of the keystore that an import writes."""

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mailnotary.dkim.publish import key_record_name
from mailnotary.domain import MAX_NAME, is_domain_name, to_ascii
from mailnotary.importing.source import Note
from mailnotary.importing.text import comment, flow
from mailnotary.keys.edit import scalar

MAX_DOMAINS = 100_000  # that a mark in the path of keys may stand for


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an entry."""

    selector: str
    file: str


@dataclass(slots=True)
class Entry:
    """An entry of the keystore to be. `auth_users` and `envelope_from` are those of its `allow`, empty for all."""

    name: str
    domain: str
    keys: list[Key]
    subdomains: bool = False
    auth_users: list[str] = field(default_factory=list)
    envelope_from: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class Records:
    """The key records that the entries name, of which each has one key. `notes` gets what is wrong with a key."""

    def __init__(self, notes: list[Note]) -> None:
        self._notes = notes
        self._files: dict[str, str] = {}

    def key(self, domain: str, selector: str, file: str, place: Note) -> Key | None:
        """A key as the keystore takes it, None for one that it refuses. `place` is where it was named, and as what."""
        name = to_ascii(selector)
        if name is None or not is_domain_name(name) or selector.endswith("."):
            problem = f"{selector or 'nothing'} is not a selector"
        elif not file.isprintable() or "$" in file:  # in a keystore, $domain and $selector are replaced
            problem = f"{file}: name the file without $ and unprintable characters"
        elif len(record := key_record_name(domain, name)) > MAX_NAME:
            problem = f"{record} is longer than a DNS name can be"
        elif (first := self._files.setdefault(record, file)) != file:
            problem = f"{record} is the record of one key alone, and {first} is named before {file}"
        else:
            return Key(name, file)
        self._notes.append(Note(place.place, f"{place.text}: {problem}"))
        return None


def entry_name(text: str, place: Note, notes: list[Note]) -> str:
    """A domain as the name of an entry, "" with a note for what can't be one."""
    name = to_ascii(text.strip())
    if name is None or not is_domain_name(name):
        problem = f"{text} is not a domain name"
    elif "." not in name:
        problem = f"{text} has only one label, so no entry can be for it"
    else:
        return name
    notes.append(Note(place.place, f"{place.text}: {problem}"))
    return ""


def domains_with_files(path: str, mark: str) -> list[str]:
    """What `mark` can stand for in a path, each time the same, so that it is the path of a file; sorted."""
    before, after = path.split(mark, 1)
    pattern = re.compile(re.escape(before) + r"([^/]+)" + re.escape(after).replace(re.escape(mark), r"\1"))
    directory, _, start = before.rpartition("/")
    found = Path(directory or "/").glob(glob.escape(start) + "*" + glob.escape(after).replace(glob.escape(mark), "*"))
    matches = (pattern.fullmatch(str(one)) for one in islice(found, MAX_DOMAINS))
    return sorted(match[1] for match in matches if match is not None)


def leave_out(entries: dict[str, Entry], unsigned: Sequence[tuple[str, Note]], notes: list[Note]) -> None:
    """Takes from entries, which are given by their names, domains that they would cover although nobody signs for
    these, each with the place that names it."""
    for name, place in unsigned:
        if name in entries:
            continue
        for parent in (name.split(".", n)[-1] for n in range(1, name.count(".") + 1)):
            if parent in entries and entries[parent].subdomains:
                entries[parent].subdomains = False
                why = f"nothing signs for {name}: write the other names below {parent} as entries"
                entries[parent].notes.append(Note(place.place, f"{place.text}: {why}"))
        if entries.pop("*", None) is not None:
            why = f"nothing signs for {name}, so there is no entry for all other domains: name them"
            notes.append(Note(place.place, f"{place.text}: {why}"))


def once(entries: Iterable[Entry]) -> list[Entry]:
    """The first entry of each name."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.name, entry)
    return list(found.values())


def place_copies(entries: Sequence[Entry], directory: Path) -> dict[str, str]:
    """Has the entries name copies of their keys in a directory. Returns the copy of each file."""
    copies: dict[str, str] = {}
    for entry in entries:
        for number, key in enumerate(entry.keys):
            copy = copies.setdefault(key.file, str(directory / f"{entry.domain}.{key.selector}.pem"))
            entry.keys[number] = Key(key.selector, copy)
    return copies


def keystore_text(source: str, entries: Sequence[Entry], notes: Sequence[Note], *, safe: bool) -> str:
    """A keystore.yaml with these entries. `source` says where they come from; `notes` what of it has no match here;
    not `safe`: key files may be readable by others."""
    lines = [f"# The keys of {comment(source)}. `mailnotary keys` shows whether DNS serves their records."]
    if notes:
        lines += ["#", "# Without a match:", *(f"#   {comment(str(note))}" for note in notes)]
    if not safe:
        lines += ["", "unsafe_keys: true  # RequireSafeKeys no"]
    lines += ["", "domains:" if entries else "domains: {}"]
    for entry in entries:
        lines += _entry_lines(entry)
    return "\n".join(lines) + "\n"


def _entry_lines(entry: Entry) -> list[str]:
    lines = [f"  {scalar(entry.name)}:", *(f"    # {comment(str(note))}" for note in entry.notes)]
    if entry.domain != entry.name:
        lines.append(f"    domain: {scalar(entry.domain)}")
    if entry.subdomains and entry.name != "*":
        lines.append("    include_subdomains: true")
    lines.append("    keys:")
    lines += [f"      - {{selector: {scalar(key.selector)}, file: {scalar(key.file)}}}" for key in entry.keys]
    allow = {"auth_users": entry.auth_users, "envelope_from": entry.envelope_from}
    if given := ", ".join(f"{name}: {flow(values)}" for name, values in allow.items() if values):
        lines.append(f"    allow: {{{given}}}")
    return lines
