"""keystore.yaml: entries, keys, key files and who may read them, with the place and cure of every error."""

import os
import pickle
import pwd
import re
import threading
from collections.abc import Callable
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from mailnotary.config import keystore_file, keystore_files, private_key
from mailnotary.config.keystore import Allow, KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.yaml_nodes import ConfigError, Report
from mailnotary.crypto import KeyLoadError, PrivateKey, generate_private_key, load_private_key

CONFIG = Path(__file__).parents[2] / "config" / "keystore.yaml"
UID, GID = os.geteuid(), os.getegid()


@pytest.fixture(scope="session")
def pem() -> bytes:
    return generate_private_key("ed25519")


@pytest.fixture
def directory(tmp_path: Path, pem: bytes) -> Path:
    """A keystore's directory with the keys a.pem, b.pem and c.pem."""
    for name in "abc":
        write_key(tmp_path / f"{name}.pem", pem)
    return tmp_path


def write_key(path: Path, pem: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(pem)
    return path


def load(directory: Path, text: str) -> KeyStore:
    (directory / "k.yaml").write_text(text)
    return keystore_file.load(directory / "k.yaml", uid=UID, gids=(GID,))


def errors(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    return [str(problem).removeprefix(f"{directory}/k.yaml:") for problem in caught.value.problems]


def faults(directory: Path, text: str) -> list[str]:
    (directory / "k.yaml").write_text(text)
    report = Report("k.yaml")
    keystore_file.read(directory / "k.yaml", report, uid=UID, gids=(GID,))
    report.raise_problems()
    return [str(fault).removeprefix("k.yaml:") for fault in report.faults]


def warnings(directory: Path, text: str) -> list[str]:
    (directory / "k.yaml").write_text(text)
    report = Report("k.yaml")
    keystore_file.read(directory / "k.yaml", report, uid=UID, gids=(GID,))
    report.raise_problems()
    return [str(warning).removeprefix("k.yaml:") for warning in report.warnings]


# --- entries --------------------------------------------------------------------------------------------------------


def test_the_contracts_example_is_read(directory: Path, pem: bytes) -> None:
    keystore = load(
        directory,
        """\
domains:
  Example.ORG:
    include_subdomains: true
    keys:
      - {selector: rsa2026, file: a.pem}
      - {selector: ed2026,  file: ./b.pem, state: auto}
      - {selector: old, file: c.pem, state: retired}
    allow: {auth_users: ["*@example.org"], networks: [192.0.2.0/24, "2001:db8::1"], envelope_from: ["*@x.example"]}
""",
    )
    assert list(keystore.entries) == ["example.org"]
    entry = keystore.entries["example.org"]
    assert (entry.name, entry.domain, entry.include_subdomains) == ("example.org", "example.org", True)
    assert [(key.selector, key.file, key.state) for key in entry.keys] == [
        ("rsa2026", str(directory / "a.pem"), KeyState.ACTIVE),
        ("ed2026", str(directory / "b.pem"), KeyState.AUTO),
        ("old", str(directory / "c.pem"), KeyState.RETIRED),
    ]
    assert {key.pem for key in entry.keys} == {pem}
    assert entry.allow == Allow(
        ("*@example.org",), (ip_network("192.0.2.0/24"), ip_network("2001:db8::1/128")), ("*@x.example",)
    )


@pytest.mark.parametrize("text", ["", "domains:\n", "domains: {}\n", "unsafe_keys: true\n", "# nothing\n"])
def test_a_keystore_may_be_empty(directory: Path, text: str) -> None:
    assert load(directory, text) == KeyStore()


def test_the_example_file_is_valid_as_it_stands_and_in_its_comments(tmp_path: Path, pem: bytes) -> None:
    assert keystore_file.load(CONFIG, uid=UID, gids=(GID,)) == KeyStore()
    example = "\n".join(line[4:] for line in CONFIG.read_text().splitlines() if line.startswith("#   ") or line == "#")
    (tmp_path / "keys").mkdir()
    for name in re.findall(r"file: (\S+\.pem)", example):
        write_key(tmp_path / name, pem)
    keystore = load(tmp_path, example)
    assert set(keystore.entries) == {"example.org", "news.example.org", "*"}
    assert keystore.entries["news.example.org"].domain == "example.org"


@pytest.mark.parametrize("selector", ["0123", "off", "1e3", "null", "0x1F", "2026.rsa", "_x", "rsa-1"])
def test_a_selector_is_taken_as_it_is_written(directory: Path, selector: str) -> None:
    keystore = load(directory, f"domains: {{a.example: {{keys: [{{selector: {selector}, file: a.pem}}]}}}}")
    assert keystore.entries["a.example"].keys[0].selector == selector


@pytest.mark.parametrize("name", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example", "Bücher.Example."])
def test_domains_become_a_labels(directory: Path, name: str) -> None:
    keystore = load(directory, f"domains: {{{name}: {{keys: [{{selector: ü1, file: a.pem}}]}}}}")
    entry = keystore.entries["xn--bcher-kva.example"]
    assert entry.domain == "xn--bcher-kva.example"
    assert entry.keys[0].selector == "xn--1-dha"


def test_words_that_yaml_turns_into_something_else_are_domains(directory: Path) -> None:
    text = "domains: {no.example: {keys: [{selector: a, file: a.pem}]}, 1.2: {keys: [{selector: a, file: b.pem}]}}"
    assert set(load(directory, text).entries) == {"no.example", "1.2"}


def test_entries_may_share_a_key(directory: Path) -> None:
    text = """\
domains:
  example.org: {keys: &keys [{selector: a, file: a.pem}]}
  "*": {domain: example.org, keys: *keys}
  example.net: {domain: example.org, keys: [{selector: a, file: ./a.pem}]}
"""
    assert {entry.domain for entry in load(directory, text).entries.values()} == {"example.org"}


def test_key_files_are_relative_to_the_keystore(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "sub").mkdir()
    (directory / "sub" / "k.yaml").write_text(
        f"domains: {{a.example: {{keys: [{{selector: a, file: ../a.pem}}, {{selector: b, file: {directory}/b.pem}}]}}}}"
    )
    monkeypatch.chdir(directory)
    keystore = keystore_file.load(Path("sub/k.yaml"), uid=UID, gids=(GID,))
    assert [key.file for key in keystore.entries["a.example"].keys] == [f"{directory}/a.pem", f"{directory}/b.pem"]


KEY = "{selector: a, file: a.pem}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("domain: {}", ["1:1: unknown key 'domain': did you mean 'domains'?"]),
        ("domains: [a]", ["1:10: a list where keys are expected"]),
        ("domains: {a.example: x}", ["1:22: 'x' where keys are expected"]),
        ("domains: {a.example: }", ["1:11: 'a.example' has no keys: write 'keys: [{selector: rsa2026, file: "]),
        ("domains: {a.example: {keys: []}}", ["1:29: 'a.example' has no keys"]),
        ("domains: {a.example: {keys: }}", ["1:28: no value: write [] for an empty list"]),
        (
            "domains: {a.example: {keys: {selector: a}}}",
            ["1:29: keys and values where a list is expected: write [{sel"],
        ),
        ("domains: {a.example: {keys: [a.pem]}}", ["1:30: 'a.pem' where keys are expected"]),
        (
            "domains: {a.example: {keys: [{file: a.pem}]}}",
            ["1:30: this key has no 'selector': write {selector: rsa2026"],
        ),
        ("domains: {a.example: {keys: [{selector: a}]}}", ["1:30: this key has no 'file': write {selector: rsa2026"]),
        (
            "domains: {a.example: {keys: [{}]}}",
            ["1:30: this key has no 'selector'", "1:30: this key has no 'file'"],
        ),
        (
            "domains: {a.example: {keys: [{selector: a, file: a.pem, stat: auto}]}}",
            ["1:57: unknown key 'stat': did you"],
        ),
        (
            "domains: {a.example: {keys: [{selector: a, file: a.pem, state: on}]}}",
            ["1:64: 'on' is not a known value: write active, auto, retired or pending"],
        ),
        (
            "domains: {a.example: {keys: [{selector: 'a b', file: a.pem}]}}",
            ["1:41: 'a b' is not a selector: write letters"],
        ),
        ("domains: {a.example: {keys: [{selector: a., file: a.pem}]}}", ["1:41: 'a.' is not a selector"]),
        ("domains: {a.example: {keys: [{selector: -a, file: a.pem}]}}", ["1:41: '-a' is not a selector"]),
        ("domains: {a.example: {keys: [{selector: ~, file: a.pem}]}}", ["1:41: '~' is not a selector"]),
        (f"domains: {{a.example: {{keys: [{{selector: {'a' * 64}, file: a.pem}}]}}}}", ["1:41: 'aaaa"]),
        (
            f"domains: {{{'.'.join(['b' * 60] * 4)}: {{keys: [{KEY}]}}}}",
            ["1:275: a._domainkey.bbb"],
        ),
        (f"domains: {{org: {{keys: [{KEY}]}}}}", ["1:11: 'org' has only one label: write a domain like example.org"]),
        (
            f"domains: {{a._domainkey.a.example: {{keys: [{KEY}]}}}}",
            ["1:11: 'a._domainkey.a.example' is the name of a key record: write the domain alone"],
        ),
        (
            "domains: {a.example: {keys: [{selector: s1._domainkey.a.example, file: a.pem}]}}",
            ["1:41: 's1._domainkey.a.example' is the name of a key record: write the selector alone"],
        ),
        (f"domains: {{'a b.example': {{keys: [{KEY}]}}}}", ["1:11: 'a b.example' is not a domain name"]),
        (
            f"domains: {{'*.a.example': {{keys: [{KEY}]}}}}",
            ["1:11: '*.a.example' is not a domain name: write a.example with"],
        ),
        (
            f"domains: {{'*': {{keys: [{KEY}]}}}}",
            ["1:11: '*' covers any domain and needs its own: write 'domain: example.org' below it"],
        ),
        (f"domains: {{'*': {{domain: a b, keys: [{KEY}]}}}}", ["1:25: 'a b' is not a domain name"]),
        (f"domains: {{'*': {{domain: org, keys: [{KEY}]}}}}", ["1:25: 'org' has only one label"]),
        (
            f"domains: {{'*': {{domain: a.example, include_subdomains: true, keys: [{KEY}]}}}}",
            ["1:56: '*' covers every domain: remove this"],
        ),
        (
            f"domains: {{a.example: {{include_subdomains: 1, keys: [{KEY}]}}}}",
            ["1:43: '1' is neither true nor false: write true"],
        ),
        (f"domains: {{a.example: {{keys: [{KEY}], allow: []}}}}", ["1:66: a list where keys are expected"]),
        (
            f"domains: {{a.example: {{keys: [{KEY}], allow: {{users: []}}}}}}",
            ["1:67: unknown key 'users': did you mean"],
        ),
        (
            f"domains: {{a.example: {{keys: [{KEY}], allow: {{auth_users: '*'}}}}}}",
            ["1:79: '*' where a list is expected: write [\"*@example.org\"]"],
        ),
        (
            f"domains: {{a.example: {{keys: [{KEY}], allow: {{networks: [10.0.0.1/8]}}}}}}",
            ["1:78: '10.0.0.1/8' has host"],
        ),
        (
            f"domains:\n  a.example: {{keys: [{KEY}]}}\n  A.Example: {{keys: [{KEY}]}}\n",
            ["3:3: duplicate entry a.example, first in line 2: put all its keys into one entry"],
        ),
        (
            f"domains:\n  a.example: {{keys: [{KEY}]}}\n  a.example: {{keys: [{KEY}]}}\n",
            ["3:3: duplicate key 'a.example', first in line 2: remove one of them"],
        ),
        (
            "domains: {a.example: {keys: [{selector: a, file: a.pem}, {selector: A, file: b.pem}]}}",
            ["1:69: duplicate selector 'A': give each key a different one"],
        ),
        (
            "domains: {a.example: {keys: [&k {selector: a, file: a.pem}, *k]}}",
            ["1:44: duplicate selector 'a'"],
        ),
        (
            f"domains:\n  a.example: {{keys: [{KEY}]}}\n"
            "  b.a.example: {domain: a.example, keys: [{selector: a, file: b.pem}]}\n",
            ["3:54: a._domainkey.a.example is already the record of the key in line 2: name the same file"],
        ),
        ("unsafe_keys: maybe", ["1:14: 'maybe' is neither true nor false: write true or false"]),
    ],
)
def test_what_is_wrong_has_its_place_and_its_cure(directory: Path, text: str, expected: list[str]) -> None:
    found = errors(directory, text)
    assert len(found) == len(expected)
    for error, start in zip(found, expected, strict=True):
        assert error.startswith(start)


def test_all_errors_of_a_file_are_reported_at_once(directory: Path) -> None:
    (directory / "a.pem").chmod(0o644)
    text = """\
domains:
  a.example: {keys: [{selector: a, file: a.pem}, {selector: b, file: none.pem}]}
  b.example: {keys: []}
  "*": {keys: [{selector: c, file: c.pem}]}
"""
    assert [error.split(": ")[0] for error in errors(directory, text)] == ["2:42", "2:70", "3:21", "4:3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "domains: {a.example: {keys: [{selector: a, file: a.pem, state: retired}]}}",
            "1:11: all keys of a.example are retired, so its mail is not signed",
        ),
        (
            "domains: {a.example: {domain: b.example, keys: [{selector: a, file: a.pem}]}}",
            "1:31: DMARC never counts a signature of b.example for a.example",
        ),
    ],
)
def test_what_is_strange_is_a_warning(directory: Path, text: str, expected: str) -> None:
    (found,) = warnings(directory, text)
    assert found.startswith(expected)


def test_weak_rsa_keys_are_a_warning(directory: Path) -> None:
    write_key(directory / "a.pem", generate_private_key("rsa", 1024))
    text = "domains: {a.example: {keys: [{selector: a, file: a.pem}]}}"
    (found,) = warnings(directory, text)
    assert "RSA with 1024 bits: make a key of 2048" in found


# --- finding an entry -----------------------------------------------------------------------------------------------


def keystore_of(*names: str) -> KeyStore:
    """Entries; a "+" after a name: with its subdomains."""
    entries = [KeyEntry(name.rstrip("+"), "d.example", name.endswith("+"), (), Allow()) for name in names]
    return KeyStore({entry.name: entry for entry in entries})


@pytest.mark.parametrize(
    ("names", "domain", "expected"),
    [
        ((), "a.example", None),
        (("a.example",), "a.example", "a.example"),
        (("a.example",), "b.a.example", None),
        (("a.example+",), "a.example", "a.example"),
        (("a.example+",), "c.b.a.example", "a.example"),
        (("a.example+",), "xa.example", None),
        (("a.example+", "b.a.example+"), "c.b.a.example", "b.a.example"),
        (("a.example+", "b.a.example"), "c.b.a.example", "a.example"),
        (("a.example+", "b.a.example"), "b.a.example", "b.a.example"),
        (("a.example", "*"), "b.a.example", "*"),
        (("a.example+", "*"), "b.a.example", "a.example"),
        (("example+",), "a.example", "example"),
    ],
)
def test_the_longest_match_wins(names: tuple[str, ...], domain: str, expected: str | None) -> None:
    entry = keystore_of(*names).find(domain)
    assert (entry.name if entry else None) == expected


LABELS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5).map(".".join)


@given(st.sets(st.tuples(LABELS, st.booleans())), LABELS, st.booleans())
def test_find_is_the_longest_match_of_all(entries: set[tuple[str, bool]], domain: str, any_domain: bool) -> None:
    covering = dict(sorted(entries))
    keystore = keystore_of(*(name + "+" * below for name, below in covering.items()), *(["*"] if any_domain else []))
    matches = [name for name, below in covering.items() if name == domain or (below and domain.endswith("." + name))]
    found = keystore.find(domain)
    assert (found.name if found else None) == max(matches, key=len, default="*" if any_domain else None)


def test_a_keystore_travels_to_other_processes(directory: Path) -> None:
    keystore = load(
        directory, "domains: {a.example: {keys: [{selector: a, file: a.pem}], allow: {networks: [10.0.0.1]}}}"
    )
    assert pickle.loads(pickle.dumps(keystore)) == keystore


def test_no_value_of_an_entry_is_lost_on_the_way_to_other_processes() -> None:
    keys = [StoredKey(f"s{state}", f"/{state}.pem", state, b"pem", "next", "a fault") for state in KeyState]
    allow = Allow(("*@a.example",), (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")), ("b@*",))
    entry = KeyEntry("a.example", "b.example", True, tuple(keys), allow, "k.yaml", True)
    objects: list[KeyEntry | StoredKey | Allow] = [entry, *keys, allow]
    for one in objects:  # a value that every object has is not told from one that was lost
        assert all(getattr(one, each.name) not in (each.default, None) for each in fields(one))
    assert pickle.loads(pickle.dumps(entry)) == entry


def test_keys_are_never_printed(directory: Path, pem: bytes) -> None:
    keystore = load(directory, "domains: {a.example: {keys: [{selector: a, file: a.pem}]}}")
    assert pem.split(b"\n")[1].decode() not in repr(keystore)


# --- key files ------------------------------------------------------------------------------------------------------


def read_key(path: str, uid: int, gids: tuple[int, ...], *, unsafe: bool = False) -> tuple[bytes, PrivateKey]:
    octets = private_key.read_key(path, uid, gids, unsafe=unsafe)
    return octets, load_private_key(octets, path)


def refusal(path: Path, *, uid: int = UID, gids: tuple[int, ...] = (GID,)) -> str:
    with pytest.raises(KeyLoadError) as caught:
        read_key(str(path), uid, gids)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440, 0o660, 0o700])
def test_a_key_for_its_owner_and_group_is_read(directory: Path, pem: bytes, mode: int) -> None:
    (directory / "a.pem").chmod(mode)
    assert read_key(str(directory / "a.pem"), UID, (GID,))[0] == pem


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602, 0o601])
def test_a_key_open_to_everyone_is_refused(directory: Path, mode: int) -> None:
    path = directory / "a.pem"
    path.chmod(mode)
    assert refusal(path) == f"everyone has access to it (mode {mode:04o}): run `chmod 0600 {path}`"
    assert read_key(str(path), UID, (GID,), unsafe=True)


@pytest.mark.root
@pytest.mark.parametrize(("gid", "refused"), [(0, False), (12345, False), (12346, True)])
def test_a_key_readable_by_another_group_is_refused(directory: Path, gid: int, refused: bool) -> None:
    path = directory / "a.pem"
    path.chmod(0o640)
    os.chown(path, 54321, gid)
    if not refused:
        assert read_key(str(path), 54321, (12345,))
        return
    assert refusal(path, uid=54321, gids=(12345,)) == (
        "the group 12346 has access to it (mode 0640), and the user 54321 is not in that group: leave it as it is, run "
        f"`install -D -o 54321 -m 0600 {path} keys/a.pem`, and name the copy in the keystore"
    )
    path.chmod(0o600)
    assert read_key(str(path), 54321, (12345,))


@pytest.mark.root
def test_a_key_of_another_user_is_refused(directory: Path) -> None:
    path = directory / "a.pem"
    os.chown(path, 54322, 0)
    assert refusal(path, uid=54321) == (
        "it belongs to 54322, not to the daemon's user 54321 or root: leave it as it is, run "
        f"`install -D -o 54321 -m 0600 {path} keys/a.pem`, and name the copy in the keystore"
    )
    os.chown(path, 0, 0)
    assert read_key(str(path), 54321, ())


@pytest.mark.root
def test_a_key_of_another_user_in_our_own_directory_is_given_to_the_daemon(directory: Path) -> None:
    (directory / "keys").mkdir()
    path = (directory / "a.pem").rename(directory / "keys" / "a.pem")
    os.chown(path, 54322, 0)
    (fault,) = faults(directory, "domains: {a.example: {keys: [{selector: a, file: keys/a.pem}]}}")
    user = pwd.getpwuid(UID).pw_name
    assert fault.endswith(f"or root: run `chown {user} {path} && chmod 0600 {path}`")


def test_a_key_on_a_read_only_mount_gets_no_command_that_cant_work(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "a.pem").chmod(0o444)
    genuine = os.statvfs(directory)
    flags = SimpleNamespace(f_flag=genuine.f_flag | os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda _: flags)
    text = refusal(directory / "a.pem")
    assert text.startswith("everyone has access to it (mode 0444): it is on a read-only mount, so mount it")
    assert "write `unsafe_keys: true` in the keystore" in text
    assert "chmod" not in text


def test_unsafe_keys_waives_the_rules_wherever_it_stands(directory: Path) -> None:
    (directory / "a.pem").chmod(0o644)
    text = "domains: {a.example: {keys: [{selector: a, file: a.pem}]}}\n"
    assert "everyone has access" in faults(directory, text)[0]
    assert "everyone has access" in faults(directory, text + "unsafe_keys: false\n")[0]
    assert load(directory, text + "unsafe_keys: true\n").entries


def made(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = directory / "x.pem"
        change(path)
        return path

    return make


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            made(lambda _: None),
            "does not exist: check the name; for a new key, remove this one and run `mailnotary keygen`",
        ),
        (
            made(lambda path: path.symlink_to("gone.pem")),
            "a symbolic link to gone.pem, which does not exist: fix or remove the link",
        ),
        (made(lambda path: path.symlink_to(path.name)), "can't be opened: Too many levels of symbolic links"),
        (made(lambda path: path.mkdir()), "is a directory: name the file of the key"),
        (made(lambda path: os.mkfifo(path, 0o600)), "not a regular file: name the file of the key"),
        (made(lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
        (made(lambda path: write_key(path, b"")), "empty: make a key with `mailnotary keygen`"),
        (made(lambda path: write_key(path, b" \n")), "empty"),
        (made(lambda path: write_key(path, b"x" * 65_537)), "larger than 65536 octets: this is not a private key"),
        (made(lambda path: write_key(path, b"hello\n")), "not a private key"),
        (
            made(lambda path: write_key(path, b"\x30\x82\x04\x01")),
            "this looks like DER whose last 1025 octets are missing",
        ),
        (
            made(lambda path: write_key(path, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")),
            "this is the public key: the file of the private key is needed",
        ),
        (
            made(lambda path: write_key(path, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            "this is a certificate",
        ),
        (
            made(
                lambda path: write_key(
                    path, b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                )
            ),
            "the key is encrypted: run `(umask 077; openssl pkey -in ",
        ),
        (
            made(
                lambda path: write_key(
                    path,
                    b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                )
            ),
            "the key is encrypted",
        ),
        (
            made(lambda path: write_key(path, b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")),
            "an EC key can't sign mail",
        ),
    ],
)
def test_a_key_file_that_is_none_says_why(directory: Path, make: Callable[[Path], Path], expected: str) -> None:
    assert refusal(make(directory)).startswith(expected)


def test_a_link_to_a_good_key_is_followed(directory: Path, pem: bytes) -> None:
    (directory / "link.pem").symlink_to("a.pem")
    assert read_key(str(directory / "link.pem"), UID, (GID,))[0] == pem


def test_a_damaged_key_is_found_at_load(directory: Path) -> None:
    write_key(directory / "a.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    text = "domains:\n  a.example: {keys: [{selector: a, file: a.pem}]}\n"
    (found,) = faults(directory, text)
    assert found.startswith(f"2:42: {directory}/a.pem: the key is damaged")


def write(directory: Path, **texts: str) -> None:
    (directory / "k.d").mkdir(exist_ok=True)
    for name, content in texts.items():
        (directory / "k.d" / f"{name}.yaml").write_text(content)


def test_files_of_the_directory_belong_to_the_keystore(directory: Path) -> None:
    write(directory, b="domains: {b.example: {keys: [{selector: b, file: b.pem}]}}", a="domains: {}", c="")
    (directory / "k.d" / "old.yaml~").write_text("nonsense")
    (directory / "k.d" / ".hidden.yaml").write_text("nonsense")
    keystore = load(directory, "domains: {a.example: {keys: [{selector: a, file: a.pem}]}}")
    assert list(keystore.entries) == ["a.example", "b.example"]
    assert [entry.source for entry in keystore.entries.values()] == [f"{directory}/k.yaml", f"{directory}/k.d/b.yaml"]
    assert keystore.entries["b.example"].keys[0].file == f"{directory}/b.pem"  # relative to the keystore, as everywhere
    assert keystore_files.sources(directory / "k.yaml") == {"b.example": directory / "k.d" / "b.yaml"}


def test_mistakes_of_all_files_are_reported_in_their_order(directory: Path) -> None:
    write(
        directory,
        a="domains: {a.example: {keys: [{selector: s, file: none.pem}]}}\ndomain: x\n",
        b="domains:\n  A.example: {keys: [{selector: s, file: b.pem}]}\n  n.a.example:\n    domain: a.example\n"
        "    keys: [{selector: s, file: b.pem}]\n",
    )
    assert errors(directory, "domains: 1\n") == [
        "1:10: '1' where keys are expected: write 'example.org: {keys: [...]}' lines below it, or "
        "{example.org: {keys: [...]}}",
        f"{directory}/k.d/a.yaml:1:50: {directory}/none.pem: does not exist: check the name; for a new key, remove "
        "this one and run `mailnotary keygen`",
        f"{directory}/k.d/a.yaml:2:1: unknown key 'domain': did you mean 'domains'?",
        f"{directory}/k.d/b.yaml:2:3: duplicate entry a.example, first in {directory}/k.d/a.yaml:1: put all its keys "
        "into one entry",
        f"{directory}/k.d/b.yaml:5:23: s._domainkey.a.example is already the record of the key in "
        f"{directory}/k.d/a.yaml:1: name the same file, or another selector",
    ]


def test_unsafe_keys_and_defaults_hold_for_their_own_file(directory: Path) -> None:
    for name in "ab":
        (directory / f"{name}.pem").chmod(0o644)
    write(directory, a="domains: {a.example: {keys: [{selector: a, file: a.pem}]}}\nunsafe_keys: true\n")
    (fault,) = faults(directory, "domains: {b.example: {keys: [{selector: b, file: b.pem}]}}")
    assert "b.pem: everyone has access" in fault


@pytest.mark.root
def test_a_directory_that_can_not_be_read_is_an_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(directory, a="")
    (directory / "k.d" / "a.yaml").unlink()
    (directory / "k.d" / "a.yaml").mkdir()
    assert "is a directory: name a file" in errors(directory, "")[0]


def test_file_may_have_the_domain_and_the_selector_in_it(directory: Path, pem: bytes) -> None:
    (directory / "keys").mkdir()
    for name in ("a.example.s1", "a.example.s2", "b.example.s1"):
        write_key(directory / "keys" / f"{name}.pem", pem)
    keystore = load(
        directory,
        """\
defaults: {file: keys/$domain.$selector.pem}
domains:
  a.example: {keys: [{selector: s1}, {selector: x, file: keys/$domain.s2.pem}, {selector: c, file: c.pem}]}
  n.example: {domain: b.example, keys: [{selector: s1}]}
""",
    )
    assert [key.file.removeprefix(f"{directory}/") for entry in keystore.entries.values() for key in entry.keys] == [
        "keys/a.example.s1.pem",
        "keys/a.example.s2.pem",
        "c.pem",
        "keys/b.example.s1.pem",
    ]
    (fault,) = faults(directory, "defaults: {file: $domain/$selector}\ndomains: {a.example: {keys: [{selector: s}]}}")
    assert fault.startswith(f"2:41: {directory}/a.example/s: does not exist")
    (found,) = errors(directory, "defaults: {fiel: x}\n")
    assert found.startswith("1:12: unknown key 'fiel': did you mean 'file'?")


def test_a_key_that_cant_be_used_costs_its_own_entry_alone(directory: Path) -> None:
    text = """\
domains:
  a.example: {keys: [{selector: a, file: none.pem}, {selector: b, file: b.pem}]}
  b.example: {keys: [{selector: a, file: a.pem}]}
  c.example: {keys: [{selector: a, file: none.pem, state: auto}]}
  d.example: {keys: [{selector: a, file: none.pem, state: retired}, {selector: b, file: b.pem}]}
"""
    assert [fault.split(": ")[0] for fault in faults(directory, text)] == ["2:42", "4:42"]
    keystore = load(directory, text)
    assert keystore.waiting() == ["a.example", "c.example"]
    key = keystore.entries["a.example"].faulty
    assert key is not None
    assert key.fault == "does not exist: check the name; for a new key, remove this one and run `mailnotary keygen`"
    assert keystore.entries["d.example"].faulty is None
    (warning,) = warnings(directory, text)
    assert warning.startswith(f"5:42: {directory}/none.pem: does not exist")


def test_a_key_that_changes_while_it_is_read_is_refused(
    directory: Path, pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, genuine = directory / "a.pem", os.read

    def read_late(descriptor: int, length: int) -> bytes:
        data = genuine(descriptor, length)
        path.write_bytes(pem + pem)
        return data

    monkeypatch.setattr(os, "read", read_late)
    assert refusal(path).startswith("changed while it was read: try again")


def test_a_key_replaced_all_the_time_is_read_whole_or_refused(directory: Path) -> None:
    keys = [generate_private_key("rsa", 1024), generate_private_key("ed25519")]
    path, stop = directory / "a.pem", threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for key in keys:
                write_key(directory / "new.pem", key).rename(path)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(300):
            assert read_key(str(path), UID, (GID,))[0] in [*keys, (directory / "b.pem").read_bytes()]
    finally:
        stop.set()
        thread.join()


def test_a_key_file_shared_by_many_domains_is_read_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    genuine = private_key.read_key

    def count(path: str, *args: Any, **options: Any) -> bytes:
        calls.append(path)
        return genuine(path, *args, **options)

    monkeypatch.setattr(keystore_files, "read_key", count)
    load(directory, "domains:\n" + "".join(f"  a{i}.example: {{keys: [{KEY}]}}\n" for i in range(50)))
    assert calls == [str(directory / "a.pem")]


@given_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=200).map(lambda data: b"-----BEGIN PRIVATE KEY-----\n" + data) | st.binary(max_size=200))
def test_any_octets_are_a_key_file_or_refused(tmp_path: Path, data: bytes) -> None:
    path = write_key(tmp_path / "x.pem", data)
    try:
        found, _ = read_key(str(path), UID, (GID,))
    except KeyLoadError as error:
        message = str(error)
        assert message.isprintable()
    else:
        assert found == data
