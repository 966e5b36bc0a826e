"""The command `mailnotary`: one module a subcommand, each with HELP, `configure(parser)` and `run(args) -> int`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import mailnotary

COMMANDS = ("run", "check-config", "spf", "verify", "sign", "explain")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mailnotary", description="SPF, DKIM, DMARC, signing and Authentication-Results in one milter."
    )
    parser.add_argument("--version", action="version", version=f"mailnotary {mailnotary.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module("mailnotary.cli." + name.replace("-", "_"))
        command = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 its work was done, 1 it could not be, 2 wrong usage."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except CommandError as error:
        print(f"mailnotary {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone (`| head`): nothing is left to say, not even at exit
        return 1


class CommandError(Exception):
    """A command can't do its work; the text says what is wrong and what to do."""
