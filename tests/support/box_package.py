"""Debian's package in a booted box: where it is, apt, and a newer version of it."""

import re
from pathlib import Path

from support.box import run

(PACKAGE,) = Path("/src/build/deb").glob("*.deb")


def apt(*words: str) -> str:
    """Runs apt-get; its output. What the admin has changed in /etc stays."""
    options = ("-q", "--yes", "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confold")
    said = run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *words, seconds=900)
    print(said)
    return said


def repacked(directory: Path, version: str) -> Path:
    """The package under a newer version, without one of its modules, and with another text in its configuration."""
    tree = directory / "tree"
    run("dpkg-deb", "--raw-extract", str(PACKAGE), str(tree))
    for path, pattern, new in (
        (tree / "DEBIAN/control", r"(?m)^Version: .*", f"Version: {version}-1"),
        (tree / "usr/lib/mailnotary/mailnotary/__init__.py", r'"[0-9.]+"', f'"{version}"'),
        (tree / "etc/mailnotary/mailnotary.yaml", r"\A", "# What a newer version says\n"),
        (tree / "DEBIAN/md5sums", r"(?m)^.*mailnotary/(__init__|cli/completion)\.py\n", ""),
    ):
        path.write_text(re.sub(pattern, new, path.read_text()))
    (tree / "usr/lib/mailnotary/mailnotary/cli/completion.py").unlink()
    file = directory / f"mailnotary_{version}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(file))
    return file
