"""Fuzzing of the configuration: the input is mailnotary.yaml, and keystore.yaml too.

python tests/fuzz/fuzz_config.py [libFuzzer's options]
"""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mailnotary.config import keystore_file, settings_file, yaml_check, yaml_file, yaml_nodes
from mailnotary.config.listen import Listen
from mailnotary.config.yaml_nodes import ConfigError, Problem, Report
from support.fuzzing import run

T = TypeVar("T")

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]")
_file = Path(tempfile.gettempdir()) / f"mailnotary-fuzz-{os.getpid()}.yaml"


def one_input(data: bytes) -> None:
    """Checks one input; an exception is a finding."""
    data = data[:50_000]
    report = Report("f.yaml")
    root = yaml_file.parse(data, report)
    assert root is None or isinstance(root, yaml_nodes.YamlMapping)
    assert yaml_check.UNKNOWN.message not in {problem.message for problem in report.problems}
    _file.write_bytes(data)
    try:
        settings = _valid(lambda: settings_file.load(_file))
        keystore = _valid(lambda: keystore_file.load(_file, uid=os.geteuid(), gids=()))
    finally:
        _file.unlink()
    if settings is not None:
        assert str(Listen.parse(settings.listen)) == settings.listen
        assert "from" in {name.lower() for name in settings.signing.headers}
    if keystore is not None:
        assert all(entry.keys for entry in keystore.entries.values())


def _valid(load: Callable[[], T]) -> T | None:
    problems: tuple[Problem, ...] = ()
    try:
        return load()
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(problem.message and not _UNSAFE.search(str(problem)) for problem in problems)
    return None


if __name__ == "__main__":
    run(one_input)
