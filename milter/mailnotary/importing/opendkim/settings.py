"""mailnotary.yaml out of the directives that are not about keys."""

from collections.abc import Sequence

from mailnotary import dkim
from mailnotary.config.settings import Mode
from mailnotary.importing.common import ELSEWHERE, put_authserv_id, put_hosts, put_log, put_socket
from mailnotary.importing.conf import Conf, DataSet, data_set
from mailnotary.importing.draft import THIS_HOST, Draft
from mailnotary.importing.hosts import OPENDKIM
from mailnotary.importing.source import Directive, SourceError
from mailnotary.importing.text import flow

# RFC 6376 section 5.4.1, as OpenDKIM's OmitHeaders has it by default.
OMITTED = ("Return-Path", "Received", "Comments", "Keywords", "Bcc", "Resent-Bcc", "DKIM-Signature")

_ELSEWHERE = ELSEWHERE | {
    "keeptemporaryfiles": "it writes no temporary files; `mailnotary explain` shows what breaks a signature",
    "externalignorelist": "it only kept a message out of OpenDKIM's log",
    "logwhy": "each message's log line says why",
    "logresults": "each message's log line has all results",
    "trustanchorfile": "DNSSEC is the resolver's work: name one that validates in dns.nameservers",
    "querycache": "answers are kept as long as their TTL says",
    "dnsconnect": "TCP is used where an answer asks for it",
    "allowsha1only": "SHA-1 is never accepted (RFC 8301)",
    "domainkeyscompat": "DomainKeys is historic (RFC 4870)",
    "alwaysaddarheader": "it always adds the field",
    "statistics": "the log has all results, as JSON too (log: {format: json})",
    "requestreports": "it asks for no reports; those for DMARC's rua= `mailnotary reports` reads",
    "sendreports": "it sends no reports",
}
_KEYSTORE = {
    "domain",
    "selector",
    "keyfile",
    "keytable",
    "signingtable",
    "multiplesignatures",
    "subdomains",
    "requiresafekeys",
}


_MODES = {"s": Mode.SIGN, "v": Mode.VERIFY, "sv": Mode.BOTH, "vs": Mode.BOTH}


def fill(conf: Conf) -> Draft:
    """What the directives ask for."""
    draft = Draft("OpenDKIM", conf.file, Mode.BOTH, safe=conf.is_on("RequireSafeKeys", default=True))
    settings = _Settings(conf, draft)
    for make in (settings.mode, settings.clients, settings.signing, settings.headers, settings.verifying):
        make()
    settings.others()
    settings.look_at_rest()
    return draft


class _Settings:
    """Fills a draft."""

    def __init__(self, conf: Conf, draft: Draft) -> None:
        self._conf, self._draft = conf, draft

    def _set(self, name: str) -> tuple[Directive, DataSet] | None:
        """A directive whose value is a data set that can be read."""
        directive = self._conf.get(name)
        if directive is None:
            return None
        try:
            return directive, data_set(self._conf, directive)
        except SourceError as error:
            self._draft.note(directive, str(error))
            return None

    def mode(self) -> None:
        """The socket, and Mode."""
        put_socket(self._draft, self._conf)
        directive = self._conf.get("Mode")
        if directive is not None and directive.value in _MODES:
            self._draft.mode = _MODES[directive.value]
        elif directive is not None:
            self._draft.note(directive, "not understood")

    def clients(self) -> None:
        """Whose mail is signed, or left alone."""
        # Without InternalHosts, OpenDKIM trusts these two alone, and ours trusts all of 127.0.0.0/8.
        self._draft.ignored = THIS_HOST
        if self._conf.get("InternalHosts") is None:
            self._draft.put("sign_for.networks", flow(THIS_HOST), None)
        for name, key in (("InternalHosts", "sign_for.networks"), ("PeerList", "exempt.networks")):
            directive, dataset = self._conf.get(name), self._set(name)
            if directive is not None:
                networks = put_hosts(
                    self._draft, key, directive, dataset[1].items if dataset is not None else (), OPENDKIM
                )
                if name == "InternalHosts":
                    self._draft.ignored = networks
        self._daemon_names()

    def _daemon_names(self) -> None:
        """MTA, and the macro of MacroList that is the same."""
        names: dict[str, None] = {}
        dataset, macros = self._set("MTA"), self._set("MacroList")
        if dataset is not None:
            names |= dict.fromkeys(dataset[1].keys)
        for item in macros[1].items if macros is not None else ():
            name, _, more = item.key.partition("=")
            if name.strip("{}") == "daemon_name" and (item.value or more):
                names |= dict.fromkeys(part.strip() for part in (item.value or more).split("|"))
            elif macros is not None:
                self._draft.note(macros[0], f"{item.key}: of the macros, only the values of daemon_name have a match")
        directive = (dataset or macros or (None,))[0]
        if directive is not None:
            self._draft.put_list("sign_for.daemon_names", [name for name in names if name], directive)

    def signing(self) -> None:
        """How mail is signed."""
        directive = self._conf.get("Canonicalization")
        header, _, body = (directive.value.lower() if directive is not None else "simple").partition("/")
        if {header, body or "simple"} <= {"simple", "relaxed"}:
            self._draft.put("signing.canonicalization", f"{header}/{body or 'simple'}", directive)
        elif directive is not None:
            self._draft.note(directive, "not understood")
        ttl = self._conf.get("SignatureTTL")
        self._draft.put_number(
            ttl, "signing.expire_after", lambda n: str(n) if n >= 60 else ("null" if n == 0 else None), "too short"
        )
        algorithm = self._conf.get("SignatureAlgorithm")
        if algorithm is not None and algorithm.value.lower() not in ("rsa-sha256", "ed25519-sha256"):
            self._draft.note(algorithm, "SHA-1 is not signed with any more (RFC 8301); it is sha256 now")

    def headers(self) -> None:
        """Which fields are signed."""
        signed, omitted = self._set("SignHeaders"), self._set("OmitHeaders")
        directive = (signed or omitted or (None,))[0]
        if directive is not None:
            names = _delta(signed[1].keys, dkim.DEFAULT_HEADERS) if signed is not None else list(dkim.DEFAULT_HEADERS)
            if omitted is not None:
                gone = {name.lower() for name in _delta(omitted[1].keys, OMITTED)}
                names = [name for name in names if name.lower() not in gone or name.lower() == "from"]
            if "from" not in {name.lower() for name in names}:
                names.insert(0, "From")  # RFC 6376 5.4; OpenDKIM adds it too
            never = {"dkim-signature", "return-path", "bcc", "resent-bcc"}
            names = [name for name in names if name.lower() not in never]
            self._draft.put_list("signing.headers", _fold_once(names), directive, needed=["From"])
        oversigned = self._set("OversignHeaders")
        if oversigned is None:
            why = "OpenDKIM's default is none, which lets a second From be added to signed mail"
            self._draft.put("signing.oversign", "[From]", None, why)
        else:
            self._draft.put_list("signing.oversign", _fold_once(_delta(oversigned[1].keys, ())), oversigned[0])

    def verifying(self) -> None:
        """How mail is verified, and what is written of it."""
        bits = self._conf.get("MinimumKeyBits")
        self._draft.put_number(bits, "verify.min_rsa_bits", lambda n: str(min(max(n, 1024), 4096)), "not understood")
        if bits is not None and bits.value.isdigit() and not 1024 <= int(bits.value) <= 4096:
            why = "keys below 1024 bits are never valid, and those of 4096 have to be accepted (RFC 8301)"
            self._draft.note(bits, why)
        most = self._conf.get("MaximumSignaturesToVerify")
        self._draft.put_number(
            most, "verify.max_signatures", lambda n: str(n) if 1 <= n <= 100 else None, "must be 1 to 100"
        )
        dataset = self._set("RemoveARFrom")
        if dataset is not None:
            names = [name for name in dataset[1].keys if not name.startswith(".")]
            self._draft.put_list("authentication_results.remove_from", names, dataset[0])
            for name in dataset[1].keys:
                if name.startswith("."):
                    self._draft.note(dataset[0], f"{name}: names below a domain have no match: write them out")
        put_authserv_id(self._draft, self._conf)

    def others(self) -> None:
        """DNS, limits, the log."""
        servers = self._conf.get("Nameservers")
        if servers is not None:
            self._draft.put_list("dns.nameservers", [part.strip() for part in servers.value.split(",")], servers)
        timeout, header = self._conf.get("DNSTimeout"), self._conf.get("MaximumHeaders")
        self._draft.put_number(timeout, "dns.timeout", lambda n: str(n) if 1 <= n <= 60 else None, "must be 1 to 60")
        largest = 64 * 1_048_576
        self._draft.put_number(
            header,
            "limits.header_bytes",
            lambda n: str(min(max(n, 4096), largest) if n else largest),
            "not understood",
        )
        put_log(self._draft, self._conf)
        error = self._conf.get("On-InternalError") or self._conf.get("On-Default")
        if error is not None:
            actions = {"a": "accept", "accept": "accept", "t": "tempfail", "tempfail": "tempfail"}
            if error.value.lower() in actions:
                self._draft.put("on_internal_error", actions[error.value.lower()], error)
            else:
                self._draft.note(error, "on_internal_error is tempfail or accept")

    def look_at_rest(self) -> None:
        """A note on every directive that none of the above has taken."""
        for directive in self._conf.directives:
            if directive.key in _ELSEWHERE:
                self._draft.note(directive, _ELSEWHERE[directive.key])
            elif directive.key not in _TAKEN | _KEYSTORE and not _is_usual(directive):
                self._draft.note(directive, "has no match")


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
