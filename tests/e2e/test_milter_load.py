"""The benchmark's own parts: the client that loads a daemon, and the plots."""

from ipaddress import IPv4Address
from pathlib import Path
from xml.etree import ElementTree

from bench import svg
from bench.senders import CLIENT, Senders
from mailnotary.resolver import RecordKind
from mailnotary.resolver.dns import DnsResolver
from support.daemon import Daemon
from support.milter_load import Load, Script, load, middle

MESSAGE = b"From: a@example.org\n\nbody\n"


def test_a_loaded_daemon_answers_every_message(tmp_path: Path) -> None:
    with Daemon(tmp_path, mode="verify", spf={"fail": "reject"}) as daemon:
        script = Script(daemon.address, (MESSAGE, {"client_ip": None}))
        assert len(script.first[0]) == len(script.next[0]) == 2  # MAIL has to be answered where SPF may reject
        for expect, good in ((b"dkim=none", True), (b"dkim=pass", False)):
            found = load(
                script, daemon.address, daemon.pid, expect=expect, connections=3, per_connection=5, seconds=0.5
            )
            assert found.rate > 0
            assert 0 < found.p50 <= found.p99
            assert 0 < found.largest < found.pss
            assert (found.wrong == 0) is good


def test_no_message_of_a_script_is_sent_twice(tmp_path: Path) -> None:
    with Daemon(tmp_path, mode="verify") as daemon:
        senders = [f"a@d{number}.example" for number in range(18)]
        script = Script(daemon.address, *((MESSAGE, {"client_ip": None, "mail_from": sender}) for sender in senders))
        found = load(
            script, daemon.address, daemon.pid, expect=b"dkim=none", connections=3, per_connection=2, seconds=None
        )
        assert found.wrong == 0
        lines = daemon.wait_for(" message ", count=6)  # one client's share
    sent = [sender for sender in senders for line in lines if f"from=<{sender}>" in line]
    assert len(sent) == len(lines) == len(set(sent))


def test_the_middle_is_taken_of_each_figure() -> None:
    loads = [Load(1, 9, 2, 2, 5, 5, 0), Load(3, 7, 4, 9, 5, 4, 1), Load(2, 8, 3, 4, 5, 3, 1)]
    assert middle(loads) == Load(2, 8, 3, 4, 5, 4, 2)


def test_any_sender_below_example_passes() -> None:
    with Senders({"rsa": "v=DKIM1; p=" + "A" * 400}) as senders:
        resolver = DnsResolver([(senders.host, senders.port)])
        key = b"v=DKIM1; p=" + b"A" * 400 + b"; n=d7.example"
        assert resolver.lookup("rsa._domainkey.d7.example", RecordKind.TXT).records == (key,)
        assert resolver.lookup("mail.d7.example", RecordKind.A).records == (IPv4Address(CLIENT),)
        assert resolver.lookup("d7.example", RecordKind.TXT).records == (b"v=spf1 ip4:192.0.2.0/24 -all",)
        assert resolver.lookup("d7.example", RecordKind.MX).records == ()


def test_a_plot_is_well_formed() -> None:
    lines = {"a <b>": [(1, 10.0), (10, 250.0)], "c": [(1, 0.0), (10, 3.0)]}
    for log_y in (False, True):
        root = ElementTree.fromstring(svg.plot("t & u", "x", "y", lines, log_y=log_y))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{*}polyline")) == 2
