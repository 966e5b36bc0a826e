"""Signs a message with every key of its From domain that is not retired, and prints it.

A byte order mark or an mbox separator (a From_ line) before the header is left out.

example: mailnotary sign draft.eml -c /etc/mailnotary/mailnotary.yaml > signed.eml"""

import argparse
import sys
import time

from mailnotary import dkim
from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, read_configuration
from mailnotary.cli.messages import read_message
from mailnotary.config.keystore import IDLE_STATES
from mailnotary.crypto import KeyLoadError
from mailnotary.escape import printable
from mailnotary.mail.address import author
from mailnotary.mail.message import crlf, parse
from mailnotary.session.outbound import signer_of


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("message", metavar="MESSAGE", help="the message file, - for standard input")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the signed message with its original line ends."""
    configuration = read_configuration(args.config, source=True)
    message_file = read_message(args.message)
    raw, name = message_file.octets, message_file.name
    message = parse(crlf(raw))
    who = author(message.fields)
    if who.problem is not None:
        raise CommandError(f"{name}: not signed: {who.reason}")
    domain = who.domains[0]
    entry = configuration.keystore.find(domain)
    if entry is None:
        raise CommandError(f"{name}: not signed: no entry of the keystore covers the From domain {domain}")
    keys = [key for key in entry.keys if key.state not in IDLE_STATES]
    if not keys:
        raise CommandError(f"{name}: not signed: all keys of the entry {entry.name} are retired")
    if faulty := next((key for key in keys if key.fault), None):
        raise CommandError(f"{name}: not signed: {printable(faulty.file)}: {faulty.fault}")
    try:
        signers = [signer_of(entry.domain, key, configuration.settings.signing) for key in keys]
        job = dkim.MessageSigner(message.fields, signers, now=int(time.time()), again=True)
        job.body(message.body)
        signatures = job.finish()
    except (KeyLoadError, dkim.SigningError) as error:
        raise CommandError(f"{name}: not signed: {error}") from error
    head = b"".join(signature.raw + b"\r\n" for signature in signatures)
    if b"\r\n" not in raw:
        head = head.replace(b"\r\n", b"\n")
    sys.stdout.buffer.write(head + raw)
    sys.stdout.buffer.flush()
    return 0
