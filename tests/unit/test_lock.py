"""The lock file against pyproject.toml: what its ranges ask for is locked, within them, in the section of its extra."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
OPTIONAL = PYPROJECT["project"]["optional-dependencies"]
WANTED = {  # each section, and what has to be there when it and those before it are installed
    "build": PYPROJECT["build-system"]["requires"],
    "run": PYPROJECT["project"]["dependencies"],
    "openssl": OPTIONAL["openssl"],
    "web": OPTIONAL["web"],
    "dev": OPTIONAL["dev"],
}


def locked() -> dict[str, dict[str, str]]:
    """For each section, in their order: the names that are locked up to its end, and their versions."""
    sections: dict[str, dict[str, str]] = {}
    pins: dict[str, str] = {}
    for line in (PROJECT / "config/lock.txt").read_text().splitlines():
        if line.startswith("# == "):
            pins = sections[line.removeprefix("# == ")] = dict(pins)
        elif pin := re.match(r"([a-z0-9-]+)==([^ ;]+)", line):
            pins[pin[1]] = pin[2]
    return sections


def test_the_sections_are_in_their_order() -> None:
    assert list(locked()) == list(WANTED)


@pytest.mark.parametrize("section", WANTED)
def test_what_pyproject_asks_for_is_locked(section: str) -> None:
    for line in WANTED[section]:
        wanted = Requirement(line)

        version = locked()[section].get(canonicalize_name(wanted.name))

        assert version, f"{wanted} is not in config/lock.txt: make lock"
        assert wanted.specifier.contains(version), f"{wanted}, but config/lock.txt has {version}: make lock"


def test_every_pin_has_hashes() -> None:
    text = (PROJECT / "config/lock.txt").read_text()

    for pin in re.split(r"\n(?=\S)", text.rstrip()):
        assert pin.startswith("#") or "--hash=sha256:" in pin, pin
