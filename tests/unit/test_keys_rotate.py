"""When keys are replaced, and by which; the state `pending`; what a run notes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.keystore import Allow, KeyEntry, KeyState, StoredKey
from mailnotary.config.publishing import RotationSettings
from mailnotary.config.settings import Settings
from mailnotary.crypto import generate_private_key, load_private_key
from mailnotary.daemon.keywatch import rotation_values
from mailnotary.keys import histories, progress
from mailnotary.keys.histories import KeyHistory, KeyId
from mailnotary.keys.observe import KeyRecordStatus, judge
from mailnotary.keys.progress import Phase, Progress, Step
from mailnotary.keys.rotate import SPREAD, Births, RotationError, due, next_selector, rotation_of
from mailnotary.metrics.definitions import BY_NAME
from mailnotary.resolver import Answer
from mailnotary.session.outbound import signing_keys

PEM = generate_private_key("ed25519")
EVERY = 180 * 86_400.0


def key(selector: str, state: KeyState = KeyState.ACTIVE, **more: str) -> StoredKey:
    return StoredKey(selector, f"/nowhere/{selector}.pem", state, PEM, **more)


def entry(*keys: StoredKey) -> KeyEntry:
    return KeyEntry("example.org", "example.org", False, keys, Allow(), "/etc/mailnotary/keystore.yaml")


@given(st.from_regex(r"[a-z]{1,20}\.example", fullmatch=True), st.floats(0, 2e9))
def test_a_key_is_due_in_the_last_quarter_of_its_time_always_at_the_same(domain: str, born: float) -> None:
    when = due(domain, born, EVERY)
    assert born + EVERY * (1 - SPREAD) <= when <= born + EVERY
    assert when == due(domain, born, EVERY)


def test_the_domains_are_spread_evenly() -> None:
    days = [due(f"d{number}.example", 0, EVERY) for number in range(4000)]
    start = EVERY * (1 - SPREAD)
    tenths = [int((when - start) / (EVERY * SPREAD) * 10) for when in days]
    assert all(300 < tenths.count(tenth) < 500 for tenth in range(10))


def test_a_pending_key_never_signs_and_makes_no_mail_wait() -> None:
    pending = key("new", KeyState.PENDING)
    with_it = entry(key("old", retire_after="new"), pending)
    seen = frozenset({("example.org", "new")})
    assert with_it.idle(pending, seen) == "new is pending: not every nameserver has been seen serving its record"
    keys, _ = signing_keys(with_it, seen)
    assert [one.selector for one in keys] == ["old"]
    assert entry(key("old"), key("new", KeyState.PENDING, fault="gone")).faulty is None


def test_a_pending_key_is_no_reason_for_the_old_one_to_stop() -> None:
    old, new = KeyId("example.org", "old", "1"), KeyId("example.org", "new", "2")
    known = {old: KeyHistory(signing=True, bad_looks=5), new: KeyHistory(last_good=1.0)}
    decided = histories.decide({old: KeyState.AUTO, new: KeyState.PENDING}, known)
    assert decided[old].signing
    assert not histories.decide({old: KeyState.AUTO, new: KeyState.AUTO}, known)[old].signing


def test_a_selector_of_a_pair_is_used_again_when_it_is_free() -> None:
    assert next_selector("rsa", {"s1"}, {"s1"}, ("s1", "s2")) == ("s2", "")
    selector, suffix = next_selector("rsa", {"s2"}, {"s1", "s2"}, ("s1", "s2"))
    assert selector == "s1"
    assert suffix.startswith(".2")  # files are never overwritten
    with pytest.raises(RotationError, match="s1, s2 are all in use"):
        next_selector("rsa", {"s1", "s2"}, set(), ("s1", "s2"))


def test_new_keys_begin_as_pending_and_the_old_ones_name_them(tmp_path: Path) -> None:
    rotation = rotation_of(tmp_path / "keystore.yaml", entry(key("old")), frozenset(), ("s1", "s2"))
    stored = rotation.stored(KeyState.PENDING)
    assert stored.changed == {"old": {"retire_after": "s1"}}
    assert [(added.selector, added.state) for added in stored.edit().added] == [("s1", "pending")]


def test_an_entry_without_a_key_that_signs_is_not_rotated(tmp_path: Path) -> None:
    with pytest.raises(RotationError, match=r"no key of example\.org signs yet"):
        rotation_of(tmp_path / "keystore.yaml", entry(key("new", KeyState.PENDING)), frozenset())


def test_a_key_is_born_when_dns_first_served_it_else_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    file.write_bytes(PEM)
    old = StoredKey("old", str(file), KeyState.ACTIVE, PEM)
    seen = {KeyId("example.org", "old", "x"): KeyHistory(first_good=5.0)}
    assert Births(seen, frozenset()).of(entry(old)) == 5.0
    assert Births({}, frozenset()).of(entry(old)) == file.stat().st_mtime
    assert Births({}, frozenset()).of(entry(key("gone"))) is None
    assert Births(seen, frozenset()).of(entry(key("old", KeyState.RETIRED))) is None


def test_what_a_server_serves_is_judged_by_the_key() -> None:
    private = load_private_key(PEM)
    assert judge("n", Answer(()), private).result is KeyRecordStatus.MISSING
    assert judge("n", Answer((b"a", b"b")), private).result is KeyRecordStatus.MISMATCH
    assert judge("n", Answer((b"v=DKIM1; p=",)), private).result is KeyRecordStatus.MISMATCH


STEP = Step("example.org", "example.org", "new", Phase.SERVE, 5.0, servers={"192.0.2.1": 4.0, "192.0.2.2": None})


def test_what_a_run_notes_is_read_again(tmp_path: Path) -> None:
    noted = Progress(9.0, (STEP,), "example.net", 99.0, 2, reload=True)
    assert progress.load(tmp_path) == progress.NOTHING
    progress.save(tmp_path, noted)
    assert progress.load(tmp_path) == noted
    assert noted.of("example.org", "new") == STEP
    assert noted.of("example.org", "old") is None


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"steps": [{}]},
        {"steps": [{"phase": "x"}]},
        {"more": 1},
        {"version": None, "steps": [{"entry": "a", "domain": "a", "selector": "s", "problem": "", "phase": "sign"}]},
    ],
)
def test_a_damaged_note_is_named(change: dict[str, object], tmp_path: Path) -> None:
    progress.save(tmp_path, Progress())
    file = tmp_path / progress.FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(histories.StateError, match="damaged, remove it"):
        progress.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[", "[]", "null", '{"steps": []}', "[" * 100_000])
def test_garbage_is_no_note(text: str, tmp_path: Path) -> None:
    (tmp_path / progress.FILE).write_text(text)
    with pytest.raises(histories.StateError):
        progress.load(tmp_path)


@pytest.mark.parametrize(
    ("phase", "problem", "said"),
    [
        (Phase.PUBLISH, "", "its record is to be published"),
        (Phase.SERVE, "", "waits for 192.0.2.2 to serve its record"),
        (Phase.SIGN, "", "it will start to sign soon"),
        (Phase.REMOVE, "", "its record is being removed"),
        (Phase.REMOVE, "the server refuses", "the server refuses"),
    ],
)
def test_each_step_is_said(phase: Phase, problem: str, said: str) -> None:
    step = Step("e", "e", "s", phase, 0.0, problem, STEP.servers)
    assert said in step.text


def test_the_metrics_tell_what_waits_and_what_is_stuck(tmp_path: Path) -> None:
    stuck = Step("e", "e", "s", Phase.PUBLISH, 5.0, "the server refuses")
    progress.save(tmp_path, Progress(9.0, (STEP, stuck), "example.net", 0.0))
    settings = Settings(state_dir=tmp_path, rotation=RotationSettings(rotate_every=EVERY))
    values = dict(rotation_values(settings))
    assert all(name[0] in BY_NAME for name in values)
    assert {name[1]: value for name, value in values.items() if name[0] == "keys_in_rotation"} == {
        "publish": 1,
        "serve": 1,
        "sign": 0,
        "remove": 0,
    }
    assert values["key_rotation_problems",] == 1
    assert values["key_rotation_next_seconds",] < 0
    assert rotation_values(Settings(state_dir=tmp_path)) == []
    (tmp_path / progress.FILE).write_text("[")
    assert rotation_values(settings) == []
