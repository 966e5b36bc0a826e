"""A reload checks only the keys that are new, and finds whatever is wrong with the others all the same."""

import gc
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config import keystore_file, keystore_files
from mailnotary.config.keystore import KeyStore, StoredKey
from mailnotary.config.keystore_files import CheckedKeys
from mailnotary.config.yaml_file import collector_off
from mailnotary.config.yaml_nodes import Report
from mailnotary.crypto import PrivateKey, generate_private_key, load_private_key

UID, GID = os.geteuid(), os.getegid()
KEYSTORE = (
    "domains:\n  a.example: {keys: [{selector: s, file: a.pem}]}\n  b.example: {keys: [{selector: s, file: b.pem}]}\n"
)


class Reloads:
    """A keystore of two domains that is read again and again, as the daemon does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checked = CheckedKeys()
        self.said: list[str] = []

    def write_key(self, name: str, octets: bytes) -> None:
        path = self.directory / name
        path.touch(0o600)
        path.write_bytes(octets)

    def load(self, text: str = KEYSTORE) -> KeyStore:
        """`said` is what was found, by place."""
        path = self.directory / "k.yaml"
        path.write_text(text)
        report = Report("k.yaml")
        keystore = keystore_file.read(path, report, uid=UID, gids=(GID,), checked=self.checked)
        self.said = [str(problem) for problem in report.problems + report.faults + report.warnings]
        return keystore


@pytest.fixture(scope="module")
def pems() -> list[bytes]:
    return [generate_private_key("ed25519") for _ in range(3)]


@pytest.fixture
def reloads(tmp_path: Path, pems: list[bytes]) -> Reloads:
    reloads = Reloads(tmp_path)
    reloads.write_key("a.pem", pems[0])
    reloads.write_key("b.pem", pems[1])
    return reloads


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The octets of the keys that were checked."""
    calls: list[bytes] = []
    genuine = load_private_key

    def note(data: bytes, *arguments: Any) -> PrivateKey:
        calls.append(data)
        return genuine(data, *arguments)

    monkeypatch.setattr(keystore_files, "load_private_key", note)
    return calls


def test_only_new_keys_are_checked(reloads: Reloads, parsed: list[bytes], pems: list[bytes]) -> None:
    first = reloads.load()
    assert parsed == pems[:2]
    assert reloads.load() == first
    assert parsed == pems[:2]
    reloads.write_key("b.pem", pems[2])
    reloads.load()
    assert parsed == pems
    reloads.write_key("b.pem", pems[1])  # was not in force any more
    reloads.load()
    assert parsed == [*pems, pems[1]]


def test_a_key_that_was_damaged_in_its_place_is_found(reloads: Reloads, pems: list[bytes]) -> None:
    """Neither its name nor its inode, size and times tell."""
    reloads.load()
    path = reloads.directory / "b.pem"
    before = path.stat()
    path.write_bytes(pems[1].replace(b"MC", b"QC", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    for _ in range(2):  # what is wrong is never known
        keystore = reloads.load()
        assert keystore.waiting() == ["b.example"]
        (said,) = reloads.said
        assert said.startswith(f"k.yaml:3:42: {path}: the key is damaged: ")
        assert keystore.entries["b.example"].keys[0].pem == b""


def test_who_may_read_a_known_key_is_looked_at_each_time(reloads: Reloads) -> None:
    reloads.load()
    (reloads.directory / "a.pem").chmod(0o644)
    assert reloads.load().waiting() == ["a.example"]
    assert "everyone has access to it" in reloads.said[0]
    (reloads.directory / "a.pem").chmod(0o600)
    assert reloads.load().waiting() == []


def test_a_known_key_is_warned_about_each_time(reloads: Reloads) -> None:
    reloads.write_key("a.pem", generate_private_key("rsa", 1024))
    for _ in range(3):
        reloads.load()
        warning = "RSA with 1024 bits: make a key of 2048 (RFC 8301)"
        assert reloads.said == [f"k.yaml:2:42: {reloads.directory}/a.pem: {warning}"]


def test_a_known_key_under_another_name_is_known(reloads: Reloads, parsed: list[bytes], pems: list[bytes]) -> None:
    reloads.load()
    (reloads.directory / "b.pem").rename(reloads.directory / "c.pem")
    reloads.load(KEYSTORE.replace("b.pem", "c.pem"))
    assert parsed == pems[:2]
    assert reloads.said == []


def test_a_keystore_that_is_refused_changes_nothing(reloads: Reloads, parsed: list[bytes], pems: list[bytes]) -> None:
    reloads.load()
    for text in ("domains: [", KEYSTORE + "  c.example: {}\n", "domains: {x: 1}\n"):
        reloads.load(text)
        assert reloads.said
    reloads.load()
    assert reloads.said == []
    assert parsed == pems[:2]


def test_no_key_is_remembered(reloads: Reloads, pems: list[bytes]) -> None:
    reloads.load()
    kept = b"".join(memory[:] for memory in reloads.checked._digests.values())
    assert kept == b"".join(sha256(pem).digest() for pem in pems[:2])


@pytest.mark.parametrize("text", [KEYSTORE, KEYSTORE + "  c.example: {}\n"], ids=["good", "refused"])
def test_the_keys_go_with_the_keystore_without_the_garbage_collector(reloads: Reloads, text: str) -> None:
    reloads.write_key("b.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    gc.collect()
    before = _stored_keys()
    with collector_off():
        keystore = reloads.load(text)
        assert _stored_keys() == before + 2
        del keystore
        assert _stored_keys() == before


def _stored_keys() -> int:
    return sum(isinstance(one, StoredKey) for one in gc.get_objects())


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.sampled_from(["", "weak", "weaker"])))
def test_what_is_kept_is_what_is_known(warnings: dict[bytes, str]) -> None:
    checked = CheckedKeys()
    checked.keep({b"x" * 32: "before"})
    checked.keep(warnings)
    assert checked.warnings() == warnings


def test_a_worker_cannot_say_which_keys_are_checked() -> None:
    checked = CheckedKeys()
    checked.keep({bytes(32): "weak"})
    worker = os.fork()
    if worker == 0:
        for digests in checked._digests.values():
            digests.seek(0)
            digests.write(b"\1" * 32)
        os._exit(0)
    assert os.waitpid(worker, 0)[1] == 0
    assert checked.warnings() == {bytes(32): "weak"}
