"""Prints a completion script for a shell. It completes commands, options and files.

example: mailnotary completion bash > /etc/bash_completion.d/mailnotary
         mailnotary completion zsh > /usr/local/share/zsh/site-functions/_mailnotary
         mailnotary completion fish > ~/.config/fish/completions/mailnotary.fish"""

import argparse

from mailnotary.cli.reference import Argument, Command, commands


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that the script is for")


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    make = {"bash": bash, "zsh": zsh, "fish": fish}[args.shell]
    print(make(commands()), end="")
    return 0


def _options(command: Command) -> list[Argument]:
    return [argument for argument in command.arguments if argument.names]


def _positional(command: Command) -> Argument | None:
    """The first argument that is not an option; nothing after it could be completed."""
    return next((argument for argument in command.arguments if not argument.names), None)


def bash(all_commands: tuple[Command, ...]) -> str:
    """For bash, without its completion library."""
    names = " ".join(command.name for command in all_commands)
    lines = [
        "# Completion of mailnotary for bash",
        "_mailnotary() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        "    COMPREPLY=()",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f"        COMPREPLY=($(compgen -W '{names} --help --version' -- \"$current\"))",
        "        return",
        "    fi",
        '    case "${COMP_WORDS[1]} $previous" in',
    ]
    for command in all_commands:
        for argument in _options(command):
            patterns = "|".join(f"'{command.name} {name}'" for name in argument.names)
            if argument.value:
                lines.append(f"        {patterns}) {_bash_value(argument)}; return ;;")
    lines += ["    esac", '    case "${COMP_WORDS[1]}" in']
    for command in all_commands:
        words = " ".join(name for argument in _options(command) for name in argument.names)
        positional = _positional(command)
        first = _bash_value(positional) if positional is not None and (positional.takes or positional.choices) else ":"
        lines.append(f"        {command.name}) words='{words} --help'; [[ $current == -* ]] || {first} ;;")
    lines += [
        "    esac",
        '    [[ $current == -* ]] && COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -o filenames -F _mailnotary mailnotary",
    ]
    return "\n".join(lines) + "\n"


def _bash_value(argument: Argument) -> str:
    if argument.choices:
        return f"COMPREPLY=($(compgen -W '{' '.join(argument.choices)}' -- \"$current\"))"
    if argument.takes:
        return f'COMPREPLY=($(compgen -{"d" if argument.takes == "directory" else "f"} -- "$current"))'
    return ":"


def zsh(all_commands: tuple[Command, ...]) -> str:
    """For zsh's completion system."""
    lines = ["#compdef mailnotary", "_mailnotary() {", "    local -a commands=("]
    lines += [f"        {_quote(_zsh_text(command.name) + ':' + command.summary)}" for command in all_commands]
    lines += [
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local name=${words[2]}",
        "    shift words",
        "    (( CURRENT-- ))",
        "    case $name in",
    ]
    for command in all_commands:
        specs = [_zsh_spec(argument, name) for argument in _options(command) for name in argument.names]
        positional = _positional(command)
        if positional is not None:
            specs.append(f"1:{positional.value}:{_zsh_action(positional)}")
        lines.append(f"        {command.name}) _arguments {' '.join(_quote(spec) for spec in specs)} ;;")
    lines += ["    esac", "}", '_mailnotary "$@"']
    return "\n".join(lines) + "\n"


def _zsh_spec(argument: Argument, name: str) -> str:
    spec = f"{name}[{_zsh_text(argument.help)}]"
    return f"{spec}:{argument.value}:{_zsh_action(argument)}" if argument.value else spec


def _zsh_action(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    return {"file": "_files", "directory": "_files -/"}.get(argument.takes, "")


def _zsh_text(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, "\\" + character)
    return text


def fish(all_commands: tuple[Command, ...]) -> str:
    """For fish."""
    names = " ".join(command.name for command in all_commands)
    lines = ["# Completion of mailnotary for fish", "complete -c mailnotary -f"]
    for command in all_commands:
        lines.append(
            f"complete -c mailnotary -n 'not __fish_seen_subcommand_from {names}' -a {command.name} "
            f"-d {_quote(command.summary)}"
        )
        seen = f"complete -c mailnotary -n '__fish_seen_subcommand_from {command.name}'"
        lines += [
            f"{seen}{_fish_names(argument)}{_fish_value(argument)} -d {_quote(argument.help)}"
            for argument in _options(command)
        ]
        positional = _positional(command)
        if positional is not None and (positional.takes or positional.choices):
            lines.append(f"{seen}{_fish_value(positional).replace(' -r', '')}")
    return "\n".join(lines) + "\n"


def _fish_names(argument: Argument) -> str:
    long = (f" -l {name[2:]}" for name in argument.names if name.startswith("--"))
    short = (f" -s {name[1:]}" for name in argument.names if not name.startswith("--"))
    return "".join([*short, *long])


def _fish_value(argument: Argument) -> str:
    if argument.choices:
        return f" -r -a {_quote(' '.join(argument.choices))}"
    if argument.takes:
        return " -r -F"
    return " -r" if argument.value else ""


def _quote(text: str) -> str:
    """A word for any of the shells."""
    return "'" + text.replace("'", "'\\''") + "'"
