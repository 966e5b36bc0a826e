"""The rules by which auto keys sign, the file in which the daemon keeps what it saw, and retire_after."""

import dataclasses
import json
import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config import keystore_file, yaml_nodes
from mailnotary.config.keystore import Allow, KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.crypto import load_private_key
from mailnotary.keys import histories
from mailnotary.keys.histories import BAD_LOOKS, KeyHistory, KeyId, StateError, after_look, decide, signs
from mailnotary.keys.observe import KeyObservation, KeyRecordStatus
from support.mail import ed_pem, rsa_pem

GAP = 150.0
A, B, C = (KeyId("example.org", name, "00") for name in "abc")
looks = st.sampled_from(list(KeyRecordStatus))


def seen_after(results: list[KeyRecordStatus], step: float = 300.0) -> KeyHistory:
    """What is known after looks, in steps of time, with the key alone in its domain."""
    seen = KeyHistory()
    for number, result in enumerate(results):
        seen = after_look(seen, KeyObservation(result), number * step, GAP)
        seen = dataclasses.replace(seen, signing=signs(seen, ()))
    return seen


@given(st.lists(looks, max_size=20))
def test_a_key_signs_if_and_only_if_it_was_once_seen_where_it_has_no_neighbour(results: list[KeyRecordStatus]) -> None:
    assert seen_after(results).signing == (KeyRecordStatus.MATCH in results)


@given(st.lists(looks, max_size=20))
def test_looks_without_an_answer_change_nothing_but_the_time_of_the_look(results: list[KeyRecordStatus]) -> None:
    answered = [result for result in results if result is not KeyRecordStatus.ERROR]
    times = [index for index, result in enumerate(results) if result is not KeyRecordStatus.ERROR]
    seen, other = KeyHistory(), seen_after(results)
    for time, result in zip(times, answered, strict=True):
        seen = after_look(seen, KeyObservation(result), time * 300.0, GAP)
    assert _looks(other) == _looks(seen)


def _looks(seen: KeyHistory) -> KeyHistory:
    return dataclasses.replace(seen, last_look=None, signing=False)


@given(st.lists(st.lists(looks, min_size=2, max_size=2), max_size=30))
def test_of_two_keys_one_always_goes_on_signing(rounds: list[list[KeyRecordStatus]]) -> None:
    known = {A: KeyHistory(), B: KeyHistory()}
    states = dict.fromkeys(known, KeyState.AUTO)
    ever = False
    for number, results in enumerate(rounds):
        for key, result in zip((A, B), results, strict=True):
            known[key] = after_look(known[key], KeyObservation(result), number * 300.0, GAP)
        known = decide(states, known)
        ever = ever or KeyRecordStatus.MATCH in results
        assert (known[A].signing or known[B].signing) == ever
        for key, result in zip((A, B), results, strict=True):
            assert known[key].signing or result is not KeyRecordStatus.MATCH


def bad(count: int) -> KeyHistory:
    return KeyHistory(
        signing=True, first_good=0, last_good=0, bad_since=1, last_bad=2, bad_looks=count, result="missing"
    )


GOOD = KeyHistory(signing=True, first_good=0, last_good=0, result="match")


def test_a_retired_neighbour_is_no_reason_to_stop() -> None:
    known = {A: bad(BAD_LOOKS), B: GOOD}
    assert decide({A: KeyState.AUTO, B: KeyState.RETIRED}, known)[A].signing
    assert not decide({A: KeyState.AUTO, B: KeyState.ACTIVE}, known)[A].signing


def test_a_key_of_another_domain_is_no_neighbour() -> None:
    other = KeyId("example.net", "b", "00")
    assert decide({A: KeyState.AUTO, other: KeyState.AUTO}, {A: bad(BAD_LOOKS), other: GOOD})[A].signing


def test_a_key_that_stopped_stays_so_when_its_neighbour_goes_bad_too() -> None:
    known = decide({A: KeyState.AUTO, B: KeyState.AUTO}, {A: bad(BAD_LOOKS), B: GOOD})
    known = decide({A: KeyState.AUTO, B: KeyState.AUTO}, known | {B: bad(BAD_LOOKS)})
    assert (known[A].signing, known[B].signing) == (False, True)


@pytest.mark.parametrize("now", [2.0 + GAP, 2.0 - GAP])
def test_a_clock_that_jumps_does_not_stop_the_count(now: float) -> None:
    assert after_look(bad(1), KeyObservation(KeyRecordStatus.MISSING), now, GAP).bad_looks == 2


def test_what_was_gone_for_long_is_forgotten() -> None:
    known = {A: KeyHistory(last_look=0), B: KeyHistory(last_look=0), C: KeyHistory(last_look=histories.FORGET_AFTER)}
    assert set(histories.forget(known, [B], histories.FORGET_AFTER + 1.0)) == {B, C}


# --- the state file -------------------------------------------------------------------------------------------------

times = st.none() | st.floats(0, 1e10)
counts = st.integers(0, 99)
words = st.sampled_from(["", "match"])
seen_values = st.builds(KeyHistory, st.booleans(), times, times, times, times, counts, times, words, st.text())
damaged = st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
names = st.builds(KeyId, st.text(max_size=9), st.text(max_size=9), st.text("0123456789abcdef", max_size=9))


@given(st.dictionaries(names, seen_values, max_size=4))
def test_what_was_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, known: dict[KeyId, KeyHistory]) -> None:
    directory = tmp_path_factory.mktemp("state")
    histories.save(directory, known)
    assert histories.load(directory) == known
    assert [path.name for path in directory.iterdir()] == [histories.FILE]


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    assert histories.load(tmp_path) == {}
    assert histories.load(tmp_path / "missing") == {}


@given(st.binary(max_size=60) | damaged)
def test_a_damaged_file_is_an_error_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("state")
    (directory / histories.FILE).write_bytes(data)
    with pytest.raises(StateError, match="damaged"):
        histories.load(directory)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"domain": "a", "selector": "b"},
        {"domain": "a", "selector": "b", "fingerprint": "c", "signing": "yes"},
        {"domain": "a", "selector": "b", "fingerprint": "c", "bad_looks": 1.5},
        {"domain": "a", "selector": "b", "fingerprint": "c", "last_good": "today"},
        [],
        None,
    ],
)
def test_a_damaged_entry_is_an_error(tmp_path: Path, item: object) -> None:
    (tmp_path / histories.FILE).write_text(json.dumps({"version": 1, "keys": [item]}))
    with pytest.raises(StateError, match="damaged"):
        histories.load(tmp_path)


def test_a_state_that_can_not_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories.save(tmp_path, {A: GOOD})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space"):
        histories.save(tmp_path, {})
    assert histories.load(tmp_path) == {A: GOOD}
    assert [path.name for path in tmp_path.iterdir()] == [histories.FILE]


@pytest.mark.root
def test_a_directory_of_state_that_the_user_may_not_write_in_is_told(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        with pytest.raises(
            StateError, match=f"Permission denied: let the user nobody write in the directory {tmp_path}"
        ):
            histories.save(tmp_path, {})
    finally:
        os.seteuid(0)


def test_what_is_remembered_is_of_this_very_key(tmp_path: Path) -> None:
    key = StoredKey("a", "/a", KeyState.AUTO, ed_pem())
    store = KeyStore({"example.org": KeyEntry("example.org", "example.org", False, (key,), Allow())})
    name = KeyId("example.org", "a", histories.fingerprint(load_private_key(ed_pem())))
    histories.save(tmp_path, {name: GOOD})
    assert histories.remembered(tmp_path, store) == {("example.org", "a")}
    histories.save(tmp_path, {name._replace(fingerprint="00"): GOOD})
    assert histories.remembered(tmp_path, store) == frozenset()


# --- retire_after ---------------------------------------------------------------------------------------------------


def entry(*keys: tuple[str, KeyState, str | None]) -> KeyEntry:
    stored = tuple(StoredKey(selector, "/k", state, rsa_pem(1024), after) for selector, state, after in keys)
    return KeyEntry("example.org", "example.org", False, stored, Allow())


def signing(one: KeyEntry, *published: str) -> list[str]:
    names = {("example.org", selector) for selector in published}
    return [key.selector for key in one.keys if not one.idle(key, names)]


def test_a_key_signs_until_its_successor_does() -> None:
    pair = entry(("old", KeyState.ACTIVE, "new"), ("new", KeyState.AUTO, None))
    assert signing(pair) == ["old"]
    assert signing(pair, "new") == ["new"]
    chain = entry(("a", KeyState.AUTO, "b"), ("b", KeyState.AUTO, "c"), ("c", KeyState.AUTO, None))
    assert signing(chain, "a", "b") == ["b"]
    assert signing(chain, "a", "b", "c") == ["c"]
    assert signing(chain, "a") == ["a"]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("{selector: a, file: k, retire_after: b}", "1:41: example.org has no key 'b'"),
        ("{selector: a, file: k, retire_after: a}", "'a' would retire after itself"),
        (
            "{selector: a, file: k, retire_after: b}, {selector: b, file: k, retire_after: a}",
            "'b' would retire after itself",
        ),
        ("{selector: a, file: k, retire_after: '..'}", "is not a selector"),
    ],
)
def test_a_successor_must_be_left_to_sign(tmp_path: Path, keys: str, why: str) -> None:
    key = tmp_path / "k"
    key.touch(mode=0o600)
    key.write_bytes(ed_pem())
    path = tmp_path / "keystore.yaml"
    path.write_text(f"domains: {{example.org: {{keys: [{keys}]}}}}\n")
    with pytest.raises(yaml_nodes.ConfigError) as error:
        keystore_file.load(path, uid=key.stat().st_uid, gids=())
    assert why.partition(": ")[2] in str(error.value)


def test_a_retired_key_may_name_a_successor_that_has_gone(tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.touch(mode=0o600)
    key.write_bytes(ed_pem())
    path = tmp_path / "keystore.yaml"
    keys = "{selector: a, file: k, state: retired, retire_after: gone}, {selector: b, file: k}"
    path.write_text(f"domains: {{example.org: {{keys: [{keys}]}}}}\n")
    assert len(keystore_file.load(path, uid=key.stat().st_uid, gids=()).entries["example.org"].keys) == 2
