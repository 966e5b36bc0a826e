"""Debian's package in a booted box, beside Postfix: installed, upgraded while mail flows, carried over to the next
Debian, removed, purged. The tests run in their order; tests/deb/inside.sh installed with a umask of 077."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.box import CONFIG, configure, journal, processes, run, shown, wait_for
from support.box_mail import KEY, POSTFIX, Box, Load, check_page, set_up
from support.box_package import PACKAGE, apt, repacked
from support.mail import signed
from support.rig import results

LIBRARY = Path("/usr/lib/mailnotary")
KEYSTORE = CONFIG.with_name("keystore.yaml")
SOURCES = Path("/etc/apt/sources.list")
NEXT = {"bookworm": "trixie"}  # to which the tests upgrade
CODENAME = re.findall(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())[0]


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    yield set_up()
    print("\n--- the journal's end\n" + journal()[-3000:])
    print("\n--- Postfix's\n" + run("journalctl", "--no-pager", "--lines=60", "SYSLOG_FACILITY=2")[-8000:])


def test_it_runs_once_it_is_installed_and_will_at_boot() -> None:
    assert shown("SubState") == "running"
    assert shown("UnitFileState") == "enabled"
    assert run("dpkg", "--verify", "mailnotary") == ""


def test_everybody_may_run_it_whatever_the_umask_was() -> None:
    run("runuser", "-u", "nobody", "--", "mailnotary", "--version")
    assert (KEYSTORE.owner(), KEYSTORE.stat().st_mode & 0o777) == ("root", 0o644)
    keys = KEY.parent
    assert (keys.owner(), keys.group(), keys.stat().st_mode & 0o7777) == ("root", "mailnotary", 0o750)


def test_its_modules_are_compiled() -> None:
    assert list(LIBRARY.glob("mailnotary/__pycache__/*.pyc"))
    assert list(LIBRARY.glob("Crypto/__pycache__/*.pyc"))


def test_mail_is_checked_and_signed(box: Box) -> None:
    assert box.signatures() == ["rsa2026"]
    run("mailnotary", "keygen", "example.org", "ed2026", "--algorithm", "ed25519")
    box.dns.publish("example.org")
    run("systemctl", "reload", "mailnotary")
    wait_for(lambda: box.signatures() == ["rsa2026", "ed2026"], "both keys sign")
    said = results(box.deliver(signed()).data)
    assert "dkim=pass" in said
    assert "dmarc=pass" in said


def test_the_page_runs_with_debians_flask(box: Box) -> None:
    with box.dns.aside():
        apt("install", "--no-install-recommends", "python3-flask", "python3-waitress")
    assert shown("UnitFileState", "mailnotary-web") == "disabled"
    configure(history={"enabled": True})
    run("systemctl", "reload", "mailnotary")
    code, text = box.send(signed())
    assert code == 250, text
    check_page(text.rpartition(" ")[2])


def test_an_upgrade_under_load_loses_no_message_and_keeps_what_is_the_admins(box: Box, tmp_path: Path) -> None:
    file = repacked(tmp_path, "99.1")
    settings, keystore, before = CONFIG.read_text(), KEYSTORE.read_text(), shown("MainPID")
    with Load(box) as load:
        load.wait(10)
        apt("install", str(file))
        load.wait(20)
    load.check(["rsa2026", "ed2026"])
    assert shown("MainPID") not in ("0", before)
    assert run("mailnotary", "--version").strip() == "mailnotary 99.1"
    assert not list(LIBRARY.glob("mailnotary/cli/**/completion.*")), "what is not in the package any more"
    assert (CONFIG.read_text(), KEYSTORE.read_text()) == (settings, keystore)
    assert CONFIG.with_name("mailnotary.yaml.dpkg-dist").read_text().startswith("# What a newer version says")


def test_a_downgrade_and_a_reinstallation_under_load_lose_no_message(box: Box) -> None:
    for option in ("--allow-downgrades", "--reinstall"):
        before = shown("MainPID")
        with Load(box) as load:
            load.wait(10)
            apt("install", option, str(PACKAGE))
            load.wait(20)
        load.check(["rsa2026", "ed2026"])
        assert shown("MainPID") not in ("0", before)
    assert run("dpkg", "--verify", "mailnotary") == f"??5?????? c {CONFIG}\n"


def test_with_a_faulty_configuration_the_old_version_runs_on_and_that_is_said(box: Box) -> None:
    good, before = CONFIG.read_text(), shown("MainPID")
    CONFIG.write_text(good + "workerz: 3\n")
    said = apt("install", "--reinstall", str(PACKAGE))
    assert "still runs the old version" in said
    assert shown("MainPID") == before
    CONFIG.write_text(good)
    assert box.signatures() == ["rsa2026", "ed2026"]


@pytest.mark.parametrize("path", ["/usr/bin/python3", "/usr/lib/python3/dist-packages/dns"])
def test_what_it_has_in_memory_is_upgraded_and_it_is_restarted(box: Box, path: str) -> None:
    before = shown("MainPID")
    run("dpkg-trigger", "--by-package=mailnotary", "--no-await", path)
    run("dpkg", "--triggers-only", "--pending")
    assert shown("MainPID") not in ("0", before)
    assert box.signatures() == ["rsa2026", "ed2026"]


def test_the_next_debian_takes_it_over(box: Box) -> None:
    before = shown("MainPID")
    if CODENAME in NEXT:
        SOURCES.write_text(SOURCES.read_text().replace(CODENAME, NEXT[CODENAME]))
    with box.dns.aside():
        apt("update")
        apt("--download-only", "full-upgrade")
    apt("--no-download", "full-upgrade")
    if CODENAME in NEXT:
        assert shown("MainPID") not in ("0", before), "it was restarted with the new Python"
    wait_for(lambda: shown("SubState") == "running", "it runs")
    newest = Path("/usr/bin/python3").resolve()
    assert Path(f"/proc/{shown('MainPID')}/exe").resolve() == newest
    tag = newest.name.replace("python", "cpython-").replace(".", "")
    assert {path.name.split(".")[1] for path in LIBRARY.rglob("*.pyc")} == {tag}, "compiled for the new Python alone"
    # As after a reboot: Debian 13's Postfix does not take the place of Debian 12's while that runs as an instance.
    run("systemctl", "stop", "postfix", POSTFIX, "mailnotary")
    run("systemctl", "start", "postfix", "mailnotary")
    wait_for(lambda: shown("ActiveState", "postfix") == "active", "Postfix runs")
    assert box.signatures() == ["rsa2026", "ed2026"]
    assert "dkim=pass" in results(box.deliver(signed()).data)


def test_nothing_in_the_log_is_a_defect(box: Box) -> None:
    text = journal()
    for word in ("Traceback", "defect", "Operation not permitted", "SECCOMP"):
        assert word not in text


@pytest.mark.parametrize("what", ["install", "uninstall"])
def test_make_leaves_the_package_alone(box: Box, what: str) -> None:
    assert "with apt" in run("make", "-C", "/src", what, check=False)
    assert box.signatures() == ["rsa2026", "ed2026"]


def test_it_is_removed_and_configuration_and_keys_stay(box: Box) -> None:
    said = apt("remove", "mailnotary")
    assert "Postfix still hands its mail" in said
    assert processes("mailnotary") == []
    assert run("find", "/usr", "-xdev", "-name", "*mailnotary*") == ""
    for path in (CONFIG, KEYSTORE, KEY, Path("/var/lib/mailnotary")):
        assert path.exists()
    apt("install", str(PACKAGE))
    wait_for(lambda: box.signatures() == ["rsa2026", "ed2026"], "it signs with the keys of before")


def test_a_purge_leaves_the_keys_alone(box: Box) -> None:
    apt("purge", "mailnotary")
    left = [path for path in Path("/etc").rglob("*") if "mailnotary" in str(path) and path.is_file()]
    assert {path.parent for path in left} == {KEY.parent}
    assert len(left) == 2
    left = [path for path in Path("/var").rglob("*mailnotary*") if not path.is_relative_to("/var/cache/apt")]
    assert left == []


def test_beside_an_installation_from_the_sources_it_is_not_installed(box: Box) -> None:
    unit = Path("/usr/local/lib/systemd/system/mailnotary.service")
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.touch()
    assert "make uninstall" in run("dpkg", "--install", str(PACKAGE), check=False)
    unit.unlink()
    apt("install", str(PACKAGE))
    assert shown("SubState") == "running"
    assert KEYSTORE.exists()
