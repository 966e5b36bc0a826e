"""Reads mailnotary.yaml: which values each key can have, and what to write instead of others."""

import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mailnotary.config import settings_reports, yaml_nodes
from mailnotary.config.listen import EXAMPLES, Listen
from mailnotary.config.settings import (
    AuthenticationResultsSettings,
    AuthorsSettings,
    DmarcAction,
    DmarcExempt,
    DmarcMode,
    DmarcSettings,
    DnsSettings,
    Exempt,
    HistoryAddresses,
    HistorySettings,
    InternalError,
    Limits,
    LogFormat,
    LogSettings,
    LogTarget,
    MetricsSettings,
    Mode,
    Network,
    OnAuthor,
    OnBadAuthor,
    OnOwnVerdict,
    OnRefused,
    OnTemperror,
    Settings,
    SignFor,
    SigningSettings,
    SocketSettings,
    SpfAction,
    SpfSettings,
    TrustedRelays,
    VerifySettings,
)
from mailnotary.config.values import (
    Converter,
    Section,
    boolean,
    choice,
    domain,
    file_mode,
    host_and_port,
    in_words,
    integer,
    list_of,
    mapping_of,
    networks,
    octets,
    optional,
    scalar,
    seconds,
    text,
    values,
)
from mailnotary.config.yaml_check import shown
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar, YamlSequence
from mailnotary.domain import to_ascii

MAX_BYTES = 1_048_576  # of mailnotary.yaml
MAX_PEERS = 64  # networks; the kernel compares each packet with all of them


def load(path: Path) -> Settings:
    """Reads mailnotary.yaml. Raises ConfigError with everything that is wrong with it."""
    report = Report(path)
    settings, _ = read(path, report)
    report.raise_problems()
    return settings


def read(path: Path, report: Report) -> tuple[Settings, YamlMapping]:
    """Like `load`, but continues after errors: they are in the report, and the keys they concern have their defaults.
    Also returns the file's root node, to place errors that are found later."""
    root = yaml_nodes.read(path, report, MAX_BYTES) or YamlMapping([], 1, 1)
    settings = Settings(**values(root, report, _SETTINGS))
    _check_times(settings, root, report)
    _check_peers(settings, root, report)
    settings_reports.check(settings, root, report)
    return replace(settings, keystore=path.absolute().parent / settings.keystore), root


def check(text: str, report: Report) -> None:
    """Reports everything that is wrong with a mailnotary.yaml that is not in a file yet."""
    root = yaml_nodes.parse(text.encode("utf-8", "backslashreplace"), report)
    if isinstance(root, YamlMapping):
        values(root, report, _SETTINGS)


# --- single values --------------------------------------------------------------------------------------------------

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
# RFC 5322 section 2.2: printable US-ASCII without the colon; a ";" would end the h= tag (RFC 6376 section 3.2).
_FIELD_NAME = re.compile(r"[!-9<-~]{1,76}\Z")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,253}\Z")  # RFC 2045 section 5.1
# 192.0.2.53, 192.0.2.53:5353, [::1], [::1]:53 or ::1
_NAMESERVER = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?\Z|(?P<bare>[0-9A-Fa-f:.]+)\Z"
)
_RECIPIENT = re.compile(r"([^\s@<>*?]{1,64})(?:@(\S+))?\Z")
_LEVELS = ("debug", "info", "warning", "error")


def _listen(text: str) -> str:
    return str(Listen.parse(text))


def _user(text: str) -> str:
    if not _USER.match(text):
        raise ValueError(f"{shown(text)} is not a user or group name: write one like mailnotary")
    return text


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= 1024:
        return int(text)
    raise ValueError(f"{shown(text)} does not fit: write auto, or a number from 1 to 1024")


def _authserv_id(text: str) -> str:
    """RFC 8601 section 2.5 wants something like a domain name, its grammar (section 2.2) a MIME token; U-labels
    become A-labels, which all readers of the header understand."""
    name = text if text.isascii() else to_ascii(text)
    if name is None or not _TOKEN.match(name) or "{" in name:
        raise ValueError(f"{shown(text)} is not an authserv-id: write a name like mx.example.org, or remove the key")
    return name


def _other_authserv_id(text: str) -> str:
    """A token may contain * and ?, but no host has such a name."""
    if "*" in text or "?" in text:
        raise ValueError(f"{shown(text)} is a pattern, but only whole names are compared: write out each name")
    return _authserv_id(text)


def _recipient(text: str) -> str:
    match = _RECIPIENT.match(text.lower())
    if match is None:
        raise ValueError(
            f"{shown(text)} is not a recipient: write a name like postmaster, or an address like postmaster@example.org"
        )
    return match[1] + (f"@{domain(match[2])}" if match[2] else "")


def _nameserver(text: str) -> tuple[str, int]:
    match = _NAMESERVER.match(text)
    try:
        if match is None or not 1 <= (port := int(match["port"] or 53)) <= 65535:
            raise ValueError
        return str(ip_address(match["v6"] or match["v4"] or match["bare"])), port
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a name server: write its address, like 192.0.2.53, 192.0.2.53:5353, ::1 or [::1]:53"
        ) from None


def _file(node: YamlNode, report: Report) -> Path:
    return Path(text("a file like keystore.yaml")(node, report))


def _directory(node: YamlNode, report: Report) -> Path:
    path = Path(text("a directory like /var/lib/mailnotary")(node, report))
    if not path.is_absolute():
        raise ValueError(f"{shown(str(path))} is not an absolute path: write one like /var/lib/mailnotary")
    return path


def _store(text: str) -> str:
    if text.startswith(("postgresql://", "postgres://")):
        return text
    if not text.isprintable() or not Path(text).is_absolute():
        raise ValueError(
            f"{shown(text)} is not a store: write an absolute path like /var/lib/mailnotary/history.db, or a URL like "
            "postgresql://db.example.org/mailnotary"
        )
    return text


def _metrics_listen(node: YamlNode, report: Report) -> str:
    text: str = scalar(host_and_port, "127.0.0.1:9891")(node, report)
    if not ip_address(text.rpartition(":")[0].strip("[]")).is_loopback:
        report.warn(node, "whoever reaches this address may read the metrics: restrict it with a firewall")
    return text


def _level(text: str) -> str:
    if text not in _LEVELS:
        raise ValueError(f"{shown(text)} is not a known value: write {in_words(_LEVELS)}")
    return text


# --- signing --------------------------------------------------------------------------------------------------------

# What must not be signed, or can't be, and why.
_UNSIGNABLE = {
    "dkim-signature": "RFC 6376 section 3.7 defines how it is hashed",
    "return-path": "the last hop replaces it, so the signature would break (RFC 6376 section 5.4.1)",
    "bcc": "mail programs remove it, so the signature would break",
    "resent-bcc": "mail programs remove it, so the signature would break",
}
# What can be signed, but should not be.
_CHANGING = {
    "received": "every hop adds one (RFC 6376 section 5.4.1)",
    "comments": "there may be several and they change on the way (RFC 6376 section 5.4.1)",
    "keywords": "there may be several and they change on the way (RFC 6376 section 5.4.1)",
    "authentication-results": "receivers remove those they do not trust (RFC 8601 section 5)",
    "arc-authentication-results": "every ARC hop adds one (RFC 8617 section 4.1.2)",
    "arc-message-signature": "every ARC hop adds one (RFC 8617 section 4.1.2)",
    "arc-seal": "every ARC hop adds one (RFC 8617 section 4.1.2)",
}


def _canonicalization(text: str) -> str:
    header, slash, body = text.partition("/")
    body = body if slash else "simple"  # RFC 6376 section 3.5, c=: one word is the header's, the body's is simple
    if header not in ("simple", "relaxed") or body not in ("simple", "relaxed"):
        raise ValueError(
            f"{shown(text)} is not a canonicalization: write relaxed/simple, relaxed/relaxed, simple/simple or "
            "simple/relaxed"
        )
    return f"{header}/{body}"


def _field_name(text: str) -> str:
    if not _FIELD_NAME.match(text):
        raise ValueError(f"{shown(text)} is not a header field's name: write one like Subject, without a colon")
    if (why := _UNSIGNABLE.get(text.lower())) is not None:
        raise ValueError(f"{text} can't be signed: {why}; remove it")
    return text


_field_names = list_of(scalar(_field_name, "a header field's name"), "From, Subject")


def _fields(node: YamlNode, report: Report) -> tuple[str, ...]:
    """Names of header fields, each once, From among them."""
    names = _field_names(node, report)
    seen: set[str] = set()
    for item in node.items if isinstance(node, YamlSequence) else ():
        name = item.text.lower() if isinstance(item, YamlScalar) else ""
        if name in seen and _FIELD_NAME.match(name):
            report.error(item, f"duplicate {shown(name)}: remove one of them")
        if (why := _CHANGING.get(name)) is not None:
            report.warn(item, f"signing {name} makes signatures fragile: {why}")
        seen.add(name)
    return names


def _headers(node: YamlNode, report: Report) -> tuple[str, ...]:
    names = _fields(node, report)
    if "from" not in {name.lower() for name in names}:  # RFC 6376 section 5.4: From MUST be signed
        raise ValueError("From must be signed (RFC 6376 section 5.4): add it to the list")
    return names


def _oversign(node: YamlNode, report: Report) -> tuple[str, ...]:
    names = _fields(node, report)
    if "from" not in {name.lower() for name in names}:
        report.warn(node, "without From, a second From can be added to signed mail (RFC 6376 section 8.15)")
    return names


# --- DMARC ----------------------------------------------------------------------------------------------------------

_WRITE_REJECT = (
    "enforce needs an explicit 'reject:', because receivers must not reject on p=reject alone (RFC 9989 "
    "section 7.4: mailing lists break): write 'reject: tag' to mark such mail, 'reject: hold' to have it held, "
    "or 'reject: reject' to reject it anyway"
)
_RULE: dict[str, Converter[Any]] = {
    "mode": choice(DmarcMode),
    "reject": choice(DmarcAction),
    "quarantine": choice(DmarcAction),
    "temperror": choice(OnTemperror),
}


def _dmarc(node: YamlNode, report: Report) -> DmarcSettings:
    fields = values(node, report, _DMARC)
    overrides: dict[str, dict[str, Any]] = fields.pop("domains", {})
    settings = DmarcSettings(**fields)
    written = mapping_of(node)
    _demand_reject(written, None, report)
    for _, override in _entries(written.get("domains")):
        _demand_reject(override, written, report)
    return replace(settings, domains={name: replace(settings, **rule) for name, rule in overrides.items()})


def _demand_reject(rule: YamlMapping, parent: YamlMapping | None, report: Report) -> None:
    mode, written = rule.get("mode"), rule.get("reject") or (parent and parent.get("reject"))
    if not written and isinstance(mode, YamlScalar) and mode.text == DmarcMode.ENFORCE:
        report.error(mode, _WRITE_REJECT)


def _entries(node: YamlNode | None) -> list[tuple[YamlScalar, YamlMapping]]:
    items = node.items if isinstance(node, YamlMapping) else []
    return [(key, value) for key, value in items if isinstance(value, YamlMapping)]


def _dmarc_domains(node: YamlNode, report: Report) -> dict[str, dict[str, Any]]:
    rules: dict[str, dict[str, Any]] = {}
    for key, value in mapping_of(node, "example.org: {mode: monitor}").items:
        try:
            name = domain(key.text)
            if name in rules:
                raise ValueError(f"duplicate {name}: remove one of them")
        except ValueError as error:
            report.error(key, str(error))
            continue
        try:
            rules[name] = values(value, report, _RULE)
        except ValueError as error:
            report.error(value, str(error))
    return rules


_DMARC: dict[str, Converter[Any]] = _RULE | {
    "exempt": Section(
        DmarcExempt,
        networks=networks,
        dkim_domains=list_of(scalar(domain, "a domain"), "lists.example.org"),
    ),
    "domains": _dmarc_domains,
}


# --- the whole file -------------------------------------------------------------------------------------------------


def _client_networks(node: YamlNode, report: Report) -> tuple[Network, ...]:
    """Networks whose clients are trusted. Warns of one that is the whole Internet."""
    found = networks(node, report)
    for item, network in zip(node.items if isinstance(node, YamlSequence) else (), found, strict=False):
        if network.prefixlen == 0:
            report.warn(item, f"{network} includes every client on the Internet: write only your own networks")
    return found


def _check_times(settings: Settings, root: YamlMapping, report: Report) -> None:
    """Warns of times that Postfix does not wait: milter_command_timeout is 30 s, milter_content_timeout 300 s."""
    limits = root.get("limits")
    if not isinstance(limits, YamlMapping):
        return
    if settings.limits.spf_seconds >= 30:
        report.warn(limits.get("spf_seconds"), "Postfix waits 30 s for it: raise its milter_command_timeout above this")
    if settings.limits.message_seconds >= 300:
        report.warn(
            limits.get("message_seconds"), "Postfix waits 300 s for it: raise its milter_content_timeout above this"
        )


def _peers(node: YamlNode, report: Report) -> tuple[Network, ...]:
    found = _client_networks(node, report)
    if len(found) > MAX_PEERS:
        raise ValueError(f"{len(found)} networks, but at most {MAX_PEERS} are possible: combine them into larger ones")
    return found


def _check_peers(settings: Settings, root: YamlMapping, report: Report) -> None:
    listen, peers = Listen.parse(settings.listen), settings.socket.peers
    if not peers and (text := listen.exposure):
        report.warn(root.get("listen"), text)
    if peers and listen.family == "unix":
        report.warn(root.get("socket"), "peers applies to inet and inet6: a unix socket has mode and group instead")


def _whole(converter: Converter[float]) -> Converter[int]:
    return lambda node, report: int(converter(node, report))


_SETTINGS: dict[str, Converter[Any]] = {
    "listen": scalar(_listen, EXAMPLES),
    "socket": Section(
        SocketSettings, mode=file_mode(), group=optional(scalar(_user, "a group like postfix")), peers=_peers
    ),
    "user": scalar(_user, "a user like mailnotary"),
    "workers": scalar(_workers, "auto, or a number from 1 to 1024"),
    "stop_seconds": seconds(0, 300),
    "state_dir": _directory,
    "key_check_seconds": seconds(1, 86_400),
    "mode": choice(Mode),
    "authserv_id": optional(scalar(_authserv_id, "a name like mx.example.org")),
    "dns": Section(
        DnsSettings,
        nameservers=list_of(scalar(_nameserver, "an address like 192.0.2.53"), "127.0.0.1"),
        timeout=seconds(0.1, 60),
        cache_entries=integer(0, 10_000_000),
    ),
    "sign_for": Section(
        SignFor,
        networks=_client_networks,
        authenticated=boolean(),
        tls_clients=list_of(text("a certificate's subject"), "mail2.example.org"),
        daemon_names=list_of(text("a daemon's name"), "ORIGINATING"),
    ),
    "exempt": Section(
        Exempt,
        networks=_client_networks,
        daemon_names=list_of(text("a daemon's name"), "REINJECTED"),
    ),
    "trusted_relays": Section(
        TrustedRelays,
        networks=_client_networks,
        daemon_names=list_of(text("a daemon's name"), "PROXIED"),
    ),
    "keystore": _file,
    "signing": Section(
        SigningSettings,
        canonicalization=scalar(_canonicalization, "relaxed/simple"),
        headers=_headers,
        oversign=_oversign,
        expire_after=optional(_whole(seconds(60, 10 * 365 * 86400))),
        on_refused=choice(OnRefused),
        on_bad_author=choice(OnBadAuthor),
        on_own_verdict=choice(OnOwnVerdict),
    ),
    "verify": Section(
        VerifySettings,
        max_signatures=integer(1, 100),
        # RFC 8301 section 3.2: keys below 1024 bits are never valid, and 4096 must be accepted.
        min_rsa_bits=integer(1024, 4096),
    ),
    "spf": Section(
        SpfSettings,
        check_helo=boolean(),
        helo_fail=choice(SpfAction),
        fail=choice(SpfAction),
        softfail=choice(SpfAction),
        permerror=choice(SpfAction),
        temperror=choice(SpfAction),
        void_lookups=integer(0, 10),
    ),
    "dmarc": _dmarc,
    "authors": Section(
        AuthorsSettings,
        none=choice(OnAuthor),
        several_fields=choice(OnAuthor),
        several_domains=choice(OnAuthor),
        unparsable=choice(OnAuthor),
    ),
    "authentication_results": Section(
        AuthenticationResultsSettings,
        remove_from=list_of(scalar(_other_authserv_id, "an authserv-id"), "mx.example.org"),
        authenticated=boolean(),
        helo=boolean(),
    ),
    "reachable_recipients": list_of(scalar(_recipient, "a recipient like postmaster"), "postmaster, abuse@example.org"),
    "on_internal_error": choice(InternalError),
    "limits": Section(
        Limits,
        header_bytes=octets(4096, 64 * 1_048_576),
        message_seconds=seconds(1, 3600),
        spf_seconds=seconds(1, 300),
    ),
    "history": Section(
        HistorySettings,
        enabled=boolean(),
        store=optional(scalar(_store, "a path like /var/lib/mailnotary/history.db")),
        days=integer(1, 3650),
        size=octets(1_048_576, 2**50),
        addresses=choice(HistoryAddresses),
        compare_with=list_of(scalar(_other_authserv_id, "an authserv-id"), "old.mx.example.org"),
    ),
    "reports": settings_reports.READER,
    "metrics": Section(MetricsSettings, listen=optional(_metrics_listen)),
    "log": Section(
        LogSettings, level=scalar(_level, in_words(_LEVELS)), format=choice(LogFormat), to=choice(LogTarget)
    ),
}
