"""OpenDKIM's KeyTable."""

from dataclasses import dataclass

from mailnotary.importing.conf import DataSet
from mailnotary.importing.source import Note

PROBE = "some.user.that.no.pattern.names"


@dataclass(frozen=True, slots=True)
class TableKey:
    """A row of KeyTable: `domain` (d=, "%" for the author's), `selector`, and the file, or the key itself."""

    name: str
    domain: str
    selector: str
    file: str
    place: str = ""

    @property
    def is_file(self) -> bool:
        """Whether `file` is one (opendkim.conf(5), KeyTable)."""
        return self.file.startswith(("/", "./", "../"))

    def note(self, why: str) -> Note:
        """What is wrong with the row."""
        return Note(self.place, f"KeyTable {self.name}: {why}")


def key_table(table: DataSet) -> tuple[dict[str, TableKey], list[Note]]:
    """The rows by name, and what is wrong with others."""
    rows: dict[str, TableKey] = {}
    problems: list[Note] = []
    for item in table.items:
        parts = [part.strip() for part in item.value.split(":", 3)]
        domain, selector, file = [*parts, "", "", ""][:3]
        row = TableKey(item.key, domain, selector, file, item.place)
        if len(parts) < 3 or not all(parts[:3]):
            # Not the row itself, which may be a line of a private key.
            problems.append(Note(item.place, "KeyTable: this row is not NAME domain:selector:file"))
            continue
        if row.name in rows:
            problems.append(row.note("duplicated; the first of them counts"))
        if len(parts) > 3:
            problems.append(row.note(f"the fourth field ({parts[3]}) has no match: the key file decides"))
        rows.setdefault(row.name, row)
    return rows, problems
