"""Reads the configuration of other mail filters and writes mailnotary.yaml and keystore.yaml that mean the same.

It recognizes the files of OpenDKIM, OpenDMARC, policyd-spf, dkimpy-milter, Amavis and rspamd (dkim_signing.conf and
options.inc), and makes one configuration of all that are given; with main.cf and master.cf it says what to change in
Postfix. Tables and lists that are files are followed. What has no match is told, with its file and line, and is in the
files as a comment. Nothing is overwritten, and the files of the others stay as they are.

example: mailnotary import /etc/opendkim.conf /etc/opendmarc.conf --output /etc/mailnotary/new --copy-keys"""

import argparse
import errno
import os
import pwd
import shlex
import sys
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_json, print_json
from mailnotary.config.load import ConfigError, load_configuration
from mailnotary.config.settings import Settings
from mailnotary.crypto import MAX_PEM_OCTETS
from mailnotary.escape import printable
from mailnotary.files import read_regular
from mailnotary.importing import Imported, SourceError, convert

FILES = ("mailnotary.yaml", "keystore.yaml")
_SHOWN = 20  # of the copies of keys


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="opendkim.conf, opendmarc.conf, ...")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path(), help="where to write both files (default: here)"
    )
    parser.add_argument(
        "--copy-keys",
        action="store_true",
        help="copy the keys to DIR/keys, for the daemon's user; the other program keeps its own",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Writes both files."""
    try:
        imported = convert(args.files, args.output.absolute() / "keys" if args.copy_keys else None)
    except SourceError as error:
        raise CommandError("\n".join(printable(line) for line in str(error).split("\n"))) from error
    _write(args.output, imported)
    path = args.output / FILES[0]
    problems = _problems(path)
    if args.json:
        print_json(_as_json(args.output, imported, problems))
        return 0
    for program, files in imported.programs:
        print(f"read {program}: {', '.join(printable(str(file)) for file in files)}")
    for _, copy in imported.copies[:_SHOWN]:
        print(f"wrote {copy}")
    if len(imported.copies) > _SHOWN:
        print(f"wrote {len(imported.copies) - _SHOWN} more copies of keys")
    for name in FILES:
        print(f"wrote {args.output / name}")
    if imported.notes:
        print("\nWithout a match, or not needed (it is in the files as well):")
        for note in imported.notes:
            print(f"  {note}")
    _next_steps(path, imported, problems)
    return 0


def _as_json(directory: Path, imported: Imported, problems: tuple[object, ...]) -> dict[str, object]:
    return {
        "programs": [
            {"program": program, "files": [str(file) for file in files]} for program, files in imported.programs
        ],
        "wrote": [str(directory / name) for name in FILES] + [copy for _, copy in imported.copies],
        "notes": [{"place": note.place, "text": note.text} for note in imported.notes],
        "problems": [str(problem) for problem in problems],
    }


def _write(directory: Path, imported: Imported) -> None:
    """Both files and the copies of keys, or none."""
    written: list[Path] = []
    try:
        directory.mkdir(exist_ok=True)
        if imported.copies:
            (directory / "keys").mkdir(exist_ok=True, mode=0o755)
        for source, copy in imported.copies:
            data = read_regular(source, MAX_PEM_OCTETS + 1)
            if len(data) > MAX_PEM_OCTETS:
                raise OSError(errno.EFBIG, f"larger than {MAX_PEM_OCTETS} octets, so no private key", source)
            _create(Path(copy), data, 0o600, written, owner=_daemon())
        for name, text in zip(FILES, (imported.settings, imported.keystore), strict=True):
            _create(directory / name, text.encode("utf-8", "backslashreplace"), 0o644, written)
    except OSError as error:
        for path in written:
            path.unlink()
        if isinstance(error, FileExistsError):
            raise CommandError(f"{error.filename} exists already: name another directory with --output") from error
        raise CommandError(f"{error.filename or directory}: {error.strerror}") from error


def _create(path: Path, data: bytes, mode: int, written: list[Path], *, owner: int = -1) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    written.append(path)
    with os.fdopen(descriptor, "wb") as file:
        os.fchown(descriptor, owner, -1)  # before it has any content
        file.write(data)


def _daemon() -> int:
    """The daemon's user, to whom root gives the copies; -1 to leave them as they are."""
    try:
        return pwd.getpwnam(Settings().user).pw_uid if os.geteuid() == 0 else -1
    except KeyError:
        return -1


def _problems(path: Path) -> tuple[object, ...]:
    """What check-config would say."""
    try:
        load_configuration(path)
    except ConfigError as error:
        return error.problems
    return ()


def _next_steps(path: Path, imported: Imported, problems: tuple[object, ...]) -> None:
    print("\nNext:")
    if imported.key_files and not imported.copies:
        print("  give the daemon keys of its own, while the other program keeps its: run this again with --copy-keys")
        print("  and another --output")
    print(f"  mailnotary check-config -c {shlex.quote(str(path))}")
    if imported.key_files:
        print(f"  mailnotary keys -c {shlex.quote(str(path))}")
    if problems:
        print(f"\nAs things are now, check-config would say ({len(problems)} in all):", file=sys.stderr)
        for problem in problems[:10]:
            print(f"  {problem}", file=sys.stderr)
