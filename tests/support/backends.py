"""The crypto backends, for tests that hold for each of them."""

from collections.abc import Iterator

import pytest

from mailnotary.crypto.keys import Backend
from mailnotary.crypto.openssl import Openssl
from mailnotary.crypto.pycryptodome import Pycryptodome
from mailnotary.dkim.key import parse_remembering

BACKENDS: dict[str, Backend] = {"openssl": Openssl(), "pycryptodome": Pycryptodome()}


def use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes keys that are read from now on keys of this backend."""
    monkeypatch.setattr("mailnotary.crypto.choice.backend", BACKENDS[name])
    parse_remembering.cache_clear()


@pytest.fixture(params=sorted(BACKENDS))
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs the test once with each backend."""
    use(monkeypatch, request.param)
    yield request.param
    parse_remembering.cache_clear()
