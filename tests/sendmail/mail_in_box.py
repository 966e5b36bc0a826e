"""Mail through Debian's Sendmail in a booted box, set up as the README says: what comes in is checked, what goes out is
signed and verifies after Sendmail wrote it. Where Sendmail differs from Postfix, a test says how."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailnotary import dkim
from mailnotary.crypto import load_private_key
from support.bodies import BODIES, ended
from support.box import CONFIG, HOST, Nameserver, configure, journal, run, shown, wait_for
from support.mail import MESSAGE, ed_pem, rsa_pem, signed
from support.postfix import Delivered, Sink, SmtpClient, SmtpError
from support.rig import body, fields, results, verified

PORT = 44025
LISTEN = f"inet:44891@{HOST}"
MTA = "mx.example.net"
OURS, GOOD, BAD = "127.44.0.2", "127.44.0.10", "127.44.0.66"  # addresses of clients
ZONE = {"example.org": [{"TXT": f"v=spf1 ip4:{GOOD} -all"}, {"MX": [10, "mail.example.org"]}]} | {
    "mail.example.org": [{"TXT": f"v=spf1 ip4:{GOOD} -all"}, {"A": GOOD}],
    "rcpt.example": [{"MX": [10, "mail.example.org"]}],
}
SNIPPET = Path("/src/config/sendmail/mailnotary.mc")
MC = Path("/etc/mail/sendmail.mc")
HEAD = b"From: Alice <alice@example.org>\r\nTo: bob@rcpt.example\r\nSubject:  odd   spacing\t\r\n"
DATE = b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"


@dataclass
class Box:
    """The machine, both services running."""

    dns: Nameserver
    sink: Sink
    canonicalization: str = "relaxed/simple"

    def send(self, message: bytes, *, ip: str = OURS, options: str = "", sender: str = "alice@example.org") -> str:
        """The queue id of a message that must be taken."""
        with SmtpClient(PORT, HOST, ip) as client:
            client.command("EHLO mail.example.org")
            client.command(f"MAIL FROM:<{sender}>{options}")
            client.command("RCPT TO:<user@rcpt.example>")
            code, text = client.data(message)
        if code != 250:
            raise SmtpError(code, text)
        return text.split()[1]

    def deliver(self, message: bytes, *, ip: str = OURS, options: str = "") -> Delivered:
        """The message as Sendmail handed it on."""
        queue_id = self.send(message, ip=ip, options=options)
        try:
            return self.sink.wait_for(lambda mail: queue_id.encode() in mail.data)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{journal()[-2000:]}\n{journal('sm-mta')[-4000:]}") from None

    def check(self, message: bytes) -> None:
        """Both signatures verify, by mailnotary and by dkimpy."""
        assert self.outcome(message) == (["pass rsa", "pass ed"], [True, True]), message

    def outcome(self, message: bytes) -> tuple[list[str], list[bool]]:
        return verified(message, self.dns.zone)


def configure_sendmail(socket: str, sink: Sink) -> None:
    """Debian's sendmail.mc with our snippet before the mailers, and what these tests need."""
    snippet = SNIPPET.read_text().replace("S=unix:/run/mailnotary/mailnotary.sock", f"S={socket}")
    original = MC.with_suffix(".orig")
    if not original.exists():
        shutil.copy(MC, original)
    text = original.read_text()
    text = re.sub(
        r"^DAEMON_OPTIONS.*\n|^FEATURE\(`(greet_pause|conncontrol|ratecontrol|access_db|delay).*\n",
        "",
        text,
        flags=re.M,
    )
    text = re.sub(r"^define\(`confCONNECTION_RATE.*\n", "", text, flags=re.M)
    tests = f"""\
define(`confDOMAIN_NAME', `{MTA}')dnl
DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port={PORT}, Addr={HOST}')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {sink.port}')dnl
"""
    MC.write_text(text.replace("MAILER_DEFINITIONS", tests + snippet + "MAILER_DEFINITIONS"))
    submit = MC.with_name("submit.mc")  # the sendmail command's, which hands its mail to the daemon
    port = f"define(`RELAY_MAILER_ARGS', `TCP $h {PORT}')dnl\n"
    text = submit.read_text().replace(port, "").replace("[127.0.0.1]", f"[{HOST}]")
    submit.write_text(text.replace("FEATURE(`msp'", port + "FEATURE(`msp'"))
    run("make", "-C", "/etc/mail")
    run("systemctl", "restart", "sendmail")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    sink = Sink()
    dns = Nameserver(ZONE)
    for selector, pem in (("rsa", rsa_pem()), ("ed", ed_pem())):
        path = Path(f"/etc/mailnotary/keys/{selector}.pem")
        path.touch(mode=0o600)
        shutil.chown(path, "mailnotary", "mailnotary")
        path.write_bytes(pem)
    keys = "[{selector: rsa, file: keys/rsa.pem}, {selector: ed, file: keys/ed.pem}]"
    CONFIG.with_name("keystore.yaml").write_text(f"domains: {{example.org: {{keys: {keys}}}}}\n")
    configure(listen=LISTEN, sign_for={"networks": [OURS]}, stop_seconds=2)
    run("mailnotary", "check-config")
    run("systemctl", "enable", "--now", "mailnotary")
    configure_sendmail(LISTEN, sink)
    wait_for(lambda: "starting daemon" in journal("sm-mta"), "Sendmail runs")
    yield Box(dns, sink)
    print("\n--- the journal's end\n" + journal()[-2000:])


@pytest.fixture(scope="module", params=["simple/simple", "relaxed/simple", "relaxed/relaxed"])
def signing(request: pytest.FixtureRequest, box: Box) -> Box:
    """The box, signing with each canonicalization."""
    configure(signing={"canonicalization": request.param})
    before = journal().count(" reloaded ")
    run("systemctl", "reload", "mailnotary")
    wait_for(lambda: journal().count(" reloaded ") > before, "the configuration was reloaded")
    box.canonicalization = request.param
    return box


# -- in


def test_good_mail_passes_spf_dkim_and_dmarc(box: Box) -> None:
    mail = box.deliver(signed(), ip=GOOD)
    said = results(mail.data)
    assert said.startswith(f"{MTA}; ")
    assert said.count("spf=pass") == 1
    assert "dkim=pass" in said
    assert "dmarc=pass" in said
    assert mail.data.endswith(signed()), "nothing else is touched"


def test_the_log_names_the_queue_id(box: Box) -> None:
    box.deliver(MESSAGE, ip=GOOD)
    lines = [line for line in journal().splitlines() if " message queue_id=" in line]
    assert lines
    assert not [line for line in lines if 'queue_id=""' in line]


def test_mail_that_is_refused_at_mail_from_has_its_queue_id_in_the_log(box: Box) -> None:
    """Sendmail assigns it before it asks the milter about MAIL FROM."""
    configure(spf={"fail": "reject"})
    try:
        before = journal().count(" reloaded ")
        run("systemctl", "reload", "mailnotary")
        wait_for(lambda: journal().count(" reloaded ") > before, "the configuration was reloaded")
        with pytest.raises(SmtpError) as caught:
            box.send(MESSAGE, ip=BAD)
        assert caught.value.code == 550, caught.value

        def refused() -> list[str]:
            return [line for line in journal().splitlines() if " message queue_id=" in line and "action=reject" in line]

        wait_for(refused, "the refusal is in the journal")
        assert re.search(r" queue_id=[0-9A-Za-z]{10,} ", refused()[-1]), refused()[-1]
    finally:
        configure(spf={})
        run("systemctl", "reload", "mailnotary")


def test_mail_from_a_wrong_server_fails(box: Box) -> None:
    said = results(box.deliver(MESSAGE, ip=BAD).data)
    assert said.count("spf=fail") == 1
    assert "dkim=none" in said
    assert "dmarc=fail" in said


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_every_body_verifies(box: Box, text: bytes) -> None:
    received = ended(text)
    message = signed(HEAD + DATE + b"\r\n" + received)
    mail = box.deliver(message.removesuffix(received) + text, ip=GOOD, options=" BODY=8BITMIME")
    assert "dkim=pass" in results(mail.data)


@pytest.mark.parametrize("spacing", [b"", b" ", b"  ", b"\t", b"\r\n "], ids=repr)
def test_the_white_space_after_a_colon_is_seen_as_it_came(box: Box, spacing: bytes) -> None:
    message = b"From:" + spacing + b"alice@example.org\r\nSubject:" + spacing + b"x\r\n" + DATE + b"\r\nhello\r\n"
    signer = dkim.Signer("example.org", "rsa", load_private_key(rsa_pem()), canonicalization="simple/simple")
    message = dkim.sign(message, signer) + b"\r\n" + message
    assert "dkim=pass" in results(box.deliver(message, ip=GOOD).data)


def test_forged_results_between_those_of_others_are_removed_and_no_other(box: Box) -> None:
    """Sendmail, unlike Postfix, keeps the numbers of the fields behind one that was deleted."""
    others = [f"relay{n}.example.com; spf=fail smtp.mailfrom={n}" for n in range(6)]
    forged = [f"{MTA}; spf=pass", f"{MTA.upper()}; dkim=pass", f'"{MTA}"; spf=pass', f"{MTA}", f"({MTA} spf=pass"]
    lines = [line for pair in zip(others, [*forged, f" {MTA} 1; dkim=pass"], strict=True) for line in pair]
    head = "".join(f"Authentication-Results: {line}\r\n" for line in lines).encode()
    mail = box.deliver(head + MESSAGE, ip=GOOD)
    assert results(mail.data)
    assert fields(mail.data, "Authentication-Results")[1:] == others


# -- out


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_every_body_that_is_signed_verifies(signing: Box, text: bytes) -> None:
    mail = signing.deliver(HEAD + DATE + b"\r\n" + text, options=" BODY=8BITMIME")
    if max(map(len, text.splitlines()), default=0) > 998:  # Sendmail cuts such lines, as Postfix does
        assert verified_words(signing, mail.data) == {"fail"}
        return
    signing.check(mail.data)
    assert body(mail.data) == ended(text)


def verified_words(box: Box, message: bytes) -> set[str]:
    return {one.split()[0] for one in box.outcome(message)[0]}


HEADERS = {
    "folds": b"References: <1@a>\r\n <2@a>\r\n\t<3@a>\r\n  \t <4@a>\r\n",
    "a fold at the start": b"Comments:\r\n begins on the next line\r\n",
    "no space after the colon": b"Cc:carol@example.com\r\nReply-To:bob@example.org\r\n",
    "white space before the colon": b"Reply-To : bob@example.org\r\nCc\t: carol@example.com\r\n",
    "many spaces": b"Comments:    one   \r\nIn-Reply-To:\t\t<1@example.com>\t\r\n",
    "empty": b"Comments:\r\nReply-To: \r\nCc:\r\n",
    "a list": b"Cc: one@example.com, Two <two@example.com>, three@example.com\r\n",
    "several of a name": b"Cc: one@example.com\r\nCc: two@example.com\r\nCC: three@example.com\r\n",
    "8-bit": "Cc: Jürgen <j@example.com>\r\n".encode() + b"Comments: \xff\xfe\r\n",
    "long": b"References:" + b" <0123456789@example.com>\r\n" * 300,
    "fields that Sendmail drops": b"Bcc: secret@example.com\r\nReturn-Path: <x@y.example>\r\n",
    "MIME": b'MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset="utf-8"\r\nContent-ID: <1>\r\n',
}
# Address fields, which Sendmail writes anew after the milters: with one space after each comma, none at the end, and
# our domain where an address has none. The first two survive that with relaxed header canonicalization.
REWRITTEN = {
    "spaces around an address": b"Reply-To:    bob@example.org   \r\nCc:\t\tcarol@example.com\t\r\n",
    "a folded list": b"Cc: one@example.com,\r\n two@example.com,\r\n\tthree@example.com\r\n",
    "a list without spaces": b"Cc: one@example.com,two@example.com\r\n",
    "addresses without domain": b"Cc: root, postmaster\r\n",
}


@pytest.mark.parametrize("head", HEADERS.values(), ids=HEADERS.keys())
def test_every_header_that_is_signed_verifies(signing: Box, head: bytes) -> None:
    signing.check(signing.deliver(HEAD + DATE + head + b"\r\nhello\r\n").data)


@pytest.mark.parametrize("name", REWRITTEN)
def test_address_fields_that_sendmail_writes_anew_break_signatures(signing: Box, name: str) -> None:
    message = signing.deliver(HEAD + DATE + REWRITTEN[name] + b"\r\nhello\r\n").data
    if signing.canonicalization.startswith("relaxed") and name in {"spaces around an address", "a folded list"}:
        signing.check(message)
    else:
        assert REWRITTEN[name].rstrip() not in message
        ours, dkimpys = signing.outcome(message)
        assert all(one.startswith("fail ") and "header field was changed" in one for one in ours)
        assert dkimpys == [False, False]


def test_a_multipart_message_that_is_signed_verifies(signing: Box) -> None:
    head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x y"\r\n\r\n'
    text = b"preamble\r\n--x y\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--x y\r\nContent-Type: text/html\r\n\r\n<p>\r\n--x y--\r\n"
    signing.check(signing.deliver(HEAD + DATE + head + text, options=" BODY=8BITMIME").data)


def test_lines_as_long_as_rfc_5321_allows_are_not_cut(signing: Box) -> None:
    signing.check(signing.deliver(HEAD + DATE + b"\r\n" + (b"x" * 998 + b"\r\n") * 2).data)


def test_what_sendmail_adds_after_the_milter_does_not_break_a_signature(signing: Box) -> None:
    mail = signing.deliver(b"From: alice@example.org\r\n\r\nhello\r\n")
    signing.check(mail.data)
    for name in ("Date", "Message-ID"):
        assert len(fields(mail.data, name)) == 1


def test_the_sendmail_command_s_mail_is_signed(box: Box) -> None:
    configure(sign_for={"networks": [OURS, "127.0.0.1"]})
    run("systemctl", "restart", "mailnotary")
    run("sendmail", "-f", "alice@example.org", "bob@rcpt.example", stdin=MESSAGE.replace(b"\r\n", b"\n"))
    mail = box.sink.wait_for(lambda mail: mail.recipients == ("bob@rcpt.example",))
    box.check(mail.data)


# -- the services


def test_it_starts_before_sendmail(box: Box) -> None:
    assert "sendmail.service" in shown("Before").split()


def test_mail_waits_while_the_daemon_is_down(box: Box) -> None:
    run("systemctl", "stop", "mailnotary")
    for ip in (OURS, GOOD):
        with pytest.raises(SmtpError) as caught:
            box.send(MESSAGE, ip=ip)
        assert caught.value.code == 451, caught.value
    run("systemctl", "start", "mailnotary")
    box.check(box.deliver(MESSAGE).data)


def test_a_unix_socket_does_as_well(box: Box) -> None:
    configure(listen="unix:/run/mailnotary/mailnotary.sock")
    run("systemctl", "restart", "mailnotary")
    configure_sendmail("unix:/run/mailnotary/mailnotary.sock", box.sink)
    wait_for(lambda: journal("sm-mta").count("starting daemon") > 1, "Sendmail runs")
    box.check(box.deliver(MESSAGE).data)


def test_the_doctor_finds_nothing_wrong(box: Box) -> None:
    said = run("mailnotary", "doctor", check=False)
    print("\n" + said)
    assert not re.search("^error", said, re.MULTILINE)


def test_nothing_in_the_log_is_a_defect(box: Box) -> None:
    for word in ("Traceback", "defect", "Operation not permitted"):
        assert word not in journal()
    # Sendmail logs its complaints about a filter in this form alone; there is no other way to see them.
    complaints = [line for line in journal("sm-mta").splitlines() if "Milter (mailnotary):" in line]
    assert all("error connecting to filter" in line or "to error state" in line for line in complaints), complaints
