"""Mail through a real Postfix and an after-queue content filter: what comes back
from 127.0.0.1 gets no signature of ours that it has not earned, and keeps the verdict of its first passage."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from support.daemon import free_port
from support.mail import MESSAGE
from support.postfix import Delivered, Postfix, Sink, SmtpClient
from support.rig import KEYS, MTA, Rig, fields, start

pytestmark = pytest.mark.mta

OUTSIDE = {"ip": "198.51.100.66", "helo": "evil.example", "sender": "alice@example.org"}
BOB = {"ip": "203.0.113.77", "helo": "laptop", "login": "bob", "sender": "bob@example.org"}
SPOOFED = MESSAGE  # From: alice@example.org, from a client that is not example.org's and without a signature

WAYS_BACK = ["smtp", "sendmail", "no_milters", "exempt"]


@dataclass(frozen=True, slots=True)
class Filtered:
    """The rig, with a listener that hands all mail to the filter first, and those that take it back."""

    rig: Rig
    front: Postfix
    proxied: Postfix  # a listener with a before-queue filter, which here is nothing but Postfix's own proxy client
    filter: Sink
    back: dict[str, int]  # the listeners' ports

    def handed_to_filter(self, message: bytes, **envelope: str) -> Delivered:
        code, text = self.front.send(message, **envelope)
        assert code == 250, f"{code} {text}"
        queue_id = text.rpartition(" ")[2].encode()
        return self.filter.wait_for(lambda one: queue_id in one.data)

    def through(self, message: bytes, way: str, **envelope: str) -> Delivered:
        """Sends the message, hands it back as the filter would, and gives it as Postfix delivered it."""
        found = self.handed_to_filter(message, **envelope)
        if way == "sendmail":
            data = found.data.replace(b"\r\n", b"\n")
            self.rig.postfix.sendmail(data, "-G", "-i", "-f", found.sender, "--", *found.recipients)
            return self.rig.postfix.receive()
        with SmtpClient(self.back[way]) as client:
            client.command("EHLO filter.example.net")
            client.command(f"MAIL FROM:<{found.sender}>")
            client.command(f"RCPT TO:<{found.recipients[0]}>")
            code, text = client.data(found.data)
            assert code == 250, f"{code} {text}"
        return self.rig.postfix.receive(text)


@pytest.fixture(scope="module")
def filtered() -> Iterator[Filtered]:
    sink = Sink()
    front, proxied, behind = (free_port() for _ in range(3))
    back = {way: free_port() for way in ("smtp", "no_milters", "exempt")}
    services = f"""\
127.0.0.1:{front} inet n - n - 10 smtpd -o content_filter=smtp:[127.0.0.1]:{sink.port}
  -o local_header_rewrite_clients=
127.0.0.1:{back["smtp"]} inet n - n - 10 smtpd
127.0.0.1:{back["no_milters"]} inet n - n - 10 smtpd -o receive_override_options=no_milters
127.0.0.1:{back["exempt"]} inet n - n - 10 smtpd -o milter_macro_daemon_name=REINJECTED
127.0.0.1:{proxied} inet n - n - 10 smtpd -o smtpd_proxy_filter=127.0.0.1:{behind}
127.0.0.1:{behind} inet n - n - 10 smtpd -o milter_macro_daemon_name=PROXIED -o smtpd_authorized_xclient_hosts=
"""
    try:
        domains = {MTA: {"keys": KEYS}}
        with start(
            keystore=domains,
            postfix_services=services,
            exempt={"daemon_names": ["REINJECTED"]},
            trusted_relays={"daemon_names": ["PROXIED"]},
        ) as rig:
            to_front, to_proxied = (replace(rig.postfix, port=port, submission_port=port) for port in (front, proxied))
            yield Filtered(rig, to_front, to_proxied, sink, back)
    finally:
        sink.shutdown()
        sink.server_close()


def verdict(mail: Delivered) -> str:
    """The one field in our name."""
    (found,) = (value for value in fields(mail.data, "Authentication-Results") if value.startswith(f"{MTA};"))
    return found


@pytest.mark.parametrize("way", WAYS_BACK)
def test_spoofed_mail_gets_no_signature_and_keeps_the_genuine_verdict(filtered: Filtered, way: str) -> None:
    mail = filtered.through(SPOOFED, way, **OUTSIDE)
    assert not fields(mail.data, "DKIM-Signature")
    assert "dmarc=fail" in verdict(mail)
    assert "header.from=example.org" in verdict(mail)


def test_the_log_says_why_it_was_not_signed(filtered: Filtered) -> None:
    mail = filtered.through(SPOOFED, "smtp", **OUTSIDE)
    queue_id = fields(mail.data, "Received")[0].partition(" id ")[2].split()[0]
    line = filtered.rig.daemon.wait_for(f"queue_id={queue_id}")[0]
    assert "mode=none" in line
    assert "not signed, because it came from elsewhere" in line
    assert "dmarc=fail" in line


@pytest.mark.parametrize("way", WAYS_BACK)
def test_a_verdict_that_the_sender_brings_along_does_not_help(filtered: Filtered, way: str) -> None:
    forged = f"Authentication-Results: {MTA}; auth=pass; dmarc=pass header.from=example.org\r\n".encode()
    mail = filtered.through(forged + SPOOFED, way, **OUTSIDE)
    assert not fields(mail.data, "DKIM-Signature")
    assert (
        "dmarc=pass" not in b"".join(value.encode() for value in fields(mail.data, "Authentication-Results")).decode()
    )


@pytest.mark.parametrize("author", [b"alice", b"<alice@example.org> <eve@evil.example>"])
def test_an_author_that_only_postfix_makes_out_is_not_signed_for(filtered: Filtered, author: bytes) -> None:
    # From outside the name alone stays as it is; what comes back from 127.0.0.1 is completed, with myorigin.
    message = SPOOFED.replace(b"Alice <alice@example.org>", author)
    mail = filtered.through(message, "smtp", **OUTSIDE)
    assert not fields(mail.data, "DKIM-Signature")
    assert "dmarc=permerror" in verdict(mail) or "dmarc=fail" in verdict(mail)


@pytest.mark.parametrize("way", WAYS_BACK)
def test_mail_of_our_users_is_signed_once(filtered: Filtered, way: str) -> None:
    mail = filtered.through(MESSAGE, way, **BOB)
    assert filtered.rig.verified(mail.data) == (["pass rsa", "pass ed"], [True, True])


def test_the_hosts_own_mail_is_signed(filtered: Filtered) -> None:
    filtered.rig.postfix.sendmail(MESSAGE.replace(b"\r\n", b"\n"), "-i", "-f", "cron@example.org", "al@example.com")
    assert filtered.rig.verified(filtered.rig.postfix.receive().data)[0] == ["pass rsa", "pass ed"]


@pytest.mark.parametrize(
    "helo", ["evil.example", "x (mail.example.org [192.0.2.10])", "x (y [127.0.0.1]) by z", "[192.0.2.10]"]
)
def test_what_a_proxy_filter_hands_on_is_judged_by_its_client(filtered: Filtered, helo: str) -> None:
    envelope = {"ip": "198.51.100.66", "sender": "alice@example.org"}
    code, text = filtered.proxied.send(SPOOFED, helo=helo.replace(" ", "+20"), **envelope)
    assert code == 250, text
    mail = filtered.rig.postfix.receive(text)
    assert not fields(mail.data, "DKIM-Signature")
    assert "dmarc=fail" in verdict(mail)
    assert "198.51.100.66" in filtered.rig.daemon.wait_for(f"queue_id={text.rpartition(' ')[2]}")[0]


def test_mail_of_an_honest_sender_passes_through_the_proxy(filtered: Filtered) -> None:
    code, text = filtered.proxied.send(SPOOFED, ip="192.0.2.10", helo="mail.example.org", sender="alice@example.org")
    assert code == 250, text
    mail = filtered.rig.postfix.receive(text)
    assert "dmarc=pass" in verdict(mail)
    assert "helo=mail.example.org" in filtered.rig.daemon.wait_for(f"queue_id={text.rpartition(' ')[2]}")[0]
