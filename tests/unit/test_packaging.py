"""What is installed with the package and from the sources, against what else says it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mailnotary

PROJECT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
OPTIONAL = PYPROJECT["optional-dependencies"]
CONTROL = (PROJECT / "config/debian/control").read_text()
DEBIAN = {"pymilter": "milter", "pyyaml": "yaml"}  # packages that are not called as at PyPI
BUNDLED = {"pycryptodome"}  # see config/debian/build.sh


@pytest.mark.parametrize(
    "line", [*PYPROJECT["dependencies"], *OPTIONAL["openssl"], *OPTIONAL["postgresql"], *OPTIONAL["web"]]
)
def test_the_package_depends_on_the_same_versions(line: str) -> None:
    wanted = Requirement(line)
    name = wanted.name.lower()
    (version,) = (one.version for one in wanted.specifier if one.operator == ">=")
    if name in BUNDLED:
        assert f"python3-{name}" not in CONTROL
    else:
        assert f" python3-{DEBIAN.get(name, name)} (>= {version})" in CONTROL


def test_the_package_depends_on_the_same_python() -> None:
    assert f" python3 ({PYPROJECT['requires-python'].replace('>=', '>= ')})" in CONTROL


def test_the_version_is_written_in_one_place() -> None:
    assert "version" not in PYPROJECT
    quoted = f'"{mailnotary.__version__}"'
    files = [path for pattern in ("*", "milter/**/*.py", "config/**/*", "systemd/*") for path in PROJECT.glob(pattern)]
    texts = {path: path.read_text("utf-8", "replace") for path in files if path.is_file()}
    assert [path for path, text in texts.items() if quoted in text] == [PROJECT / "milter/mailnotary/__init__.py"]


def test_every_file_that_the_package_names_for_its_build_is_there() -> None:
    directory = PROJECT / "config/debian"
    lists = [path for kind in ("docs", "examples", "install") for path in directory.glob(f"*.{kind}")]
    assert len(lists) == 3
    for line in "".join(path.read_text() for path in lists).splitlines():
        source = line.split()[0].replace("debian/", "config/debian/")
        if not re.match(r"(bin|lib|completion)/", source):
            assert list(PROJECT.glob(source)), source
