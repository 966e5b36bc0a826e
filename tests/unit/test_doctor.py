"""mailnotary doctor: it finds what is wrong with a machine and a mail server, and says what to do."""

import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mailnotary.cli import main
from mailnotary.config.keystore import KeyStore
from mailnotary.config.listen import Listen
from mailnotary.config.settings import (
    DnsSettings,
    Exempt,
    Limits,
    Mode,
    OnOwnVerdict,
    Settings,
    SigningSettings,
    TrustedRelays,
)
from mailnotary.crypto import generate_private_key, load_private_key
from mailnotary.daemon.probe import probe
from mailnotary.dkim.publish import key_record_text
from mailnotary.doctor import configuration, machine, milters, postfix, reach, sendmail
from mailnotary.doctor.finding import Finding, Level
from mailnotary.doctor.instance import Postfix
from mailnotary.doctor.listeners import Process, listening
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.mail import keystore

NOW = 1_800_000_000.0  # in 2027


def levels(findings: list[Finding]) -> dict[str, Level]:
    """The worst level of each check."""
    order = [Level.OK, Level.UNKNOWN, Level.WARNING, Level.ERROR]
    found: dict[str, Level] = {}
    for one in findings:
        found[one.check] = max(one.level, found.get(one.check, Level.OK), key=order.index)
    return found


def only(findings: list[Finding], check: str) -> Finding:
    [found] = [one for one in findings if one.check == check]
    return found


# -- the configuration


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    key = tmp_path / "keys" / "a.pem"
    key.touch(0o600)
    key.write_bytes(generate_private_key("ed25519"))
    (tmp_path / "keystore.yaml").write_text("domains: {a.example: {keys: [{selector: a, file: keys/a.pem}]}}\n")
    (tmp_path / "m.yaml").write_text("user: root\n")
    return tmp_path


def read(directory: Path) -> dict[str, Level]:
    return levels(configuration.read(directory / "m.yaml")[2])


def test_a_good_configuration_is_ok(directory: Path) -> None:
    found = read(directory)
    assert found.pop("account", Level.UNKNOWN) is Level.UNKNOWN  # not for root
    assert found == {"configuration": Level.OK, "keys": Level.OK}


def test_every_error_of_the_configuration_is_told_with_its_place(directory: Path) -> None:
    (directory / "m.yaml").write_text("workerz: 1\nmodus: x\nuser: root\n")
    settings, keystore, findings = configuration.read(directory / "m.yaml")
    assert settings is None
    assert keystore is None
    texts = [one.text for one in findings if one.level is Level.ERROR]
    assert len(texts) == 2
    assert f"{directory}/m.yaml:1:1: " in texts[0]


def test_the_settings_are_there_when_a_key_is_not(directory: Path) -> None:
    (directory / "keys" / "a.pem").unlink()
    settings, keystore, findings = configuration.read(directory / "m.yaml")
    assert settings is not None
    assert keystore is not None
    finding = only(findings, "keys")
    assert finding.level is Level.ERROR
    assert finding.text.endswith("; the mail of its domain waits")


@pytest.mark.parametrize("name", ["m.yaml", "keystore.yaml", "keys", "keystore.d", "keystore.d/b.yaml"])
def test_what_everybody_can_write_is_an_error(directory: Path, name: str) -> None:
    (directory / "keystore.d").mkdir()
    (directory / "keystore.d" / "b.yaml").write_text(
        "domains: {b.example: {keys: [{selector: a, file: keys/a.pem}]}}\n"
    )
    (directory / name).chmod(0o777)
    finding = only(configuration.read(directory / "m.yaml")[2], "keys")
    assert finding.level is Level.ERROR
    assert finding.advice == f"chmod go-w {directory / name}"


def test_a_keystore_without_domains_is_a_warning_unless_nothing_is_to_be_signed(directory: Path) -> None:
    (directory / "keystore.yaml").write_text("domains: {}\n")
    assert read(directory)["keys"] is Level.WARNING
    (directory / "m.yaml").write_text("user: root\nmode: verify\n")
    assert "keys" not in read(directory)


# -- the machine


OUR_MACROS = "i j {auth_type} {auth_authen} {cert_subject} {verify}"


@contextmanager
def milter(steps: int = 0x1FFFFF, macros: str = OUR_MACROS) -> Iterator[Listen]:
    """Something that answers the negotiation like a milter that takes these steps, and asks for these macros."""
    asked = struct.pack(">I", 2) + macros.encode() + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(struct.pack(">Ic3I", 13 + len(asked), b"O", 6, 0x131, steps) + asked)
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Listen("inet", "127.0.0.1", listener.getsockname()[1])
        thread.join()


def test_a_daemon_that_serves_is_ok() -> None:
    with milter() as listen:
        assert levels(list(machine.socket(listen))) == {"socket": Level.OK, "header spacing": Level.OK}


def test_a_milter_that_drops_the_white_space_is_an_error() -> None:
    with milter(steps=0) as listen:
        assert levels(list(machine.socket(listen)))["header spacing"] is Level.ERROR


def test_the_real_daemon_is_known_from_other_milters(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        listen = Listen.parse(daemon.address)
        assert probe(listen).ours
        process = listening(listen)
        assert process is not None
        assert (process.ours, process.name) == (True, "mailnotary")
        assert levels(list(machine.socket(listen)))["socket"] is Level.OK


def test_another_milter_at_our_address_is_an_error_that_names_it() -> None:
    with milter(macros="i {client_name}") as listen:
        [finding] = machine.socket(listen)
    assert finding.level is Level.ERROR
    assert "not mailnotary" in finding.text
    assert f"(process {os.getpid()})" in finding.text
    assert "another address in listen" in finding.advice


@pytest.mark.parametrize("family", ["inet", "inet6", "unix"])
def test_what_listens_at_our_address_and_is_no_milter_is_named(tmp_path: Path, family: str) -> None:
    kinds = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}
    places: dict[str, Any] = {"inet": ("127.0.0.1", 0), "inet6": ("::1", 0), "unix": str(tmp_path / "s")}
    with socket.socket(kinds[family]) as server:
        server.bind(places[family])
        server.listen()
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        host, port = (places[family], 0) if family == "unix" else server.getsockname()[:2]
        listen = Listen("unix", path=host) if family == "unix" else Listen(family, host, port)
        [finding] = machine.socket(listen)
    assert f"(process {os.getpid()}) listens at {listen}, and is not a milter" in finding.text


@pytest.mark.parametrize(
    ("arguments", "name", "ours"),
    [
        (("/usr/sbin/opendkim", "-P", "/run/x"), "opendkim", False),
        (("/opt/mailnotary/bin/python3", "/opt/mailnotary/bin/mailnotary", "run"), "mailnotary", True),
        (("/usr/bin/python3.11", "-m", "mailnotary", "run"), "mailnotary", True),
        (("/usr/bin/perl", "-w", "/usr/sbin/amavisd"), "amavisd", False),
        (("evil\x1b",), "evil\\x1b", False),
        ((), "process 1", False),
    ],
)
def test_a_process_has_the_name_of_its_program_or_script(arguments: tuple[str, ...], name: str, ours: bool) -> None:
    process = Process(1, arguments)
    assert (process.name, process.ours) == (name, ours)


def test_a_daemon_that_is_not_there_is_an_error_with_the_reason(tmp_path: Path) -> None:
    [finding] = machine.socket(Listen("unix", path=f"{tmp_path}/socket"))
    assert finding.level is Level.ERROR
    assert os.strerror(errno.ENOENT) in finding.text
    assert "systemctl start" in finding.advice


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("inet:8891@127.0.0.1", True),
        ("inet6:8891@::1", True),
        ("unix:/run/m.sock", False),
        ("inet:8891@0.0.0.0", False),
    ],
)
def test_that_every_account_can_connect_to_a_port_is_said(listen: str, said: bool) -> None:
    assert [finding.check for finding in machine.callers(Listen.parse(listen))] == ["callers"] * said


def ask(zone: Mapping[str, Any]) -> list[Finding]:
    with DnsServer(zone) as server:
        return list(machine.resolver(DnsSettings((server.address,), timeout=5), "a.example"))


def test_a_nameserver_that_validates_is_ok() -> None:
    assert levels(ask({"a.example": [{"TXT": "x"}], machine.BOGUS: ["SERVFAIL"]})) == {
        "resolver": Level.OK,
        "DNSSEC": Level.OK,
    }


@pytest.mark.parametrize("bogus", [[{"A": "192.0.2.1"}], []])
def test_one_that_does_not_validate_or_can_not_be_judged_is_a_warning(bogus: list[Any]) -> None:
    findings = ask({"a.example": [{"TXT": "x"}], machine.BOGUS: bogus})
    assert levels(findings)["DNSSEC"] is Level.WARNING
    if not bogus:
        server = findings[-1].text.split()[0]
        assert findings[-1].advice == f"try `delv @127.0.0.1 -p {server.partition(':')[2]} {machine.BOGUS}`"


def test_a_nameserver_that_refuses_foreign_names_does_not_validate_but_is_an_error() -> None:
    zone = {"a.example": [{"TXT": "x"}], machine.FOREIGN: ["SERVFAIL"], machine.BOGUS: ["SERVFAIL"]}
    findings = ask(zone)
    assert levels(findings) == {"resolver": Level.ERROR}
    assert machine.FOREIGN in findings[-1].text


def test_one_that_makes_up_names_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda *_: "name")
    findings = ask({"a.example": [{"TXT": "x"}], "name.invalid": [{"A": "192.0.2.1"}]})
    assert levels(findings)["resolver"] is Level.ERROR


def test_a_slow_one_is_a_warning_and_a_dead_one_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SLOW", 0.0)
    assert levels(ask({"a.example": [{"TXT": "x"}]}))["resolver"] is Level.WARNING
    [finding] = machine.resolver(DnsSettings((("127.0.0.1", 1),), timeout=0.2), "a.example")
    assert (finding.check, finding.level) == ("resolver", Level.ERROR)


@pytest.mark.parametrize(
    ("now", "synchronized", "level"),
    [
        (NOW, "yes", Level.OK),
        (NOW, None, Level.OK),
        (NOW, "no", Level.WARNING),
        (0.0, "yes", Level.ERROR),
        (NOW * 4, "yes", Level.ERROR),
    ],
)
def test_the_clock(now: float, synchronized: str | None, level: Level) -> None:
    assert [one.level for one in machine.clock(now, synchronized)] == [level]


# -- Postfix

QUEUE = "/var/spool/postfix"
INET = "inet:8891@127.0.0.1"
UNIX = f"unix:{QUEUE}/mailnotary/mailnotary.sock"
GOOD = {
    "queue_directory": QUEUE,
    "mail_owner": "postfix",
    "smtpd_milters": "inet:127.0.0.1:8891",
    "non_smtpd_milters": "inet:127.0.0.1:8891",
    "milter_protocol": "6",
    "milter_default_action": "tempfail",
    "milter_command_timeout": "30s",
    "milter_content_timeout": "300s",
    "internal_mail_filter_classes": "bounce",
    "receive_override_options": "",
    "milter_connect_macros": "j {daemon_name} {daemon_addr} v _",
    "milter_mail_macros": "i {auth_type} {auth_authen} {mail_addr}",
    "milter_end_of_data_macros": "i",
}


def check(
    changes: Mapping[str, str],
    *,
    listen: str = INET,
    overrides: Mapping[str, str] | None = None,
    chrooted: bool = True,
    services: Mapping[str, str] | None = None,
    keys: KeyStore | None = None,
    **settings: Any,
) -> list[Finding]:
    """What is said of a Postfix with these changes to good settings."""
    instance = Postfix({**GOOD, **changes}, overrides or {}, chrooted, services or {})
    return list(postfix.check(instance, Settings(listen=listen, **settings), keys))


def test_good_settings_are_ok() -> None:
    assert set(levels(check({})).values()) == {Level.OK}


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        (INET, "inet:127.0.0.1:8891"),
        ("inet:8891@0.0.0.0", "inet:127.0.0.1:8891"),
        ("inet6:8891@::1", "inet:[::1]:8891"),
        (UNIX, "unix:mailnotary/mailnotary.sock"),
        ("unix:/run/m.sock", "unix:/run/m.sock"),
    ],
)
def test_the_socket_in_postfix_s_words(listen: str, address: str) -> None:
    assert milters.address(Listen.parse(listen), QUEUE) == address


@pytest.mark.parametrize(
    ("listen", "value"),
    [
        (INET, "inet:localhost:8891"),
        (INET, "inet:other:1, inet:127.0.0.1:8891"),
        (INET, "unix:x {inet:127.0.0.1:8891, default_action=tempfail}"),
        ("inet:8891@0.0.0.0", "inet:127.0.0.1:8891"),
        ("inet6:8891@::1", "inet:[::1]:8891"),
        (UNIX, "unix:mailnotary/mailnotary.sock"),
        (UNIX, "unix:/mailnotary/mailnotary.sock"),
        (UNIX, "local:mailnotary/mailnotary.sock"),
    ],
)
def test_the_daemon_is_found_among_the_milters(listen: str, value: str) -> None:
    found = levels(check({"smtpd_milters": value, "non_smtpd_milters": value}, listen=listen))
    assert found["smtpd_milters"] is found["non_smtpd_milters"] is Level.OK


@pytest.mark.parametrize(
    "value", ["", "inet:127.0.0.1:8892", "inet:192.0.2.1:8891", "unix:mailnotary/mailnotary.sock", "$nonsense"]
)
def test_without_the_daemon_among_the_milters_it_says_the_line_to_add(value: str) -> None:
    findings = check({"smtpd_milters": value, "non_smtpd_milters": value})
    finding = only(findings, "smtpd_milters")
    assert finding.level is Level.ERROR
    assert "inet:127.0.0.1:8891" in finding.advice
    assert value in finding.advice
    assert only(findings, "non_smtpd_milters").level is Level.WARNING


def test_an_absolute_path_is_another_one_in_a_chroot() -> None:
    found = {"smtpd_milters": UNIX, "non_smtpd_milters": UNIX}
    assert levels(check(found, listen=UNIX))["smtpd_milters"] is Level.ERROR
    assert levels(check(found, listen=UNIX, chrooted=False))["smtpd_milters"] is Level.OK


@pytest.mark.parametrize(
    ("value", "better"),
    [
        (UNIX, "unix:mailnotary/mailnotary.sock"),
        (UNIX.replace("unix:", "local:"), "unix:mailnotary/mailnotary.sock"),
        (
            f"inet:other:1, {{ {UNIX}, protocol=6 }}",
            "'inet:other:1, { unix:mailnotary/mailnotary.sock, protocol=6 }'",
        ),
        # with both of them Postfix calls the wrong one, too, and defers all mail
        (f"{UNIX}, unix:mailnotary/mailnotary.sock", "unix:mailnotary/mailnotary.sock"),
        (
            f"{{ unix:mailnotary/mailnotary.sock, protocol=6 }} {UNIX}",
            "'{ unix:mailnotary/mailnotary.sock, protocol=6 }'",
        ),
    ],
)
def test_a_path_that_the_chroot_hides_is_replaced(value: str, better: str) -> None:
    finding = only(check({"smtpd_milters": value}, listen=UNIX), "smtpd_milters")
    assert finding.level is Level.ERROR
    assert "all mail waits" in finding.text
    assert finding.advice == f"postconf smtpd_milters={better} && postfix reload"


@pytest.mark.parametrize(
    "value", ["nonsense", "mailnotary/mailnotary.sock", "unix:mailnotary/mailnotary.sok", "127.0.0.1:8891"]
)
def test_an_address_that_postfix_can_not_use_is_replaced(value: str) -> None:
    finding = only(check({"smtpd_milters": f"unix:mailnotary/other.sock {value}"}, listen=UNIX), "smtpd_milters")
    assert finding.text == f"{value} is not there, as Postfix reads it: all mail waits"
    wanted = "'unix:mailnotary/other.sock, unix:mailnotary/mailnotary.sock'"
    assert finding.advice == f"postconf smtpd_milters={wanted} && postfix reload"


def test_other_milters_keep_their_own_settings_where_ours_is_added() -> None:
    finding = only(check({"smtpd_milters": "{ inet:other:1, default_action=accept }"}), "smtpd_milters")
    assert finding.advice == (
        "postconf smtpd_milters='{ inet:other:1, default_action=accept }, inet:127.0.0.1:8891' && postfix reload"
    )


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("static:DISABLE", Level.ERROR),
        ("static:{DISABLE}", Level.ERROR),
        ("static:inet:other:1", Level.ERROR),
        ("cidr:/etc/postfix/milter_map", Level.WARNING),
        ("inline:{ 192.0.2.1=DISABLE }", Level.WARNING),
        ("static:inet:127.0.0.1:8891", None),
        ("", None),
    ],
)
def test_a_map_that_switches_milters_off_is_seen(value: str, level: Level | None) -> None:
    assert levels(check({"smtpd_milter_maps": value})).get("smtpd_milter_maps") is level
    name = "smtp/inet/smtpd_milter_maps"
    assert levels(check({}, overrides={name: value})).get(name) is level


@pytest.mark.parametrize(
    ("myorigin", "options", "level", "advice"),
    [
        ("example.org", {}, Level.OK, ""),
        ("Example.ORG", {}, Level.OK, ""),
        ("mail.example.org", {"include_subdomains": True}, Level.OK, ""),
        ("mail.example.org", {}, Level.WARNING, "postconf myorigin=example.org"),
        ("mail.example.org", {}, Level.WARNING, "include_subdomains: true for example.org"),
        ("host.example.net", {}, Level.WARNING, "`mailnotary keygen host.example.net SELECTOR`"),
    ],
)
def test_mail_of_the_machine_itself_has_a_domain_that_signs(
    myorigin: str, options: dict[str, Any], level: Level, advice: str
) -> None:
    finding = only(check({"myorigin": myorigin}, keys=keystore(**options)), "myorigin")
    assert finding.level is level
    assert advice in finding.advice
    assert "myorigin" not in levels(check({"myorigin": myorigin}, keys=keystore(), mode=Mode.VERIFY))
    assert "myorigin" not in levels(check({"myorigin": myorigin}))


def test_myorigin_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "mailname").write_text("mail.example.org\n")
    finding = only(check({"myorigin": str(tmp_path / "mailname")}, keys=keystore()), "myorigin")
    assert "mail.example.org" in finding.text
    assert "myorigin" not in levels(check({"myorigin": str(tmp_path / "none")}, keys=keystore()))


# -- filters beside us

BACK = "127.0.0.1:10025/inet"
SERVICES = {"smtp/inet": "smtpd", BACK: "smtpd", "cleanup/unix": "cleanup"}
NO_FILTER = {f"{BACK}/content_filter": ""}


def test_mail_that_comes_back_from_a_content_filter_needs_no_second_look() -> None:
    changes = {"content_filter": "amavis:[127.0.0.1]:10024"}
    finding = only(check(changes, services=SERVICES, overrides=NO_FILTER), "content filter")
    assert finding.level is Level.WARNING
    assert "amavis:[127.0.0.1]:10024" in finding.text
    assert f"-o receive_override_options=no_milters for {BACK}" in finding.advice
    options = {f"{BACK}/receive_override_options": "no_address_mappings"}
    advice = only(check(changes, services=SERVICES, overrides=NO_FILTER | options), "content filter").advice
    assert "receive_override_options=no_address_mappings,no_milters" in advice


@pytest.mark.parametrize(
    "override",
    [
        {f"{BACK}/receive_override_options": "no_address_mappings,no_milters"},
        {f"{BACK}/smtpd_milters": ""},
        {f"{BACK}/milter_macro_daemon_name": "REINJECTED"},
    ],
)
def test_a_listener_that_mail_comes_back_to_unseen_is_well(override: dict[str, str]) -> None:
    changes, exempt = {"content_filter": "amavis:[127.0.0.1]:10024"}, Exempt(daemon_names=("REINJECTED",))
    findings = check(changes, services=SERVICES, overrides=NO_FILTER | override, exempt=exempt)
    assert "content filter" not in levels(findings)


def test_what_comes_back_is_signed_as_ours_where_the_admin_says_so() -> None:
    signing = SigningSettings(on_own_verdict=OnOwnVerdict.SIGN)
    findings = check({}, services=SERVICES, overrides={"smtp/inet/content_filter": "x:y", **NO_FILTER}, signing=signing)
    assert levels(findings)["content filter"] is Level.ERROR
    assert any("on_own_verdict" in one.advice for one in findings)


@pytest.mark.parametrize("form", ["hash:{}", "proxy:hash:{}", "check_client_access cidr:{}, permit"])
def test_a_filter_in_a_table_is_found(tmp_path: Path, form: str) -> None:
    table = tmp_path / "access"
    setting = "header_checks" if form.startswith("hash") else "smtpd_recipient_restrictions"
    table.write_text("# 192.0.2.1 FILTER x:y\n192.0.2.1 OK\n")
    changes = {setting: form.format(table)}
    assert "content filter" not in levels(check(changes, services=SERVICES))
    table.write_text("192.0.2.1\tFILTER amavis:[127.0.0.1]:10024\n")
    assert f":{table} ({setting})" in only(check(changes, services=SERVICES), "content filter").text


def test_a_filter_in_a_static_table_is_found() -> None:
    changes = {"smtpd_client_restrictions": "check_client_access static:{FILTER x:y}"}
    assert levels(check(changes, services=SERVICES))["content filter"] is Level.WARNING


@pytest.mark.parametrize("name", ["smtpd_proxy_filter", "smtp/inet/smtpd_proxy_filter"])
def test_a_proxy_filter_needs_a_daemon_name_behind_it(name: str) -> None:
    changes = {name: "127.0.0.1:10024"} if "/" not in name else {}
    overrides = {name: "127.0.0.1:10024"} if "/" in name else {}
    findings = check(changes, services=SERVICES, overrides=overrides)
    [finding] = [one for one in findings if name in one.check]
    assert finding.level is Level.ERROR
    assert "trusted_relays" in finding.advice
    overrides |= {f"{BACK}/milter_macro_daemon_name": "PROXIED"}
    behind = check(
        changes, services=SERVICES, overrides=overrides, trusted_relays=TrustedRelays(daemon_names=("PROXIED",))
    )
    assert not [one for one in behind if name in one.check]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("smtp_generic_maps", "canonical_maps"),
        ("smtp_header_checks", "with header_checks"),
        ("relay/unix/smtp_header_checks", "with header_checks"),
    ],
)
def test_what_changes_signed_mail_is_seen(name: str, better: str) -> None:
    value = "regexp:/etc/postfix/x"
    changes, overrides = ({}, {name: value}) if "/" in name else ({name: value}, {})
    [finding] = [one for one in check(changes, overrides=overrides) if name in one.check]
    assert finding.level is Level.WARNING
    assert better in finding.advice
    assert not [one for one in check(changes, overrides=overrides, mode=Mode.VERIFY) if name in one.check]


def test_a_socket_outside_of_the_chroot_is_an_error_with_a_better_place() -> None:
    finding = only(check({}, listen="unix:/run/mailnotary/mailnotary.sock"), "reachable")
    assert finding.level is Level.ERROR
    assert f"listen: {UNIX}" in finding.advice


@pytest.mark.parametrize(
    ("changes", "name", "level"),
    [
        ({"milter_command_timeout": "10s"}, "milter_command_timeout", Level.WARNING),
        ({"milter_command_timeout": "1m"}, "milter_command_timeout", Level.OK),
        ({"milter_content_timeout": "20"}, "milter_content_timeout", Level.WARNING),
        ({"internal_mail_filter_classes": ""}, "internal_mail_filter_classes", Level.WARNING),
        ({"receive_override_options": "no_milters"}, "receive_override_options", Level.ERROR),
        ({"milter_protocol": "2"}, "milter_protocol", Level.ERROR),
        ({"milter_protocol": "2", "milter_mail_macros": "i"}, "milter_mail_macros", Level.ERROR),
        ({"milter_protocol": "2", "milter_connect_macros": "v"}, "milter_connect_macros", Level.ERROR),
        ({"milter_protocol": "2", "milter_end_of_data_macros": ""}, "milter_end_of_data_macros", Level.ERROR),
        ({"smtpd_milters": "{ inet:127.0.0.1:8891, protocol=2 }"}, "milter_protocol", Level.ERROR),
        ({"smtpd_milters": "{ inet:127.0.0.1:8891, default_action=accept }"}, "milter_default_action", Level.WARNING),
        ({"smtpd_milters": "{ inet:127.0.0.1:8891, command_timeout=5s }"}, "milter_command_timeout", Level.WARNING),
    ],
)
def test_each_setting_is_judged(changes: Mapping[str, str], name: str, level: Level) -> None:
    finding = only(check(changes), name)
    assert finding.level is level
    assert bool(finding.advice) == (level is not Level.OK)


@pytest.mark.parametrize(
    ("action", "level", "words"),
    [
        ("tempfail", Level.OK, "mail waits"),
        ("shutdown", Level.OK, "mail waits"),  # Postfix's default since 3.10.8
        ("accept", Level.WARNING, "unchecked and unsigned"),
        ("reject", Level.WARNING, "permanently"),
        ("quarantine", Level.WARNING, "on hold"),
        ("", Level.WARNING, "'' is not one of accept, quarantine, reject, shutdown, tempfail"),
        ("x\x1b", Level.WARNING, "'x\\x1b' is not one of"),
    ],
)
def test_what_becomes_of_mail_while_the_daemon_is_away(action: str, level: Level, words: str) -> None:
    finding = only(check({"milter_default_action": action}), "milter_default_action")
    assert finding.level is level
    assert words in finding.text
    assert finding.advice in {"", "postconf milter_default_action=tempfail && postfix reload"}


@pytest.mark.parametrize(
    ("own", "better"),
    [
        ("default_action=accept", "default_action=tempfail"),
        ("protocol=2", "protocol=6"),
        ("command_timeout=5s", "command_timeout=30s"),
    ],
)
def test_a_setting_of_the_milter_s_own_is_changed_where_it_stands(own: str, better: str) -> None:
    name = f"milter_{own.partition('=')[0]}"
    finding = only(check({"smtpd_milters": f"{{ inet:127.0.0.1:8891, {own} }}"}), name)
    assert finding.advice.startswith(f"write {better} between the braces")


SMTPD = {"smtp/inet": "smtpd"}


@pytest.mark.parametrize(
    ("changes", "overrides", "advice"),
    [
        ({"smtpd_forbid_bare_newline": "normalize"}, {}, ""),
        ({"smtpd_forbid_bare_newline": "Reject"}, {}, ""),
        ({"smtpd_forbid_bare_newline": "no"}, {}, "postconf smtpd_forbid_bare_newline=normalize"),
        (
            {"smtpd_forbid_bare_newline": "normalize"},
            {"smtp/inet/smtpd_forbid_bare_newline": "no"},
            "and remove smtpd_forbid_bare_newline from smtp/inet in master.cf",
        ),
        ({"mail_version": "3.5.6"}, {}, "Postfix 3.5.6 has no smtpd_forbid_bare_newline: install"),
        ({"smtpd_forbid_unauth_pipelining": "yes"}, {}, "chunking"),
        ({"smtpd_forbid_unauth_pipelining": "yes", "smtpd_discard_ehlo_keywords": "chunking"}, {}, ""),
        (
            {
                "smtpd_data_restrictions": "reject_unauth_pipelining",
                "smtpd_discard_ehlo_keywords": "silent-discard, CHUNKING",
            },
            {},
            "",
        ),
    ],
)
def test_smuggling_is_seen(changes: Mapping[str, str], overrides: Mapping[str, str], advice: str) -> None:
    finding = only(check(changes, overrides=overrides, services=SMTPD), "SMTP smuggling")
    assert finding.level is (Level.WARNING if advice else Level.OK)
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("changes", "name", "mode"),
    [
        ({"smtp_discard_ehlo_keywords": "pipelining, 8bitmime"}, "disable_mime_output_conversion", Mode.SIGN),
        ({"smtp_never_send_ehlo": "yes"}, "disable_mime_output_conversion", Mode.SIGN),
        ({"smtp_line_length_limit": "512"}, "smtp_line_length_limit", Mode.SIGN),
        ({"message_drop_headers": "bcc, x-spam, list-id"}, "message_drop_headers", Mode.VERIFY),
    ],
)
def test_what_changes_mail_between_a_signature_and_its_check_is_seen(
    changes: Mapping[str, str], name: str, mode: Mode
) -> None:
    finding = only(check(changes), name)
    assert finding.level is Level.WARNING
    assert finding.advice
    other = Mode.SIGN if mode is Mode.VERIFY else Mode.VERIFY
    assert name not in levels(check(changes, mode=other))


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_discard_ehlo_keywords": "8bitmime", "disable_mime_output_conversion": "yes"},
        {"smtp_discard_ehlo_keywords": "pipelining", "disable_mime_output_conversion": "no"},
        {"smtp_line_length_limit": "0"},
        {"smtp_line_length_limit": "998"},
        {"message_drop_headers": "bcc, content-length, resent-bcc, return-path"},
    ],
)
def test_what_changes_nothing_that_is_signed_is_ok(changes: Mapping[str, str]) -> None:
    assert set(levels(check(changes)).values()) == {Level.OK}


VIRTUAL = "info@b.example\tinfo@here.example, boss@a.example\n# x@elsewhere.example\n"
ALIASES = "root: admin\nbob: bob, bob@far.example\nlist: |/usr/bin/x\n"


@pytest.mark.parametrize(
    ("table", "content", "domain"),
    [
        ("virtual_alias_maps", VIRTUAL + "sales@b.example sales@far.example\n", "far.example"),
        ("virtual_alias_maps", VIRTUAL, ""),
        ("alias_maps", ALIASES, "far.example"),
        ("alias_maps", "root: admin, admin@here.example\n", ""),
    ],
)
def test_forwarding_without_srs_is_seen(tmp_path: Path, table: str, content: str, domain: str) -> None:
    (tmp_path / "table").write_text(content)
    own = {
        "mydestination": "here.example, localhost",
        "virtual_mailbox_domains": "a.example b.example",
        table: f"hash:{tmp_path}/table",
    }
    findings = [one for one in check(own) if one.check == "forwarding"]
    assert [one.level for one in findings] == [Level.WARNING] * bool(domain)
    assert all(domain in one.text and "postsrsd" in one.advice for one in findings)
    for rewriting in ("tcp:localhost:10001", "socketmap:unix:srs:forward", "tcp:127.0.0.1:10001"):
        rewritten = levels(check({**own, "sender_canonical_maps": rewriting}))
        assert rewritten.get("forwarding", Level.OK) is Level.OK
    assert "forwarding" not in levels(check({**own, "relay_domains": "mysql:/etc/x.cf"}))


def test_macros_do_not_count_where_the_daemon_names_them_itself() -> None:
    assert set(levels(check({"milter_mail_macros": "i"})).values()) == {Level.OK}


def test_time_limits_follow_those_of_the_daemon() -> None:
    found = levels(check({}, limits=Limits(spf_seconds=60, message_seconds=400)))
    assert found["milter_command_timeout"] is found["milter_content_timeout"] is Level.WARNING


def test_bounces_need_not_be_signed_where_nothing_is() -> None:
    changes = {"internal_mail_filter_classes": ""}
    assert "internal_mail_filter_classes" not in levels(check(changes, mode=Mode.VERIFY))


@pytest.mark.parametrize(
    ("name", "value", "warned"),
    [
        ("submission/inet/smtpd_milters", "", True),
        ("submission/inet/smtpd_milters", "inet:127.0.0.1:8891", False),
        ("192.0.2.1:smtp/inet/smtpd_milters", "inet:127.0.0.1:1", True),
        ("smtp/inet/receive_override_options", "no_address_mappings,no_milters", True),
        ("127.0.0.1:10025/inet/smtpd_milters", "", False),
    ],
)
def test_services_of_master_cf_with_milters_of_their_own_are_seen(name: str, value: str, warned: bool) -> None:
    assert ("master.cf" in levels(check({}, overrides={name: value}))) is warned


@pytest.mark.mta
def test_the_settings_are_read_from_a_real_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {tmp_path}\nmailnotary = inet:127.0.0.1:8891\n"
        "smtpd_milters = $mailnotary\nnon_smtpd_milters =\nmilter_default_action = shutdown\nmilter_protocol = 6\n"
        "content_filter = smtp:[127.0.0.1]:10024\nsmtpd_milter_maps = static:DISABLE\nmyorigin = mail.example.org\n"
    )
    (tmp_path / "master.cf").write_text(
        "smtp inet n - y - - smtpd\nsubmission inet n - n - - smtpd\n  -o smtpd_milters=\n"
        "cleanup unix n - n - 0 cleanup\n"
        "127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n"
    )
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    found = postfix.read()
    assert found is not None
    assert found.chrooted
    assert found["smtpd_milters"] == "inet:127.0.0.1:8891"
    assert found.overrides["submission/inet/smtpd_milters"] == ""
    assert found.services["127.0.0.1:10025/inet"] == "smtpd"
    got = levels(list(postfix.check(found, Settings(), keystore())))
    assert got["smtpd_milter_maps"] is Level.ERROR
    assert got["content filter"] is got["myorigin"] is Level.WARNING
    assert got["smtpd_milters"] is got["milter_default_action"] is got["milter_protocol"] is Level.OK
    assert got["non_smtpd_milters"] is got["master.cf"] is Level.WARNING


@pytest.mark.mta
@pytest.mark.parametrize("chrooted", [True, False])
def test_postfix_s_user_really_connects(chrooted: bool) -> None:
    with TemporaryDirectory(prefix="mailnotary-") as name:
        Path(name).chmod(0o755)
        connects(Path(name), chrooted)


def connects(queue: Path, chrooted: bool) -> None:
    place = queue / "mailnotary"
    place.mkdir()
    path = place / "socket"
    changes = {"queue_directory": str(queue)}

    def level() -> Finding:
        return only(check(changes, listen=f"unix:{path}", chrooted=chrooted), "reachable")

    assert os.strerror(errno.ENOENT) in level().text
    assert level().advice == "start the daemon"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        assert os.strerror(errno.EACCES) in level().text
        path.chmod(0o666)
        assert level().level is Level.OK
        place.chmod(0o700)
        assert "no permission to enter" in level().text
        assert "install -d" in level().advice


# -- Sendmail

CF = "Xmailnotary, S=inet:8891@127.0.0.1, F=T, T=S:10s;R:30s;E:2m\nO InputMailFilters=other, mailnotary\n"


@pytest.mark.parametrize(
    ("cf", "expected"),
    [
        (CF, [Level.OK]),
        (CF.replace(", F=T", ""), [Level.OK, Level.WARNING]),
        (CF.replace("8891", "1"), [Level.ERROR]),
        (CF.replace("other, mailnotary", "other"), [Level.ERROR]),
        ("", [Level.ERROR]),
    ],
)
def test_sendmail_s_filters_are_judged(cf: str, expected: list[Level]) -> None:
    assert [one.level for one in sendmail.check(cf, Listen.parse(INET))] == expected


def test_without_a_sendmail_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert sendmail.read(tmp_path / "sendmail.cf") is None


# -- the command


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any mail server, and without systemd."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(sendmail, "read", lambda: None)


def test_it_works_without_a_mail_server_and_ends_with_0_when_nothing_is_wrong(
    directory: Path, bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    record = key_record_text(load_private_key((directory / "keys" / "a.pem").read_bytes()))
    zone = {"a.example": [{"TXT": "x"}], machine.BOGUS: ["SERVFAIL"], "a._domainkey.a.example": [{"TXT": record}]}
    with DnsServer(zone) as server, milter() as listen:
        text = f"user: root\nlisten: {listen}\ndns: {{nameservers: ['{server.nameserver}']}}\n"
        (directory / "m.yaml").write_text(text)
        assert main(["doctor", "-c", str(directory / "m.yaml")]) == 0
    said = capsys.readouterr().out
    assert "neither Postfix nor Sendmail" in said
    assert "serves milter protocol 6" in said


def test_check_has_the_worst_in_the_line_that_a_monitoring_system_shows(
    directory: Path, bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with DnsServer({"a.example": [{"TXT": "x"}]}) as server:
        (directory / "m.yaml").write_text(
            f"user: root\nlisten: unix:{directory}/none\ndns: {{nameservers: ['{server.nameserver}']}}\n"
        )
        assert main(["doctor", "-c", str(directory / "m.yaml"), "--check"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("DOCTOR CRITICAL - socket: ")
    assert lines[-1].startswith("DNSSEC: ")


def test_the_commands_that_it_suggests_find_the_same_configuration(
    directory: Path, bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = directory / "m.yaml"
    with DnsServer({"a.example": [{"TXT": "x"}]}) as server:
        config.write_text(f"user: root\nlisten: unix:{directory}/none\ndns: {{nameservers: ['{server.nameserver}']}}\n")
        assert main(["doctor", "-c", str(config)]) == 2
    assert f"`mailnotary dns a.example -c {config}`" in capsys.readouterr().out


def test_it_ends_with_2_when_something_is_wrong_and_tells_it_in_json(
    directory: Path, bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "m.yaml").write_text("workerz: 1\n")
    assert main(["doctor", "-c", str(directory / "m.yaml"), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert said["status"] == "critical"
    assert {"check", "level", "text", "advice"} == set(said["findings"][0])
    assert said["findings"][-1]["check"] == "clock"


@pytest.mark.root
def test_nothing_is_left_behind_by_the_look_as_another_user() -> None:
    assert reach.as_user("nobody", "/", lambda: str(os.getuid())) != "0"
    assert os.geteuid() == 0
    assert reach.as_user("no-such-user", "/", lambda: "") == "there is no user 'no-such-user'"
