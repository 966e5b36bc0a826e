"""The commands keygen, dns, keys and rotate."""

import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dns.zone
import pytest
import yaml
from dns.rdtypes.ANY.TXT import TXT

from mailnotary.cli import main
from mailnotary.config.load import load_configuration
from mailnotary.crypto import load_private_key
from mailnotary.dkim.publish import MAX_STRING, zone_lines
from mailnotary.keys import create, histories
from mailnotary.keys.histories import KeyHistory, KeyId
from mailnotary.keys.rotate import new_selector
from support.mail import record_of


class Setup:
    """A configuration in a directory of its own, and the commands on it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.config = directory / "mailnotary.yaml"
        self.keystore = directory / "keystore.yaml"
        self.config.write_text(f"user: root\nstate_dir: {directory / 'state'}\n")
        (directory / "state").mkdir()
        self._capsys = capsys
        self.zone: dict[str, Any] = {}

    def run(self, *arguments: str, status: int = 0) -> str:
        """Runs a command; its output, or what it says on standard error where it fails."""
        got = main([*arguments, "-c", str(self.config)])
        out, error = self._capsys.readouterr()
        assert got == status, error
        return error if status else out

    def capture(self, *arguments: str, status: int) -> str:
        """The output of a command with this exit status."""
        assert main([*arguments, "-c", str(self.config)]) == status
        return self._capsys.readouterr().out

    def json(self, command: str, *arguments: str) -> Any:
        """Runs a command with --json over the zone."""
        zone = self.directory / "zone.yaml"
        zone.write_text(yaml.safe_dump(self.zone))
        return json.loads(self.run(command, *arguments, "--json", "--zone", str(zone)))

    def text(self, command: str, *arguments: str) -> str:
        """Runs a command over the zone."""
        zone = self.directory / "zone.yaml"
        zone.write_text(yaml.safe_dump(self.zone))
        return self.run(command, *arguments, "--zone", str(zone))

    def entries(self) -> Any:
        return yaml.load(self.keystore.read_text(), Loader=yaml.BaseLoader)["domains"]

    def pem(self, selector: str, domain: str = "example.org") -> bytes:
        return (self.directory / "keys" / f"{domain}.{selector}.pem").read_bytes()

    def publish(self, selector: str, domain: str = "example.org") -> None:
        self.zone[f"{selector}._domainkey.{domain}"] = [{"TXT": record_of(self.pem(selector, domain))}]

    def seen(self, *selectors: str, **fields: Any) -> None:
        """The daemon has seen these in DNS."""
        known = histories.load(self.directory / "state")
        for selector in selectors:
            name = KeyId("example.org", selector, histories.fingerprint(load_private_key(self.pem(selector))))
            known[name] = KeyHistory(**({"signing": True, "first_good": 1e9, "last_good": 1e9} | fields))
        histories.save(self.directory / "state", known)


@pytest.fixture
def setup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Setup:
    return Setup(tmp_path, capsys)


def test_keys_shows_a_key_that_cant_be_used(setup: Setup) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    setup.run("keygen", "other.example", "e2", "--algorithm", "ed25519")
    file = setup.directory / "keys" / "example.org.e1.pem"
    file.unlink()
    broken, other = setup.json("keys")["keys"]
    assert (broken["dns"], broken["signing"], other["dns"], other["fault"]) == ("unknown", False, "missing", "")
    assert broken["fault"].startswith("does not exist")
    text = setup.text("keys")
    assert "e1 can't be used, so the mail of example.org waits" in text
    assert f"publish its record: `mailnotary dns other.example -c {setup.config}`" in text
    assert f"{file}: does not exist" in text


def test_keys_shows_its_progress_on_a_terminal_alone(setup: Setup) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    setup.json("keys")  # writes the zone
    command = [sys.executable, "-m", "mailnotary", "keys", "-c", str(setup.config), "--json"]
    command += ["--zone", str(setup.directory / "zone.yaml")]
    ours, theirs = pty.openpty()
    on_terminal = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, check=True, env=os.environ | {"TERM": "vt100"}
    )
    os.close(theirs)
    assert b"asking DNS" in os.read(ours, 65536)
    os.close(ours)
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b""
    assert on_terminal.stdout == piped.stdout
    assert len(json.loads(piped.stdout)["keys"]) == 1


# --- keygen ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "algorithm", "bits"),
    [((), "rsa", 2048), (("--bits", "3072"), "rsa", 3072), (("--algorithm", "ed25519"), "ed25519", 256)],
)
def test_keygen_makes_a_key_that_the_daemon_can_use(
    setup: Setup, options: tuple[str, ...], algorithm: str, bits: int
) -> None:
    out = setup.run("keygen", "example.org", "s1", *options)
    file = setup.directory / "keys" / "example.org.s1.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key,) = load_configuration(setup.config).keystore.entries["example.org"].keys
    assert (key.file, key.state) == (str(file), "auto")
    private = load_private_key(key.pem)
    assert (private.algorithm, private.bits) == (algorithm, bits)
    assert "s1._domainkey.example.org. IN TXT" in out
    assert f"\n{record_of(key.pem)}\n" in out
    assert "reload" in out


def test_keygen_keeps_the_keystore_with_its_comments_mode_and_link(setup: Setup) -> None:
    real = setup.directory / "real.yaml"
    real.write_text("# mine\ndomains:\n  a.example:  # first\n    allow: {auth_users: [a]}\n    keys: []\n")
    real.chmod(0o640)
    setup.keystore.symlink_to(real)
    setup.run("keygen", "a.example", "s1", "--algorithm", "ed25519")
    assert setup.keystore.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_text() == (
        "# mine\ndomains:\n  a.example:  # first\n    allow: {auth_users: [a]}\n    keys:\n"
        "      - {selector: s1, file: keys/a.example.s1.pem, state: auto}\n"
    )


def test_keygen_never_overwrites(setup: Setup) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    before = setup.pem("s1"), setup.keystore.read_bytes()
    assert "choose another selector" in setup.run("keygen", "example.org", "s1", status=1)
    assert "choose another selector" in setup.run("keygen", "example.org", "S1", status=1)
    setup.keystore.unlink()
    assert "never overwritten" in setup.run("keygen", "example.org", "s1", status=1)
    assert (setup.pem("s1"), setup.keystore.exists()) == (before[0], False)


def test_keygen_leaves_no_key_without_its_entry(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(create, "_replace", interrupted)
    main(["keygen", "example.org", "s1", "--algorithm", "ed25519", "-c", str(setup.config)])
    assert list((setup.directory / "keys").iterdir()) == []
    assert not setup.keystore.exists()


def test_keygen_says_why_a_full_disk_or_a_strange_file_stops_it(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    (setup.directory / "keys").write_text("no directory")
    assert "Not a directory" in setup.run("keygen", "example.org", "s1", status=1)
    (setup.directory / "keys").unlink()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in setup.run("keygen", "example.org", "s1", status=1)
    assert list((setup.directory / "keys").iterdir()) == []
    assert sorted(path.name for path in setup.directory.iterdir()) == ["keys", "mailnotary.yaml", "state"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("example..org", "s1"), "not a domain name"),
        (("s1", "example.org"), "'s1' has only one label: write a domain like example.org"),
        (("example.org", "s1._domainkey.example.org"), "write the selector alone"),
        (("example.org", "s 1"), "not a selector"),
        (("example.org", "-s"), "not a selector"),
        (("example.org", "../x"), "not a selector"),
        (("\x1b[31mx", "s1"), "\\x1b"),
        ((".".join(["a" * 60] * 4), "s" * 60), "longer than DNS allows"),
        (("example.org", "s1", "--algorithm", "ed25519", "--bits", "2048"), "a fixed size"),
    ],
)
def test_keygen_refuses_what_dns_can_not_have(setup: Setup, arguments: tuple[str, ...], why: str) -> None:
    dashed = [argument for argument in arguments if argument.startswith("-s")]
    words = ["--", *arguments] if dashed else list(arguments)
    got = main(["keygen", "-c", str(setup.config), *words])
    assert got == 1
    assert why in setup._capsys.readouterr().err
    assert not setup.keystore.exists()


@pytest.mark.parametrize("bits", ["1024", "2047", "8192", "x"])
def test_keygen_makes_rsa_keys_of_good_sizes_alone(setup: Setup, bits: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        setup.run("keygen", "example.org", "s1", "--bits", bits)
    assert exit_.value.code == 2


def test_keygen_takes_a_domain_in_its_own_letters(setup: Setup) -> None:
    setup.run("keygen", "BÜCHER.example", "S1", "--algorithm", "ed25519")
    assert list(setup.entries()) == ["xn--bcher-kva.example"]
    assert (setup.directory / "keys" / "xn--bcher-kva.example.s1.pem").exists()


def test_keygen_warns_where_the_daemons_user_is_missing(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    setup.config.write_text("user: no-such-user-here\n")
    assert main(["keygen", "example.org", "s1", "--algorithm", "ed25519", "-c", str(setup.config)]) == 0
    assert "there is no user 'no-such-user-here'" in capsys.readouterr().err


@pytest.mark.root
def test_keygen_gives_the_key_to_the_daemons_user(setup: Setup) -> None:
    setup.config.write_text("user: nobody\n")
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    file = setup.directory / "keys" / "example.org.s1.pem"
    assert file.owner() == "nobody"
    assert file.parent.owner() == "root"  # the daemon can't put keys there
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o750


def unchanged(setup: Setup, file: Path, *, says: str) -> None:
    """keygen refuses, and leaves neither a key nor a change behind."""
    before = sorted(setup.directory.rglob("*")), file.read_bytes(), file.stat()
    assert says in setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519", status=1)
    assert (sorted(setup.directory.rglob("*")), file.read_bytes(), file.stat()) == before


def test_keygen_adds_nothing_to_a_file_that_is_no_keystore(setup: Setup) -> None:
    system = setup.directory / "netplan.yaml"
    system.write_text("network: {version: 2}\n")
    setup.keystore.symlink_to(system)
    unchanged(setup, system, says="is not a key of a keystore")


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_keygen_waits_for_nothing_that_is_no_file(setup: Setup, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(setup.keystore)
    elif kind == "device":
        setup.keystore.symlink_to("/dev/zero")
    else:
        setup.keystore.mkdir()
    assert "can't be read" in setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519", status=1)
    assert not (setup.directory / "keys").exists()


NOBODY = 65534


@pytest.mark.root
def test_keygen_adds_nothing_to_a_file_of_somebody_else(setup: Setup) -> None:
    setup.keystore.write_text("domains: {}\n")
    os.chown(setup.keystore, 4711, -1)
    unchanged(setup, setup.keystore, says="belongs to the user 4711")
    setup.config.write_text("user: nobody\n")
    os.chown(setup.keystore, NOBODY, -1)  # the daemon's user: that is ours
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    assert setup.keystore.owner() == "nobody"


@pytest.mark.root
@pytest.mark.parametrize("what", ["keystore", "its directory", "keys"])
def test_keygen_follows_no_link_of_somebody_else(setup: Setup, tmp_path: Path, what: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    target = other / "keystore.yaml"
    target.write_text("domains: {}\n")
    if what == "keystore":
        link = setup.keystore
        link.symlink_to(target)
    elif what == "keys":
        link = setup.directory / "keys"
        link.symlink_to(other)
    else:
        link = setup.directory / "link"
        link.symlink_to(other)
        setup.config.write_text("user: root\nkeystore: link/keystore.yaml\n")
    setup.run("keygen", "first.example", "s1", "--algorithm", "ed25519")  # root's own link
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    unchanged(setup, target, says="a symbolic link that belongs to the user 65534")


@pytest.mark.root
def test_keygen_takes_no_setuid_bit_over(setup: Setup) -> None:
    setup.keystore.write_text("domains: {}\n")
    setup.keystore.chmod(0o6755)
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    assert stat.S_IMODE(setup.keystore.stat().st_mode) == 0o755


def test_keygens_at_the_same_time_lose_no_entry(setup: Setup) -> None:
    command = [sys.executable, "-m", "mailnotary", "keygen", "--algorithm", "ed25519", "-c", str(setup.config)]
    running = [subprocess.Popen([*command, "example.org", f"s{i}"], stdout=subprocess.DEVNULL) for i in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    keys = setup.entries()["example.org"]["keys"]
    assert sorted(key["selector"] for key in keys) == [f"s{i}" for i in range(6)]
    load_configuration(setup.config)


def test_a_zone_file_takes_long_records_in_short_strings() -> None:
    value = "v=DKIM1; k=rsa; p=" + "A" * 700
    lines = zone_lines("s._domainkey.example.org", value)
    strings = lines.split('"')[1::2]
    assert "".join(strings) == value
    assert all(len(one) <= MAX_STRING for one in strings)


# --- dns ------------------------------------------------------------------------------------------------------------


def test_dns_prints_the_records_of_keys_that_are_not_retired(setup: Setup) -> None:
    for selector in ("s1", "s2", "s3"):
        setup.run("keygen", "example.org", selector, "--algorithm", "ed25519")
    text = setup.keystore.read_text().replace("example.org.s2.pem, state: auto", "example.org.s2.pem, state: retired")
    setup.keystore.write_text(text)
    setup.publish("s1")
    records = setup.json("dns", "example.org")["records"]
    assert [(record["name"], record["type"], record["value"], record["dns"]) for record in records] == [
        ("s1._domainkey.example.org", "TXT", record_of(setup.pem("s1")), "match"),
        ("s3._domainkey.example.org", "TXT", record_of(setup.pem("s3")), "missing"),
    ]


ADVICE = {
    "nothing": ({}, ["there is no SPF record"], ["there is no DMARC record"]),
    "all well": (
        {
            "example.org": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}],
            "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; rua=mailto:a@example.org"}],
        },
        [],
        [],
    ),
    "weak": (
        {
            "example.org": [{"TXT": "v=spf1 mx +all"}, {"MX": [10, "example.org"]}],
            "_dmarc.example.org": [{"TXT": "v=DMARC1; p=none"}],
        },
        ["+all"],
        ["p=none", "no rua="],
    ),
    "weaker": (
        {
            "example.org": [{"TXT": "v=spf1 ptr ?all"}],
            "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; sp=none; t=y; rua=mailto:a@example.org"}],
        },
        ["?all", "ptr is slow"],
        ["t=y", "sp=none"],
    ),
    "no end": ({"example.org": [{"TXT": "v=spf1 ip4:192.0.2.1"}]}, ["no all at the end"], ["no DMARC record"]),
    "open to all": ({"example.org": [{"TXT": "v=spf1 ip4:0.0.0.0/0 -all"}]}, ["lets anybody send"], ["no DMARC"]),
    "two": (
        {
            "example.org": [{"TXT": "v=spf1 -all"}, {"TXT": "v=spf1 mx -all"}],
            "_dmarc.example.org": [{"TXT": "v=DMARC1; p=none"}, {"TXT": "v=DMARC1; p=reject"}],
        },
        ["2 SPF records"],
        ["2 DMARC records"],
    ),
    "broken": (
        {"example.org": [{"TXT": "v=spf1 ipv4:192.0.2.1"}], "_dmarc.example.org": [{"TXT": "v=DMARC1; p=rejct"}]},
        ["syntax error"],
        ["p=rejct is not one of", "has no effect"],
    ),
    "too many look-ups": (
        {"example.org": [{"TXT": "v=spf1 " + "".join(f"include:i{i}.example " for i in range(11)) + "-all"}]}
        | {f"i{i}.example": [{"TXT": "v=spf1 ip4:192.0.2.1"}] for i in range(11)},
        ["permerror"],
        ["no DMARC record"],
    ),
    "nearly too many": (
        {"example.org": [{"TXT": "v=spf1 " + "".join(f"include:i{i}.example " for i in range(9)) + "-all"}]}
        | {f"i{i}.example": [{"TXT": "v=spf1 ip4:192.0.2.1"}] for i in range(9)},
        ["9 of at most 10"],
        ["no DMARC record"],
    ),
    "almost": ({"example.org": [{"TXT": " v=spf1 -all"}, {"TXT": "x"}]}, ["do not see an SPF record"], ["no DMARC"]),
    "an equals sign": (
        {"example.org": [{"TXT": "v=spf1 include=i.example ip4=192.0.2.1 -all"}]},
        ["include=i.example is ignored", "ip4=192.0.2.1 is ignored"],
        ["no DMARC record"],
    ),
    "a dash": ({"example.org": [{"TXT": "v=spf1 \u2013all".encode()}]}, ["a dash (U+2013)"], ["no DMARC record"]),
    "dns down": (
        {"example.org": "TIMEOUT", "_dmarc.example.org": "SERVFAIL"},
        ["DNS did not answer"],
        ["DNS did not answer"],
    ),
}


@pytest.mark.parametrize(("zone", "spf", "dmarc"), ADVICE.values(), ids=ADVICE)
def test_dns_gives_advice_where_spf_and_dmarc_are_weak(
    setup: Setup, zone: dict[str, Any], spf: list[str], dmarc: list[str]
) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    setup.zone = zone
    found = setup.json("dns", "example.org")
    for name, expected in (("spf", spf), ("dmarc", dmarc)):
        advice = found[name]["advice"]
        assert len(advice) == len(expected), advice
        assert all(part in text for part, text in zip(expected, advice, strict=True)), advice
    setup.text("dns", "example.org")


def test_dns_shows_the_parents_dmarc_policy_for_a_subdomain(setup: Setup) -> None:
    setup.run("keygen", "sub.example.org", "s1", "--algorithm", "ed25519")
    setup.zone = {"_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; sp=none; rua=mailto:a@example.org"}]}
    found = setup.json("dns", "sub.example.org")["dmarc"]
    assert found["name"] == "_dmarc.example.org"
    assert found["advice"][0].startswith("sp=none")


def test_dns_of_a_domain_without_keys_says_how_to_make_one(setup: Setup) -> None:
    assert "mailnotary keygen" in setup.run("dns", "example.org", status=1)


def test_what_dns_says_can_not_act_on_the_terminal(setup: Setup) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    setup.zone = {"example.org": [{"TXT": "v=spf1 \x1b]0;x\x07 -all"}], "s1._domainkey.example.org": [{"TXT": "\x1b"}]}
    assert "\x1b" not in setup.text("dns", "example.org") + setup.text("keys")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_keys_tells_of_each_key_what_it_is_and_what_dns_serves(setup: Setup) -> None:
    setup.run("keygen", "example.org", "r1")
    for selector in ("e1", "e2", "e3", "e4"):
        setup.run("keygen", "example.org", selector, "--algorithm", "ed25519")
    setup.publish("r1")
    setup.publish("e1")
    setup.zone["e2._domainkey.example.org"] = [{"TXT": record_of(setup.pem("e1"))}]
    setup.zone["e4._domainkey.example.org"] = "SERVFAIL"
    setup.seen("r1")
    keys = {key["selector"]: key for key in setup.json("keys")["keys"]}
    assert [(key["algorithm"], key["bits"]) for key in keys.values()] == [("rsa", 2048)] + [("ed25519", 256)] * 4
    assert {name: key["dns"] for name, key in keys.items()} == {
        "r1": "match",
        "e1": "match",
        "e2": "mismatch",
        "e3": "missing",
        "e4": "error",
    }
    assert {name: key["signing"] for name, key in keys.items()} == {
        "r1": True,
        "e1": False,
        "e2": False,
        "e3": False,
        "e4": False,
    }
    assert keys["r1"]["domain"] == "example.org"
    assert keys["r1"]["state"] == "auto"
    assert keys["r1"]["file"] == str(setup.directory / "keys" / "example.org.r1.pem")
    table = setup.text("keys")
    assert [line.split()[-2:] for line in table.splitlines()[1:6]] == [
        ["match", "yes"],
        ["match", "no"],
        ["mismatch", "no"],
        ["missing", "no"],
        ["error", "no"],
    ]


RECORDS = {
    "revoked": ("v=DKIM1; p=", "revoked"),
    "two": (None, "2 TXT records"),
    "another type": ("v=DKIM1; k=rsa; p=", "revoked"),
    "not for mail": ("v=DKIM1; k=ed25519; s=tlsrpt; p={key}", "not for email"),
    "not for sha256": ("v=DKIM1; k=ed25519; h=sha1; p={key}", "not for sha256"),
    "no record": ("hello", "it has no p="),
}


@pytest.mark.parametrize(("text", "why"), RECORDS.values(), ids=RECORDS)
def test_a_record_that_verifiers_would_not_use_is_a_mismatch(setup: Setup, text: str | None, why: str) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    good = record_of(setup.pem("e1"))
    texts = [good, good] if text is None else [text.replace("{key}", good.rpartition("=")[0].rpartition("p=")[2] + "=")]
    setup.zone["e1._domainkey.example.org"] = [{"TXT": one} for one in texts]
    (key,) = setup.json("keys")["keys"]
    assert key["dns"] == "mismatch"
    assert why in key["dns_reason"]


def test_keys_says_when_the_record_of_a_retired_key_may_go(setup: Setup) -> None:
    for selector in ("e1", "e2", "e3"):
        setup.run("keygen", "example.org", selector, "--algorithm", "ed25519")
    setup.keystore.write_text(setup.keystore.read_text().replace("auto", "retired"))
    setup.publish("e1")
    setup.publish("e2")
    setup.seen("e1", idle_since=time.time())
    setup.seen("e2", idle_since=time.time() - histories.KEEP_RECORD - 1)
    notes = {key["selector"]: key["note"] for key in setup.json("keys")["keys"]}
    assert notes["e1"].startswith("its record can be removed on 20")
    assert notes["e2"] == "its record can be removed"
    assert notes["e3"] == "its record is gone: the key can be removed from the keystore"


def test_keys_works_without_keys_and_without_state(setup: Setup) -> None:
    assert "mailnotary keygen" in setup.text("keys")
    assert setup.json("keys") == {"keys": []}
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    (setup.directory / "state" / histories.FILE).write_text("[damaged")
    assert "damaged" in setup.json("keys")["problem"]


# --- rotate ---------------------------------------------------------------------------------------------------------


def test_rotate_makes_a_successor_for_each_key_that_signs(setup: Setup) -> None:
    setup.run("keygen", "example.org", "r1")
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    setup.run("keygen", "example.org", "e2", "--algorithm", "ed25519")
    setup.seen("r1", "e1")
    out = setup.run("rotate", "example.org")
    r1, e1, e2, new_rsa, new_ed = setup.entries()["example.org"]["keys"]
    assert (r1["retire_after"], e1["retire_after"]) == (new_rsa["selector"], new_ed["selector"])
    assert "retire_after" not in e2  # it never signed
    assert new_rsa["state"] == new_ed["state"] == "auto"
    assert load_private_key(setup.pem(new_rsa["selector"])).algorithm == "rsa"
    assert load_private_key(setup.pem(new_ed["selector"])).algorithm == "ed25519"
    assert out.count("IN TXT") == 2
    load_configuration(setup.config)
    assert "a rotation is in progress" in setup.run("rotate", "example.org", status=1)


def test_the_next_rotation_retires_what_the_last_one_replaced(setup: Setup) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    setup.seen("e1")
    setup.run("rotate", "example.org")
    second = setup.entries()["example.org"]["keys"][1]["selector"]
    setup.seen(second)
    keys = {key["selector"]: key for key in setup.json("keys")["keys"]}
    assert not keys["e1"]["signing"]
    assert keys[second]["signing"]
    setup.run("rotate", "example.org")
    first, old, new = setup.entries()["example.org"]["keys"]
    assert first["state"] == "retired"
    assert old["retire_after"] == new["selector"]
    assert len({first["selector"], old["selector"], new["selector"]}) == 3


def test_rotate_replaces_a_weak_key_by_a_good_one(setup: Setup) -> None:
    setup.run("keygen", "example.org", "r1")
    from support.mail import rsa_pem

    (setup.directory / "keys" / "example.org.r1.pem").write_bytes(rsa_pem(1024))
    setup.keystore.write_text(setup.keystore.read_text().replace("auto", "active"))
    setup.run("rotate", "example.org")
    new = setup.entries()["example.org"]["keys"][1]["selector"]
    assert load_private_key(setup.pem(new)).bits == 2048


@pytest.mark.parametrize(("domain", "why"), [("example.org", "nothing to rotate"), ("other.example", "no entry for")])
def test_rotate_says_why_there_is_nothing_to_rotate(setup: Setup, domain: str, why: str) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    assert why in setup.run("rotate", domain, status=1)


def test_new_selectors_never_collide() -> None:
    taken: set[str] = set()
    for _ in range(26):
        selector = new_selector("rsa", taken, 1_700_000_000)
        assert selector not in taken
        taken.add(selector)
    assert sorted(taken)[:3] == ["rsa20231114", "rsa20231114b", "rsa20231114c"]


@pytest.mark.mta
@pytest.mark.parametrize(("myorigin", "noted"), [("host.example.org", True), ("example.org", False)])
def test_keygen_says_where_mail_of_the_machine_itself_stays_unsigned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, myorigin: str, noted: bool
) -> None:
    (tmp_path / "main.cf").write_text(f"compatibility_level = 3.6\nmyorigin = {myorigin}\n")
    (tmp_path / "master.cf").touch()
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    said = Setup(tmp_path, capsys).run("keygen", "example.org", "rsa2026")
    assert ("host.example.org" in said) is noted
    assert ("include_subdomains: true for example.org" in said) is noted


# --- keys --check -----------------------------------------------------------------------------------------------------


def check(setup: Setup, status: int) -> str:
    """The output of --check, whose status is as expected."""
    zone = setup.directory / "zone.yaml"
    zone.write_text(yaml.safe_dump(setup.zone))
    out = setup.capture("keys", "--check", "--zone", str(zone), status=status)
    assert (
        json.loads(setup.capture("keys", "--check", "--json", "--zone", str(zone), status=status))["keys"] is not None
    )
    return out


def test_check_is_ok_where_a_key_signs_and_its_record_matches(setup: Setup) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    setup.publish("s1")
    setup.seen("s1")
    assert check(setup, 0) == "KEYS OK - 1 key, each as it should be\n"


def test_check_is_critical_where_a_record_is_gone_or_nothing_signs(setup: Setup) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    assert check(setup, 2).startswith("KEYS CRITICAL - no key of example.org signs")
    setup.seen("s1")
    assert check(setup, 2).startswith("KEYS CRITICAL - s1._domainkey.example.org: it signs, but")


def test_check_warns_of_a_key_that_waits_and_does_not_know_without_dns(setup: Setup) -> None:
    assert check(setup, 1).startswith("KEYS WARNING - the keystore has no keys")
    for selector in ("s1", "s2"):
        setup.run("keygen", "example.org", selector, "--algorithm", "ed25519")
    setup.publish("s1")
    setup.seen("s1")
    assert check(setup, 1) == "KEYS WARNING - s2._domainkey.example.org: it waits for its record in DNS\n"
    setup.publish("s2")
    assert check(setup, 0)
    setup.zone["s1._domainkey.example.org"] = ["TIMEOUT"]
    assert check(setup, 3).startswith("KEYS UNKNOWN - s1._domainkey.example.org: ")


def test_check_is_critical_where_a_key_cannot_be_used_or_is_published(setup: Setup) -> None:
    setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519")
    setup.publish("s1")
    setup.seen("s1")
    pem = setup.pem("s1")
    private = "".join(pem.decode().splitlines()[1:-1])
    setup.zone["s1._domainkey.example.org"] = [{"TXT": f"v=DKIM1; k=ed25519; p={private}"}]
    assert check(setup, 2).startswith("KEYS CRITICAL - s1._domainkey.example.org: ")
    (setup.directory / "keys" / "example.org.s1.pem").write_text("no key")
    assert "a key of example.org can't be used: its mail waits" in check(setup, 2)


def test_check_is_unknown_where_the_command_can_not_be_done(setup: Setup) -> None:
    setup.config.write_text("workerz: 1\n")
    assert "workerz" in setup.run("keys", "--check", status=3)


# --- JSON of the commands that make keys ------------------------------------------------------------------------------


def test_keygen_and_rotate_tell_their_records_in_json(setup: Setup) -> None:
    made = json.loads(setup.run("keygen", "example.org", "s1", "--algorithm", "ed25519", "--json"))
    name = "s1._domainkey.example.org"
    assert made["records"] == [{"name": name, "type": "TXT", "value": record_of(setup.pem("s1"))}]
    assert made["keys"] == [
        {"file": str(setup.directory / "keys" / "example.org.s1.pem"), "keystore": str(setup.keystore)}
    ]
    setup.publish("s1")
    setup.seen("s1")
    rotated = json.loads(setup.run("rotate", "example.org", "--json"))
    [key] = rotated["keys"]
    assert key["replaces"] == "s1"
    [record] = rotated["records"]
    assert record["name"] == f"{key['selector']}._domainkey.example.org"


# --- keystore.d -----------------------------------------------------------------------------------------------------


def test_keygen_and_rotate_change_the_file_that_has_the_entry(setup: Setup) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    home = setup.directory / "keystore.d"
    home.mkdir()
    setup.keystore.rename(home / "org.yaml")
    setup.run("keygen", "example.org", "e2", "--algorithm", "ed25519")
    assert not setup.keystore.exists()
    setup.seen("e1", "e2")
    setup.run("rotate", "example.org")
    assert not setup.keystore.exists()
    (entry,) = load_configuration(setup.config).keystore.entries.values()
    assert (entry.source, len(entry.keys)) == (str(home / "org.yaml"), 4)
    assert {Path(key.file).parent for key in entry.keys} == {setup.directory / "keys"}


# --- many domains ---------------------------------------------------------------------------------------------------

DOMAINS = ("a.example", "b.example", "c.example")


def test_keygen_makes_keys_for_several_domains_all_or_none(setup: Setup) -> None:
    setup.run("keygen", "b.example", "s0", "--algorithm", "ed25519")
    out = setup.run("keygen", *DOMAINS, "s1", "--algorithm", "ed25519")
    assert [len(entry["keys"]) for entry in setup.entries().values()] == [2, 1, 1]
    assert all(record_of(setup.pem("s1", domain)) in out for domain in DOMAINS)
    before = setup.keystore.read_bytes()
    assert "choose another selector" in setup.run("keygen", "x.example", *DOMAINS, "s1", status=1)
    assert setup.keystore.read_bytes() == before
    assert not (setup.directory / "keys" / "x.example.s1.pem").exists()


def test_dns_all_is_a_zone_file(setup: Setup) -> None:
    setup.run("keygen", *DOMAINS, "s1", "--bits", "4096")
    setup.run("keygen", "a.example", "e1", "--algorithm", "ed25519")
    setup.keystore.write_text(
        setup.keystore.read_text().replace("b.example.s1.pem, state: auto", "b.example.s1.pem, state: retired")
    )
    text = setup.run("dns", "--all")
    zone = dns.zone.from_text(text, origin=".", relativize=False, check_origin=False)
    served = {}
    for name, _, rdata in zone.iterate_rdatas("TXT"):
        assert isinstance(rdata, TXT)
        served[str(name)] = b"".join(rdata.strings).decode()
    assert served == {
        f"{selector}._domainkey.{domain}.": record_of(setup.pem(selector, domain))
        for selector, domain in (("s1", "a.example"), ("e1", "a.example"), ("s1", "c.example"))
    }
    # BIND takes it as part of a zone, and has the same records then.
    (setup.directory / "zone").write_text("@ 3600 SOA ns b 1 1 1 1 1\n@ 3600 NS ns\nns 3600 A 192.0.2.1\n" + text)
    command = ["named-checkzone", "-q", "-i", "none", "-D", "-o", "-", ".", str(setup.directory / "zone")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r"\sTXT\s", loaded)) == 3
    (setup.directory / "keys" / "a.example.s1.pem").unlink()
    assert "s1._domainkey.a.example is left out" in setup.run("dns", "--all", status=1)
    assert "take one DOMAIN, not --all" in setup.run("dns", "--all", "--publish", status=1)


def test_rotate_all_passes_over_what_can_not_be_rotated(setup: Setup) -> None:
    setup.run("keygen", *DOMAINS, "s1", "--algorithm", "ed25519")
    setup.keystore.write_text(setup.keystore.read_text().replace("state: auto", "state: active", 2))
    setup.run("rotate", "--all")
    assert [len(entry["keys"]) for entry in setup.entries().values()] == [2, 2, 1]


def test_rotate_due_goes_by_the_age_of_the_keys(setup: Setup) -> None:
    setup.run("keygen", *DOMAINS, "s1", "--algorithm", "ed25519")
    setup.keystore.write_text(setup.keystore.read_text().replace("state: auto", "state: active"))
    assert setup.run("rotate", "--due") == "No key is due.\n"
    old = time.time() - 100 * 86400
    os.utime(setup.directory / "keys" / "b.example.s1.pem", (old, old))
    assert setup.run("rotate", "--due", "101") == "No key is due.\n"
    assert "replaces s1 of b.example" in setup.run("rotate", "--due", "99")
    assert [len(entry["keys"]) for entry in setup.entries().values()] == [1, 2, 1]


def test_keys_remove_takes_out_what_no_longer_signs(setup: Setup) -> None:
    setup.run("keygen", "example.org", "e1", "--algorithm", "ed25519")
    setup.run("keygen", "example.org", "e2", "--algorithm", "ed25519")
    setup.seen("e1")
    assert "e1 of example.org signs: write `state: retired`" in setup.run(
        "keys", "remove", "example.org", "e1", status=1
    )
    assert "removed e2._domainkey.example.org" in setup.run("keys", "remove", "example.org", "E2")
    assert [key["selector"] for key in setup.entries()["example.org"]["keys"]] == ["e1"]
    assert setup.pem("e2")
    assert "no key e2" in setup.run("keys", "remove", "example.org", "e2", status=1)
    assert "keys remove DOMAIN SELECTOR" in setup.run("keys", "remove", "example.org", status=1)
    setup.run("rotate", "example.org")
    (_, new) = setup.entries()["example.org"]["keys"]
    assert f"e1 of example.org retires after {new['selector']}" in setup.run(
        "keys", "remove", "example.org", new["selector"], status=1
    )
    load_configuration(setup.config)
