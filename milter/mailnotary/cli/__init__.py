"""The command `mailnotary`: one module a subcommand, each with `configure(parser)` and `run(args) -> int`."""

import argparse
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

import mailnotary
from mailnotary.errors import MailnotaryError

COMMANDS = {
    "run": "run the daemon in the foreground",
    "check-config": "validate the configuration and all keys",
    "doctor": "check the machine and the mail server: what is wrong, and what to do",
    "spf": "check SPF as for a message, and show every DNS question",
    "verify": "verify the DKIM signatures of a message file",
    "sign": "sign a message file",
    "explain": "say what the daemon would do with a message, and why",
    "history": "show what became of messages, and why",
    "keygen": "make a signing key: its file, its keystore entry, its DNS record",
    "keys": "show every key, whether it signs, and whether DNS serves its record",
    "rotate": "replace the keys of a domain by new ones",
    "import-opendkim": "turn an OpenDKIM configuration into one of mailnotary",
    "completion": "print a completion script for bash, zsh or fish",
    "dns": "print the DNS records to publish for a domain, and check its SPF and DMARC",
}


class CommandError(MailnotaryError):
    """A command cannot do its work; the text says what is wrong and what to do."""


def build_parser(only: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser. `only`: the commands whose arguments are needed, None for all; only their modules are imported, so
    that no command waits for the libraries of the others."""
    parser = argparse.ArgumentParser(
        prog="mailnotary", description="SPF, DKIM, DMARC, signing and Authentication-Results in one milter."
    )
    parser.add_argument("--version", action="version", version=f"mailnotary {mailnotary.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, formatter_class=argparse.RawDescriptionHelpFormatter)
        if only is None or name in only:
            module = import_module("mailnotary.cli." + name.replace("-", "_"))
            command.description = module.__doc__
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 its work was done, 1 it could not be, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser(arguments[:1]).parse_args(arguments)
    try:
        return int(args.run(args))
    except CommandError as error:
        print(f"mailnotary {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone (`| head`): nothing is left to say, not even at exit
        return 1
    except KeyboardInterrupt:
        return 130
