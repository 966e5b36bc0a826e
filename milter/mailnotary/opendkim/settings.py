"""mailnotary.yaml out of the directives that are not about keys."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mailnotary import dkim
from mailnotary.config.settings_file import check
from mailnotary.config.yaml_nodes import Report
from mailnotary.keys.edit import scalar
from mailnotary.opendkim.conf import Conf, DataSet, Directive, OpendkimError, data_set
from mailnotary.opendkim.hosts import read_hosts
from mailnotary.opendkim.listen import socket_of
from mailnotary.opendkim.text import comment, flow

# RFC 6376 section 5.4.1, as OpenDKIM's OmitHeaders has it by default.
OMITTED = ("Return-Path", "Received", "Comments", "Keywords", "Bcc", "Resent-Bcc", "DKIM-Signature")

_ELSEWHERE = {
    "background": "it stays in the foreground; systemd keeps it",
    "autorestart": "workers that end are replaced",
    "autorestartcount": "workers that end are replaced",
    "autorestartrate": "workers that end are replaced",
    "pidfile": "systemd knows its process",
    "userid": "it runs as its own user, mailnotary",
    "changerootdirectory": "systemd's sandbox takes its place",
    "temporarydirectory": "it writes no temporary files",
    "keeptemporaryfiles": "it writes no temporary files; `mailnotary explain` shows what breaks a signature",
    "externalignorelist": "it only kept a message out of OpenDKIM's log",
    "logwhy": "each message's log line says why",
    "logresults": "each message's log line has all results",
    "syslogfacility": "lines for syslog have the facility mail",
    "syslogsuccess": "each message has its log line",
    "trustanchorfile": "DNSSEC is the resolver's work: name one that validates in dns.nameservers",
    "querycache": "answers are kept as long as their TTL says",
    "dnsconnect": "TCP is used where an answer asks for it",
    "allowsha1only": "SHA-1 is never accepted (RFC 8301)",
    "domainkeyscompat": "DomainKeys is historic (RFC 4870)",
    "alwaysaddarheader": "it always adds the field",
    "statistics": "the log has all results, as JSON too (log: {format: json})",
    "requestreports": "it asks for no reports; DMARC's rua= brings them",
    "sendreports": "it sends no reports",
    "basedirectory": "paths are written out",
}
KEYSTORE = {
    "domain",
    "selector",
    "keyfile",
    "keytable",
    "signingtable",
    "multiplesignatures",
    "subdomains",
    "requiresafekeys",
}


class SettingsText:
    """mailnotary.yaml, a key for each directive that has a match."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self.notes: list[str] = []
        self._lines: list[str] = []
        self._sections: dict[str, list[str]] = {}

    def convert(self, path: Path) -> str:
        """The text of the file."""
        for make in (self._socket, self._mode, self._network_lists, self._signing, self._verifying, self._others):
            make()
        self._look_at_rest()
        lines = [f"# From {comment(str(path))}. SPF and DMARC are checked too, and reject nothing unless told to."]
        if self.notes:
            lines += ["#", "# Without a match, or not needed:", *(f"#   {comment(note)}" for note in self.notes)]
        lines += ["", *self._lines]
        for name, values in self._sections.items():
            lines += [f"{name}:", *(f"  {value}" for value in values)]
        return "\n".join(lines) + "\n"

    # --- where a setting goes ---

    def _put(self, key: str, value: str, directive: Directive | None, why: str = "") -> None:
        section, dot, name = key.rpartition(".")
        origin = why or (directive.shown if directive is not None else "OpenDKIM's default")
        if (problem := _problem(section, name, value)) and directive is not None:
            self._note(directive, problem)
            return
        line = f"{name}: {value}  # {comment(origin)}"
        if dot:
            self._sections.setdefault(section, []).append(line)
        else:
            self._lines.append(line)

    def _put_list(self, key: str, values: Sequence[str], directive: Directive | None) -> None:
        """A list, without the items that can't be in it."""
        section, _, name = key.rpartition(".")
        good: list[str] = []
        for value in dict.fromkeys(values):
            problem = _problem(section, name, flow(dict.fromkeys([*_FIRST.get(key, ()), value])))
            if problem and directive is not None:
                self._note(directive, problem)
            else:
                good.append(value)
        self._put(key, flow(good), directive)

    def _note(self, directive: Directive, why: str) -> None:
        self.notes.append(f"{directive.shown}: {why}")

    def _set(self, name: str) -> tuple[Directive, DataSet] | None:
        """A directive whose value is a data set that can be read."""
        directive = self._conf.get(name)
        if directive is None:
            return None
        try:
            return directive, data_set(self._conf, directive.value)
        except OpendkimError as error:
            self._note(directive, str(error))
            return None

    def _number(self, name: str, key: str, make: Callable[[int], str | None], why: str) -> None:
        directive = self._conf.get(name)
        if directive is None:
            return
        number = int(directive.value) if directive.value.isascii() and directive.value.isdigit() else -1
        value = make(number) if number >= 0 else None
        if value is None:
            self._note(directive, why)
        else:
            self._put(key, value, directive)

    # --- the socket ---

    def _socket(self) -> None:
        directive = self._conf.get("Socket")
        if directive is None:
            return
        made = socket_of(directive.value, self._conf.value("UserID"), self._conf.value("UMask"))
        for note in made.notes:
            self._note(directive, note)
        if made.listen:
            self._put("listen", scalar(made.listen), directive)
        if made.section:
            self._put("socket", made.section, self._conf.get("UMask") or self._conf.get("UserID"))

    # --- who is signed for ---

    def _mode(self) -> None:
        directive = self._conf.get("Mode")
        modes = {"s": "sign", "v": "verify", "sv": "both", "vs": "both"}
        if directive is None:
            return
        if directive.value in modes:
            self._put("mode", modes[directive.value], directive)
        else:
            self._note(directive, "not understood")

    def _network_lists(self) -> None:
        for name, key in (("InternalHosts", "sign_for.networks"), ("PeerList", "exempt.networks")):
            directive, dataset = self._conf.get(name), self._set(name)
            if directive is not None or name == "InternalHosts":
                # Without InternalHosts, OpenDKIM trusts these two alone, and ours trusts all of 127.0.0.0/8.
                entries = dataset[1].keys if dataset else [] if directive else ["127.0.0.1", "::1"]
                hosts = read_hosts(entries)
                for note in hosts.notes:
                    self.notes.append(f"{name} {note}")
                self._put(key, flow(hosts.networks), directive)
        self._daemon_names()

    def _daemon_names(self) -> None:
        """MTA, and the macro of MacroList that is the same."""
        names: dict[str, None] = {}
        found, macros = self._set("MTA"), self._set("MacroList")
        if found is not None:
            names |= dict.fromkeys(found[1].keys)
        for key, value in macros[1].items if macros is not None else ():
            name, _, more = key.partition("=")
            if name.strip("{}") == "daemon_name" and (value or more):
                names |= dict.fromkeys(part.strip() for part in (value or more).split("|"))
            elif macros is not None:
                self._note(macros[0], f"{key}: of the macros, only the values of daemon_name have a match")
        directive = (found or macros or (None,))[0]
        known = [name for name in names if name]
        if directive is not None:
            self._put_list("sign_for.daemon_names", known, directive)

    # --- signing ---

    def _signing(self) -> None:
        directive = self._conf.get("Canonicalization")
        header, _, body = (directive.value.lower() if directive is not None else "simple").partition("/")
        if {header, body or "simple"} <= {"simple", "relaxed"}:
            self._put("signing.canonicalization", f"{header}/{body or 'simple'}", directive)
        elif directive is not None:
            self._note(directive, "not understood")
        self._headers()
        self._number(
            "SignatureTTL",
            "signing.expire_after",
            lambda n: str(n) if n >= 60 else ("null" if n == 0 else None),
            "too short",
        )
        algorithm = self._conf.get("SignatureAlgorithm")
        if algorithm is not None and algorithm.value.lower() not in ("rsa-sha256", "ed25519-sha256"):
            self._note(algorithm, "SHA-1 is not signed with any more (RFC 8301); it is sha256 now")

    def _headers(self) -> None:
        signed, omitted = self._set("SignHeaders"), self._set("OmitHeaders")
        if signed is not None or omitted is not None:
            names = _delta(signed[1].keys, dkim.DEFAULT_HEADERS) if signed is not None else list(dkim.DEFAULT_HEADERS)
            if omitted is not None:
                gone = {name.lower() for name in _delta(omitted[1].keys, OMITTED)}
                names = [name for name in names if name.lower() not in gone or name.lower() == "from"]
            if "from" not in {name.lower() for name in names}:
                names.insert(0, "From")  # RFC 6376 5.4; OpenDKIM adds it too
            directive = (signed or omitted or (None,))[0]
            never = {"dkim-signature", "return-path", "bcc", "resent-bcc"}
            names = [name for name in names if name.lower() not in never]
            self._put_list("signing.headers", _fold_once(names), directive)
        oversigned = self._set("OversignHeaders")
        if oversigned is None:
            why = "OpenDKIM's default is none, which lets a second From be added to signed mail"
            self._put("signing.oversign", "[From]", None, why)
        else:
            self._put_list("signing.oversign", _fold_once(_delta(oversigned[1].keys, ())), oversigned[0])

    # --- verifying ---

    def _verifying(self) -> None:
        self._number(
            "MinimumKeyBits",
            "verify.min_rsa_bits",
            lambda n: str(min(max(n, 1024), 4096)),
            "not understood",
        )
        bits = self._conf.get("MinimumKeyBits")
        if bits is not None and bits.value.isdigit() and not 1024 <= int(bits.value) <= 4096:
            self._note(bits, "keys below 1024 bits are never valid, and those of 4096 have to be accepted (RFC 8301)")
        self._number(
            "MaximumSignaturesToVerify",
            "verify.max_signatures",
            lambda n: str(n) if 1 <= n <= 100 else None,
            "must be 1 to 100",
        )
        dataset = self._set("RemoveARFrom")
        if dataset is not None:
            names = [name for name in dataset[1].keys if not name.startswith(".")]
            self._put_list("authentication_results.remove_from", names, dataset[0])
            for name in dataset[1].keys:
                if name.startswith("."):
                    self._note(dataset[0], f"{name}: names below a domain have no match: write them out")
        directive = self._conf.get("AuthservID")
        if directive is not None:
            name = socket.gethostname() if directive.value == "HOSTNAME" else directive.value
            self._put("authserv_id", scalar(name), directive)

    # --- the rest ---

    def _others(self) -> None:
        servers = self._conf.get("Nameservers")
        if servers is not None:
            self._put_list("dns.nameservers", [part.strip() for part in servers.value.split(",")], servers)
        self._number("DNSTimeout", "dns.timeout", lambda n: str(n) if 1 <= n <= 60 else None, "must be 1 to 60")
        self._number(
            "MaximumHeaders",
            "limits.header_bytes",
            lambda n: str(min(max(n, 4096), 64 * 1_048_576) if n else 64 * 1_048_576),
            "not understood",
        )
        syslog = self._conf.get("Syslog")
        if syslog is not None:
            self._put("log.to", "syslog" if self._conf.is_on("Syslog") else "stderr", syslog)
        error = self._conf.get("On-InternalError") or self._conf.get("On-Default")
        if error is not None:
            actions = {"a": "accept", "accept": "accept", "t": "tempfail", "tempfail": "tempfail"}
            if error.value.lower() in actions:
                self._put("on_internal_error", actions[error.value.lower()], error)
            else:
                self._note(error, "on_internal_error is tempfail or accept")

    def _look_at_rest(self) -> None:
        """A note on every directive that none of the above has taken."""
        for directive in self._conf.directives:
            if directive.key in _ELSEWHERE:
                self._note(directive, _ELSEWHERE[directive.key])
            elif directive.key == "umask" and not any(line.startswith("socket:") for line in self._lines):
                self._note(directive, "the socket's mode is socket.mode")
            elif directive.key not in _TAKEN | KEYSTORE and not _is_usual(directive):
                self._note(directive, "has no match")


_TAKEN = {
    "socket",
    "mode",
    "internalhosts",
    "peerlist",
    "mta",
    "macrolist",
    "canonicalization",
    "signheaders",
    "omitheaders",
    "oversignheaders",
    "signaturettl",
    "signaturealgorithm",
    "minimumkeybits",
    "maximumsignaturestoverify",
    "removearfrom",
    "authservid",
    "nameservers",
    "dnstimeout",
    "maximumheaders",
    "syslog",
    "on-internalerror",
    "on-default",
    "umask",
}


_FIRST = {"signing.headers": ["From"]}  # what such a list must have


def _problem(section: str, name: str, value: str) -> str:
    """What check-config would say of a value, "" for a good one."""
    report = Report("")
    check(f"{section}: {{{name}: {value}}}" if section else f"{name}: {value}", report)
    return report.problems[0].message if report.problems else ""


def _is_usual(directive: Directive) -> bool:
    """Whether it asks for what mailnotary does anyway."""
    value = directive.value.lower()
    if directive.key.startswith("on-"):
        return value in ("a", "accept")  # what DKIM alone finds rejects nothing here
    return (directive.key, value) == ("senderheaders", "from")


def _delta(names: Sequence[str], default: Sequence[str]) -> list[str]:
    """A list of header fields: as it is, or "*" with +name and -name as changes to the default."""
    if "*" not in names:
        return [name.lstrip("+") for name in names if not name.startswith("-") and name != "."]
    gone = {name[1:].lower() for name in names if name.startswith("-")}
    added = [name.lstrip("+") for name in names if name != "*" and not name.startswith("-")]
    changed = [*(name for name in default if name.lower() not in gone), *added]
    return list(dict.fromkeys(changed))


def _fold_once(names: Sequence[str]) -> list[str]:
    """The names of header fields, each once whatever its case."""
    return list({name.lower(): name for name in reversed(names)}.values())[::-1]
