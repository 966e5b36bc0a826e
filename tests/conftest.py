"""Fixtures and rules of all tests."""

import os
import platform
from pathlib import Path

import pytest
from hypothesis import settings

from support.postfix import missing

DISTRIBUTION = platform.freedesktop_os_release()["ID"]

settings.register_profile("mailnotary", deadline=None)  # a machine may be busy: no test asserts an absolute time
settings.load_profile("mailnotary")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that act as other users need root, those with a Postfix of their own the package, too."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("mta") and (lacks := missing()):
        pytest.skip(f"needs {' and '.join(lacks)}")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out what needs a browser where apt has none: Ubuntu's are snaps, which need a snapd that runs."""
    return True if collection_path.name == "test_web_browser.py" and DISTRIBUTION == "ubuntu" else None
