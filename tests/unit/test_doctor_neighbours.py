"""mailnotary doctor: programs beside the daemon, its systemd unit, and whether its keys sign."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mailnotary.config.keystore import KeyState, KeyStore, StoredKey
from mailnotary.config.listen import Listen
from mailnotary.config.settings import Mode, ReportsSettings, Require, Settings, SignFor
from mailnotary.crypto import load_private_key
from mailnotary.dkim.publish import key_record_text
from mailnotary.doctor import neighbours, postfix, sendmail, signing, unit
from mailnotary.doctor.finding import Finding, Level
from mailnotary.doctor.instance import Postfix
from mailnotary.keys import histories
from mailnotary.keys.histories import KeyHistory, KeyId
from mailnotary.resolver import ZoneResolver
from support.mail import ed_pem, keystore, rsa_pem

OURS = "inet:127.0.0.1:8891"


def near(
    changes: Mapping[str, str],
    mode: Mode = Mode.BOTH,
    commands: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> list[Finding]:
    commands = commands or {}
    services = {name: command.partition(" ")[0] for name, command in commands.items()}
    instance = Postfix(
        {"queue_directory": "/var/spool/postfix", "smtpd_milters": OURS} | dict(changes),
        overrides or {},
        False,
        services,
        commands,
    )
    return list(neighbours.check(instance, Settings(mode=mode), lambda address: address == OURS))


# -- milters


@pytest.mark.parametrize(
    "address",
    [
        "local:opendkim/opendkim.sock",
        "unix:/run/opendkim/opendkim.sock",
        "inet:opendkim.example:8892",
        "unix:dkimpy-milter/s",
    ],
)
def test_another_signer_among_the_milters_is_a_warning_with_the_list_without_it(address: str) -> None:
    [finding] = near({"smtpd_milters": f"{OURS}, {address}, inet:127.0.0.1:1"})
    assert finding.level is Level.WARNING
    assert "signed twice" in finding.text
    assert finding.advice == f"postconf smtpd_milters='{OURS}, inet:127.0.0.1:1' && postfix reload"


def test_where_the_daemon_itself_is_missing_the_others_stay_for_now() -> None:
    assert near({"smtpd_milters": "unix:opendkim/s"}) == []
    policy = {"smtpd_recipient_restrictions": "check_policy_service unix:private/policyd-spf"}
    assert near({"smtpd_milters": ""} | policy) == []


def test_all_neighbours_of_a_list_are_removed_at_once() -> None:
    [finding] = near({"non_smtpd_milters": f"unix:opendkim/s, {OURS}, {{ unix:opendmarc/s, protocol=6 }}"})
    assert finding.advice == f"postconf non_smtpd_milters={OURS} && postfix reload"
    assert "unix:opendkim/s" in finding.text
    assert "unix:opendmarc/s" in finding.text


def test_a_list_of_its_own_in_master_cf_is_looked_at() -> None:
    name = "submission/inet/smtpd_milters"
    [finding] = near({}, overrides={name: f"{OURS}, unix:opendkim/s"})
    assert finding.text.startswith(f"{name} calls ")
    assert finding.advice == f"-o smtpd_milters={OURS} for submission/inet in master.cf"


@pytest.mark.parametrize(
    ("address", "mode", "warned"),
    [
        ("unix:opendmarc/opendmarc.sock", Mode.BOTH, True),
        ("unix:opendmarc/opendmarc.sock", Mode.SIGN, False),
        ("unix:pyspf-milter/s", Mode.VERIFY, True),
        ("unix:opendkim/s", Mode.VERIFY, True),
        ("unix:opendkim/s", Mode.SIGN, True),
        ("inet:localhost:11332", Mode.BOTH, False),
        ("unix:clamav/clamav-milter.ctl", Mode.BOTH, False),
        (OURS, Mode.BOTH, False),
    ],
)
def test_a_neighbour_is_one_that_does_what_the_daemon_does(address: str, mode: Mode, warned: bool) -> None:
    assert bool(near({"smtpd_milters": f"{OURS}, {address}"}, mode)) is warned


def test_a_milter_is_known_by_the_process_that_listens(tmp_path: Path) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    script = tmp_path / "opendmarc"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        [finding] = near({"smtpd_milters": f"{OURS}, inet:localhost:{port}"})
        process.communicate(b"\n")
    assert "calls opendmarc (" in finding.text


# -- policy servers


@pytest.mark.parametrize(
    "service",
    [
        "unix:private/policyd-spf",
        "unix:private/policy-spf",
        "{ unix:private/policyd-spf, timeout=10s }",
        "unix:private/check",
    ],
)
def test_an_spf_policy_server_is_a_warning(service: str) -> None:
    value = f"permit_mynetworks, reject_unauth_destination, check_policy_service {service}, permit"
    commands = {"check/unix": "spawn user=policyd-spf argv=/usr/bin/policyd-spf"} if "check" in service[-6:] else {}
    [finding] = near({"smtpd_recipient_restrictions": value}, commands=commands)
    assert finding.level is Level.WARNING
    assert finding.text.startswith("smtpd_recipient_restrictions asks an SPF policy server")
    assert f"remove `check_policy_service {service}`" in finding.advice
    assert not near({"smtpd_recipient_restrictions": value}, Mode.SIGN, commands)


def test_one_in_master_cf_is_named_with_its_place() -> None:
    name = "submission/inet/smtpd_relay_restrictions"
    [finding] = near({}, overrides={name: "check_policy_service unix:private/policyd-spf"})
    assert finding.text.startswith(f"master.cf: {name} ")


def test_other_policy_servers_are_no_neighbours() -> None:
    assert not near({"smtpd_recipient_restrictions": "check_policy_service inet:127.0.0.1:10023, permit"})


def test_a_policy_server_that_nothing_calls_is_mentioned() -> None:
    commands = {"policyd-spf/unix": "spawn user=policyd-spf argv=/usr/bin/policyd-spf", "smtp/inet": "smtpd"}
    [finding] = near({}, commands=commands)
    assert finding.level is Level.OK
    assert "policyd-spf/unix" in finding.text


@pytest.mark.mta
def test_neighbours_are_seen_in_a_real_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {tmp_path}\n"
        "smtpd_milters = inet:localhost:8891, local:opendkim/opendkim.sock\n"
        "smtpd_recipient_restrictions = permit_mynetworks,\n  check_policy_service unix:private/policyd-spf\n"
    )
    (tmp_path / "master.cf").write_text(
        "smtp inet n - n - - smtpd\npolicyd-spf unix - n n - 0 spawn\n  user=policyd-spf argv=/usr/bin/policyd-spf\n"
    )
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    found = postfix.read()
    assert found is not None
    assert found.commands["policyd-spf/unix"] == "spawn user=policyd-spf argv=/usr/bin/policyd-spf"
    checks = [one.text for one in postfix.check(found, Settings(), keystore()) if one.check == "neighbours"]
    assert [text.split()[0] for text in checks] == ["smtpd_milters", "smtpd_recipient_restrictions"]


@pytest.mark.mta
def test_a_postfix_whose_configuration_is_broken_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    assert postfix.read() is None
    [finding] = postfix.unreadable()
    assert finding.level is Level.UNKNOWN
    assert str(tmp_path) in finding.text


def test_neighbours_in_sendmail_are_seen() -> None:
    cf = (
        "Xmailnotary, S=inet:8891@127.0.0.1, F=T\nXopendkim, S=local:/run/opendkim/s\nXclamav, S=local:/run/c\n"
        "O InputMailFilters=mailnotary, opendkim, clamav\n"
    )
    findings = list(sendmail.check(cf, Listen.parse("inet:8891@127.0.0.1")))
    assert [one.check for one in findings] == ["neighbours", "Sendmail"]
    assert "opendkim" in findings[0].text


# -- the unit

RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
}


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, [Level.OK], "is running"),
        ({"ActiveState": "failed", "Result": "exit-code"}, [Level.ERROR], "has failed (exit-code)"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "NRestarts": "7"},
            [Level.ERROR],
            "7 times",
        ),
        ({"NRestarts": "2"}, [Level.OK, Level.WARNING], "restarted 2 times"),
        ({"ActiveState": "inactive", "SubState": "dead"}, [Level.WARNING], "is not running"),
        ({"UnitFileState": "disabled"}, [Level.OK, Level.WARNING], "starts it at boot"),
        (
            {"LoadState": "masked", "UnitFileState": "masked", "ActiveState": "inactive"},
            [Level.WARNING] * 2,
            "is masked",
        ),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, [], ""),
    ],
)
def test_the_unit_s_state_is_judged(changes: dict[str, str], expected: list[Level], words: str) -> None:
    findings = list(unit.check(RUNNING | changes))
    assert [one.level for one in findings] == expected
    assert words in " ".join(one.text for one in findings)
    assert all(one.advice for one in findings if one.level is not Level.OK)


def test_without_systemd_or_unit_nothing_is_said() -> None:
    assert list(unit.check({})) == []


@pytest.mark.parametrize(
    ("enabled", "timer", "levels"),
    [
        (False, {"LoadState": "loaded", "ActiveState": "inactive"}, []),
        (True, {}, []),
        (True, {"LoadState": "not-found", "ActiveState": "inactive"}, []),
        (True, {"LoadState": "loaded", "ActiveState": "active"}, [Level.OK]),
        (True, {"LoadState": "loaded", "ActiveState": "inactive"}, [Level.WARNING]),
    ],
)
def test_reports_that_nothing_sends_are_a_warning(enabled: bool, timer: dict[str, str], levels: list[Level]) -> None:
    findings = list(unit.reports(ReportsSettings(enabled=enabled), timer))
    assert [one.level for one in findings] == levels
    assert all(one.advice == "systemctl enable --now mailnotary-reports.timer" for one in findings if one.advice)


def test_a_daemon_older_than_the_installed_code_is_a_warning(tmp_path: Path) -> None:
    code = tmp_path / "module.py"
    code.touch()
    command = [sys.executable, "-c", "print('runs', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"runs\n"  # only then /proc has its command line for sure
        os.utime(code, (1e9, 1e9))
        assert list(unit.age(daemon.pid, tmp_path)) == []
        later = time.time() + 60
        os.utime(code, (later, later))
        [finding] = unit.age(daemon.pid, tmp_path)
        daemon.communicate(b"\n")
    assert "older code" in finding.text
    assert finding.advice == "systemctl restart mailnotary"
    assert list(unit.age(1, tmp_path)) == [], "a process that runs from elsewhere"


# -- keys

RECORDS: dict[str, Any] = {
    f"{selector}._domainkey.example.org": [{"TXT": key_record_text(load_private_key(pem))}]
    for selector, pem in (("rsa", rsa_pem()), ("ed", ed_pem()))
}


def sign(zone: Mapping[str, Any], keys: KeyStore, **settings: Any) -> list[Finding]:
    return list(signing.check(Settings(**settings), keys, ZoneResolver(zone)))


def auto(**options: Any) -> KeyStore:
    return keystore(keys=(StoredKey("rsa", "/keys/rsa.pem", KeyState.AUTO, rsa_pem()),), **options)


def test_keys_whose_records_are_in_dns_are_ok() -> None:
    [finding] = sign(RECORDS, keystore())
    assert (finding.level, finding.text) == (Level.OK, "2 keys sign, and DNS serves the record of each")
    assert sign({}, keystore(), mode=Mode.VERIFY) == []


def test_a_key_that_signs_without_its_record_is_an_error(tmp_path: Path) -> None:
    [finding] = sign(RECORDS | {"ed._domainkey.example.org": [{"TXT": "v=DKIM1; p="}]}, keystore())
    assert finding.level is Level.ERROR
    assert "ed._domainkey.example.org: receivers cannot verify" in finding.text
    assert "mailnotary dns example.org" in finding.advice
    [finding] = sign(RECORDS | {"ed._domainkey.example.org": ["TIMEOUT"]}, keystore())
    assert finding.level is Level.UNKNOWN


def test_a_domain_none_of_whose_keys_signs_is_an_error(tmp_path: Path) -> None:
    [finding] = sign(RECORDS, auto(), state_dir=tmp_path)
    assert finding.level is Level.ERROR
    assert "no key of example.org signs" in finding.text
    assert "mailnotary dns example.org" in finding.advice
    [finding] = sign(RECORDS, keystore(keys=()), state_dir=tmp_path)
    assert "mailnotary keygen example.org" in finding.advice


def test_an_auto_key_that_the_daemon_has_seen_signs(tmp_path: Path) -> None:
    name = KeyId("example.org", "rsa", histories.fingerprint(load_private_key(rsa_pem())))
    histories.save(tmp_path, {name: KeyHistory(signing=True, first_good=1e9, last_good=1e9)})
    [finding] = sign(RECORDS, auto(), state_dir=tmp_path)
    assert finding.level is Level.OK


def test_many_silent_domains_do_not_fill_the_screen(tmp_path: Path) -> None:
    entry = auto().entries["example.org"]
    keys = KeyStore({f"d{number}.example": entry for number in range(50)})
    assert len(sign({}, keys, state_dir=tmp_path)) == signing.MAX_NAMED + 1


def test_a_state_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / histories.FILE).write_text("nonsense")
    assert sign(RECORDS, auto(), state_dir=tmp_path)[0].level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("networks", "require", "seen"),
    [
        (["127.0.0.0/8", "10.0.0.0/8", "192.0.2.0/24"], Require.NOTHING, ""),
        (["40.92.0.0/15", "10.0.0.0/8"], Require.NOTHING, "40.92.0.0/15: whatever these hosts pass on is signed"),
        (["2a01:111::/32"], Require.NOTHING, "2a01:111::/32"),
        (["40.92.0.0/15"], Require.DMARC, ""),
    ],
)
def test_wide_networks_whose_mail_is_signed_are_seen(networks: list[str], require: Require, seen: str) -> None:
    sign_for = SignFor(networks=tuple(ip_network(network) for network in networks), require=require)
    findings = [one for one in sign(RECORDS, keystore(), sign_for=sign_for) if one.check == "sign_for"]
    assert len(findings) == bool(seen)
    assert all(seen in one.text and one.level is Level.WARNING for one in findings)
