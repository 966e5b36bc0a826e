"""Reads OpenDKIM's configuration and writes mailnotary.yaml and keystore.yaml that mean the same.

KeyTable, SigningTable (plain and refile), InternalHosts and the other data sets are followed where they are text. What
has no match is in the files as a comment. Nothing is overwritten, and OpenDKIM's own files stay as they are.

example: mailnotary import-opendkim /etc/opendkim.conf --output /etc/mailnotary"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.config.load import ConfigError, load_configuration
from mailnotary.config.settings import Settings
from mailnotary.escape import printable
from mailnotary.opendkim import Imported, OpendkimError, convert

FILES = ("mailnotary.yaml", "keystore.yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="opendkim.conf")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path(), help="where to write both files (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes both files."""
    try:
        imported = convert(args.file)
    except OpendkimError as error:
        raise CommandError(printable(str(error))) from error
    _write(args.output, imported)
    for name in FILES:
        print(f"wrote {args.output / name}")
    if imported.notes:
        print("\nWithout a match, or not needed (it is in the files as well):")
        for note in imported.notes:
            print(f"  {note}")
    _next_steps(args.output / FILES[0], imported)
    return 0


def _write(directory: Path, imported: Imported) -> None:
    """Both files, or none."""
    written: list[Path] = []
    try:
        directory.mkdir(exist_ok=True)
        for name, text in zip(FILES, (imported.settings, imported.keystore), strict=True):
            path = directory / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            written.append(path)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        if isinstance(error, FileExistsError):
            raise CommandError(f"{error.filename} exists already: name another directory with --output") from error
        raise CommandError(f"{error.filename or directory}: can't be written: {error.strerror}") from error


def _next_steps(path: Path, imported: Imported) -> None:
    problems: tuple[object, ...] = ()
    try:
        load_configuration(path)
    except ConfigError as error:
        problems = error.problems
    print("\nNext:")
    if imported.key_files:
        files = " ".join(shlex.quote(file) for file in imported.key_files[:20])
        more = f" ... ({len(imported.key_files) - 20} more)" if len(imported.key_files) > 20 else ""
        user = Settings().user
        print(f"  give the keys to the daemon once OpenDKIM has stopped: chown {user} {files}{more}")
    print(f"  mailnotary check-config -c {shlex.quote(str(path))}")
    print(f"  mailnotary keys -c {shlex.quote(str(path))}")
    if problems:
        print(f"\nAs things are now, check-config would say ({len(problems)} in all):", file=sys.stderr)
        for problem in problems[:10]:
            print(f"  {problem}", file=sys.stderr)
