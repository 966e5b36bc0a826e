"""Amavis's configuration, as far as it is about DKIM: amavisd.conf, or the files of /etc/amavis/conf.d, in their order.

It is a Perl program, of which the usual statements are read: dkim_key(...), @dkim_signature_options_bysender_maps,
@mynetworks, $enable_dkim_signing and the policy banks' `originating`.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.conf import Item
from mailnotary.importing.draft import THIS_HOST, Draft
from mailnotary.importing.entries import Entry, Records, entry_name, leave_out
from mailnotary.importing.hosts import AMAVIS, read_hosts
from mailnotary.importing.perl import PerlError, Value, read_value, statements
from mailnotary.importing.source import Directive, Note, read_lines
from mailnotary.importing.text import flow

_START = re.compile(
    r"\s*(?:(?P<key>dkim_key)\s*(?=\()|(?P<maps>@dkim_signature_options_bysender_maps)\s*=|(?P<nets>@mynetworks)\s*=|"
    r"\$(?P<scalar>enable_dkim_signing|enable_dkim_verification|mydomain|myhostname)\s*=|"
    r"(?P<bank>\$policy_bank\{\s*['\"]?(?P<name>[\w.-]+)['\"]?\s*\})\s*=)"
)
_HIDDEN_KEY = re.compile(r"^(?!\s*#)\s*[^\s#][^#]*\bdkim_key\s*\(")
_LABEL = "some-name-that-no-key-has"


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of dkim_key(...)."""

    domain: str
    selector: str
    file: str
    place: Note


@dataclass(slots=True)
class _Source:
    """What the files say. `options`: by sender, with their place; None where they can't be read."""

    variables: dict[str, str] = field(default_factory=dict)
    switches: dict[str, Directive] = field(default_factory=dict)
    keys: list[_Key] = field(default_factory=list)
    options: list[dict[str, Value]] | None = field(default_factory=list)
    options_place: Note = field(default_factory=lambda: Note("", ""))
    networks: tuple[Directive, list[Item]] | None = None
    banks: dict[str, Directive] = field(default_factory=dict)


def read(paths: Sequence[Path]) -> Draft:
    """Reads the files. Raises SourceError."""
    draft = Draft("Amavis", paths[0], Mode.SIGN, others=paths[1:])
    source = _Source()
    for path in paths:
        _read_file(path, source, draft)
    if _is_on(source.switches.get("enable_dkim_verification")):
        draft.mode = Mode.BOTH
    signing = source.switches.get("enable_dkim_signing")
    if not _is_on(signing):
        place = signing.place if signing is not None else str(paths[0])
        draft.key_notes.append(Note(place, "$enable_dkim_signing is not on, so nothing is signed"))
    elif source.options is not None:
        draft.entries = _Entries(source, draft).convert()
    _clients(source, draft)
    return draft


def _is_on(switch: Directive | None) -> bool:
    return switch is not None and switch.value not in ("", "0", "None")


def _read_file(path: Path, source: _Source, draft: Draft) -> None:
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        if _HIDDEN_KEY.search(line):
            draft.key_notes.append(
                Note(f"{path}:{number}", "dkim_key: not taken over: only one that begins a line is read")
            )
    for match, statement in statements(lines, _START):
        place = f"{path}:{statement.line}"
        end = statement.text.partition(";\n")[0]
        if match["bank"]:
            source.banks[match["name"]] = Directive(match["bank"], end, place, " = ")
            continue
        try:
            value = read_value(statement.text, source.variables)
        except PerlError as error:
            what = match[0].strip().rstrip("=( ")
            draft.key_notes.append(Note(place, f"{what}: can't be read ({error}): not taken over"))
            if match["maps"]:
                source.options = None
                draft.key_notes.append(Note(place, "so it is not known who signs for whom: no key is taken over"))
            if match["scalar"]:  # what it was before does not count any more
                source.variables.pop(match["scalar"], None)
                source.switches.pop(match["scalar"], None)
            if match["nets"]:
                source.networks = None
            continue
        if match["scalar"]:
            source.variables[match["scalar"]] = str(value)
            source.switches[match["scalar"]] = Directive(f"${match['scalar']}", str(value), place, " = ")
        elif match["key"]:
            _add_key(value, Note(place, "dkim_key"), source, draft)
        elif match["maps"]:
            source.options = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
            source.options_place = Note(place, "@dkim_signature_options_bysender_maps")
        elif isinstance(value, list):
            directive = Directive("@mynetworks", " ".join(str(one) for one in value), place, " = ")
            source.networks = directive, [Item(str(one), "", place) for one in value]


def _add_key(value: Value, place: Note, source: _Source, draft: Draft) -> None:
    parts = value if isinstance(value, list) else []
    if len(parts) < 3 or not all(isinstance(part, str) and part for part in parts[:3]):
        draft.key_notes.append(Note(place.place, "dkim_key: not (domain, selector, file)"))
        return
    domain, selector, file = (str(part) for part in parts[:3])
    if domain == "*":
        why = "signing for any domain as itself has no match: name the domains"
        draft.key_notes.append(Note(place.place, f"dkim_key *: {why}"))
    else:
        source.keys.append(_Key(domain.lower(), selector, file, place))


class _Entries:
    """Which domains are signed for, with which keys: for each author, Amavis takes the first key of the domain (d=)
    that the options choose, by default the author's own (Amavis::DKIM::dkim_make_signatures)."""

    def __init__(self, source: _Source, draft: Draft) -> None:
        self._keys, self._draft = source.keys, draft
        self._of_domain: dict[str, list[_Key]] = defaultdict(list)
        for key in source.keys:
            self._of_domain[key.domain].append(key)
        self._options = source.options or []
        self._place = source.options_place
        self._records = Records(draft.key_notes)

    def convert(self) -> list[Entry]:
        """The entries."""
        self._look_at_options()
        entries: dict[str, Entry] = {}
        unsigned: list[tuple[str, Note]] = []
        used: set[str] = set()
        for text, place in self._names().items():
            name = entry_name(text, place, self._draft.key_notes)
            if not name:
                continue
            key = self._key_for(name)
            if key is None:
                unsigned.append((name, place))
            elif (entry := self._entry(name, key)) is not None:
                used.add(key.selector + "@" + key.domain)
                entries.setdefault(name, entry)
        general = self._key_for(f"{_LABEL}.invalid")
        if general is not None and (entry := self._entry("*", general)) is not None:
            entries["*"] = entry
        leave_out(entries, unsigned, self._draft.key_notes)
        for key in self._keys:
            if key.selector + "@" + key.domain not in used:
                why = f"{key.selector} of {key.domain} signs nothing: another key, or an option, precedes it"
                self._draft.key_notes.append(Note(key.place.place, f"dkim_key: {why}"))
        return list(entries.values())

    def _names(self) -> dict[str, Note]:
        """The domains that keys and options name, each with its place."""
        names = {key.domain: key.place for key in self._keys}
        for options in self._options:
            for sender in options:
                host = sender.rpartition("@")[2].lstrip(".").lower()
                if host:
                    names.setdefault(host, self._place)
        return names

    def _found(self, name: str) -> dict[str, Value]:
        """The options for an author of a domain who is not named."""
        labels = name.split(".")
        senders = [name, *("." + ".".join(labels[i:]) for i in range(len(labels))), "."]
        found: dict[str, Value] = {}
        for options in self._options:
            for sender in senders:
                chosen = options.get(sender)
                for key, value in chosen.items() if isinstance(chosen, dict) else ():
                    found.setdefault(key, value)
        return found

    def _key_for(self, name: str) -> _Key | None:
        found = self._found(name)
        domain, selector = str(found.get("d", name)).lower(), found.get("s")
        if not str(found.get("a", "rsa")).lower().startswith("rsa"):
            return None
        return next((key for key in self._of_domain.get(domain, ()) if selector in (None, key.selector)), None)

    def _entry(self, name: str, key: _Key) -> Entry | None:
        domain = entry_name(key.domain, key.place, self._draft.key_notes)
        made = self._records.key(domain, key.selector, key.file, key.place) if domain else None
        if made is None:
            return None
        below = self._key_for(f"{_LABEL}.{name}") if name != "*" else None
        return Entry(name, domain, [made], subdomains=below == key)

    def _look_at_options(self) -> None:
        general = self._found(f"{_LABEL}.invalid")
        header, _, body = str(general.get("c", "relaxed/simple")).lower().partition("/")
        self._draft.put("signing.canonicalization", f"{header}/{body or 'simple'}", self._directive("c"))
        if isinstance(ttl := general.get("ttl"), int) and ttl >= 60:
            self._draft.put("signing.expire_after", str(ttl), self._directive("ttl"))
        for options in self._options:
            for sender, chosen in options.items():
                if not isinstance(chosen, dict):
                    continue
                if "@" in sender and {"d", "s"} & chosen.keys():
                    self._note(sender, "a sender's own key has no match; that of the domain signs for the sender too")
                if sender != "." and {"c", "ttl"} & chosen.keys():
                    self._note(sender, "c and ttl are the same for all: those of '.' count")

    def _directive(self, option: str) -> Directive | None:
        return Directive(f"{self._place.text}: {option}", "", self._place.place, "") if self._place.place else None

    def _note(self, sender: str, why: str) -> None:
        self._draft.key_notes.append(Note(self._place.place, f"{self._place.text}: {sender}: {why}"))


def _clients(source: _Source, draft: Draft) -> None:
    """Whose mail is "originating": that of @mynetworks, by the policy bank MYNETS, and of banks that say so."""
    draft.ignored = THIS_HOST
    mine = source.banks.get("MYNETS")
    if source.networks is not None and (mine is None or not re.search(r"\boriginating['\"]?\s*=>\s*0", mine.value)):
        directive, items = source.networks
        hosts = read_hosts(items, directive.name, AMAVIS)
        draft.notes += hosts.notes
        draft.put("sign_for.networks", flow(hosts.networks), directive)
        draft.ignored = hosts.networks
    else:
        draft.put("sign_for.networks", flow(THIS_HOST), None, "this host alone, as @mynetworks is not taken over")
        why = "without @mynetworks in these files, mail of this host alone is signed: name others in sign_for.networks"
        draft.notes.append(Note(mine.place if mine is not None else str(draft.path), why))
    banks = [
        bank
        for name, bank in source.banks.items()
        if name != "MYNETS" and re.search(r"\boriginating['\"]?\s*=>\s*1", bank.value)
    ]
    if banks:
        origin = f"{banks[0].name} has originating"
        draft.put("sign_for.authenticated", "true", Directive(origin, "", banks[0].place, ""))
    else:
        draft.put(
            "sign_for.authenticated", "false", None, "no policy bank has originating => 1, so a login does not count"
        )
        why = "no policy bank but MYNETS has originating => 1: if mail of users who log in is to be signed, write "
        why += "sign_for.authenticated: true"
        draft.notes.append(Note(str(draft.path), why))
