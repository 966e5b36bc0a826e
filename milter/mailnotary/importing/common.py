"""What OpenDKIM, OpenDMARC and dkimpy-milter have in common: the socket, the log, lists of hosts."""

import socket
from collections.abc import Container, Iterable, Mapping

from mailnotary.importing.conf import Conf, Item
from mailnotary.importing.draft import Draft
from mailnotary.importing.hosts import Form, read_hosts
from mailnotary.importing.listen import socket_of
from mailnotary.importing.source import Directive
from mailnotary.importing.text import flow
from mailnotary.keys.edit import scalar

ELSEWHERE = {
    "background": "it stays in the foreground; systemd keeps it",
    "autorestart": "workers that end are replaced",
    "autorestartcount": "workers that end are replaced",
    "autorestartrate": "workers that end are replaced",
    "pidfile": "systemd knows its process",
    "userid": "it runs as its own user, mailnotary",
    "changerootdirectory": "systemd's sandbox takes its place",
    "temporarydirectory": "it writes no temporary files",
    "syslogfacility": "lines for syslog have the facility mail",
    "syslogsuccess": "each message has its log line",
    "basedirectory": "paths are written out",
    "enablecoredumps": "it writes no core dumps",
    "milterdebug": "log: {level: debug} says what it does",
}


def note_rest(
    draft: Draft, directives: Iterable[Directive], taken: Container[str], elsewhere: Mapping[str, str]
) -> None:
    """Notes what has no match, or what takes its place; `taken` are the keys of what was read."""
    for directive in directives:
        if directive.key in elsewhere:
            draft.note(directive, elsewhere[directive.key])
        elif directive.key not in taken:
            draft.note(directive, "has no match")


def put_socket(draft: Draft, conf: Conf) -> None:
    """Socket, UserID and UMask."""
    directive, mask = conf.get("Socket"), conf.get("UMask")
    made = socket_of(directive.value, conf.value("UserID"), conf.value("UMask")) if directive is not None else None
    if directive is not None and made is not None:
        draft.socket_notes += [directive.note(note) for note in made.notes]
        if made.listen:
            draft.put("listen", scalar(made.listen), directive)
        if made.section:
            draft.put("socket", made.section, mask or conf.get("UserID"))
    if mask is not None and (made is None or not made.section):
        draft.socket_notes.append(mask.note("the socket's mode is socket.mode"))


def put_hosts(draft: Draft, key: str, directive: Directive, items: Iterable[Item], form: Form) -> list[str]:
    """Sets a list of networks to those of a list of hosts, and returns it."""
    hosts = read_hosts(items, directive.name, form)
    draft.notes += hosts.notes
    draft.put(key, flow(hosts.networks), directive)
    return hosts.networks


def put_log(draft: Draft, conf: Conf) -> None:
    """Syslog."""
    syslog = conf.get("Syslog")
    if syslog is not None:
        draft.put("log.to", "syslog" if conf.is_on("Syslog") else "stderr", syslog)


def put_authserv_id(draft: Draft, conf: Conf) -> None:
    """AuthservID."""
    directive = conf.get("AuthservID")
    if directive is not None:
        name = socket.gethostname() if directive.value == "HOSTNAME" else directive.value
        draft.put("authserv_id", scalar(name), directive)
