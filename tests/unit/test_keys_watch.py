"""The key watch: which keys sign after which looks at DNS."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailnotary.config.keystore import Allow, KeyEntry, KeyState, KeyStore, SigningSet, StoredKey
from mailnotary.config.settings import Mode, Settings
from mailnotary.keys import histories
from mailnotary.keys.watch import KeyWatch, initial
from mailnotary.resolver import ZoneResolver
from support.mail import ed_pem, record_of, rsa_pem

GOOD = {
    "rsa._domainkey.example.org": [{"TXT": record_of(rsa_pem())}],
    "ed._domainkey.example.org": [{"TXT": record_of(ed_pem())}],
}


def store(rsa: KeyState = KeyState.AUTO, ed: KeyState = KeyState.AUTO, **options: Any) -> KeyStore:
    keys = (
        StoredKey("rsa", "/keys/rsa.pem", rsa, rsa_pem(), **options),
        StoredKey("ed", "/keys/ed.pem", ed, ed_pem()),
    )
    return KeyStore({"example.org": KeyEntry("example.org", "example.org", False, keys, Allow())})


class Played:
    """A watch with its clock, its DNS and what it announced."""

    def __init__(self, directory: Path, keys: KeyStore | None = None) -> None:
        self.now = 1_000_000.0
        self.settings = Settings(state_dir=directory, key_check_seconds=300)
        self.keys = keys or store()
        self.announced: list[SigningSet] = []
        self.watch = self.restart()

    def restart(self, signing: SigningSet = frozenset()) -> KeyWatch:
        self.watch = KeyWatch(self.announced.append, signing, lambda: self.now)
        self.watch.adopt(self.settings, self.keys)
        return self.watch

    def observe(self, zone: Any, *, after: float = 300) -> None:
        self.now += after
        if not self.watch.busy:
            self.watch.begin()
        while self.watch.busy:
            self.watch.step(ZoneResolver(zone))

    @property
    def signs(self) -> set[str]:
        """The selectors that sign for a worker, by what was last announced."""
        entry = self.keys.entries["example.org"]
        return {key.selector for key in entry.keys if not entry.idle(key, self.announced[-1])}

    @property
    def signing(self) -> set[str]:
        return {selector for _, selector, _ in self.announced[-1]} if self.announced else set()

    @property
    def signing_domains(self) -> set[str]:
        return {domain for domain, _, _ in self.announced[-1]} if self.announced else set()


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


def test_an_auto_key_signs_once_dns_was_seen_serving_its_record(played: Played) -> None:
    played.observe({})
    assert played.announced == []
    played.observe({"rsa._domainkey.example.org": GOOD["rsa._domainkey.example.org"]})
    assert played.signing == {"rsa"}
    assert played.signs == {"rsa"}


def test_another_key_at_its_name_is_not_its_record(played: Played) -> None:
    played.observe({"rsa._domainkey.example.org": GOOD["ed._domainkey.example.org"]})
    assert played.signing == set()


def test_a_key_whose_record_is_gone_stops_after_some_looks_if_another_is_good(played: Played) -> None:
    played.observe(GOOD)
    gone = {"ed._domainkey.example.org": GOOD["ed._domainkey.example.org"]}
    for _ in range(histories.BAD_LOOKS - 1):
        played.observe(gone)
        assert played.signing == {"rsa", "ed"}
    played.observe(gone)
    assert played.signing == {"ed"}
    played.observe(GOOD)
    assert played.signing == {"rsa", "ed"}


def test_reloads_in_a_row_are_one_look(played: Played) -> None:
    played.observe(GOOD)
    gone = {"ed._domainkey.example.org": GOOD["ed._domainkey.example.org"]}
    for _ in range(10):
        played.observe(gone, after=1)
    assert played.signing == {"rsa", "ed"}


def test_the_last_good_key_goes_on_whatever_dns_says(played: Played) -> None:
    played.observe(GOOD)
    for _ in range(10):
        played.observe({})
    assert played.signing == {"rsa", "ed"}


def test_a_dns_that_does_not_answer_changes_nothing(played: Played) -> None:
    played.observe(GOOD)
    for _ in range(10):
        played.observe(dict.fromkeys(GOOD, "TIMEOUT"))
    assert played.signing == {"rsa", "ed"}
    assert len(played.announced) == 1


def test_after_a_restart_with_dns_down_the_keys_that_signed_sign(played: Played) -> None:
    played.observe(GOOD)
    first = initial(played.settings, played.keys)
    assert first.signing == played.announced[-1]
    assert not first.blank
    new = replace(played.keys.entries["example.org"], keys=(StoredKey("new", "/k", KeyState.AUTO, rsa_pem(1024)),))
    assert not initial(played.settings, KeyStore({"example.org": new})).blank  # what is new need not sign at once
    (played.settings.state_dir / histories.FILE).unlink()
    assert initial(played.settings, played.keys).blank
    played.announced.clear()
    played.restart(first.signing)
    played.observe(dict.fromkeys(GOOD, "SERVFAIL"))
    assert played.announced == []  # nothing is new


def test_a_watch_that_was_replaced_goes_on_where_the_state_can_not_be_kept(tmp_path: Path) -> None:
    played = Played(tmp_path / "missing")
    played.observe(GOOD)
    played.restart(played.announced[-1])
    played.observe(dict.fromkeys(GOOD, "SERVFAIL"))
    assert played.signing == {"rsa", "ed"}


def test_another_key_under_the_same_selector_begins_anew(played: Played) -> None:
    played.observe(GOOD)
    keys = (StoredKey("rsa", "/keys/rsa.pem", KeyState.AUTO, rsa_pem(1024)),)
    played.keys = KeyStore({"example.org": KeyEntry("example.org", "example.org", False, keys, Allow())})
    assert played.signs == set()  # at once, before any look
    played.watch.adopt(played.settings, played.keys)
    played.observe(GOOD)
    assert played.signing == set()


def test_active_and_retired_keys_are_no_matter_of_looks(played: Played) -> None:
    played.keys = store(KeyState.ACTIVE, KeyState.RETIRED)
    played.watch.adopt(played.settings, played.keys)
    played.observe(GOOD)
    assert played.announced == []


def test_an_active_key_whose_record_is_wrong_is_reported_loudly(
    played: Played, caplog: pytest.LogCaptureFixture
) -> None:
    played.keys = store(KeyState.ACTIVE, KeyState.RETIRED)
    played.watch.adopt(played.settings, played.keys)
    played.observe({})
    played.observe({})
    (report,) = [one for one in caplog.records if one.message == "a key signs although DNS does not serve its record"]
    assert report.levelname == "ERROR"
    assert report.fields["selector"] == "rsa"  # type: ignore[attr-defined]


def test_a_rotated_key_stops_when_its_successor_signs_and_comes_back_if_that_fails(played: Played) -> None:
    played.keys = store(retire_after="ed")
    entry = played.keys.entries["example.org"]
    rsa, ed = entry.keys

    def signs() -> set[str]:
        return {key.selector for key in (rsa, ed) if not entry.idle(key, played.announced[-1])}

    played.watch.adopt(played.settings, played.keys)
    played.observe({"rsa._domainkey.example.org": GOOD["rsa._domainkey.example.org"]})
    assert signs() == {"rsa"}
    played.observe(GOOD)
    assert signs() == {"ed"}
    for _ in range(histories.BAD_LOOKS):
        played.observe({"rsa._domainkey.example.org": GOOD["rsa._domainkey.example.org"]})
    assert signs() == {"rsa"}


def test_the_time_of_retirement_is_kept(played: Played) -> None:
    played.observe(GOOD)
    played.keys = store(KeyState.RETIRED)
    played.watch.adopt(played.settings, played.keys)
    played.observe(GOOD)
    known = histories.load(played.settings.state_dir)
    times = {name.selector: seen.idle_since for name, seen in known.items()}
    assert times == {"rsa": played.now - 300, "ed": None}  # when the keystore said so


def test_where_nothing_is_signed_nothing_is_looked_at(played: Played) -> None:
    settings = Settings(state_dir=played.settings.state_dir, mode=Mode.VERIFY)
    played.watch.adopt(settings, played.keys)
    assert not played.watch.busy
    assert initial(settings, played.keys).signing == frozenset()


def test_many_keys_are_looked_at_in_batches_the_oldest_look_first(tmp_path: Path) -> None:
    entries = {}
    zone: dict[str, Any] = {}
    for number in range(150):
        name = f"d{number}.example"
        keys = (StoredKey("ed", "/keys/ed.pem", KeyState.AUTO, ed_pem()),)
        entries[name] = KeyEntry(name, name, False, keys, Allow())
        zone[f"ed._domainkey.{name}"] = [{"TXT": record_of(ed_pem())}]
    played = Played(tmp_path, KeyStore(entries))
    for seconds, found in ((1, 0), (2, 128)):  # not after each step, for all workers look through all keys then
        played.now += seconds
        played.watch.step(ZoneResolver(zone))
        assert len(played.signing_domains) == found
        played.watch.begin()  # what was not looked at comes first
    played.watch.step(ZoneResolver(zone))
    played.observe(zone)
    assert len(played.signing_domains) == 150
