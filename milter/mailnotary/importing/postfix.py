"""Postfix's own files: what of them concerns the change to mailnotary. They say nothing of what the filters do."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.draft import Draft
from mailnotary.importing.source import Note, read_lines

_NOTES = {
    "smtpd_milters": "at the switch, write mailnotary here in place of the filters that it replaces",
    "non_smtpd_milters": "at the switch, write mailnotary here in place of the filters that it replaces",
    "milter_default_action": "tempfail has mail wait while no filter runs; accept lets it out unsigned",
    "milter_macro_daemon_name": "sign_for.daemon_names can name it",
    "content_filter": "mail comes back from it: see config/filters.md",
    "smtpd_proxy_filter": "milters see the proxy as the client: see config/filters.md",
    "mynetworks": "not taken over: who may relay is not whose mail is signed; sign_for.networks says that",
}
_POLICY = re.compile(r"\bcheck_policy_service\s+(\{\s*)?([^\s,}]+)")
_SETTING = re.compile(r"(?:-o\s+)?\{?\s*([a-z_]+)\s*=\s*(.*)")
_SPF_SERVICE = re.compile(r"^\S*(spf)\S*\s+unix\s.*\sspawn\b", re.IGNORECASE)


def read(paths: Sequence[Path]) -> Draft:
    """Reads main.cf and master.cf. Raises SourceError."""
    draft = Draft("Postfix", paths[0], Mode.VERIFY, others=paths[1:])
    for path in paths:
        for place, line in _logical_lines(path):
            draft.notes += _look(place, line)
    return draft


def _logical_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each with the place of its first line: what begins with white space continues it (postconf(5))."""
    start, text = "", ""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and text:
            text += " " + line.strip()
            continue
        if text:
            yield start, text
        start, text = f"{path}:{number}", line.strip()
    if text:
        yield start, text


def _look(place: str, line: str) -> Iterator[Note]:
    for part in re.split(r"\s(?=-o\s)", line):
        match = _SETTING.match(part)
        if match is not None and match[1] in _NOTES:
            yield Note(place, f"{match[1]} = {match[2].rstrip('} ')}: {_NOTES[match[1]]}")
    for match in _POLICY.finditer(line):
        if "spf" in match[2].lower():
            yield Note(place, f"check_policy_service {match[2]}: remove it at the switch, or SPF is checked twice")
    if _SPF_SERVICE.match(line):
        yield Note(place, f"{line.split()[0]}: once nothing calls it, this service can be removed")
