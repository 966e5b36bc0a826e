"""keystore.yaml out of Domain, Selector, KeyFile, KeyTable and SigningTable."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.opendkim.conf import PROBE, Conf, DataSet, TableKey, data_set, key_table
from mailnotary.opendkim.entries import Entry, Records
from mailnotary.opendkim.signing_table import Rule, SigningTable

LABEL = "some-name-that-no-pattern-has"
Signers = tuple[tuple[str, str], ...]
"""Who signs for a domain: names of KeyTable, and the d= of each."""

MAX_DOMAINS = 100_000  # that a "%" in a key's path may stand for


class Keys:
    """Which domains are signed for, with which keys."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._notes: list[str] = []
        self._keys: dict[str, TableKey] = {}
        self._table = SigningTable(DataSet(()), several=False)
        self._used: set[int] = set()  # rules that sign for somebody
        self._records = Records(self._notes)

    def convert(self) -> tuple[list[Entry], list[str]]:
        """The entries, and notes on what became none."""
        if self._conf.get("SigningTable") is not None:
            entries = self._from_tables()
            for name in ("Domain", "Selector", "KeyFile"):
                if (unused := self._conf.get(name)) is not None:
                    self._notes.append(f"{unused.shown}: not used beside SigningTable, which chooses the keys")
        elif self._conf.get("KeyTable") is not None:
            self._notes.append("KeyTable without SigningTable signs nothing (a script would have had to choose keys)")
            entries = []
            if (unused := self._conf.get("KeyFile")) is not None:
                self._notes.append(f"{unused.shown}: not used beside KeyTable")
        elif self._conf.get("KeyFile") is not None:
            entries = self._from_one_key()
        else:
            entries = []
        return _once(entries), self._notes

    def _from_one_key(self) -> list[Entry]:
        """Domain, Selector, KeyFile."""
        selector, file = self._conf.value("Selector"), str(self._conf.path(self._conf.value("KeyFile")))
        entries: list[Entry] = []
        for text in data_set(self._conf, self._conf.value("Domain")).keys:
            if text == "*":
                self._notes.append("Domain *: signing for any domain as itself has no match: name the domains")
                continue
            name = self._name(text, "Domain")
            if name and (key := self._records.key(name, selector, file, "Selector")) is not None:
                entries.append(Entry(name, name, [key], subdomains=self._conf.is_on("SubDomains")))
        if not entries:
            self._notes.append("KeyFile without Domain and Selector signs nothing")
        return entries

    def _from_tables(self) -> list[Entry]:
        """KeyTable and SigningTable."""
        self._keys, problems = key_table(data_set(self._conf, self._conf.value("KeyTable")))
        self._notes += problems
        rows = data_set(self._conf, self._conf.value("SigningTable"))
        self._table = SigningTable(rows, several=self._conf.is_on("MultipleSignatures"))
        for_all, everybody = self._for_all()
        covered: dict[str, Signers] = {}  # names whose entries cover those below them
        entries = []
        for name in sorted(self._domains(), key=lambda name: name.count(".")):  # parents first
            entry = self._entry(name, covered, everybody)
            if entry is not None:
                entries.append(entry)
        self._look_at_rules(self._table)
        known = {entry.name for entry in entries}
        return entries + [entry for entry in for_all if entry.name not in known]

    def _domains(self) -> Iterable[str]:
        """The domains that the rules name; those that keys are named after as well, if a rule asks for such (%)."""
        named = self._table.domains()
        if any(rule.key == "%" for rule in self._table.rules):
            named += [name for name in self._keys if is_domain_name(name) and "." in name]
        return dict.fromkeys(name for text in named if (name := self._name(text, "SigningTable")))

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
                self._notes.append(f"SigningTable {rule.text}: the identity {rule.identity} (i=) is not written")
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
            else:
                why = "not taken over: another rule precedes it, or it has no match"
            self._notes.append(f"SigningTable {rule.text}: {why}")

    def _entry(self, name: str, covered: dict[str, Signers], everybody: Signers) -> Entry | None:
        """What the table means for one domain: asked for an address in it, and for one below it. None where another
        entry covers it, or where it yields nothing."""
        own, below, inherited = self._signers(name), self._signers(f"{LABEL}.{name}"), everybody
        for parent in (name.split(".", n)[-1] for n in range(name.count("."), 0, -1)):
            inherited = covered.get(parent, inherited)
        users = [rule for rule in self._table.users_of(name) if self._signs(rule, name)]
        self._look_at_users(name, users, own)
        entry = None
        if own and (own != inherited or below != inherited):
            entry = self._signing(name, own)
            if entry is not None and own == below:
                entry.subdomains = True
                covered[name] = own
                return entry
        elif not own and users:
            entry = self._signing(name, ((users[0].key_for(name), ""),))
            if entry is not None:
                entry.envelope_from = list(dict.fromkeys(_shell_pattern(rule.pattern) for rule in users))
                entry.notes.append("signed for these authors alone (SigningTable); here their envelope sender decides")
        if below != inherited:
            shown = ", ".join(key for key, _ in below) or "none"
            self._notes.append(
                f"SigningTable: names below {name} had keys of their own ({shown}): write an entry for each"
            )
        return entry

    def _signs(self, rule: Rule, name: str) -> bool:
        """Whether a rule for a user has a key, and no rule precedes it that signs, or fails to, in its place."""
        if rule.key_for(name) not in self._keys or ("*" in rule.pattern and not self._table.wildcards):
            return False
        return rule in self._table.match(rule.pattern.replace("*", "x"))

    def _look_at_users(self, name: str, users: Sequence[Rule], own: Signers) -> None:
        keys = {key for key, _ in own} if own else {rule.key_for(name) for rule in users[:1]}
        for rule in users:
            self._used.add(rule.number)
            if rule.key_for(name) not in keys:
                self._notes.append(
                    f"SigningTable {rule.text}: a user's own key has no match; those of {name} sign for the user too"
                )

    def _signing(self, name: str, signers: Signers) -> Entry | None:
        """The entry that has these signers."""
        entry: Entry | None = None
        for key_name, _ in signers:
            row = self._keys[key_name]
            place = f"KeyTable {row.name}"
            domain = self._name(row.domain.replace("%", name), place)
            if not row.is_file:
                self._notes.append(f"{place}: the key is in the table itself: save it as a file, and add it")
            elif domain and entry is not None and entry.domain != domain:
                entry.notes.append(f"a second signature as {domain} ({row.name}) has no match")
            elif domain:
                file = str(self._conf.path(row.file.replace("%", name)))
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
        files = sorted(str(path) for path in Path(directory).glob(start + rest.replace("%", "*")))[:MAX_DOMAINS]
        domains = [match[1] for name in files if (match := pattern.fullmatch(name))]
        if not domains:
            self._notes.append(f"KeyTable {row.name}: there is no file {row.file}, whatever domain % stands for")
        names = []
        for text in domains:
            name = self._name(text, f"KeyTable {row.name}")
            if name == text:
                names.append(name)
            elif name:
                self._notes.append(f"KeyTable {row.name}: no domain is looked for as {text}: rename the file as {name}")
        return [entry for name in names if (entry := self._signing(name, self._signers(name))) is not None]

    def _name(self, text: str, place: str) -> str:
        name = to_ascii(text.strip())
        if name is None or not is_domain_name(name):
            self._notes.append(f"{place}: {text} is not a domain name")
            return ""
        if "." not in name:
            self._notes.append(f"{place}: {text} has only one label, so no entry can be for it")
            return ""
        return name


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """The first entry of each name."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.name, entry)
    return list(found.values())


def _shell_pattern(pattern: str) -> str:
    """OpenDKIM's pattern, in which only the asterisk is special, as one of the keystore."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
