"""keystore.yaml out of Domain, Selector, KeyFile, KeyTable and SigningTable."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mailnotary.domain import is_domain_name
from mailnotary.importing.conf import Conf, DataSet, data_set
from mailnotary.importing.entries import Entry, Records, domains_with_files, entry_name, leave_out, once
from mailnotary.importing.opendkim.signing_table import Rule, SigningTable
from mailnotary.importing.opendkim.tables import PROBE, TableKey, key_table
from mailnotary.importing.source import Directive, Note

LABEL = "some-name-that-no-pattern-has"
Signers = tuple[tuple[str, str], ...]
"""Who signs for a domain: names of KeyTable, and the d= of each."""


def read_keys(conf: Conf) -> tuple[list[Entry], list[Note]]:
    """The entries that a configuration means, and notes on what became none."""
    rules, keys, file = (conf.get(name) for name in ("SigningTable", "KeyTable", "KeyFile"))
    if rules is not None:
        rows = data_set(conf, keys) if keys is not None else DataSet(())
        several = conf.is_on("MultipleSignatures")
        entries, notes = Tables(rows, data_set(conf, rules), several=several, path_of=conf.path).convert()
        return entries, notes + not_used(conf, "Domain", "Selector", "KeyFile", beside="SigningTable")
    if keys is not None:
        why = "signs nothing without SigningTable (a script would have had to choose keys)"
        return [], [keys.note(why), *not_used(conf, "KeyFile", beside="KeyTable")]
    return _one_key(conf, file) if file is not None else ([], [])


def not_used(conf: Conf, *names: str, beside: str) -> list[Note]:
    """Notes on directives that another one keeps from being used."""
    unused = [directive for name in names if (directive := conf.get(name)) is not None]
    return [directive.note(f"not used beside {beside}, which chooses the keys") for directive in unused]


def _one_key(conf: Conf, file: Directive) -> tuple[list[Entry], list[Note]]:
    """Domain, Selector, KeyFile."""
    domain, selector = conf.get("Domain"), conf.get("Selector")
    entries: list[Entry] = []
    notes: list[Note] = []
    records = Records(notes)
    if domain is None or selector is None:
        return [], [file.note("it signs nothing without Domain and Selector")]
    for item in data_set(conf, domain).items:
        if item.key == "*":
            why = "Domain *: signing for any domain as itself has no match: name the domains"
            notes.append(Note(item.place, why))
            continue
        name = entry_name(item.key, Note(item.place, "Domain"), notes)
        key = records.key(name, selector.value, str(conf.path(file.value)), Note(selector.place, "Selector"))
        if name and key is not None:
            entries.append(Entry(name, name, [key], subdomains=conf.is_on("SubDomains")))
    return once(entries), notes


class Tables:
    """What KeyTable and SigningTable mean. `path_of`: the file that a path in them names."""

    def __init__(self, keys: DataSet, rules: DataSet, *, several: bool, path_of: Callable[[str], Path]) -> None:
        self._keys, self._notes = key_table(keys)
        self._table = SigningTable(rules, several=several)
        self._path_of = path_of
        self._used: set[int] = set()  # rules that sign for somebody
        self._records = Records(self._notes)
        self._unsigned: list[tuple[str, Note]] = []  # domains that rules name and no key signs for, with their places

    def convert(self) -> tuple[list[Entry], list[Note]]:
        """The entries, and notes on what became none."""
        for_all, everybody = self._for_all()
        covered: dict[str, Signers] = {}  # names whose entries cover those below them
        entries: dict[str, Entry] = {}
        for name, place in sorted(self._domains().items(), key=lambda one: one[0].count(".")):  # parents first
            entry = self._entry(name, place, covered, everybody)
            if entry is not None:
                entries[name] = entry
        self._look_at_rules(self._table)
        for entry in for_all:
            entries.setdefault(entry.name, entry)
        leave_out(entries, self._unsigned, self._notes)
        return list(entries.values()), self._notes

    def _domains(self) -> dict[str, str]:
        """The domains that the rules name, with their places; those that keys are named after as well, if a rule asks
        for such (%)."""
        named = self._table.domains()
        if any(rule.key == "%" for rule in self._table.rules):
            named |= {
                name: row.place
                for name, row in self._keys.items()
                if is_domain_name(name) and "." in name and name not in named
            }
        found: dict[str, str] = {}
        for text, place in named.items():
            if name := entry_name(text, Note(place, "SigningTable"), self._notes):
                found.setdefault(name, place)
        return found

    def _signers(self, name: str) -> Signers:
        """Who signs for an author of a domain that no pattern names: keys, and what they sign as."""
        found: dict[str, str] = {}
        for rule in self._table.match(f"{PROBE}@{name}"):
            key = rule.key_for(name)
            if key in self._keys:
                self._used.add(rule.number)
                found.setdefault(key, self._keys[key].domain.replace("%", name))
        return tuple(found.items())

    def _look_at_rules(self, table: SigningTable) -> None:
        """A note on each rule that nothing here means."""
        for rule in table.rules:
            if rule.identity:
                self._notes.append(rule.note(f"the identity {rule.identity} (i=) is not written"))
            if rule.key != "%" and rule.key not in self._keys:
                why = f"KeyTable has no {rule.key}" if rule.key else "it names no key"
            elif rule.number in self._used:
                continue
            elif not table.wildcards and "*" in rule.pattern and rule.pattern != "*":
                why = "never matched, for wildcards need refile: before the file's name; not taken over"
            elif table.wildcards and "*" not in rule.pattern and "@" not in rule.pattern:
                why = "never matched, for patterns (refile:) are compared with user@domain: write *@ before the domain"
            elif not table.domain_of(rule) and set(rule.pattern) - set("*@"):
                why = "a pattern that is about no one domain has no match"
            elif table.several:
                why = "not taken over: of several rules, OpenDKIM signs with the first and the last; or it has no match"
            else:
                why = "not taken over: another rule precedes it, or it has no match"
            self._notes.append(rule.note(why))

    def _entry(self, name: str, place: str, covered: dict[str, Signers], everybody: Signers) -> Entry | None:
        """What the table means for one domain: asked for an address in it, and for one below it. None where another
        entry covers it, or where it yields nothing."""
        own, below, inherited = self._signers(name), self._signers(f"{LABEL}.{name}"), everybody
        for parent in (name.split(".", n)[-1] for n in range(name.count("."), 0, -1)):
            inherited = covered.get(parent, inherited)
        users = [rule for rule in self._table.users_of(name) if self._signs(rule, name)]
        self._look_at_users(name, users, own)
        if not own:
            self._unsigned.append((name, Note(place, "SigningTable")))
        entry = None
        if own and (own != inherited or below != inherited):
            entry = self._signing(name, own)
            if entry is not None and own == below:
                entry.subdomains = True
                covered[name] = own
                return entry
        if below != inherited:
            shown = ", ".join(key for key, _ in below) or "none"
            why = f"names below {name} had keys of their own ({shown}): write an entry for each"
            self._notes.append(Note(place, f"SigningTable: {why}"))
        return entry

    def _signs(self, rule: Rule, name: str) -> bool:
        """Whether a rule for a user has a key, and no rule precedes it that signs, or fails to, in its place."""
        if rule.key_for(name) not in self._keys or ("*" in rule.pattern and not self._table.wildcards):
            return False
        return rule in self._table.match(rule.pattern.replace("*", "x"))

    def _look_at_users(self, name: str, users: Sequence[Rule], own: Signers) -> None:
        """A note on rules for single authors. An entry signs for each author of its domain, and its `allow` knows only
        who sends: whoever may send as <news@...> could have the domain sign for any author, which OpenDKIM, that looks
        into From (opendkim.conf(5), SigningTable), would not. So such a rule alone makes no entry."""
        keys = {key for key, _ in own}
        for rule in users:
            self._used.add(rule.number)
            if not own:
                why = f"signed for this author alone, and an entry would sign for all of {name}: not taken over"
            elif rule.key_for(name) not in keys:
                why = f"a user's own key has no match; those of {name} sign for the user too"
            else:
                continue
            self._notes.append(rule.note(why))

    def _signing(self, name: str, signers: Signers) -> Entry | None:
        """The entry that has these signers."""
        entry: Entry | None = None
        for key_name, _ in signers:
            row = self._keys[key_name]
            place = Note(row.place, f"KeyTable {row.name}")
            domain = entry_name(row.domain.replace("%", name), place, self._notes)
            if not row.is_file:
                self._notes.append(row.note("the key is in the table itself: save it as a file, and add it"))
            elif domain and entry is not None and entry.domain != domain:
                entry.notes.append(row.note(f"a second signature as {domain}, of mail of {name}, has no match"))
            elif domain:
                file = str(self._path_of(row.file.replace("%", name)))
                key = self._records.key(domain, row.selector, file, place)
                if key is None:
                    continue
                entry = entry or Entry(name, domain, [])
                if key not in entry.keys:
                    entry.keys.append(key)
        return entry

    def _for_all(self) -> tuple[list[Entry], Signers]:
        """The rules that match any domain: their entries, and who signs for a domain without an entry of its own."""
        name = f"{LABEL}.invalid"
        signers = self._signers(name)
        rows = [self._keys[key] for key, _ in signers]
        if not rows:
            return [], ()
        if all("%" not in row.domain for row in rows):
            entry = self._signing("*", signers)
            return ([entry], signers) if entry is not None else ([], ())
        if "%" not in rows[0].file:
            self._notes.append(rows[0].note("signing any author's domain as itself has no match: name the domains"))
            return [], ()
        return self._for_each_file(rows[0]), ()

    def _for_each_file(self, row: TableKey) -> list[Entry]:
        """A "%" in a key's path: the domains are those that have such a file."""
        found = domains_with_files(str(self._path_of(row.file)), "%")
        if not found:
            self._notes.append(row.note(f"there is no file {row.file}, whatever domain % stands for"))
        names = []
        for text in found:
            name = entry_name(text, Note(row.place, f"KeyTable {row.name}"), self._notes)
            if name == text:
                names.append(name)
            elif name:
                self._notes.append(row.note(f"no domain is looked for as {text}: rename the file as {name}"))
        return [entry for name in names if (entry := self._signing(name, self._signers(name))) is not None]
