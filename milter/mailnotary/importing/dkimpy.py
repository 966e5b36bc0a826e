"""The configuration of dkimpy-milter: dkimpy-milter.conf(5), in OpenDKIM's form and with a part of its directives.

It looks into no list of clients before it signs: whatever has an author of its domains is signed, whoever sent it. Here
mail of `sign_for` alone is, so InternalHosts, which it takes for verifying, says whose mail that is.
"""

from collections.abc import Iterator
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.common import ELSEWHERE, note_rest, put_authserv_id, put_hosts, put_log, put_socket
from mailnotary.importing.conf import Conf, DataSet, Item, data_set, read_conf
from mailnotary.importing.draft import THIS_HOST, Draft
from mailnotary.importing.entries import Entry, Records, entry_name, once
from mailnotary.importing.hosts import DKIMPY
from mailnotary.importing.opendkim.keys import Tables
from mailnotary.importing.source import Directive, Note
from mailnotary.importing.text import flow

_ELSEWHERE = ELSEWHERE | {
    "diagnosticdirectory": "it writes no files; `mailnotary explain` shows what breaks a signature",
    "debuglevel": "log: {level: debug} says what it does",
    "dnsoverride": "`mailnotary verify --zone FILE` answers DNS questions from a file",
    "omitheaders": "dkimpy-milter does not have it either",
    "peerlist": "dkimpy-milter does not have it either",
}
_TAKEN = {
    "authservid",
    "canonicalization",
    "dnstimeout",
    "domain",
    "internalhosts",
    "keyfile",
    "keyfileed25519",
    "keytable",
    "keytableed25519",
    "macrolist",
    "macrolistverify",
    "minimumkeybits",
    "mode",
    "selector",
    "selectored25519",
    "signheaders",
    "signingtable",
    "socket",
    "subdomains",
    "syslog",
    "umask",
}
_MODES = {"s": Mode.SIGN, "v": Mode.VERIFY}
_KINDS = (("Selector", "KeyFile", "KeyTable"), ("SelectorEd25519", "KeyFileEd25519", "KeyTableEd25519"))


def read(path: Path) -> Draft:
    """Reads dkimpy-milter.conf with the tables that it names. Raises SourceError."""
    conf = read_conf(path)
    draft = Draft("dkimpy-milter", path, _MODES.get(conf.value("Mode"), Mode.BOTH))
    put_socket(draft, conf)
    _clients(draft, conf)
    draft.put("signing.canonicalization", _canonicalization(conf), conf.get("Canonicalization"))
    headers, bits, timeout = conf.get("SignHeaders"), conf.get("MinimumKeyBits"), conf.get("DNSTimeout")
    if headers is not None:
        names = [item.key for item in data_set(conf, headers).items]
        draft.put_list("signing.headers", ["From", *(one for one in names if one.lower() != "from")], headers, ["From"])
    draft.put_number(bits, "verify.min_rsa_bits", lambda n: str(min(max(n, 1024), 4096)), "not understood")
    draft.put_number(timeout, "dns.timeout", lambda n: str(n) if 1 <= n <= 60 else None, "must be 1 to 60")
    put_authserv_id(draft, conf)
    put_log(draft, conf)
    draft.entries = _entries(conf, draft)
    note_rest(draft, conf.directives, _TAKEN, _ELSEWHERE)
    return draft


def _canonicalization(conf: Conf) -> str:
    header, _, body = conf.value("Canonicalization", "relaxed/simple").lower().partition("/")
    return f"{header}/{body or header}"  # one word is for both


def _clients(draft: Draft, conf: Conf) -> None:
    hosts = conf.get("InternalHosts")
    never = _daemon_names(draft, conf, conf.get("MacroListVerify"))
    always = _daemon_names(draft, conf, conf.get("MacroList"))
    macros = conf.get("MacroList")
    if macros is not None and always:
        draft.put_list("sign_for.daemon_names", [name for name in always if name not in never], macros)
    if conf.get("MacroListVerify") is not None:
        # What comes through such a daemon is not signed, whoever sent it: so neither its address nor a login may count.
        directive = conf.get("MacroListVerify")
        draft.put("sign_for.networks", "[]", directive)
        draft.put("sign_for.authenticated", "false", directive)
        if hosts is not None:
            draft.note(hosts, "not taken over beside MacroListVerify: sign_for.daemon_names says whose mail is signed")
        draft.ignored = THIS_HOST
    elif hosts is not None:
        items = data_set(conf, hosts).items
        draft.ignored = put_hosts(draft, "sign_for.networks", hosts, items, DKIMPY)
    else:
        draft.ignored = THIS_HOST[:1]
        draft.put("sign_for.networks", flow(THIS_HOST[:1]), None)


def _daemon_names(draft: Draft, conf: Conf, directive: Directive | None) -> list[str]:
    """The values of daemon_name in a list of macros."""
    names: list[str] = []
    for item in data_set(conf, directive).items if directive is not None else ():
        macro, *values = item.key.split("|")
        if macro == "daemon_name" and values:
            names += values
        elif directive is not None:
            draft.note(directive, f"{item.key}: of the macros, only the values of daemon_name have a match")
    return names


def _entries(conf: Conf, draft: Draft) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for kind in _KINDS:
        for entry in _of_kind(conf, draft, *kind):
            first = entries.setdefault(entry.name, entry)
            if first is not entry and (first.domain, first.subdomains) == (entry.domain, entry.subdomains):
                first.keys += [key for key in entry.keys if key not in first.keys]
            elif first is not entry:
                why = f"{kind[2]}: the keys for {entry.name} sign otherwise than those of KeyTable: not taken over"
                draft.key_notes.append(Note(str(conf.file), why))
    return list(entries.values())


def _of_kind(conf: Conf, draft: Draft, selector: str, file: str, table: str) -> list[Entry]:
    """The entries of the RSA or of the Ed25519 keys."""
    rules, rows = conf.get("SigningTable"), conf.get(table)
    if rules is not None and rows is not None:
        usable = DataSet(tuple(_rules(draft, data_set(conf, rules))), wildcards=True)
        entries, notes = Tables(data_set(conf, rows), usable, several=False, path_of=conf.path).convert()
        draft.key_notes += [note for note in notes if note not in draft.key_notes]
        return entries
    given, key_file = conf.get("Domain"), conf.get(file)
    if given is None or key_file is None or rows is not None:
        return []
    records = Records(draft.key_notes)
    entries = []
    for item in data_set(conf, given).items:
        name = entry_name(item.key, Note(item.place, "Domain"), draft.key_notes)
        place = Note(key_file.place, file)
        if name and (key := records.key(name, conf.value(selector), str(conf.path(key_file.value)), place)):
            entries.append(Entry(name, name, [key], subdomains=conf.is_on("SubDomains")))
    return once(entries)


def _rules(draft: Draft, table: DataSet) -> Iterator[Item]:
    """The rows of SigningTable that mean what they say: of a pattern it compares only what follows its asterisk."""
    for item in table.items:
        pattern = "*" if item.key == "%" else item.key
        if pattern.count("*") > 1 or not (pattern.startswith("*") or "*" not in pattern):
            note = Note(item.place, f"SigningTable {pattern}: not taken over: only one asterisk, in front, has a match")
            if note not in draft.key_notes:
                draft.key_notes.append(note)
        else:  # the i= that may precede the key's name is not written
            yield Item(pattern, item.value.rpartition(":")[2], item.place)
