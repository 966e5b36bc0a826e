"""Fixtures and rules of all tests."""

import os

import pytest
from hypothesis import settings

from support.postfix import missing

settings.register_profile("mailnotary", deadline=None)  # a machine may be busy: no test asserts an absolute time
settings.load_profile("mailnotary")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that act as other users need root, those with a Postfix of their own the package, too."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("mta") and (lacks := missing()):
        pytest.skip(f"needs {' and '.join(lacks)}")
