"""keystore.yaml out of Domain, Selector, KeyFile, KeyTable and SigningTable."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.keys.edit import scalar
from mailnotary.opendkim.conf import PROBE, Conf, DataSet, Rule, SigningTable, TableKey, data_set, key_table
from mailnotary.opendkim.text import comment, flow

LABEL = "some-name-that-no-pattern-has"
Signers = tuple[tuple[str, str], ...]
"""Who signs for a domain: names of KeyTable, and the d= of each."""

MAX_DOMAINS = 100_000  # that a "%" in a key's path may stand for


@dataclass(slots=True)
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


class Keys:
    """Which domains are signed for, with which keys."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._notes: list[str] = []
        self._keys: dict[str, TableKey] = {}
        self._table = SigningTable(DataSet(()), several=False)

    def convert(self) -> tuple[list[Entry], list[str]]:
        """The entries, and notes on what became none."""
        if self._conf.get("SigningTable") is not None:
            entries = self._from_tables()
        elif self._conf.get("KeyTable") is not None:
            self._notes.append("KeyTable without SigningTable signs nothing (a script would have had to choose keys)")
            entries = []
        elif self._conf.get("KeyFile") is not None:
            entries = self._from_one_key()
        else:
            entries = []
        return entries, self._notes

    def _from_one_key(self) -> list[Entry]:
        """Domain, Selector, KeyFile."""
        selector, file = self._conf.value("Selector"), str(self._conf.path(self._conf.value("KeyFile")))
        entries: list[Entry] = []
        for text in data_set(self._conf, self._conf.value("Domain")).keys:
            name = self._name(text, "Domain")
            if name and self._selector(selector, "Selector"):
                subdomains = self._conf.is_on("SubDomains")
                entries.append(Entry(name, name, [Key(selector, file)], subdomains=subdomains))
        if not entries:
            self._notes.append("KeyFile without Domain and Selector signs nothing")
        return entries

    def _from_tables(self) -> list[Entry]:
        """KeyTable and SigningTable."""
        self._keys, problems = key_table(data_set(self._conf, self._conf.value("KeyTable")))
        self._notes += problems
        rows = data_set(self._conf, self._conf.value("SigningTable"))
        self._table = SigningTable(rows, several=self._conf.is_on("MultipleSignatures"))
        self._look_at_rules(self._table)
        for_all, everybody = self._for_all()
        covered: dict[str, Signers] = {}  # names whose entries cover those below them
        entries = []
        for name in sorted(self._table.domains(), key=lambda name: name.count(".")):  # parents first
            entry = self._entry(name, covered, everybody)
            if entry is not None:
                entries.append(entry)
        known = {entry.name for entry in entries}
        return entries + [entry for entry in for_all if entry.name not in known]

    def _signers(self, name: str) -> Signers:
        """Who signs for an author of a domain that no pattern names: keys, and what they sign as."""
        rules = self._table.match(f"{PROBE}@{name}")
        return tuple((one.key, self._keys[one.key].domain.replace("%", name)) for one in rules if one.key in self._keys)

    def _look_at_rules(self, table: SigningTable) -> None:
        for rule in table.rules:
            if rule.key not in self._keys:
                self._notes.append(f"SigningTable {rule.text}: KeyTable has no {rule.key}")
            if rule.identity:
                self._notes.append(f"SigningTable {rule.text}: the identity {rule.identity} (i=) is not written")
            if not table.wildcards and "*" in rule.pattern and rule.pattern != "*":
                self._notes.append(
                    f"SigningTable {rule.text}: never matched, for wildcards need refile: before the file's name; "
                    "not taken over"
                )
            elif not table.domain_of(rule) and set(rule.pattern) - set("*@"):
                self._notes.append(f"SigningTable {rule.text}: a pattern that is about no one domain has no match")

    def _entry(self, text: str, covered: dict[str, Signers], everybody: Signers) -> Entry | None:
        """What the table comes to for one domain: asked for an address in it, and for one below it. None where another
        entry covers it, or where it yields nothing."""
        name = self._name(text, "SigningTable")
        if not name:
            return None
        own, below, inherited = self._signers(name), self._signers(f"{LABEL}.{name}"), everybody
        for parent in (name.split(".", n)[-1] for n in range(name.count("."), 0, -1)):
            inherited = covered.get(parent, inherited)
        users = [rule for rule in self._table.users_of(text) if rule.key in self._keys]
        self._look_at_users(name, users, own)
        entry = None
        if own and (own != inherited or below != inherited):
            entry = self._signing(name, own)
            if entry is not None and own == below:
                entry.subdomains = True
                covered[name] = own
                return entry
        elif not own and users:
            entry = self._signing(name, tuple((rule.key, "") for rule in users[:1]))
            if entry is not None:
                entry.envelope_from = [rule.pattern for rule in users]
                entry.notes.append("signed for these authors alone (SigningTable); here their envelope sender decides")
        if below != inherited:
            shown = ", ".join(key for key, _ in below) or "none"
            self._notes.append(
                f"SigningTable: names below {name} had keys of their own ({shown}): write an entry for each"
            )
        return entry

    def _look_at_users(self, name: str, users: Sequence[Rule], own: Signers) -> None:
        for rule in users if own else users[1:]:
            keys = {key for key, _ in own} if own else {users[0].key}
            if rule.key not in keys:
                self._notes.append(
                    f"SigningTable {rule.text}: a user's own key has no match; those of {name} sign for the user too"
                )

    def _signing(self, name: str, signers: Signers) -> Entry | None:
        """The entry that has these signers."""
        entry: Entry | None = None
        for key_name, _ in signers:
            row = self._keys[key_name]
            domain = self._name(row.domain.replace("%", name), f"KeyTable {row.name}")
            if not row.is_file:
                self._notes.append(
                    f"KeyTable {row.name}: the key is in the table itself: save it as a file, and add it"
                )
            elif domain and self._selector(row.selector, f"KeyTable {row.name}"):
                key = Key(row.selector, str(self._conf.path(row.file.replace("%", name))))
                if entry is None:
                    entry = Entry(name, domain, [key])
                elif entry.domain == domain:
                    entry.keys.append(key)
                else:
                    entry.notes.append(f"a second signature as {domain} ({row.name}) has no match")
        return entry

    def _for_all(self) -> tuple[list[Entry], Signers]:
        """The rules that match any domain: their entries, and who signs for a domain without an entry of its own."""
        rules = [one for one in self._table.match(f"{PROBE}@{LABEL}.invalid") if one.key in self._keys]
        rows = [self._keys[rule.key] for rule in rules]
        if not rows:
            return [], ()
        if all("%" not in row.domain for row in rows):
            entry = self._signing("*", self._signers(f"{LABEL}.invalid"))
            return ([entry], self._signers(f"{LABEL}.invalid")) if entry is not None else ([], ())
        if "%" not in rows[0].file:
            self._notes.append(
                f"KeyTable {rows[0].name}: signing any author's domain as itself has no match: name the domains"
            )
            return [], ()
        return self._for_each_file(rows[0]), ()

    def _for_each_file(self, row: TableKey) -> list[Entry]:
        """A "%" in a key's path: the domains are those that have such a file."""
        before, after = str(self._conf.path(row.file)).split("%", 1)
        pattern = re.compile(re.escape(before) + r"([^/]+)" + re.escape(after).replace("%", r"\1"))
        directory, rest = before.rpartition("/")[0] or "/", row.file[row.file.index("%") :]
        start = Path(before).name if not before.endswith("/") else ""
        found = sorted(str(path) for path in Path(directory).glob(start + rest.replace("%", "*")))[:MAX_DOMAINS]
        domains = [match[1] for name in found if (match := pattern.fullmatch(name))]
        if not domains:
            self._notes.append(f"KeyTable {row.name}: there is no file {row.file}, whatever domain % stands for")
        names = [name for text in domains if (name := self._name(text, f"KeyTable {row.name}"))]
        return [entry for name in names if (entry := self._signing(name, self._signers(name))) is not None]

    def _name(self, text: str, place: str) -> str:
        name = to_ascii(text.strip())
        if name is None or not is_domain_name(name):
            self._notes.append(f"{place}: {text} is not a domain name")
            return ""
        return name

    def _selector(self, text: str, place: str) -> bool:
        if is_domain_name(text.lower()):
            return True
        self._notes.append(f"{place}: {text or 'nothing'} is not a selector")
        return False


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
