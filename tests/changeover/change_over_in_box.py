"""The way of an admin in a booted box: from OpenDKIM, OpenDMARC and policyd-spf as Debian has them to mailnotary's
package beside them, a comparison, the switch, an upgrade under load, the way back, and the purge. The tests run in
their order, and do what config/migrate.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.box import CONFIG, HOST, Nameserver, journal, run, shown, wait_for
from support.box_mail import POSTFIX, Box, Load, configure_postfix
from support.box_package import PACKAGE, apt, repacked
from support.mail import MESSAGE, signed
from support.postfix import Sink
from support.rig import MTA, fields, verified

SELECTOR = "k2024"
KEYS = Path("/etc/dkimkeys")
NEW = CONFIG.parent / "new"
OLD_MILTERS = "unix:opendkim/opendkim.sock unix:opendmarc/opendmarc.sock"
OURS = "unix:mailnotary/mailnotary.sock"
POLICY = "check_policy_service unix:private/policyd-spf"

OPENDKIM = f"""\
Syslog yes
UMask 007
Mode sv
OversignHeaders From
KeyTable refile:/etc/opendkim.keytable
SigningTable refile:/etc/opendkim.signingtable
InternalHosts 127.0.0.1
UserID opendkim
Socket local:/var/spool/postfix/opendkim/opendkim.sock
PidFile /run/opendkim/opendkim.pid
AuthservID {MTA}
Nameservers {HOST}
"""
OPENDMARC = f"""\
Syslog true
AuthservID {MTA}
TrustedAuthservIDs {MTA}
RejectFailures true
IgnoreAuthenticatedClients true
UMask 0007
UserID opendmarc
Socket local:/var/spool/postfix/opendmarc/opendmarc.sock
PidFile /run/opendmarc/opendmarc.pid
PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat
"""
POLICYD = f"""\
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = False
skip_addresses = 127.0.0.0/8
Header_Type = AR
Authserv_Id = {MTA}
"""
# Its bounces pass SPF by HELO's name, which RFC 9989 takes for the null sender and OpenDMARC does not.
NOTICES = {
    "notices.example": [{"TXT": "v=spf1 ip4:192.0.2.10 -all"}, {"A": "192.0.2.10"}],
    "_dmarc.notices.example": [{"TXT": "v=DMARC1; p=none"}],
}
NOTICE = MESSAGE.replace(b"alice@example.org", b"daemon@notices.example")


def put(path: str, text: str) -> None:
    Path(path).write_text(text)


def old_filters() -> None:
    """What an admin has had for years."""
    put("/etc/opendkim.conf", OPENDKIM)
    put("/etc/opendkim.signingtable", f"*@example.org {SELECTOR}._domainkey.example.org\n")
    key = f"{KEYS}/example.org.private"
    put("/etc/opendkim.keytable", f"{SELECTOR}._domainkey.example.org example.org:{SELECTOR}:{key}\n")
    run("opendkim-genkey", "-b", "2048", "-d", "example.org", "-s", SELECTOR, "-D", str(KEYS))
    (KEYS / f"{SELECTOR}.private").rename(key)
    run("chown", "-R", "opendkim:opendkim", str(KEYS))
    put("/etc/opendmarc.conf", OPENDMARC)
    put("/etc/postfix-policyd-spf-python/policyd-spf.conf", POLICYD)
    for name in ("opendkim", "opendmarc"):
        run("install", "-d", "-o", name, "-g", "postfix", "-m", "2750", f"/var/spool/postfix/{name}")
        run("systemctl", "enable", name)
        run("systemctl", "restart", name)
    run(
        "postconf",
        "-Me",
        "policyd-spf/unix=policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf",
    )
    use_old()


def use_old() -> None:
    set_milters(OLD_MILTERS)
    run("postconf", f"smtpd_recipient_restrictions={POLICY}")
    run("systemctl", "restart", "postfix")
    wait_for(lambda: shown("ActiveState", POSTFIX) == "active", "Postfix runs")


def set_milters(milters: str) -> None:
    run("postconf", f"smtpd_milters={milters}", f"non_smtpd_milters={milters}", "milter_default_action=tempfail")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    sink, dns = Sink(), Nameserver(NOTICES)
    configure_postfix(sink)
    old_filters()
    record = "".join(re.findall(r'"([^"]*)"', (KEYS / f"{SELECTOR}.txt").read_text()))
    dns.zone[f"{SELECTOR}._domainkey.example.org"] = [{"TXT": record}]
    dns.server.set_zone(dns.zone)
    yield Box(dns, sink)
    print("\n--- the journal's end\n" + journal()[-3000:])
    print("\n--- the others'\n" + run("journalctl", "--no-pager", "--lines=60", "SYSLOG_FACILITY=2")[-8000:])


def signers(box: Box) -> list[str]:
    """The selectors of a user's mail, each verified, as it left."""
    ours, dkimpys = verified(box.deliver(MESSAGE, login="alice").data, box.dns.zone)
    assert all(dkimpys), dkimpys
    return [one.removeprefix("pass ").split()[0] for one in ours]


def verdicts(box: Box, message: bytes) -> str:
    """All that is said of a message from elsewhere, by whatever filter."""
    return "\n".join(fields(box.deliver(message).data, "Authentication-Results"))


def code_for_forged(box: Box) -> int:
    """The reply to a sender that its domain's SPF and DMARC refuse."""
    with box.client(ip="198.51.100.66", helo="elsewhere.example") as client:
        code, _ = client.command("MAIL FROM:<alice@example.org>", None)
        if code == 250:
            code, _ = client.command("RCPT TO:<user@rcpt.example>", None)
        return client.data(MESSAGE)[0] if code == 250 else code


def test_the_old_filters_work(box: Box) -> None:
    wait_for(lambda: signers(box) == [SELECTOR], "OpenDKIM signs")
    said = verdicts(box, signed())
    assert "dkim=pass" in said
    assert "dmarc=pass" in said
    assert code_for_forged(box) == 550


def test_the_package_is_installed_beside_them_and_touches_nothing_of_theirs(box: Box) -> None:
    before = run("postconf", "-n")
    with box.dns.aside():
        apt("install", str(PACKAGE))
    assert shown("SubState") == "running"
    assert run("postconf", "-n") == before
    assert signers(box) == [SELECTOR]


def test_the_import_takes_over_what_they_had(box: Box) -> None:
    print(
        run(
            *("mailnotary", "import", "/etc/opendkim.conf", "/etc/opendmarc.conf"),
            *("/etc/postfix-policyd-spf-python/policyd-spf.conf", "--output", str(NEW), "--copy-keys"),
        )
    )
    print(run("mailnotary", "check-config", "-c", str(NEW / "mailnotary.yaml")))
    text = (NEW / "mailnotary.yaml").read_text()
    print(text, (NEW / "keystore.yaml").read_text())
    for name in ("mailnotary.yaml", "keystore.yaml"):
        (NEW / name).replace(CONFIG.with_name(name))
    put(str(CONFIG.with_name("imported.yaml")), CONFIG.read_text())


def test_side_by_side_it_changes_nothing_and_says_where_they_disagree(box: Box) -> None:
    imported = CONFIG.with_name("imported.yaml").read_text()
    kept = "".join(line for line in imported.splitlines(True) if not line.startswith(("mode:", "history:")))
    CONFIG.write_text(kept + f"mode: observe\nhistory: {{enabled: true, compare_with: [{MTA}]}}\n")
    run("mailnotary", "check-config")
    run("systemctl", "restart", "mailnotary")
    set_milters(f"{OLD_MILTERS} {OURS}")
    run("postfix", "reload")
    wait_for(lambda: shown("SubState") == "running", "it runs")
    assert signers(box) == [SELECTOR], "signed once, by OpenDKIM"
    said = verdicts(box, signed())
    assert said.count("dkim=pass") == 1
    with box.client(helo="notices.example") as client:
        client.command("MAIL FROM:<>")
        client.command("RCPT TO:<user@rcpt.example>")
        assert client.data(NOTICE)[0] == 250

    def differences() -> str:
        return run("mailnotary", "history", "--disagreements", check=False)

    wait_for(lambda: "notices.example" in differences(), "the disagreement is in the history")
    print(differences())
    assert "dmarc  theirs fail" in differences()
    messages = json.loads(run("mailnotary", "history", "--json"))["messages"]
    assert {message["action"] for message in messages} == {"accept"}


def test_after_the_switch_it_signs_and_refuses_in_their_place(box: Box) -> None:
    CONFIG.write_text(CONFIG.with_name("imported.yaml").read_text() + "history: {enabled: true}\n")
    print(run("mailnotary", "keys"))
    set_milters(OURS)
    run("postconf", "smtpd_recipient_restrictions=")
    run("mailnotary", "check-config")
    run("systemctl", "restart", "mailnotary")
    run("postfix", "reload")
    for name in ("opendkim", "opendmarc"):
        run("systemctl", "disable", "--now", name)
    wait_for(lambda: shown("SubState") == "running", "it runs")
    wait_for(lambda: signers(box) == [SELECTOR], "it signs with the key that OpenDKIM had")
    said = verdicts(box, signed())
    assert "dkim=pass" in said
    assert "dmarc=pass" in said
    assert code_for_forged(box) == 550
    print(run("mailnotary", "doctor", check=False))


def test_an_upgrade_under_load_loses_no_message(box: Box, tmp_path: Path) -> None:
    file = repacked(tmp_path, "99.1")
    with Load(box) as load:
        load.wait(10)
        apt("install", str(file))
        load.wait(20)
    load.check([SELECTOR])
    assert run("mailnotary", "--version").strip() == "mailnotary 99.1"


def test_the_way_back_is_two_lines_of_main_cf(box: Box) -> None:
    for name in ("opendkim", "opendmarc"):
        run("systemctl", "enable", "--now", name)
    use_old()
    run("systemctl", "stop", "mailnotary")
    wait_for(lambda: signers(box) == [SELECTOR], "OpenDKIM signs again")
    assert "dmarc=pass" in verdicts(box, signed())


def test_the_purge_leaves_the_old_filters_and_all_keys_alone(box: Box) -> None:
    apt("purge", "mailnotary")
    assert not CONFIG.exists()
    assert (KEYS / "example.org.private").exists()
    assert list(CONFIG.parent.rglob("*.pem")) or list(CONFIG.parent.rglob("*.private")), "the copies, too"
    assert signers(box) == [SELECTOR]
