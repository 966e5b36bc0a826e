"""The command `mailnotary`: one module a subcommand, each with `configure(parser)` and `run(args) -> int`."""

import argparse
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from typing import NoReturn

import mailnotary
from mailnotary.errors import MailnotaryError
from mailnotary.escape import printable

COMMANDS = {
    "doctor": "check the machine and the mail server: what is wrong?",
    "check-config": "check the configuration and all keys",
    "import": "turn OpenDKIM's configuration, and that of others, into ours",
    "keygen": "make a key: its file, keystore entry and DNS record",
    "keys": "show every key, whether it signs and is in DNS",
    "dns": "print a domain's DNS records, check its SPF and DMARC",
    "rotate": "replace the keys of a domain by new ones",
    "source": "show the state of keys from a program or a database",
    "explain": "say what the daemon would do with a message, and why",
    "history": "show what became of messages, and why",
    "reports": "make and send DMARC reports, or read those of others",
    "replay": "say what the daemon would do with stored mail",
    "web": "serve a page that shows all of this",
    "spf": "check SPF, and show every DNS question",
    "verify": "verify the DKIM signatures of messages",
    "sign": "sign a message",
    "completion": "print a completion script for bash, zsh or fish",
    "run": "run the daemon in the foreground",
}
_OLD_NAMES = {"import-opendkim": "import"}


class CommandError(MailnotaryError):
    """A command cannot do its work; the text says what is wrong and what to do."""


EXIT_STATUS = "exit status: 0 done, 1 could not be done (standard error says why), 2 wrong usage"
CHECK_STATUS = "0 ok, 1 warnings, 2 errors (or wrong usage), 3 could not be checked"


def complain(text: str) -> None:
    """Prints an error or a warning to standard error, folded between words if that is a terminal."""
    for line in text.split("\n"):
        width = os.get_terminal_size(2).columns if os.isatty(2) else 0
        folded = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) if width else [line]
        print("\n".join(folded), file=sys.stderr)


class FoldingHelp(argparse.HelpFormatter):
    """Folds paragraphs at the width of the terminal; examples stay as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22)
        self._action_max_length = 19  # as wide as the list of commands needs it

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            paragraph
            if paragraph.startswith("example:")
            else super(FoldingHelp, self)._fill_text(paragraph, width, indent)
            for paragraph in paragraphs
        )


class Parser(argparse.ArgumentParser):
    """A parser whose errors say where to read on."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with 2."""
        self.print_usage(sys.stderr)
        complain(f"{self.prog}: {message}\nTry `{self.prog} --help`.")
        self.exit(2)


def build_parser(only: Collection[str] | None = None) -> Parser:
    """The parser. `only`: the commands whose arguments are needed, None for all; only their modules are imported, so
    that no command waits for the libraries of the others."""
    parser = Parser(
        prog="mailnotary",
        description="SPF, DKIM, DMARC, signing and Authentication-Results in one milter.",
        epilog="`mailnotary COMMAND --help` explains a command, with examples.",
        usage="mailnotary COMMAND [argument ...]",
        formatter_class=FoldingHelp,
    )
    parser.add_argument("--version", action="version", version=f"mailnotary {mailnotary.__version__}")
    parser._positionals.title = "commands"  # with a title of its own the list would come after the options
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="mailnotary")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, formatter_class=FoldingHelp, epilog=EXIT_STATUS)
        command.set_defaults(command=name, parser=command, failed=1, check=False)
        if only is None or name in only:
            module = import_module("mailnotary.cli." + name.replace("-", "_") + "_" * iskeyword(name))
            command.description = module.__doc__
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 its work was done, 1 it could not be, 2 wrong usage; of a command that checks, 3
    if it could not be done."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    arguments[:1] = [_OLD_NAMES.get(first, first) for first in arguments[:1]]
    args = _parse(arguments)
    failed = int(args.failed)
    if args.check:
        failed = 3
    try:
        status = int(args.run(args))
        sys.stdout.flush()
    except MailnotaryError as error:
        complain(f"mailnotary {args.command}: {error}")
        return failed
    except BrokenPipeError:  # the reader has gone (`| head`): nothing is left to say
        return failed
    except OSError as error:
        complain(f"mailnotary {args.command}: {error}")
        return failed
    except KeyboardInterrupt:
        return 130
    finally:
        _drop_unwritable_output()
    return status


def _drop_unwritable_output() -> None:
    """What standard output does not take is not tried again at exit: Python would print a trace, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments as the parser has them. What is not understood ends the process with 2 and a hint."""
    parser = build_parser(arguments[:1])
    if not arguments:
        parser.print_help(sys.stderr)
        sys.exit(2)
    first = arguments[0]
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        parser.error(f"{printable(first, 40)} is not an option here: options follow the command")
    if first not in COMMANDS and not first.startswith("-"):
        parser.error(f"there is no command '{printable(first, 40)}'{_nearest(first, COMMANDS)}")
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        options = [option for action in args.parser._actions for option in action.option_strings]
        text = printable(unknown[0], 40)
        args.parser.error(f"there is no argument '{text}'{_nearest(text.partition('=')[0], options)}")
    return args


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f": did you mean {near[0]}?" if near else ""
