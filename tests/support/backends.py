"""The crypto backends, for tests that hold for each of them."""

from collections.abc import Iterator

import pytest

from mailnotary import crypto
from mailnotary.dkim.key import parse_key_record

BACKENDS: dict[str, crypto._Backend] = {"openssl": crypto._Openssl(), "pycryptodome": crypto._Pycryptodome()}


def use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes keys that are read from now on keys of this backend."""
    monkeypatch.setattr(crypto, "_backend", BACKENDS[name])
    parse_key_record.cache_clear()


@pytest.fixture(params=sorted(BACKENDS))
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs the test once with each backend."""
    use(monkeypatch, request.param)
    yield request.param
    parse_key_record.cache_clear()
