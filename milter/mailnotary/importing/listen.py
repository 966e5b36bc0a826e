"""The socket of another milter as one that our systemd unit can open and the mail server can reach."""

import grp
import re
from dataclasses import dataclass, field
from pathlib import Path

from mailnotary.config.listen import Listen
from mailnotary.keys.edit import scalar

RUN = "/run/mailnotary"  # RuntimeDirectory of the unit
SPOOL = "/var/spool/postfix/mailnotary"  # ReadWritePaths of the unit; its setgid bit gives the group postfix
_QUEUE = "/var/spool/postfix/"


@dataclass(slots=True)
class Socket:
    """`listen` and the section `socket` as mailnotary.yaml has them, "" for none."""

    listen: str = ""
    section: str = ""
    notes: list[str] = field(default_factory=list)


def socket_of(text: str, user: str, umask: str) -> Socket:
    """The socket of these values of Socket, UserID and UMask."""
    made = Socket()
    try:
        listen = Listen.parse(_socket_text(text))
    except ValueError as error:
        made.notes.append(str(error))
        return made
    if listen.family != "unix":
        made.listen = str(listen)
        return made
    group = user.partition(":")[2]
    path = listen.path
    if not path.startswith((f"{RUN}/", f"{SPOOL}/")):
        in_queue = path.startswith(_QUEUE) or group == "postfix" or has_postfix()
        path = f"{SPOOL if in_queue else RUN}/mailnotary.sock"
        milter = path.removeprefix(_QUEUE)
        made.notes.append(
            f"the systemd unit can't write to the directories of others, so it is {path} now: write "
            f"unix:{milter} in the mail server's configuration instead"
        )
    made.listen = f"unix:{path}"
    parts = []
    if re.fullmatch("[0-7]{1,4}", umask) and not int(umask, 8) & 0o600:
        parts.append(f'mode: "{0o666 & ~int(umask, 8):04o}"')
    if group and not path.startswith(f"{SPOOL}/"):
        if _exists(group):
            parts.append(f"group: {scalar(group)}")
            made.notes.append(f"its group is {group}: the user mailnotary must be a member (usermod -aG)")
        else:
            made.notes.append(f"there is no group {group} on this machine: once there is, write it as socket.group")
    made.section = f"{{{', '.join(parts)}}}" if parts else ""
    return made


def has_postfix() -> bool:
    """Whether Postfix runs on this machine: in its chroot, which is Debian's default, it reaches its queue alone."""
    return Path(_QUEUE).is_dir()


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _socket_text(text: str) -> str:
    """OpenDKIM's socketspec as `Listen` takes it: without a host it listens on every address."""
    family, _, rest = text.partition(":")
    if text.startswith("/"):
        return "unix:" + text
    if family in ("inet", "inet6") and rest.isdigit():
        return f"{family}:{rest}@{'0.0.0.0' if family == 'inet' else '::'}"  # noqa: S104 - it is what the admin wrote
    return text.replace("[", "").replace("]", "") if family in ("inet", "inet6") else text
