"""All commands with their arguments, from the parser: the source of the completions and of the manual page."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailnotary.cli import COMMANDS, build_parser

_FILES = ("FILE", "MESSAGE")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: `names` are those of an option, empty for a positional one; `value` is the placeholder of its
    value, "" if it has none; `takes` is "file", "directory", or "" for anything else."""

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str
    takes: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `text` is its description, `examples` the command lines at the end of it."""

    name: str
    summary: str
    text: str
    examples: tuple[str, ...]
    arguments: tuple[Argument, ...]


def commands() -> tuple[Command, ...]:
    """Every command, in the order of the help."""
    parser = build_parser()
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return tuple(_command(name, subparsers.choices[name]) for name in COMMANDS)


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    text, _, example = (parser.description or "").partition("\nexample:")
    examples = tuple(line.strip() for line in example.splitlines() if line.strip())
    return Command(name, COMMANDS[name], text.strip(), examples, tuple(_arguments(parser)))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        choices = tuple(str(choice) for choice in action.choices or ())
        value = ""
        if action.nargs != 0:
            metavar = action.metavar if isinstance(action.metavar, str) else None
            value = metavar or ("|".join(choices) if choices else action.dest.upper())
        takes = "directory" if value == "DIR" else "file" if value in _FILES or action.type is Path else ""
        yield Argument(tuple(action.option_strings), value, choices, action.help or "", takes)
