"""Reads mailnotary.yaml: which values each key can have, and what to write instead of others."""

import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mailnotary.config import (
    settings_dmarc,
    settings_publish,
    settings_reports,
    settings_signing,
    settings_source,
    yaml_file,
)
from mailnotary.config.forwarding import ArcSettings
from mailnotary.config.history import HistoryAddresses, HistorySettings
from mailnotary.config.listen import EXAMPLES, Listen
from mailnotary.config.settings import (
    AuthenticationResultsSettings,
    AuthorsSettings,
    Dkim2Mode,
    Dkim2Settings,
    DnsSettings,
    Exempt,
    InternalError,
    Limits,
    LogFormat,
    LogSettings,
    LogTarget,
    MetricsSettings,
    Mode,
    Network,
    OnAuthor,
    Require,
    Settings,
    SignFor,
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
    nameserver,
    networks,
    octets,
    optional,
    scalar,
    seconds,
    text,
    values,
)
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlSequence, shown
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
    root = yaml_file.read(path, report, MAX_BYTES) or YamlMapping([], 1, 1)
    settings = Settings(**values(root, report, _SETTINGS))
    _check_times(settings, root, report)
    _check_peers(settings, root, report)
    settings_reports.check(settings, root, report)
    settings_publish.check(settings, root, report)
    settings_source.check(settings.source, root, report)
    settings = replace(settings, publish=settings_publish.absolute(settings.publish, path.absolute().parent))
    return replace(settings, keystore=path.absolute().parent / settings.keystore), root


def check(text: str, report: Report) -> None:
    """Reports everything that is wrong with a mailnotary.yaml that is not in a file yet."""
    root = yaml_file.parse(text.encode("utf-8", "backslashreplace"), report)
    if isinstance(root, YamlMapping):
        values(root, report, _SETTINGS)


# --- single values --------------------------------------------------------------------------------------------------

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,253}\Z")  # RFC 2045 section 5.1
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


# --- the whole file -------------------------------------------------------------------------------------------------


def _client_networks(node: YamlNode, report: Report) -> tuple[Network, ...]:
    """Networks whose clients are trusted. Warns of one that is the whole Internet."""
    trusted = networks(node, report)
    for item, network in zip(node.items if isinstance(node, YamlSequence) else (), trusted, strict=False):
        if network.prefixlen == 0:
            report.warn(item, f"{network} includes every client on the Internet: write only your own networks")
    return trusted


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
    trusted = _client_networks(node, report)
    if len(trusted) > MAX_PEERS:
        raise ValueError(
            f"{len(trusted)} networks, but at most {MAX_PEERS} are possible: combine them into larger ones"
        )
    return trusted


def _check_peers(settings: Settings, root: YamlMapping, report: Report) -> None:
    listen, peers = Listen.parse(settings.listen), settings.socket.peers
    if not peers and (text := listen.exposure):
        report.warn(root.get("listen"), text)
    if peers and listen.family == "unix":
        report.warn(root.get("socket"), "peers applies to inet and inet6: a unix socket has mode and group instead")


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
        nameservers=list_of(scalar(nameserver, "an address like 192.0.2.53"), "127.0.0.1"),
        timeout=seconds(0.1, 60),
        cache_entries=integer(0, 10_000_000),
    ),
    "sign_for": Section(
        SignFor,
        networks=_client_networks,
        authenticated=boolean(),
        tls_clients=list_of(text("a certificate's subject"), "mail2.example.org"),
        daemon_names=list_of(text("a daemon's name"), "ORIGINATING"),
        require=choice(Require),
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
    "source": settings_source.READER,
    "signing": settings_signing.READER,
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
    "dmarc": settings_dmarc.read,
    "arc": Section(
        ArcSettings,
        verify=boolean(),
        trusted_sealers=list_of(scalar(domain, "a domain"), "lists.example.org"),
        seal=optional(scalar(domain, "a domain of the keystore")),
    ),
    "dkim2": Section(Dkim2Settings, mode=choice(Dkim2Mode)),
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
        replay_networks=integer(0, 1000),
        replay_tag=boolean(),
    ),
    "reports": settings_reports.READER,
    "publish": settings_publish.PUBLISH,
    "rotation": settings_publish.ROTATION,
    "metrics": Section(MetricsSettings, listen=optional(_metrics_listen)),
    "log": Section(
        LogSettings, level=scalar(_level, in_words(_LEVELS)), format=choice(LogFormat), to=choice(LogTarget)
    ),
}
