"""The rules that keep the rooms apart."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "milter" / "mailnotary"


def test_the_folder_milter_is_no_package() -> None:
    # pymilter installs a C module that is itself called `milter`; a package of that name in front of it breaks it.
    assert not list((ROOT / "milter").glob("__init__.*"))


@pytest.mark.parametrize(
    "engine",
    ["spf", "dkim", "dmarc", "authres", "address", "message", "tags", "resolver", "crypto", "status", "domain"],
)
def test_engines_are_a_library_that_needs_no_milter_and_no_settings(engine: str) -> None:
    program = (
        f"import sys, mailnotary.{engine}\n"
        "bad = {'milter', 'Milter', 'rich', 'mailnotary.settings', 'mailnotary.keystore', 'mailnotary.session'}\n"
        "sys.exit(' '.join(sorted(bad & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("milter", "daemon/adapter.py"),
        ("dns", "resolver/"),
        ("Crypto", "crypto/"),
        ("cryptography", "crypto/"),
        ("rich", "cli/"),
    ],
)
def test_each_library_has_one_room(library: str, allowed: str) -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name == library or name.startswith(library + ".") for name in imports(path))
    }
    assert users, f"nothing imports {library}: is the rule still needed?"
    assert {user for user in users if not user.startswith(allowed)} == set()


# The rooms from the bottom up; each imports only from its own floor and those below.
FLOORS = [
    {
        "status",
        "domain",
        "escape",
        "files",
        "remember",
        "message",
        "tags",
        "cfws",
        "encodedword",
        "claims",
        "resolver",
        "crypto",
        "address",
    },
    {"dkim", "spf"},
    {"dmarc"},
    {"authres"},
    {"yamlcheck", "yamlfile", "readers", "listen", "settings", "settings_file"},
    {"keystore", "keyfile", "keystore_file", "configuration"},
    {"budget"},
    {"policy", "record", "inbound", "outbound", "received", "reinjected"},
    {"session"},
    {"daemon", "keystate", "keydns", "keystore_edit", "newkeys", "opendkim"},
    {"cli", "__main__", "__init__"},
]


def test_imports_point_one_way() -> None:
    floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert room in floor_of, f"{room} has no floor: add it to FLOORS"
        for name in imports(path):
            target = name.removeprefix("mailnotary.").split(".")[0]
            if name.startswith("mailnotary.") and floor_of.get(target, 0) > floor_of[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


def test_no_pattern_repeats_a_group_possessively() -> None:
    # Python before 3.11.5, Debian 12's among them, goes on behind what the group took before it failed: gh-106052.
    wrong = [str(path) for path in PACKAGE.rglob("*.py") if re.search(r"(?<![\\(])\)[*+?]\+", path.read_text("utf-8"))]
    assert wrong == []


def test_the_project_names_no_absolute_path_of_a_workplace() -> None:
    needle = ("/" + "work/").encode()
    names = ("milter", "tests", "config", "systemd", ".ci", "Makefile", "Dockerfile", "README.md", "pyproject.toml")
    files = [path for name in names for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])]
    found = [path for path in files if path.is_file() and path.suffix != ".pyc" and needle in path.read_bytes()]
    assert found == []
