"""Fixtures and rules of all tests."""

import pytest
from hypothesis import settings

from support.postfix import missing

settings.register_profile("mailnotary", deadline=None)  # a machine may be busy: no test asserts an absolute time
settings.load_profile("mailnotary")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests with a Postfix of their own need the package and root."""
    if item.get_closest_marker("mta") and (lacks := missing()):
        pytest.skip(f"needs {' and '.join(lacks)}")
