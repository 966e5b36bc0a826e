"""From root to the service's own user, for good."""

import os
import pwd

import mailnotary
from mailnotary.errors import SetupError
from mailnotary.files import not_permitted


class UserError(SetupError):
    """The user can't be taken on; the text says why and what to do."""


def drop(user: str) -> None:
    """Becomes `user`, with its groups, if this process is root's; does nothing in any other. Raises UserError."""
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UserError(
            f"user: there is no user '{user}' on this machine: create it (adduser --system --group --no-create-home "
            f"{user}), or name another"
        ) from None
    try:
        os.initgroups(user, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise UserError(f"user: can't become '{user}': {error.strerror}") from error
    os.environ["HOME"], os.environ["USER"], os.environ["LOGNAME"] = entry.pw_dir, user, user


def out_of_reach() -> str:
    """Why this process can't read its own program, "" if it can. What was loaded as root works on; what is loaded later
    would be missing."""
    program = mailnotary.__file__
    return "" if os.access(program, os.R_OK, effective_ids=True) else f"{program} {not_permitted(program)}"
