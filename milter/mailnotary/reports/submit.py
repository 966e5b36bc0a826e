"""Hands a report to the mail server, which brings it to its destination: by SMTP, or with its sendmail command."""

import re
import shutil
import smtplib
import subprocess
from contextlib import suppress
from typing import Final

from mailnotary.errors import SetupError
from mailnotary.escape import printable

SECONDS: Final = 120  # for each answer of the mail server
_SENDMAIL_PATH: Final = "/usr/sbin:/usr/lib:/usr/bin"
_REFUSED: Final = (67, 68)  # EX_NOUSER, EX_NOHOST (sysexits.h)
# The address or the mailbox is at fault (RFC 3463 sections 3.2 and 3.3). Any other refusal may be of our own making.
_NO_MAILBOX: Final = re.compile(r"5[0-9][0-9] 5\.[12]\.")


class SubmitError(SetupError):
    """The mail server did not take a message; `for_good` says whether it never will."""

    def __init__(self, text: str, *, for_good: bool) -> None:
        super().__init__(text)
        self.for_good = for_good


def submit(where: str, message: bytes, *, sender: str, recipient: str, hostname: str) -> None:
    """Submits a message (CRLF line ends) to HOST:PORT or to "sendmail". `sender`: the envelope sender, "" for the null
    reverse-path; `hostname`: for EHLO. Raises SubmitError."""
    if where == "sendmail":
        _by_command(message, sender, recipient)
    else:
        _by_smtp(where, message, sender, recipient, hostname)


def _by_smtp(where: str, message: bytes, sender: str, recipient: str, hostname: str) -> None:
    host, _, port = where.rpartition(":")
    try:
        server = smtplib.SMTP(host.strip("[]"), int(port), hostname, timeout=SECONDS)
        try:
            server.sendmail(sender, [recipient], message)
        finally:  # what happens to QUIT changes nothing: a message that was taken must not be sent again
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients[recipient]
        raise _answered(where, code, text) from error
    except smtplib.SMTPResponseException as error:
        raise _answered(where, error.smtp_code, error.smtp_error) from error
    except (OSError, smtplib.SMTPException) as error:
        raise SubmitError(f"{where}: {printable(str(error), 300) or type(error).__name__}", for_good=False) from error


def _answered(where: str, code: int, text: bytes | str) -> SubmitError:
    line = text.replace(b"\n", b" ") if isinstance(text, bytes) else text
    answer = f"{code} {printable(line, 300)}"
    return SubmitError(f"{where} answered {answer}", for_good=_NO_MAILBOX.match(answer) is not None)


def _by_command(message: bytes, sender: str, recipient: str) -> None:
    program = shutil.which("sendmail", path=_SENDMAIL_PATH)
    if program is None:
        raise SubmitError(f"there is no sendmail command in {_SENDMAIL_PATH}", for_good=False)
    command = [program, "-i", "-f", sender or "<>", "--", recipient]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and an address behind "--"
            command, input=message.replace(b"\r\n", b"\n"), capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SubmitError(f"{program}: {printable(str(error), 300)}", for_good=False) from error
    if done.returncode:
        said = printable(done.stderr.strip(), 300)
        raise SubmitError(f"{program} ended with {done.returncode}: {said}", for_good=done.returncode in _REFUSED)
