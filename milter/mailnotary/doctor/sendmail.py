"""Sendmail: the filters in its sendmail.cf."""

import re
from collections.abc import Iterator
from pathlib import Path

from mailnotary.config.listen import Listen
from mailnotary.config.settings import Mode
from mailnotary.doctor.finding import Finding, error, ok, warning
from mailnotary.doctor.neighbours import harm_of
from mailnotary.escape import printable
from mailnotary.files import read_regular

CF = Path("/etc/mail/sendmail.cf")
MAX_CF = 16 * 1_048_576  # octets

# "Xname, S=inet:8891@127.0.0.1, F=T, T=..." (Sendmail's operations guide, "X -- Mail Filter (Milter) Definitions")
_FILTER = re.compile(r"^X([^,\s]+),\s*(.*)$", re.MULTILINE)
_EQUATE = re.compile(r"\b([SFT])=([^,]*)")
_USED = re.compile(r"^O\s+InputMailFilters=(.*)$", re.MULTILINE)


def read(path: Path = CF) -> str | None:
    """The configuration; None if there is no Sendmail."""
    try:
        return read_regular(path, MAX_CF).decode("utf-8", "replace")
    except OSError:
        return None


def check(cf: str, listen: Listen, mode: Mode = Mode.BOTH) -> Iterator[Finding]:
    """Whether the daemon is among Sendmail's filters, and whether mail waits while it is down."""
    line = f"INPUT_MAIL_FILTER(`mailnotary', `S={listen}, F=T, T=S:10s;R:30s;E:2m')dnl"
    advice = f"add {line} to /etc/mail/sendmail.mc, run `make -C /etc/mail` and reload Sendmail"
    filters = {name: dict(_EQUATE.findall(rest)) for name, rest in _FILTER.findall(cf)}
    used = {name for value in _USED.findall(cf) for name in re.split(r"[\s,]+", value)}
    for name in sorted(used & filters.keys()):
        place = filters[name].get("S", "")
        if not _is(place, listen) and (harm := harm_of(f"{name} {place}", mode)):
            text = f"it calls {printable(name)} ({printable(place)}), too: {harm}"
            yield warning("neighbours", text, "remove it from sendmail.mc, run `make -C /etc/mail` and reload Sendmail")
    ours = next((name for name, equates in filters.items() if _is(equates.get("S", ""), listen)), None)
    if ours is None or ours not in used:
        yield error("Sendmail", "the daemon is not among its filters, so no mail passes through it", advice)
        return
    yield ok("Sendmail", f"calls {listen}, as {printable(ours)}")
    if filters[ours].get("F", "").strip() != "T":
        yield warning("Sendmail", "without F=T mail passes unchecked and unsigned while the daemon is down", advice)


def _is(text: str, listen: Listen) -> bool:
    try:
        return Listen.parse(text.strip()) == listen
    except ValueError:
        return False
