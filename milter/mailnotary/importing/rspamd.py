"""rspamd's DKIM signing: dkim_signing.conf, with options.inc for its local networks (rspamd 3, lua_dkim_tools.lua).

rspamd compares the author's domain with that of the envelope sender and of the login name. Here `allow` does, for each
entry. Where `allow` cannot say what rspamd asks for, less is signed, and a note says so.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.conf import Item, file_items
from mailnotary.importing.draft import THIS_HOST, Draft
from mailnotary.importing.entries import Entry, Records, domains_with_files, entry_name
from mailnotary.importing.hosts import OTHERS, read_hosts
from mailnotary.importing.public_suffix import PublicSuffixes, read_list
from mailnotary.importing.source import Directive, Note, SourceError
from mailnotary.importing.text import flow
from mailnotary.importing.ucl import Node, Section, read_section

_PATH = "/var/lib/rspamd/dkim/$domain.$selector.key"
_DOMAINS = ("use_domain", "use_domain_sign_local", "use_domain_sign_networks")
_NO_MATCH = {  # options with which others than the files say who signs
    "sign_condition": "a script decides what is signed",
    "use_http_headers": "headers of the request to rspamd name the keys",
    "use_vault": "keys in Vault cannot be read: save them as files",
    "use_redis": "keys in Redis cannot be read: save them as files",
    "signing_table": "a signing table: write entries for what it says",
    "use_domain_custom": "a script names the domain",
}
_ELSEWHERE = {
    "symbol": "there are no symbols",
    "allow_hdrfrom_multiple": "mail without exactly one author domain is never signed",
    "allow_pubkey_mismatch": "`mailnotary keys` says whether DNS serves the record",
    "check_pubkey": "key state `auto` signs once DNS serves the record",
    "check_violation": "`signing.on_own_verdict` is the nearest to it",
    "skip_spam_sign": "there is no spam filter here",
    "sign_inbound": "mail of others is checked, and never signed",
    "use_domain_sign_inbound": "mail of others is checked, and never signed",
    "use_milter_headers": "it is the milter",
    "key_prefix": "there are no keys in Redis",
    "sign_headers": "rspamd's list has signs of its own for oversigning: see signing.headers and signing.oversign",
}
_TAKEN = {
    "allow_envfrom_empty",
    "allow_hdrfrom_mismatch",
    "allow_username_mismatch",
    "domain",
    "path",
    "path_map",
    "selector",
    "selector_map",
    "sign_authenticated",
    "sign_local",
    "sign_networks",
    "try_fallback",
    "use_esld",
}
_LOCAL = ("allow_hdrfrom_mismatch_local", "allow_hdrfrom_mismatch_sign_networks")


def read(paths: Sequence[Path]) -> Draft:
    """Reads the files; a later one adds to those before. Raises SourceError."""
    draft = Draft("rspamd", paths[0], Mode.SIGN, others=paths[1:])
    options: Section = {}
    for path in paths:
        for key, nodes in _options_of(read_section(path)).items():
            options.setdefault(key, []).extend(nodes)
    reader = _Reader(draft, options)
    reader.clients()
    if reader.decides():
        draft.entries = reader.entries()
    reader.look_at_rest()
    return draft


def _options_of(section: Section) -> Section:
    """A file's options that are about signing: of options.inc, only one is."""
    for part in _sections(section.pop("dkim_signing", [])):
        for key, nodes in part.items():
            section.setdefault(key, []).extend(nodes)
    for part in (section, *_sections(section.pop("options", []))):
        if "local_addrs" in part:
            return {"local_addrs": part["local_addrs"]}
    return section


def _sections(nodes: Sequence[Node]) -> list[Section]:
    return [node.value for node in nodes if isinstance(node.value, dict)]


class _Reader:
    """Fills a draft from the options."""

    def __init__(self, draft: Draft, options: Section) -> None:
        self._draft, self._options = draft, options
        self._suffixes: PublicSuffixes | None = read_list()
        self._records = Records(draft.key_notes)
        self._maps: dict[str, dict[str, Item]] = {}

    def _directive(self, name: str, value: str = "") -> Directive:
        """An option for messages: its value may be secret, and is shown only where it is given."""
        nodes = self._options.get(name)
        place = nodes[-1].place if nodes else str(self._draft.path)
        return Directive(name, value, place, " = " if value else "")

    def _text(self, name: str, default: str = "") -> str:
        nodes = self._options.get(name)
        return nodes[-1].text if nodes else default

    def _is_on(self, name: str, *, default: bool) -> bool:
        text = self._text(name)
        return text.lower() in ("true", "yes", "on") if text else default

    def clients(self) -> None:
        """Whose mail is signed. A login does not help a client of another kind: rspamd signs nothing for a user of
        another domain, wherever the mail comes from; see `_allow`."""
        networks: list[str] = []
        if self._is_on("sign_local", default=True):
            networks += [*THIS_HOST, *self._hosts("local_addrs")]
            if "local_addrs" not in self._options:
                why = "local_addrs (options.inc) is not in the files, so of these this host alone is signed for"
                self._draft.notes.append(Note(str(self._draft.path), f"sign_local: {why}"))
        networks += self._hosts("sign_networks")
        directive = self._directive("sign_networks" if "sign_networks" in self._options else "sign_local")
        self._draft.put("sign_for.networks", flow(dict.fromkeys(networks)), directive)
        self._draft.ignored = networks
        login = self._is_on("sign_authenticated", default=True)
        self._draft.put(
            "sign_for.authenticated", str(login).lower(), self._directive("sign_authenticated", str(login).lower())
        )

    def _hosts(self, name: str) -> list[str]:
        hosts = read_hosts(self._items(name), name, OTHERS)
        self._draft.notes += hosts.notes
        return hosts.networks

    def _items(self, name: str) -> Iterator[Item]:
        """The items of a list or map: written here, or in a file."""
        for node in self._options.get(name, []):
            if isinstance(node.value, list):
                yield from (Item(one.text, "", one.place) for one in node.value if one.text)
            elif isinstance(node.value, dict):
                yield from (Item(key, values[-1].text, values[-1].place) for key, values in node.value.items())
            elif node.text.startswith(("/", "file://", "map:///", "map://file://")):
                path = "/" + node.text.removeprefix("map://").removeprefix("file://").lstrip("/")
                yield from self._file(name, Path(path))
            elif "://" in node.text:
                self._draft.note(Directive(name, "", node.place, ""), "a map that is not a file: write it out")
            elif node.text:
                yield Item(node.text, "", node.place)

    def _file(self, name: str, path: Path) -> Iterator[Item]:
        try:
            yield from file_items(path)
        except SourceError as error:
            self._draft.note(self._directive(name), str(error))

    def decides(self) -> bool:
        """Whether these options say who signs for whom."""
        off = ("false", "no", "off")
        stops = [name for name in _NO_MATCH if name in self._options and self._text(name).lower() not in off]
        for name in stops:
            self._draft.key_notes.append(self._directive(name).note(f"{_NO_MATCH[name]}: no key is taken over"))
        if not self._is_on("enabled", default=True):
            self._draft.key_notes.append(self._directive("enabled", "false").note("nothing is signed"))
            stops.append("enabled")
        same = not self._is_on("allow_hdrfrom_mismatch", default=False)
        for name in _DOMAINS:
            value = self._text(name, "header")
            if value != "header" and not (value == "envelope" and same):  # then both are the same
                why = "another domain than the author's signs: no key is taken over"
                self._draft.key_notes.append(self._directive(name, value).note(why))
                stops.append(name)
        return not stops

    def entries(self) -> list[Entry]:
        """The entries of the keystore."""
        self._maps = {
            name: {item.key.lower(): item for item in self._items(name)} for name in ("selector_map", "path_map")
        }
        found: dict[str, Entry] = {}
        for text, place in self._names().items():
            name = entry_name(text, place, self._draft.key_notes)
            if name and name != text:
                why = f"{text} is compared as it is written, and never matches: write {name}"
                self._draft.key_notes.append(Note(place.place, f"{place.text}: {why}"))
                continue
            covers = self._covers(name, place) if name else None
            if covers is None:
                continue
            keys = []
            for selector, file, where in self._keys(name):
                key = self._records.key(name, selector, file, Note(where, f"the key of {name}"))
                keys += [key] if key is not None and key not in keys else []
            if keys:
                found[name] = self._allow(Entry(name, name, keys, subdomains=covers))
        self._say_what_allow_cannot(found)
        return list(found.values())

    def _names(self) -> dict[str, Note]:
        """The domains that have keys, each with its place."""
        found: dict[str, Note] = {}
        for section in _sections(self._options.get("domain", [])):
            found |= {
                name: Note(nodes[-1].place, "domain") for name, nodes in section.items() if not name.startswith(".")
            }
        for kind, items in self._maps.items():
            for item in items.values():
                found.setdefault(item.key, Note(item.place, kind))
        pattern = self._text("path", _PATH).replace("$selector", self._text("selector", "dkim"))
        if self._is_on("try_fallback", default=True) and "$domain" in pattern:
            place = self._directive("path").place
            for name in domains_with_files(pattern, "$domain"):
                found.setdefault(name, Note(place, f"path {pattern}"))
        elif self._is_on("try_fallback", default=True):
            why = "signing any author's domain as itself with one key has no match: name the domains"
            self._draft.key_notes.append(self._directive("path").note(why))
        return found

    def _covers(self, name: str, place: Note) -> bool | None:
        """Whether an entry of this name also covers those below it; None where no author's domain is reduced to it
        (use_esld), so that rspamd never signs as it."""
        if not self._is_on("use_esld", default=True):
            return False
        if self._suffixes is None:
            if name.count(".") > 1:
                why = (
                    f"{name}: without a list of public suffixes it is not known whether use_esld lets rspamd sign as it"
                )
                self._draft.key_notes.append(Note(place.place, f"{place.text}: {why}: not taken over"))
                return None
            return False
        if self._suffixes.registrable(name) != name:
            why = f"use_esld reduces {name} to {self._suffixes.registrable(name)}, so rspamd never signs as {name}"
            self._draft.key_notes.append(Note(place.place, f"{place.text}: {why}"))
            return None
        return self._suffixes.knows(name) and not self._suffixes.has_suffix_below(name)

    def _keys(self, name: str) -> Iterator[tuple[str, str, str]]:
        """The selectors, files and places of a domain's keys."""
        pairs: list[tuple[str, str, str]] = []
        for section in _sections(self._options.get("domain", [])):
            for node in section.get(name, []):
                for one in (node, *(selector for every in _of(node, "selectors") for selector in _items(every))):
                    selector, path = (
                        nodes[-1].text if (nodes := _of(one, key)) else "" for key in ("selector", "path")
                    )
                    if selector or path:
                        pairs.append((selector, path, one.place))
        for selector, path, place in pairs or [("", "", "")]:
            mapped = [self._maps[kind].get(name) for kind in ("selector_map", "path_map")]
            if not pairs and not any(mapped) and not self._is_on("try_fallback", default=True):
                return
            chosen = selector or (mapped[0].value if mapped[0] is not None else "") or self._text("selector", "dkim")
            file = path or (mapped[1].value if mapped[1] is not None else "") or self._text("path", _PATH)
            where = place or next((item.place for item in mapped if item is not None), self._directive("path").place)
            if file.startswith("/"):
                yield chosen, file.replace("$domain", name).replace("$selector", chosen), where
            else:  # not shown: it may be the key
                why = f"the key of {name}: not an absolute path: save the key as a file, and name that"
                self._draft.key_notes.append(Note(where, why))

    def _allow(self, entry: Entry) -> Entry:
        own = [f"*@{entry.name}", *([f"*@*.{entry.name}"] if entry.subdomains else [])]
        if not self._is_on("allow_username_mismatch", default=False):
            entry.auth_users = list(own)
        if not self._is_on("allow_hdrfrom_mismatch", default=False):
            entry.envelope_from = list(own)
        elif not self._is_on("allow_envfrom_empty", default=True):
            entry.envelope_from = ["?*"]
        return entry

    def _say_what_allow_cannot(self, entries: dict[str, Entry]) -> None:
        if any(entry.auth_users for entry in entries.values()):
            self._draft.key_notes.append(
                self._directive("allow_username_mismatch").note(
                    "users sign for the domain of their login name alone, and mail without a login is not signed: if "
                    "nobody logs in from the networks of sign_for, add them to each entry: allow: {networks: [...]}"
                )
            )
        if any(entry.envelope_from and entry.envelope_from != ["?*"] for entry in entries.values()):
            self._draft.key_notes.append(
                self._directive("allow_hdrfrom_mismatch").note(
                    "the envelope sender must have the author's domain; bounces, which have none, are not signed"
                )
            )
        for name in _LOCAL:
            if self._is_on(name, default=False):
                why = "for some clients alone this has no match: remove allow.envelope_from where it is right for all"
                self._draft.key_notes.append(self._directive(name).note(why))

    def look_at_rest(self) -> None:
        """A note on every option that none of the above has taken."""
        about_signing = _TAKEN | set(_DOMAINS) | set(_NO_MATCH) | set(_LOCAL) | {"local_addrs", "enabled"}
        for name, nodes in self._options.items():
            if name == ".include":
                for node in nodes:
                    why = "files that it includes are not read: name them too"
                    self._draft.note(Directive(name, "", node.place, ""), why)
            elif why := _ELSEWHERE.get(name, "has no match" if name not in about_signing else ""):
                self._draft.note(self._directive(name), why)


def _of(node: Node, key: str) -> list[Node]:
    return node.value.get(key, []) if isinstance(node.value, dict) else []


def _items(node: Node) -> list[Node]:
    return node.value if isinstance(node.value, list) else [node]
