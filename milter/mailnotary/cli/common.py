"""Shared by several commands: options, the configuration, zone files, DNS questions, JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailnotary.cli import CommandError
from mailnotary.config.settings import Settings
from mailnotary.config.yaml_nodes import ConfigError
from mailnotary.escape import printable
from mailnotary.resolver import Answer, DnsTempError, MxRecord, RecordKind, Resolver, ZoneResolver, prefetch, timed
from mailnotary.resolver.zone import ZoneError

if TYPE_CHECKING:
    from mailnotary.config.load import Configuration

ZONE_EXAMPLE = 'example.org: [{TXT: "v=spf1 -all"}]'
DEFAULT_CONFIG = Path("/etc/mailnotary/mailnotary.yaml")


def client_address(text: str) -> IPv4Address | IPv6Address:
    """The type of --ip: a text that is not an address is wrong usage."""
    try:
        return ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{printable(text)} is not an IPv4 or IPv6 address") from None


def add_zone(parser: argparse.ArgumentParser) -> None:
    """--zone FILE."""
    parser.add_argument(
        "--zone", type=Path, metavar="FILE", help=f"answer DNS questions from this YAML file only ({ZONE_EXAMPLE})"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_config(parser: argparse.ArgumentParser) -> None:
    """-c FILE."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help=f"the configuration (default: {DEFAULT_CONFIG})"
    )


def add_check(parser: argparse.ArgumentParser) -> None:
    """--check: the exit status is that of a monitoring plugin (`CheckStatus`)."""
    parser.add_argument("--check", action="store_true", help="for monitoring: a summary, the worst first")


class CheckStatus(IntEnum):
    """Exit status of a check (Monitoring Plugins Development Guidelines, "Plugin Return Codes"). It is 3 as well if the
    command could not do its work."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def worst(statuses: Iterable[CheckStatus]) -> CheckStatus:
    """The status of several checks together: a known problem counts more than an unknown one."""
    order = (CheckStatus.OK, CheckStatus.UNKNOWN, CheckStatus.WARNING, CheckStatus.CRITICAL)
    return max(statuses, key=order.index, default=CheckStatus.OK)


def print_summary(name: str, status: CheckStatus, texts: Iterable[str]) -> None:
    """The output of --check: the first line is what a monitoring system shows."""
    print(f"{name} {status.name} - " + "\n".join(printable(text, 500) for text in texts))


def read_zone(path: Path) -> ZoneResolver:
    """The resolver over a zone file."""
    # Here and below: no command waits for what it does not read.
    import yaml

    from mailnotary.config import yaml_check
    from mailnotary.config.yaml_file import LOADER

    try:
        text = path.read_text("utf-8")
        zone = yaml.load(text, Loader=LOADER)  # noqa: S506, a safe one
    except OSError as error:
        raise CommandError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: can't be read: {error}") from error
    except yaml.YAMLError as error:
        mistake = yaml_check.first_mistake(text) or yaml_check.UNKNOWN
        raise CommandError(f"{path}:{mistake.line}:{mistake.column}: {mistake.message}") from error
    if not isinstance(zone, dict):
        raise CommandError(f"{path}: a zone file maps each name to its list of records: {ZONE_EXAMPLE}")
    try:
        return ZoneResolver(zone)
    except ZoneError as error:
        raise CommandError(f"{path}: {error}") from error


def read_configuration(path: Path | None, *, source: bool = False) -> Configuration:
    """The configuration that a command works with. Without -c a missing default file means the defaults: a read-only
    command must work on a machine where mailnotary is not set up. `source`: with the keys of the source, for commands
    that change none; the others say `not_of_source` where they find no key."""
    from mailnotary.config.keystore import KeyStore
    from mailnotary.config.load import Configuration, load_configuration

    if path is None and not DEFAULT_CONFIG.exists():
        return Configuration(Settings(), KeyStore())
    try:
        configuration = load_configuration(path or DEFAULT_CONFIG)
    except ConfigError as error:
        raise CommandError(f"the configuration has errors:\n{error}") from error
    if configuration.stranger and configuration.faults:
        who = f"this runs as {configuration.stranger}, not as the daemon's user {configuration.settings.user}"
        text = f"{who}, so {len(configuration.faults)} keys can't be used here: run it as root"
        print(f"mailnotary: warning: {text}", file=sys.stderr)
    return _with_source(configuration) if source else configuration


def _with_source(configuration: Configuration) -> Configuration:
    from mailnotary.sources.beside import with_source
    from mailnotary.sources.table import TableError

    try:
        return with_source(configuration)
    except (OSError, TableError) as error:
        raise CommandError(f"what the source of keys said last cannot be read: {error}") from error


def not_of_source(settings: Settings, domain: str) -> None:
    """Raises CommandError where the keys of this domain are the source's: advice to make one would put the keystore's
    own in front of them."""
    from mailnotary.sources.beside import name_of_source

    if name := name_of_source(settings, domain):
        raise CommandError(f"the keys of {domain} come from the source {name}: change them there")


def read_settings(path: Path | None) -> Settings:
    """The settings of a command that needs neither keystore nor keys, and so must work for users who cannot read them.
    Without -c a default file that is missing, or that this user cannot read, means the defaults."""
    if path is None and not os.access(DEFAULT_CONFIG, os.R_OK):
        if DEFAULT_CONFIG.exists():
            print(f"mailnotary: warning: no permission to read {DEFAULT_CONFIG}: using the defaults", file=sys.stderr)
        return Settings()
    from mailnotary.config import settings_file

    try:
        return settings_file.load(path or DEFAULT_CONFIG)
    except ConfigError as error:
        raise CommandError(f"the configuration has errors:\n{error}") from error


def resolver_for(zone: Path | None, settings: Settings) -> Resolver:
    """The zone file's resolver, or the configured nameservers'."""
    if zone is not None:
        return read_zone(zone)
    from mailnotary.resolver.dns import DnsResolver

    dns = settings.dns
    return DnsResolver(dns.nameservers, timeout=dns.timeout, cache_entries=dns.cache_entries)


@dataclass(frozen=True, slots=True)
class Nameservers:
    """The nameservers that a command asks, "address:port" ("[address]:port" for IPv6), and the file that names them."""

    servers: tuple[str, ...]
    source: str

    def __str__(self) -> str:
        return f"{', '.join(self.servers)} ({self.source})"


def nameservers(zone: Path | None, settings: Settings, config: Path | None) -> Nameservers | None:
    """Where `resolver_for` gets its answers, None for a zone file. `config` is the value of -c."""
    if zone is not None:
        return None
    from mailnotary.resolver.dns import system_nameservers

    named = settings.dns.nameservers
    source = f"dns.nameservers of {config or DEFAULT_CONFIG}" if named else "/etc/resolv.conf"
    servers = named or system_nameservers()
    return Nameservers(tuple(f"[{a}]:{p}" if ":" in a else f"{a}:{p}" for a, p in servers), source)


def nameservers_json(asked: Nameservers | None) -> dict[str, Any]:
    """For a command's JSON object."""
    return {"nameservers": asked.servers} if asked else {}


class RecordingResolver:
    """A resolver that records each question with its answer, in the order in which they were first asked."""

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._timed = timed(inner)
        self._outcomes: dict[tuple[str, RecordKind], Answer | str] = {}

    @property
    def questions(self) -> list[dict[str, Any]]:
        """Each question once, {"name", "kind", "answer"}, as the JSON output has them."""
        return [
            {"name": printable(name), "kind": str(kind), "answer": _outcome_json(outcome)}
            for (name, kind), outcome in self._outcomes.items()
        ]

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        return self.lookup_within(name, kind, math.inf)

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        """Like `lookup`, in at most that many seconds if the inner resolver supports it."""
        try:
            able = self._timed
            answer = self._inner.lookup(name, kind) if able is None else able.lookup_within(name, kind, seconds)
        except DnsTempError as error:
            self._outcomes[name, kind] = error.word
            raise
        self._outcomes[name, kind] = answer
        return answer

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """Passes them on: a question counts as asked when its answer is waited for."""
        prefetch(self._inner, questions)


def _outcome_json(outcome: Answer | str) -> list[str] | str:
    if isinstance(outcome, str):  # the word for a failure
        return outcome
    if outcome.records:
        return [record_text(record) for record in outcome.records]
    return "NODATA" if outcome.exists else "NXDOMAIN"


def record_text(record: object) -> str:
    """A DNS record as a line of text."""
    if isinstance(record, bytes):
        return printable(record, limit=70_000)
    if isinstance(record, MxRecord):
        return f"{record.preference} {printable(record.host)}"
    return printable(str(record))


def to_json(value: Any) -> Any:
    """Dataclasses, tuples and enums as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if field.metadata.get("json", True)]
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def counted(number: int, noun: str) -> str:
    """The number with its noun: "1 key", "2 keys"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_STYLES = {"pass": "green", "fail": "red", "softfail": "yellow", "policy": "yellow", "permerror": "red"}


def result_style(word: str) -> str:
    """The colour of a result word."""
    return _STYLES.get(word, "yellow" if word == "temperror" else "cyan")


def print_json(value: Any) -> None:
    """One JSON object on standard output, in ASCII: lone surrogates and the like are escaped."""
    print(json.dumps(to_json(value), indent=2, ensure_ascii=True))
