"""mailnotary.yaml as frozen values. The names are the file's keys; the defaults are the documented ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from mailnotary.config.forwarding import ArcSettings
from mailnotary.config.history import HistorySettings
from mailnotary.config.publishing import PublishSettings, RotationSettings
from mailnotary.config.source import SourceSettings
from mailnotary.mail.defaults import DEFAULT_HEADERS, DEFAULT_OVERSIGN

Network = IPv4Network | IPv6Network


class Mode(StrEnum):
    """Which halves of the work are done. OBSERVE: verify, and change nothing in any message."""

    BOTH = "both"
    SIGN = "sign"
    VERIFY = "verify"
    OBSERVE = "observe"


class SpfAction(StrEnum):
    """The action for an SPF result."""

    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"


class DmarcMode(StrEnum):
    """How far DMARC goes: not at all, only header and log, or actions."""

    OFF = "off"
    MONITOR = "monitor"
    ENFORCE = "enforce"


class DmarcAction(StrEnum):
    """The action for p=reject and p=quarantine: only the header, the MTA's hold queue, a 550 reply."""

    TAG = "tag"
    HOLD = "hold"
    REJECT = "reject"


class Dkim2Mode(StrEnum):
    """EXPERIMENTAL: whether the chain of a message is verified, and told of in the header, the log and the history."""

    OFF = "off"
    OBSERVE = "observe"


class InternalError(StrEnum):
    """The action for a message on which mailnotary itself fails."""

    TEMPFAIL = "tempfail"
    ACCEPT = "accept"


class OnRefused(StrEnum):
    """The action for mail of ours that its keystore entry does not allow to be signed."""

    UNSIGNED = "unsigned"
    REJECT = "reject"


class OnBadAuthor(StrEnum):
    """The action for mail of ours that claims a domain of the keystore but has no single author domain to sign for."""

    TEMPFAIL = "tempfail"
    REJECT = "reject"


class OnOwnVerdict(StrEnum):
    """The action for mail from our networks that we judged when it arrived from elsewhere, and that did not pass."""

    UNSIGNED = "unsigned"
    SIGN = "sign"


class OnTemperror(StrEnum):
    """The action for a message if DNS gave no answer about its policy or authentication."""

    ACCEPT = "accept"
    TEMPFAIL = "tempfail"


class OnAuthor(StrEnum):
    """The action for a message in which DMARC finds no author domain. POLICY: as for one that fails p=reject."""

    POLICY = "policy"
    ACCEPT = "accept"
    REJECT = "reject"


class LogFormat(StrEnum):
    """How a log line is written: as words and key=value pairs, or as one JSON object."""

    TEXT = "text"
    JSON = "json"


class LogTarget(StrEnum):
    """Where log lines go."""

    STDERR = "stderr"
    SYSLOG = "syslog"


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """`mode` and `group` are for a unix socket, `peers` for the others: who may connect; none means everybody."""

    mode: int = 0o660
    group: str | None = None
    peers: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Which name servers the daemon asks, and for how long."""

    nameservers: tuple[tuple[str, int], ...] = ()  # (address, port); none: the system's
    timeout: float = 5.0  # seconds for one question, including retries
    cache_entries: int = 10_000


class Require(StrEnum):
    """What mail has to pass that a client of ours, which has not logged in, got from outside, before it is signed."""

    NOTHING = "nothing"
    DMARC = "dmarc"


@dataclass(frozen=True, slots=True)
class SignFor:
    """Whose mail is ours, so that it is signed and not checked; one match is enough."""

    networks: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    authenticated: bool = True
    tls_clients: tuple[str, ...] = ()  # subjects of certificates, as the MTA's {cert_subject} has them
    daemon_names: tuple[str, ...] = ()
    require: Require = Require.NOTHING


@dataclass(frozen=True, slots=True)
class Exempt:
    """Whose mail is left alone: neither checked nor signed."""

    networks: tuple[Network, ...] = ()
    daemon_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustedRelays:
    """Clients that forward mail of others, with a Received field on top that names the sender's host."""

    networks: tuple[Network, ...] = ()
    daemon_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """`headers` are signed where present; `oversign` are signed once more often than the message has them."""

    canonicalization: str = "relaxed/simple"
    headers: tuple[str, ...] = DEFAULT_HEADERS
    oversign: tuple[str, ...] = DEFAULT_OVERSIGN
    expire_after: int | None = None  # seconds
    on_refused: OnRefused = OnRefused.UNSIGNED
    on_bad_author: OnBadAuthor = OnBadAuthor.TEMPFAIL
    on_own_verdict: OnOwnVerdict = OnOwnVerdict.UNSIGNED


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """How many DKIM signatures of a message are verified, and how large an RSA key has to be (RFC 8301 section 3.2)."""

    max_signatures: int = 10
    min_rsa_bits: int = 1024


@dataclass(frozen=True, slots=True)
class SpfSettings:
    """`helo_fail` is for HELO's fail, all others for MAIL FROM's results."""

    check_helo: bool = True
    helo_fail: SpfAction = SpfAction.ACCEPT
    fail: SpfAction = SpfAction.ACCEPT
    softfail: SpfAction = SpfAction.ACCEPT
    permerror: SpfAction = SpfAction.ACCEPT
    temperror: SpfAction = SpfAction.ACCEPT
    void_lookups: int = 2  # RFC 7208 section 4.6.4


@dataclass(frozen=True, slots=True)
class DmarcExempt:
    """Mail to which DMARC's policy is not applied: from these clients, or with a valid signature of these domains or
    one below them (forwarders and mailing lists that are trusted)."""

    networks: tuple[Network, ...] = ()
    dkim_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DmarcSettings:
    """`domains` overrides mode, reject, quarantine and temperror for an author domain and all below it; its values are
    complete in these four; their own `domains` and `exempt` are not used."""

    mode: DmarcMode = DmarcMode.MONITOR
    reject: DmarcAction = DmarcAction.REJECT
    quarantine: DmarcAction = DmarcAction.TAG
    temperror: OnTemperror = OnTemperror.ACCEPT
    exempt: DmarcExempt = field(default_factory=DmarcExempt)
    domains: Mapping[str, "DmarcSettings"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dkim2Settings:
    """EXPERIMENTAL: DKIM2, by the draft that `mailnotary.dkim2.DRAFT` names."""

    mode: Dkim2Mode = Dkim2Mode.OFF


@dataclass(frozen=True, slots=True)
class AuthorsSettings:
    """What a message gets without exactly one author domain (RFC 9989 section 11.5)."""

    none: OnAuthor = OnAuthor.POLICY
    several_fields: OnAuthor = OnAuthor.POLICY
    several_domains: OnAuthor = OnAuthor.POLICY
    unparsable: OnAuthor = OnAuthor.POLICY


@dataclass(frozen=True, slots=True)
class AuthenticationResultsSettings:
    """Whose fields are removed beside those that claim our own authserv-id (RFC 8601 section 5), and which results of
    ours are written that are off by default: `auth` for a login name, `spf` for HELO."""

    remove_from: tuple[str, ...] = ()
    authenticated: bool = False
    helo: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may use: octets of header, seconds of DNS at its end (keys and policies), and seconds for both
    SPF checks."""

    header_bytes: int = 1_048_576
    message_seconds: float = 30.0
    spf_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class ReportsSettings:
    """DMARC aggregate reports (RFC 9990). `org_name` and `contact` (an address or a URL) are for people, `from_` is the
    author's address; `exclude` are policy domains and destinations that get none, `min_messages` what a policy domain
    needs to get one, `public_suffixes` whether these get any. `submit_to`: HOST:PORT of the mail server, or "sendmail";
    `bounces_to`: the envelope sender, None for the null reverse-path; `spread_seconds`: over what time the mails of a
    period are spread."""

    enabled: bool = False
    org_name: str | None = None
    from_: str | None = None  # "from" in the file
    contact: str | None = None
    exclude: tuple[str, ...] = ()
    min_messages: int = 1
    public_suffixes: bool = False
    period_hours: int = 24
    submit_to: str = "127.0.0.1:25"
    bounces_to: str | None = None
    spread_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where Prometheus finds the metrics: HOST:PORT, None for nowhere."""

    listen: str | None = None


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much is logged, in which format, and where."""

    level: str = "info"
    format: LogFormat = LogFormat.TEXT
    to: LogTarget = LogTarget.STDERR


@dataclass(frozen=True, slots=True)
class Settings:
    """All of mailnotary.yaml."""

    listen: str = "inet:8891@127.0.0.1"  # as libmilter takes it; `listen.Listen.parse` has its parts
    socket: SocketSettings = field(default_factory=SocketSettings)
    user: str = "mailnotary"
    workers: int | None = None  # None: one per core
    stop_seconds: float = 10.0  # how long sessions may take to finish when the daemon stops
    state_dir: Path = Path("/var/lib/mailnotary")  # written by the daemon alone, never by the administrator
    key_check_seconds: float = 300.0  # between two looks at the DNS records of the keys
    mode: Mode = Mode.BOTH
    authserv_id: str | None = None
    dns: DnsSettings = field(default_factory=DnsSettings)
    sign_for: SignFor = field(default_factory=SignFor)
    exempt: Exempt = field(default_factory=Exempt)
    trusted_relays: TrustedRelays = field(default_factory=TrustedRelays)
    keystore: Path = Path("keystore.yaml")  # absolute once loaded
    source: SourceSettings = field(default_factory=SourceSettings)
    signing: SigningSettings = field(default_factory=SigningSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    spf: SpfSettings = field(default_factory=SpfSettings)
    dmarc: DmarcSettings = field(default_factory=DmarcSettings)
    arc: ArcSettings = field(default_factory=ArcSettings)
    dkim2: Dkim2Settings = field(default_factory=Dkim2Settings)
    authors: AuthorsSettings = field(default_factory=AuthorsSettings)
    authentication_results: AuthenticationResultsSettings = field(default_factory=AuthenticationResultsSettings)
    reachable_recipients: tuple[str, ...] = ()  # local parts, or addresses with an A-label domain, in lower case
    on_internal_error: InternalError = InternalError.TEMPFAIL
    limits: Limits = field(default_factory=Limits)
    log: LogSettings = field(default_factory=LogSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    reports: ReportsSettings = field(default_factory=ReportsSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    rotation: RotationSettings = field(default_factory=RotationSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
