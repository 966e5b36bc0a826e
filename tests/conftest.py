"""Fixtures and rules of all tests."""

import pytest

from support.postfix import missing


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests with a Postfix of their own need the package and root."""
    if item.get_closest_marker("mta") and (lacks := missing()):
        pytest.skip(f"needs {' and '.join(lacks)}")
