"""The section `reports:` of mailnotary.yaml, and what must be there so that reports can be made and sent."""

from ipaddress import ip_address
from typing import Any

from mailnotary.config.keystore import KeyStore
from mailnotary.config.settings import DmarcMode, Mode, ReportsSettings, Settings
from mailnotary.config.values import (
    Section,
    boolean,
    domain,
    host_and_port,
    integer,
    list_of,
    optional,
    scalar,
    seconds,
    text,
)
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, shown
from mailnotary.domain import is_subdomain
from mailnotary.mail.envelope import mailbox_of

HOURS = (1, 2, 3, 4, 6, 8, 12, 24)
MIN_DAYS = 4  # of history: what could not be sent is tried again for three days


def _mailbox(text: str) -> str:
    try:
        return str(mailbox_of(text))
    except ValueError as error:
        raise ValueError(f"{error}: write one like dmarc-reports@example.org") from None


def _hours(text: str) -> int:
    if text not in {str(hours) for hours in HOURS}:
        raise ValueError(f"{shown(text)} does not divide a day: write {', '.join(map(str, HOURS[:-1]))} or {HOURS[-1]}")
    return int(text)


def _submit_to(node: YamlNode, report: Report) -> str:
    where: str = scalar(lambda text: text if text == "sendmail" else host_and_port(text), "127.0.0.1:25")(node, report)
    if where != "sendmail" and not ip_address(where.rpartition(":")[0].strip("[]")).is_loopback:
        report.warn(node, "reports go there without TLS: name a mail server on this machine, or in a network of yours")
    return where


def _settings(**given: Any) -> ReportsSettings:
    """`from` is a word of Python's own."""
    return ReportsSettings(**{"from_" if name == "from" else name: value for name, value in given.items()})


_mailboxes = scalar(_mailbox, "an address like dmarc-reports@example.org")
READER = Section(
    _settings,
    enabled=boolean(),
    org_name=optional(text("your organization's name")),
    **{"from": optional(_mailboxes)},
    contact=optional(text("an address or a URL")),
    exclude=list_of(scalar(domain, "a domain"), "example.net"),
    min_messages=integer(1, 1_000_000),
    public_suffixes=boolean(),
    period_hours=scalar(_hours, "24"),
    submit_to=_submit_to,
    bounces_to=optional(_mailboxes),
    spread_seconds=seconds(0, 86_400),
)


def check(settings: Settings, root: YamlMapping, report: Report) -> None:
    """Reports what is missing so that reports can be made."""
    section, reports = root.get("reports"), settings.reports
    if not reports.enabled or not isinstance(section, YamlMapping):
        return
    node = section.get("enabled")
    if not reports.org_name:
        report.error(node, "reports need org_name, which tells the reader whose they are: add 'org_name: Your Company'")
    if not reports.from_:
        report.error(node, "reports need an author whose domain is in the keystore: add 'from: dmarc@example.org'")
    if not settings.history.enabled:
        report.error(node, "reports are made of the history: add 'history: {enabled: true}'")
    elif settings.history.days < MIN_DAYS:
        days = settings.history.days
        report.error(node, f"history.days is {days}, but reports are tried again for days: write {MIN_DAYS} or more")
    if settings.mode is Mode.SIGN or settings.dmarc.mode is DmarcMode.OFF:
        off = "mode is sign" if settings.mode is Mode.SIGN else "dmarc.mode is off"
        report.error(node, f"{off}, so there is nothing to report: change that, or write 'enabled: false'")


def check_keystore(settings: Settings, keystore: KeyStore, root: YamlMapping, report: Report) -> None:
    """Warns if reports can't be signed. Not an error: the mail of others must not wait for that."""
    section, reports = root.get("reports"), settings.reports
    if not reports.enabled or not reports.from_ or not isinstance(section, YamlMapping):
        return
    name = mailbox_of(reports.from_).domain
    entry = keystore.find(name)
    if entry is None or not is_subdomain(name, entry.domain):
        # RFC 9990 section 3.5.2: "MUST conform to the DMARC mechanism, thereby resulting in an aligned "pass"".
        report.warn(
            section.get("from"),
            f"the keystore has no entry for {name}, so no reports are sent, because they would fail DMARC: make a "
            f"key with `mailnotary keygen {name} SELECTOR`",
        )
