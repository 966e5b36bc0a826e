"""Mail through the system's Postfix and the mailnotary that is installed in a booted box."""

import threading
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from support.box import HOST, Nameserver, configure, journal, run, shown, wait_for
from support.mail import GOOD_IP, MESSAGE
from support.postfix import Delivered, Sink, SmtpClient, SmtpError
from support.rig import verified

PORT = 44025
PAGE_PORT = 44092
MTA = "mx.example.net"
SOCKET = Path("/var/spool/postfix/mailnotary/mailnotary.sock")
KEY = Path("/etc/mailnotary/keys/example.org.rsa2026.pem")
GENERATOR = Path("/usr/lib/systemd/system-generators/postfix-instance-generator")
POSTFIX = "postfix@-" if GENERATOR.exists() else "postfix"  # until Debian 12 the latter only pulls in each instance


@dataclass
class Box:
    """The machine, both services running."""

    dns: Nameserver
    sink: Sink

    def client(self, *, login: str | None = None, ip: str = GOOD_IP, helo: str = "mail.example.org") -> SmtpClient:
        """A connection as from example.org's server or another one, or as of a user that has authenticated."""
        client = SmtpClient(PORT, HOST)
        try:
            client.command("EHLO mail.example.org")
            client.command(f"XCLIENT ADDR={ip} HELO={helo}" + (f" LOGIN={login}" if login else ""), 220)
            client.command(f"EHLO {helo}")
        except BaseException:
            client.close()
            raise
        return client

    def send(self, message: bytes, *, login: str | None = None) -> tuple[int, str]:
        """The reply to a message's final dot, or the refusal before it."""
        try:
            with self.client(login=login) as client:
                client.command("MAIL FROM:<alice@example.org>")
                client.command("RCPT TO:<user@rcpt.example>")
                return client.data(message)
        except SmtpError as error:
            return error.code, error.text

    def deliver(self, message: bytes, *, login: str | None = None) -> Delivered:
        """The message as Postfix handed it on."""
        code, text = self.send(message, login=login)
        assert code == 250, f"{code} {text}\n{journal()[-4000:]}\n{journal('postfix/smtpd')[-2000:]}"
        return self.received(text.rpartition(" ")[2])

    def received(self, queue_id: str) -> Delivered:
        """A message as Postfix handed it on."""
        return self.sink.wait_for(lambda mail: queue_id.encode() in mail.data)

    def signatures(self, message: bytes = MESSAGE) -> list[str]:
        """The selectors that our user's mail is signed with, each signature verified by mailnotary and by dkimpy."""
        ours, dkimpys = verified(self.deliver(message, login="alice").data, self.dns.zone)
        assert all(one.startswith("pass ") for one in ours), ours
        assert all(dkimpys), dkimpys
        return [one.split()[1] for one in ours]


def page(path: str) -> str:
    """A page of `mailnotary web`."""
    with urllib.request.urlopen(f"http://{HOST}:{PAGE_PORT}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def check_page(queue_id: str) -> None:
    """Starts the page, which runs as an account of its own. It tells of the message and the keys, whether the daemon
    runs or not, and has access to nothing else."""
    Path("/etc/default/mailnotary-web").write_text(f"OPTIONS=--listen {HOST}:{PAGE_PORT}\n")
    run("systemd-analyze", "verify", "mailnotary-web.service")
    run("systemctl", "restart", "mailnotary-web")
    wait_for(lambda: shown("ActiveState", "mailnotary-web") == "active", "the page runs")
    wait_for(lambda: "the page is at" in journal(), "it serves")
    assert Path(f"/proc/{shown('MainPID', 'mailnotary-web')}").owner() == "mailnotary-web"
    wait_for(lambda: queue_id in page("/messages"), "the page shows the message")
    assert "rsa2026._domainkey.example.org" in page("/keys")
    assert "cannot be shown" not in page("/keys")
    run("systemctl", "stop", "mailnotary")
    assert queue_id in page("/messages")
    run("systemctl", "start", "mailnotary")
    as_page = ("runuser", "-u", "mailnotary-web", "--")
    for command in (
        ("cat", str(KEY)),
        ("ls", str(KEY.parent)),
        ("ls", "/var/lib/mailnotary"),
        ("touch", "/var/lib/mailnotary/history/x"),
        ("sh", "-c", "echo >>/var/lib/mailnotary/history/history.db"),
        ("sh", "-c", f"echo >>{SOCKET}"),
    ):
        said = run(*as_page, *command, check=False)
        assert "ermission denied" in said, (command, said)
    run(*as_page, "mailnotary", "history", "--json")


def configure_postfix(sink: Sink) -> None:
    """An XCLIENT, a port and a destination for these tests. Postfix has to be started again."""
    run(
        "postconf",
        "inet_interfaces=loopback-only",
        "inet_protocols=ipv4",
        f"myhostname={MTA}",
        "smtpd_authorized_xclient_hosts=127.0.0.0/8",
        "smtpd_peername_lookup=no",
        "relay_domains=static:all",
        "smtpd_relay_restrictions=reject_unauth_destination",
        f"relay_transport=smtp:[127.0.0.1]:{sink.port}",
        f"default_transport=smtp:[127.0.0.1]:{sink.port}",
        "smtp_host_lookup=native",
        "milter_connect_timeout=5s",
    )
    run("postconf", "-MX", "smtp/inet")
    run("postconf", "-Me", f"{HOST}:{PORT}/inet={HOST}:{PORT} inet n - y - - smtpd")


def set_up() -> Box:
    """What the README says, with an XCLIENT, a port and a destination for these tests; both services run."""
    sink = Sink()
    dns = Nameserver()
    configure(listen=f"unix:{SOCKET}", socket={"group": "postfix"}, stop_seconds=3)
    if not KEY.exists():  # from tests that ran in this box before
        run("mailnotary", "keygen", "example.org", "rsa2026")
    dns.publish("example.org")
    run("mailnotary", "check-config")
    run("systemctl", "enable", "mailnotary")
    run("systemctl", "restart", "mailnotary")
    run(
        "postconf",
        "smtpd_milters=unix:mailnotary/mailnotary.sock",
        "non_smtpd_milters=unix:mailnotary/mailnotary.sock",
        "milter_default_action=tempfail",
        "internal_mail_filter_classes=bounce",
    )
    configure_postfix(sink)
    run("systemctl", "restart", "postfix")
    wait_for(lambda: shown("ActiveState", POSTFIX) == "active", "Postfix runs")
    return Box(dns, sink)


@dataclass
class Load:
    """Users' mail from four connections at once, until the end of the block; each message is sent again until it is
    taken, as an MTA does. `replies` counts the codes."""

    box: Box
    replies: dict[int, int] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)  # the queue ids of what was taken
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        print(f"\nreplies under load: {dict(sorted(self.replies.items()))}")

    def wait(self, count: int) -> None:
        """Until so many more messages were taken."""
        target = len(self.sent) + count
        wait_for(lambda: len(self.sent) >= target, f"{count} more messages taken; so far {self.replies}", 60)

    def _send(self) -> None:
        while not self._end.wait(0.1):  # more would only make `check` take its time
            code, text = self.box.send(MESSAGE, login="alice")
            self.replies[code] = self.replies.get(code, 0) + 1
            if code == 250:
                self.sent.append(text.rpartition(" ")[2])

    def check(self, selectors: list[str]) -> None:
        """Nothing but temporary failures, and all that was taken has been signed."""
        assert set(self.replies) <= {250, 421, 451}, self.replies
        for queue_id in self.sent:
            ours, _ = verified(self.box.received(queue_id).data, self.box.dns.zone)
            assert ours == [f"pass {selector}" for selector in selectors]
