"""Other filters in Postfix: what comes back from them, and what changes mail that is already signed.
config/filters.md has the details."""

import re
from collections.abc import Callable, Iterator

from mailnotary.config.settings import Mode, OnOwnVerdict, Settings
from mailnotary.doctor.finding import Finding, error, warning
from mailnotary.doctor.instance import RESTRICTIONS, Postfix, public
from mailnotary.escape import printable
from mailnotary.files import read_regular

MAX_TABLE = 4_194_304  # octets that are read of an access table

# Where a FILTER action can be (access(5), header_checks(5)).
_TABLES = (
    *RESTRICTIONS,
    "header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "body_checks",
)
# What the SMTP client changes in outgoing mail, after all milters (smtp(8)).
_REWRITING = (
    "smtp_generic_maps",
    "smtp_header_checks",
    "smtp_mime_header_checks",
    "smtp_nested_header_checks",
    "smtp_body_checks",
)
FILTER_SETTINGS = ("content_filter", "smtpd_proxy_filter", *_TABLES, *_REWRITING)
_TABLE = re.compile(r"([a-z]+):(\{[^}]*\}|[^\s,]+)")
_FILTER = re.compile(r"(?:^|\s)\{?\s*FILTER\s+\S", re.IGNORECASE)


def check(postfix: Postfix, settings: Settings, calls: Callable[[str], bool]) -> Iterator[Finding]:
    """`calls`: whether a value of smtpd_milters includes the daemon."""
    if settings.mode is not Mode.VERIFY:
        yield from _rewriting(postfix)
    yield from _proxied(postfix, settings)
    filters = sorted(set(_content_filters(postfix)))
    if filters and settings.mode is not Mode.VERIFY:
        yield from _coming_back(postfix, settings, filters, calls)


def _named(postfix: Postfix, name: str) -> Iterator[tuple[str, str]]:
    """Each place that sets a setting: (where, value)."""
    if postfix[name]:
        yield name, postfix[name]
    for key, value in sorted(postfix.overrides.items()):
        if key.endswith(f"/{name}") and value:
            yield f"master.cf: {key}", value


def _rewriting(postfix: Postfix) -> Iterator[Finding]:
    for name in _REWRITING:
        for where, value in _named(postfix, name):
            text = f"{printable(value)} changes mail after it was signed, which breaks the signatures"
            better = "canonical_maps" if name == "smtp_generic_maps" else name.removeprefix("smtp_")
            yield warning(where, text, f"make these changes before the milters, with {better}")


def _content_filters(postfix: Postfix) -> Iterator[str]:
    """After-queue filters, each with the place that sets it."""
    for where, value in _named(postfix, "content_filter"):
        yield f"{where}={value}" if where == "content_filter" else where
    for name in _TABLES:
        for where, value in _named(postfix, name):
            for kind, path in _TABLE.findall(value):
                if _FILTER.search(path if kind in {"static", "inline"} else content(path.rpartition(":")[2])):
                    yield f"FILTER in {kind}:{path} ({where})"


def content(path: str) -> str:
    """The lines of a table's source without comments; "" if it has no source file."""
    try:
        text = read_regular(path, MAX_TABLE).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _coming_back(
    postfix: Postfix, settings: Settings, filters: list[str], calls: Callable[[str], bool]
) -> Iterator[Finding]:
    """Mail that an after-queue filter hands back has been checked already, and comes from this machine."""
    what = printable(filters[0]) + (f" and {len(filters) - 1} more" if len(filters) > 1 else "")
    unprotected = settings.signing.on_own_verdict is OnOwnVerdict.SIGN
    make = error if unprotected else warning
    harm = "spoofed mail is signed as ours" if unprotected else "it is checked twice"
    for service, program in sorted(postfix.services.items()):
        if program != "smtpd" or public(service) or postfix.of(service, "content_filter"):
            continue
        options = postfix.of(service, "receive_override_options")
        daemon = postfix.of(service, "milter_macro_daemon_name")
        exempt = daemon in settings.exempt.daemon_names
        if "no_milters" not in options and not exempt and calls(postfix.of(service, "smtpd_milters")):
            text = f"mail from a content filter ({what}) can come back through {service} to the daemon: {harm}"
            better = ",".join(filter(None, (options, "no_milters")))
            yield make("content filter", text, f"-o receive_override_options={better} for {service} in master.cf")
    if unprotected:
        text = f"what a content filter ({what}) hands back is signed as ours, spoofed mail too"
        yield error("content filter", text, "remove signing.on_own_verdict: sign")


def _proxied(postfix: Postfix, settings: Settings) -> Iterator[Finding]:
    """A before-queue filter passes on the mail of others from its own address, unchecked, and milters in front of it
    see no header (MILTER_README, Limitations)."""
    relays = settings.trusted_relays.daemon_names
    behind = any(postfix.of(service, "milter_macro_daemon_name") in relays for service in postfix.services)
    for where, value in _named(postfix, "smtpd_proxy_filter"):
        if not behind:
            text = (
                f"{printable(value)} passes on all mail as if it came from this machine: spoofed mail is signed as ours"
            )
            advice = (
                "on the listener behind the filter set -o milter_macro_daemon_name=PROXIED, and "
                "trusted_relays: {daemon_names: [PROXIED]} in mailnotary.yaml"
            )
            yield error(where, text, advice)
