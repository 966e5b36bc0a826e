"""The entries of the keystore that an import writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.dkim.publish import key_record_name
from mailnotary.domain import MAX_NAME, is_domain_name, to_ascii
from mailnotary.keys.edit import scalar
from mailnotary.opendkim.text import comment, flow


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an entry."""

    selector: str
    file: str


@dataclass(slots=True)
class Entry:
    """An entry of the keystore to be."""

    name: str
    domain: str
    keys: list[Key]
    subdomains: bool = False
    envelope_from: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Records:
    """The key records that the entries name, of which each has one key. `notes` gets what is wrong with a key."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._files: dict[str, str] = {}

    def key(self, domain: str, selector: str, file: str, place: str) -> Key | None:
        """A key as the keystore takes it, None for one that it refuses. `place` is where it was named."""
        name = to_ascii(selector)
        if name is None or not is_domain_name(name) or selector.endswith("."):
            self._notes.append(f"{place}: {selector or 'nothing'} is not a selector")
        elif not file.isprintable() or "$" in file:  # in a keystore, $domain and $selector are replaced
            self._notes.append(f"{place}: {file}: name the file without $ and unprintable characters")
        elif len(record := key_record_name(domain, name)) > MAX_NAME:
            self._notes.append(f"{place}: {record} is longer than a DNS name can be")
        elif (first := self._files.setdefault(record, file)) != file:
            self._notes.append(f"{place}: {record} is the record of one key alone, and {first} is named before {file}")
        else:
            return Key(name, file)
        return None


def place_copies(entries: Sequence[Entry], directory: Path) -> dict[str, str]:
    """Has the entries name copies of their keys in a directory. Returns the copy of each file."""
    copies: dict[str, str] = {}
    for entry in entries:
        for number, key in enumerate(entry.keys):
            copy = copies.setdefault(key.file, str(directory / f"{entry.domain}.{key.selector}.pem"))
            entry.keys[number] = Key(key.selector, copy)
    return copies


def keystore_text(path: Path, entries: Sequence[Entry], notes: Sequence[str], *, safe: bool) -> str:
    """A keystore.yaml with these entries. `path` is the table that they come from; `notes` say what of it has no match
    here; `safe` is RequireSafeKeys."""
    lines = [f"# The keys of {comment(str(path))}. `mailnotary keys` shows whether DNS serves their records."]
    if notes:
        lines += ["#", "# Without a match:", *(f"#   {comment(note)}" for note in notes)]
    if not safe:
        lines += ["", "unsafe_keys: true  # RequireSafeKeys no"]
    lines += ["", "domains:" if entries else "domains: {}"]
    for entry in entries:
        lines.append(f"  {scalar(entry.name)}:")
        lines += [f"    # {comment(note)}" for note in entry.notes]
        if entry.domain != entry.name:
            lines.append(f"    domain: {scalar(entry.domain)}")
        if entry.subdomains and entry.name != "*":
            lines.append("    include_subdomains: true")
        lines.append("    keys:")
        lines += [f"      - {{selector: {scalar(key.selector)}, file: {scalar(key.file)}}}" for key in entry.keys]
        if entry.envelope_from:
            lines.append(f"    allow: {{envelope_from: {flow(entry.envelope_from)}}}")
    return "\n".join(lines) + "\n"
