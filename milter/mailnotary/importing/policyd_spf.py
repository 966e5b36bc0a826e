"""The configuration of policyd-spf (spf-engine, pypolicyd-spf): policyd-spf.conf(5)."""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.common import note_rest
from mailnotary.importing.conf import Item
from mailnotary.importing.draft import Draft
from mailnotary.importing.hosts import OTHERS, read_hosts
from mailnotary.importing.listen import socket_of
from mailnotary.importing.source import Directive, read_lines
from mailnotary.keys.edit import scalar

_LINE = re.compile(r"\s*(\w+)\s*=\s*(.*?)\s*$")
_DEFAULTS = {  # policydspfsupp.defaultConfigData
    "testonly": "1",
    "helo_reject": "Fail",
    "mail_from_reject": "Fail",
    "permerror_reject": "False",
    "temperror_defer": "False",
    "skip_addresses": "127.0.0.0/8,::ffff:127.0.0.0/104,::1",
}
_EXCEPTIONS = ("whitelist", "domain_whitelist", "domain_whitelist_ptr", "helo_whitelist", "no_mail")
_ELSEWHERE = {
    "debuglevel": "log: {level: debug} says what it does",
    "header_type": "the result is in the Authentication-Results field, and Received-SPF is not written",
    "hide_receiver": "no recipients are in its header",
    "spf_enhanced_status_codes": "replies have the codes of RFC 7372",
    "reason_message": "the reply's text cannot be changed",
    "mock": "milters see its field",
    "queueid": "the log always has the queue ID",
    "pidfile": "systemd knows its process",
    "userid": "it runs as its own user, mailnotary",
    "umask": "the socket's mode is socket.mode",
    "whitelist_lookup_time": "there are no such questions",
    "prospective": "what receivers will find of outgoing mail, `mailnotary spf` says",
    "per_user": "settings per recipient have no match",
    "reject_not_pass_domains": "another action for single domains has no match; DMARC protects those with a policy",
}
_TAKEN = {*_DEFAULTS, *_EXCEPTIONS, "defaultseedonly", "authserv_id", "lookup_time", "void_limit", "socket"}


def read(path: Path) -> Draft:
    """Reads policyd-spf.conf. Raises SourceError."""
    draft = Draft("policyd-spf", path, Mode.VERIFY)
    lines = _read(path)
    _Reader(draft, {line.key: line for line in lines}).fill()
    note_rest(draft, lines, _TAKEN, _ELSEWHERE)
    return draft


def _read(path: Path) -> Sequence[Directive]:
    found = []
    for number, line in enumerate(read_lines(path), 1):
        if match := _LINE.match(line.partition("#")[0]):
            found.append(Directive(match[1], match[2], f"{path}:{number}", " = "))
    return found


class _Reader:
    """Fills a draft from the last line of each name."""

    def __init__(self, draft: Draft, lines: dict[str, Directive]) -> None:
        self._draft, self._lines = draft, lines

    def _line(self, name: str) -> Directive:
        """A line, or one that says the default."""
        return self._lines.get(name, Directive(name, _DEFAULTS.get(name, ""), str(self._draft.path), " = "))

    def fill(self) -> None:
        """Everything that has a match."""
        self._skipped()
        test = self._lines.get("testonly") or self._lines.get("defaultseedonly")
        if test is not None and test.value == "0":
            self._draft.note(test, "nothing is refused, so nothing is here: spf has what would be, once you want it")
        elif not self._exceptions():
            self._actions()
        if self._line("mail_from_reject").value == "No_Check":
            self._draft.note(self._line("mail_from_reject"), "MAIL FROM is always checked (RFC 7208 section 2.4)")
        if self._line("helo_reject").value == "No_Check":
            self._draft.put("spf.check_helo", "false", self._line("helo_reject"))
        name = self._lines.get("authserv_id")
        if name is not None:
            value = socket.gethostname() if name.value == "HOSTNAME" else name.value
            self._draft.put("authserv_id", scalar(value), name)
        void, seconds = self._lines.get("void_limit"), self._lines.get("lookup_time")
        self._draft.put_number(void, "spf.void_lookups", str, "not understood")
        self._draft.put_number(seconds, "limits.spf_seconds", lambda n: str(n) if n else None, "not understood")
        self._socket()

    def _skipped(self) -> None:
        line = self._line("skip_addresses")
        items = [Item(one.strip(), "", line.place) for one in line.value.split(",") if one.strip()]
        hosts = read_hosts((item for item in items if "ffff:" not in item.key.lower()), line.name, OTHERS)
        self._draft.ignored = hosts.networks
        others = [one for one in hosts.networks if one not in ("127.0.0.0/8", "127.0.0.1", "::1")]
        if others:
            why = "to skip SPF alone has no match: mail of sign_for.networks is not checked, but it is signed"
            self._draft.note(line, f"{', '.join(others)}: {why}")

    def _exceptions(self) -> bool:
        """Whether some mail is spared that would be refused here: then nothing is, until the admin decides."""
        spared = [line for name in _EXCEPTIONS if (line := self._lines.get(name)) is not None and line.value]
        spared = [line for line in spared if line.value not in ("None", "False")]
        for line in spared:
            self._draft.note(
                line,
                "to spare some mail has no match, so SPF refuses nothing yet: name your own relays in trusted_relays, "
                "then write spf.fail: reject; or leave it to DMARC (dmarc.mode: enforce)",
            )
        return bool(spared)

    def _actions(self) -> None:
        """What is refused. An option says True or False, and the name of a result else."""
        permerror = self._line("permerror_reject").value == "True"
        temperror = self._line("temperror_defer").value == "True"
        sender = self._line("mail_from_reject")
        if sender.value in ("Fail", "Softfail", "SPF_Not_Pass"):
            self._draft.put("spf.fail", "reject", sender)
        if sender.value in ("Softfail", "SPF_Not_Pass"):
            self._draft.put("spf.softfail", "reject", sender)
        if sender.value == "SPF_Not_Pass":
            self._draft.note(sender, "neutral is not refused, but treated as none (RFC 7208 section 8.2)")
        if sender.value not in ("False", "No_Check"):
            if permerror:
                self._draft.put("spf.permerror", "reject", self._line("permerror_reject"))
            if temperror:
                self._draft.put("spf.temperror", "tempfail", self._line("temperror_defer"))
        helo = self._line("helo_reject")
        if helo.value in ("Fail", "Softfail", "SPF_Not_Pass"):
            self._draft.put("spf.helo_fail", "reject", helo)
        if helo.value in ("Softfail", "SPF_Not_Pass"):
            self._draft.note(helo, "of the results for HELO, only fail is refused")
        if helo.value == "Null":
            self._draft.note(
                helo, "to refuse for HELO where MAIL FROM is empty alone has no match: spf.helo_fail is for all"
            )

    def _socket(self) -> None:
        line = self._lines.get("socket")  # of its other front end, a milter
        if line is not None:
            made = socket_of(line.value, "", "")
            self._draft.socket_notes += [line.note(note) for note in made.notes]
            if made.listen:
                self._draft.put("listen", scalar(made.listen), line)
