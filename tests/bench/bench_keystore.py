"""A keystore of 10,000 domains: loading it, and finding a domain in it."""

import os
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mailnotary import crypto
from mailnotary.config import keystore_file
from mailnotary.config.keystore import KeyStore

DOMAINS = 10_000

_ENTRY = """\
  d{0}.example.org:
    include_subdomains: false
    keys:
      - {{selector: rsa2026, file: keys/d{0}.rsa2026.pem}}
      - {{selector: ed2026, file: keys/d{0}.ed2026.pem, state: auto}}
    allow: {{auth_users: ["*@d{0}.example.org"], networks: [192.0.2.0/24], envelope_from: []}}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keystore")
    (directory / "keys").mkdir()
    pems = {"rsa2026": crypto.generate_private_key("rsa"), "ed2026": crypto.generate_private_key("ed25519")}
    for number in range(DOMAINS):
        for selector, pem in pems.items():
            key = directory / "keys" / f"d{number}.{selector}.pem"
            key.write_bytes(pem)
            key.chmod(0o600)
    file = directory / "keystore.yaml"
    file.write_text("domains:\n" + "".join(_ENTRY.format(number) for number in range(DOMAINS)))
    return file


def load(path: Path) -> KeyStore:
    return keystore_file.load(path, uid=os.geteuid(), gids=(os.getegid(),))


def test_load_ten_thousand_domains(benchmark: BenchmarkFixture, path: Path) -> None:
    keystore: KeyStore = benchmark(load, path)
    assert len(keystore.entries) == DOMAINS


@pytest.mark.parametrize("name", ["d9999.example.org", "a.b.c.d.e.f.example.net"])
def test_find(benchmark: BenchmarkFixture, path: Path, name: str) -> None:
    keystore = load(path)
    found = benchmark(keystore.find, name)
    assert (found is not None) == name.startswith("d9999")
