"""What Postfix's servers and clients do with the text of a message: two messages made of one (SMTP smuggling), and
changes that break a signature of ours, or one that is still to be verified."""

import re
from collections.abc import Iterator

from mailnotary.config.settings import Mode, Settings
from mailnotary.doctor.finding import Finding, ok, warning
from mailnotary.doctor.instance import Postfix, public
from mailnotary.escape import printable

TRANSPORT_SETTINGS = (
    "mail_version",
    "smtpd_forbid_bare_newline",
    "smtpd_forbid_unauth_pipelining",
    "smtpd_discard_ehlo_keywords",
    "disable_mime_output_conversion",
    "smtp_discard_ehlo_keywords",
    "smtp_never_send_ehlo",
    "smtp_line_length_limit",
    "message_drop_headers",
)
_REFUSING = {"normalize", "yes", "reject"}  # values of smtpd_forbid_bare_newline that end smuggling
_DROPPED = {"bcc", "content-length", "resent-bcc", "return-path"}  # by default, and nobody signs them
LINE_LENGTH = 998  # octets without CRLF, the most that a message may have (RFC 5322 section 2.1.1)


def check(postfix: Postfix, settings: Settings) -> Iterator[Finding]:
    """SMTP smuggling, then what is changed after signing and before verifying."""
    yield from _smuggling(postfix)
    if settings.mode is not Mode.VERIFY:
        yield from _conversion(postfix)
        yield from _line_length(postfix)
    if settings.mode is not Mode.SIGN:
        yield from _dropped(postfix)


def _smuggling(postfix: Postfix) -> Iterator[Finding]:
    """Of what another server takes for one message, Postfix makes two where it takes a line end without CR before the
    final dot (RFC 5321 section 2.3.8 forbids it): the second is as if it came from that server, with its SPF pass."""
    services = [name for name, program in postfix.services.items() if program == "smtpd" and public(name)]
    bad = [name for name in services if not _safe(postfix, name)]
    if not bad:
        if services:
            yield ok("SMTP smuggling", "lines that end without CR cannot end a message")
        return
    where = ", ".join(bad)
    text = f"{where} lets a sender smuggle a second message, with the SPF result of another server, behind the first"
    if "smtpd_forbid_bare_newline" in postfix.settings:
        advice = "postconf smtpd_forbid_bare_newline=normalize && postfix reload"
        if overridden := [name for name in bad if f"{name}/smtpd_forbid_bare_newline" in postfix.overrides]:
            advice += f"; and remove smtpd_forbid_bare_newline from {', '.join(overridden)} in master.cf"
    else:
        version = printable(postfix["mail_version"], 20) or "this version"
        advice = (
            f"Postfix {version} has no smtpd_forbid_bare_newline: install 3.5.23, 3.6.13, 3.7.9, 3.8.4 or later; until "
            "then add reject_unauth_pipelining to smtpd_data_restrictions and chunking to smtpd_discard_ehlo_keywords"
        )
    yield warning("SMTP smuggling", text, advice)


def _safe(postfix: Postfix, service: str) -> bool:
    if postfix.of(service, "smtpd_forbid_bare_newline").lower() in _REFUSING:
        return True
    # Postfix's own advice for versions without it: with neither pipelining nor BDAT nothing can follow the dot.
    pipelining = postfix.of(service, "smtpd_forbid_unauth_pipelining") == "yes" or (
        "reject_unauth_pipelining" in postfix.of(service, "smtpd_data_restrictions")
    )
    return pipelining and "chunking" in postfix.of(service, "smtpd_discard_ehlo_keywords").lower()


def _conversion(postfix: Postfix) -> Iterator[Finding]:
    """Postfix's client turns 8-bit text into quoted-printable for a server without 8BITMIME (RFC 6152 section 3)."""
    if postfix["disable_mime_output_conversion"] == "yes":
        return
    never = postfix["smtp_never_send_ehlo"] == "yes"
    if not never and "8bitmime" not in postfix["smtp_discard_ehlo_keywords"].lower():
        return  # few servers out there lack it
    where = "smtp_never_send_ehlo" if never else "smtp_discard_ehlo_keywords"
    text = f"{where} hides 8BITMIME, so 8-bit mail is rewritten after it was signed, which breaks its signatures"
    advice = f"remove that from {where}; or, if the next server takes 8-bit mail: disable_mime_output_conversion=yes"
    yield warning("disable_mime_output_conversion", text, advice)


def _line_length(postfix: Postfix) -> Iterator[Finding]:
    limit = postfix["smtp_line_length_limit"]
    if re.fullmatch(r"\d{1,9}", limit) and 0 < int(limit) < LINE_LENGTH:
        text = f"lines of more than {limit} octets are cut after they were signed, which breaks the signatures"
        yield warning(
            "smtp_line_length_limit", text, f"postconf smtp_line_length_limit={LINE_LENGTH} && postfix reload"
        )


def _dropped(postfix: Postfix) -> Iterator[Finding]:
    """cleanup(8) removes these fields before it calls milters (postconf(5)): what was signed is not there any more."""
    names = [name for name in re.split(r"[\s,]+", postfix["message_drop_headers"].lower()) if name]
    if more := [name for name in names if name not in _DROPPED]:
        text = f"{printable(', '.join(more))}: removed before signatures are verified, and those over it then fail"
        yield warning(
            "message_drop_headers", text, "remove such fields on delivery, with smtp_header_checks or a filter"
        )
