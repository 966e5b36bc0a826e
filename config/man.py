"""Writes the manual pages into a directory: `python config/man.py build/man`.

mailnotary.1 comes from the parser that the commands have, mailnotary.yaml.5 and mailnotary-keystore.yaml.5 from the
commented files in config/: nothing is said twice, and no page is older than what it describes.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mailnotary
from mailnotary.cli import CHECK_STATUS
from mailnotary.cli.reference import Argument, Command, commands

_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga"}
CONFIG = Path(__file__).parent


def roff(text: str) -> str:
    """A text as roff takes it literally."""
    text = "".join(_ESCAPES.get(character, character) for character in text)
    return "\\&" + text if text.startswith(".") else text


def page(name: str, section: int, summary: str, body: Iterator[str]) -> str:
    """A whole page."""
    title = f'.TH {name.upper()} {section} "" "mailnotary {mailnotary.__version__}"'
    return "\n".join([title, ".SH NAME", f"{roff(name)} \\- {roff(summary)}", *body]) + "\n"


def program() -> str:
    """mailnotary(1)."""
    return page("mailnotary", 1, "SPF, DKIM, DMARC, signing and Authentication-Results in one milter", _program())


def _program() -> Iterator[str]:
    yield from (".SH SYNOPSIS", ".B mailnotary", ".I COMMAND", "[argument ...]", ".SH COMMANDS")
    for command in commands():
        yield from _command(command)
    yield from (".SH EXIT STATUS", ".TP", "0", "The command did its work, whatever it found about the mail.")
    yield from (".TP", "1", "It could not do its work; standard error says why.", ".TP", "2", "Wrong usage.")
    yield from (".PP", f"Of \\fBdoctor\\fR and \\fBkeys \\-\\-check\\fR: {roff(CHECK_STATUS)}.")
    yield ".SH FILES"
    for file, what in (
        ("/etc/mailnotary/mailnotary.yaml", "the configuration, mailnotary.yaml(5)"),
        ("/etc/mailnotary/keystore.yaml", "domains and keys, mailnotary-keystore.yaml(5)"),
        ("/var/lib/mailnotary/keys.json", "what the daemon saw of the keys in DNS"),
    ):
        yield from (".TP", f".I {roff(file)}", roff(what))
    yield from (".SH SEE ALSO", ".BR mailnotary.yaml (5),", ".BR mailnotary\\-keystore.yaml (5)")


def _command(command: Command) -> Iterator[str]:
    positional = [one for one in command.arguments if not one.names]
    usage = " ".join(f"\\fI{roff(one.value)}\\fR" for one in positional)
    yield f'.SS "mailnotary {roff(command.name)} {usage}"'
    yield from _paragraphs(command.text)
    for one in command.arguments:
        yield from _argument(one)
    if command.examples:
        yield from (".PP", ".EX", *(roff(line) for line in command.examples), ".EE")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from (".PP", roff(" ".join(paragraph.split())))


def _argument(one: Argument) -> Iterator[str]:
    yield ".TP"
    value = f"\\fI{roff(one.value)}\\fR"
    if one.names:
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in one.names)
        yield f"{names} {value}" if one.value else names
    else:
        yield value
    yield roff(" ".join(one.help.split()))


def config_page(file: str, name: str, summary: str) -> str:
    """A page that says what a commented configuration file says."""
    return page(name, 5, summary, _config((CONFIG / file).read_text("utf-8").splitlines()))


def _config(lines: list[str]) -> Iterator[str]:
    """Comments ("# text") become paragraphs, keys ("#key: value" and "#   example:") stand as they are."""
    yield ".SH DESCRIPTION"
    example: list[str] = []
    text: list[str] = []
    for line in [*lines, ""]:
        heading = re.fullmatch(r"# --- (.*?) -+", line)
        is_text = line.startswith("# ") and not line.startswith("#  ") and heading is None
        if text and not is_text:
            yield from (".PP", roff(" ".join(text)))
            text = []
        if example and (is_text or heading or not line.strip("# ")):
            yield from (".PP", ".EX", *(roff(one) for one in example), ".EE")
            example = []
        if heading:
            yield f'.SH "{roff(heading[1].upper())}"'
        elif is_text:
            text.append(line.removeprefix("# "))
        elif line.strip("# "):
            example.append(line.removeprefix("#"))


def pages() -> dict[str, str]:
    """All pages, by their file's name."""
    return {
        "mailnotary.1": program(),
        "mailnotary.yaml.5": config_page("mailnotary.yaml", "mailnotary.yaml", "what mailnotary does, and where"),
        "mailnotary-keystore.yaml.5": config_page(
            "keystore.yaml", "mailnotary-keystore.yaml", "the domains that mailnotary signs for, and their keys"
        ),
    }


def main() -> None:
    """Writes all pages."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, "utf-8")
        print(directory / name)


if __name__ == "__main__":
    main()
