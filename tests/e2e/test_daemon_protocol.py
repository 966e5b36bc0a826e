"""The milter protocol over a real socket with the real daemon: what is negotiated is what is done."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailnotary.crypto import generate_private_key
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.milter_client import (
    ADDHDRS,
    ALL_ACTIONS,
    ALL_PROTOCOL,
    CHGHDRS,
    NR_FLAGS,
    OLD_MTA,
    P_HDR_LEADSPC,
    P_NODATA,
    P_NORCPT,
    P_NOUNKNOWN,
    P_NR_BODY,
    P_NR_CONN,
    P_NR_EOH,
    P_NR_HDR,
    P_NR_HELO,
    P_NR_MAIL,
    QUARANTINE,
    MilterClient,
    MilterClosedError,
)

MESSAGE = b"From: a@forger.example\nTo: b@rcpt.example\nSubject: x\n\nhello\n"

ZONE = {
    "forger.example": [{"TXT": "v=spf1 exp=why.forger.example -all"}],
    "why.forger.example": [{"TXT": "100%% forged by %{i}"}],
    "good.example": [{"TXT": "v=spf1 ip4:192.0.2.10 -all"}],
    "strict.example": [{"TXT": "v=spf1 -all"}],
    "_dmarc.strict.example": [{"TXT": "v=DMARC1; p=quarantine"}],
}


def asking(dns: DnsServer) -> dict[str, Any]:
    """The key `dns` of a daemon that asks this server."""
    return {"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 2}


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("daemon")
    with Daemon(directory, dns=asking(dns)) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Daemon]:
    """A daemon that rejects at MAIL FROM."""
    config: dict[str, Any] = {
        "dns": asking(dns),
        "spf": {"fail": "reject"},
    }
    with Daemon(tmp_path_factory.mktemp("strict"), **config) as running:
        yield running


def test_no_reply_is_taken_for_every_event_that_is_never_answered(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        quiet = P_NR_CONN | P_NR_HELO | P_NR_MAIL | P_NR_HDR | P_NR_EOH | P_NR_BODY
        assert client.protocol == quiet | P_NORCPT | P_NODATA | P_NOUNKNOWN | P_HDR_LEADSPC
        assert client.actions & (ADDHDRS | CHGHDRS | QUARANTINE) == ADDHDRS | CHGHDRS | QUARANTINE


def test_only_the_macros_that_are_needed_are_asked_for(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        assert client.asked_macros == {
            0: "j {daemon_name}",
            2: "i j {auth_type} {auth_authen} {cert_subject} {verify}",
            5: "i",
        }


def test_mail_is_answered_where_spf_may_reject(strict: Daemon) -> None:
    with MilterClient(strict.address) as client:
        assert not client.protocol & P_NR_MAIL
        outcome = client.send_message(MESSAGE, mail_from="a@forger.example")
        assert outcome.stage == "M"
        assert outcome.reply is not None
        assert (outcome.reply.code, outcome.reply.enhanced_code) == (550, "5.7.23")


def test_a_percent_sign_in_a_reply_arrives(strict: Daemon) -> None:
    with MilterClient(strict.address) as client:
        outcome = client.send_message(MESSAGE, mail_from="a@forger.example")
        assert outcome.reply is not None
        assert "100% forged by 192.0.2.10" in outcome.reply.text


def test_after_a_rejected_mail_the_next_message_of_the_connection_is_served(strict: Daemon) -> None:
    with MilterClient(strict.address) as client:
        assert client.send_message(MESSAGE, mail_from="a@forger.example").reply is not None
        outcome = client.send_message(MESSAGE, mail_from="a@good.example")
        assert outcome.reply is None
        assert "spf=pass" in outcome.headers("Authentication-Results")[0]


def test_a_connection_from_before_the_reload_gets_the_same_reply_at_the_end_of_the_message(
    tmp_path: Path, dns: DnsServer
) -> None:
    config: dict[str, Any] = {"dns": asking(dns)}
    with Daemon(tmp_path, **config) as daemon, MilterClient(daemon.address) as client:
        assert client.protocol & P_NR_MAIL
        assert client.send_message(MESSAGE, mail_from="a@forger.example").reply is None
        daemon.reload(spf={"fail": "reject"})
        outcome = client.send_message(MESSAGE, mail_from="a@forger.example")
        assert outcome.stage == "E"
        assert outcome.reply is not None
        assert (outcome.reply.code, outcome.reply.enhanced_code) == (550, "5.7.23")


def test_a_connection_from_before_the_reload_is_still_answered_at_mail_when_nothing_rejects_any_more(
    tmp_path: Path, dns: DnsServer
) -> None:
    config: dict[str, Any] = {
        "dns": asking(dns),
        "spf": {"fail": "reject"},
    }
    with Daemon(tmp_path, **config) as daemon, MilterClient(daemon.address) as client:
        assert client.send_message(MESSAGE, mail_from="a@forger.example").stage == "M"
        daemon.reload(spf={"fail": "accept"})
        outcome = client.send_message(MESSAGE, mail_from="a@forger.example")
        assert outcome.reply is None
        assert "spf=fail" in outcome.headers("Authentication-Results")[0]


def test_an_old_mta_gets_its_replies_and_the_header_without_a_second_space(daemon: Daemon) -> None:
    for _ in range(2):
        with MilterClient(daemon.address, **OLD_MTA) as client:
            assert not client.protocol & (NR_FLAGS | P_HDR_LEADSPC)
            outcome = client.send_message(MESSAGE, mail_from="a@good.example")
            assert outcome.message.startswith(b"Authentication-Results: mx.rcpt.example;")
    assert len(daemon.lines("hides the space")) <= 2  # once in each worker


def test_headers_come_as_sendmail_and_postfix_want_them(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        outcome = client.send_message(MESSAGE, mail_from="a@good.example")
        (header,) = outcome.inserted
        assert header.index == 0
        assert header.value.startswith(b" mx.rcpt.example;\n ")
        assert b"\r" not in header.value


def test_forged_results_are_deleted_before_ours_is_inserted(daemon: Daemon) -> None:
    forged = b"Authentication-Results: mx.rcpt.example; spf=pass smtp.mailfrom=a@b.example\n"
    kept = b"Authentication-Results: other.example; spf=pass smtp.mailfrom=a@b.example\n"
    with MilterClient(daemon.address) as client:
        outcome = client.send_message(forged + kept + forged + MESSAGE, mail_from="a@good.example")
        assert [step.index for step in outcome.deleted] == [3, 1]
        assert outcome.message.count(b"Authentication-Results:") == 2
        assert outcome.message.count(b"Authentication-Results: other.example") == 1


def test_for_an_mta_that_lets_no_header_be_added_mail_is_judged_and_never_leaves_unsigned(
    tmp_path: Path, dns: DnsServer
) -> None:
    (tmp_path / "ed.pem").write_bytes(generate_private_key("ed25519"))
    (tmp_path / "ed.pem").chmod(0o600)
    keystore = {"domains": {"ours.example": {"keys": [{"selector": "ed", "file": str(tmp_path / "ed.pem")}]}}}
    ours = MESSAGE.replace(b"a@forger.example", b"a@ours.example")
    forged = b"Authentication-Results: mx.rcpt.example; spf=pass smtp.mailfrom=a@b.example\n"
    enforce = {"mode": "enforce", "reject": "reject", "quarantine": "reject"}
    with Daemon(tmp_path, dns=asking(dns), dmarc=enforce, keystore=keystore) as daemon:
        with MilterClient(daemon.address, actions=ALL_ACTIONS & ~ADDHDRS) as client:
            outcome = client.send_message(forged + MESSAGE, mail_from="a@good.example")
            assert outcome.reply is None
            assert outcome.message == MESSAGE.replace(b"\n", b"\r\n"), "the forged results are gone all the same"
            refused = client.send_message(MESSAGE.replace(b"forger", b"strict"), mail_from="a@strict.example").reply
            assert refused is not None
            assert refused.code == 550
            waits = client.send_message(ours, mail_from="a@ours.example", auth_user="alice").reply
            assert waits is not None
            assert (waits.code, waits.enhanced_code) == (451, "4.3.5")
        daemon.wait_for("the MTA lets no header field be added, so its mail waits")
        with MilterClient(daemon.address) as client:
            assert client.send_message(ours, mail_from="a@ours.example", auth_user="alice").reply is None


@pytest.mark.parametrize("user", [None, "alice"])
def test_for_an_mta_that_lets_no_header_be_removed_forged_results_are_refused(daemon: Daemon, user: str | None) -> None:
    forged = b"Authentication-Results: mx.rcpt.example; spf=pass smtp.mailfrom=a@b.example\n"
    with MilterClient(daemon.address, actions=ALL_ACTIONS & ~CHGHDRS) as client:
        outcome = client.send_message(MESSAGE, mail_from="a@good.example")
        assert outcome.reply is None
        assert outcome.message.startswith(b"Authentication-Results: mx.rcpt.example;")
        outcome = client.send_message(forged + MESSAGE, mail_from="a@good.example", auth_user=user)
        assert outcome.reply is not None
        assert outcome.reply.code == 550
        assert b"Authentication-Results fields in the name of mx.rcpt.example" in outcome.reply.text.encode()
        assert client.send_message(MESSAGE, mail_from="a@good.example").reply is None
    assert len(daemon.wait_for("does not let milters remove header fields")) <= 2, "once in each worker"


def test_the_queue_id_is_taken_where_it_is_given_at_mail_from_alone(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        assert {"i", "j"} <= set(client.macro_lists[2].split())
        client.macros = {"j": "mx.rcpt.example", "i": "A1Sendmail"}
        client.connect()
        client.mail("<a@good.example>")
        del client.macros["i"]
        client.header("From", b" a@good.example")
        client.eoh()
        client.eom()
    daemon.wait_for("queue_id=A1Sendmail")


def test_an_mta_without_quarantine_is_served_and_holds_become_temporary_failures(
    tmp_path: Path, dns: DnsServer
) -> None:
    config: dict[str, Any] = {
        "dns": asking(dns),
        "dmarc": {"mode": "enforce", "reject": "reject", "quarantine": "hold"},
    }
    message = MESSAGE.replace(b"forger", b"strict")
    with Daemon(tmp_path, **config) as daemon:
        with MilterClient(daemon.address) as client:
            assert client.send_message(message, mail_from="a@strict.example").quarantined is not None
        with MilterClient(daemon.address, actions=ALL_ACTIONS & ~QUARANTINE) as client:
            assert client.send_message(MESSAGE, mail_from="a@good.example").reply is None
            outcome = client.send_message(message, mail_from="a@strict.example")
            assert outcome.reply is not None
            assert outcome.reply.code == 451


@pytest.mark.parametrize("protocol", [ALL_PROTOCOL, ALL_PROTOCOL & ~NR_FLAGS, ALL_PROTOCOL & ~(P_NORCPT | P_NODATA)])
def test_every_event_is_answered_as_negotiated(daemon: Daemon, protocol: int) -> None:
    with MilterClient(daemon.address, protocol=protocol) as client:
        for _ in range(3):
            assert client.send_message(MESSAGE + b"x\r\n" * 50_000, rcpts=["a@x.example", "b@x.example"]).reply is None


def test_text_that_is_no_utf8_never_makes_a_message_hang(daemon: Daemon) -> None:
    message = b"From: a@good.example\nX-\xff\xfe: y\nSubject: \xff\xfe\n\n\xff\x00\xfe\n"
    with MilterClient(daemon.address) as client:
        for _ in range(2):
            outcome = client.send_message(
                message,
                helo=b"\xff\xfe.example",
                client_name=b"\xff\xfe",
                mail_from=b"\xff\xfe@good.example",
                mta_name="mx.rcpt.example",
                macros={"j": b"\xff\xfe", "daemon_name": b"\xff"},
                queue_id="4\udcff",
            )
            assert outcome.reply is None
            assert outcome.headers("Authentication-Results")


def test_a_login_name_that_is_no_utf8_is_a_login(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(MESSAGE, auth_user=b"\xff\xfe", queue_id="4AUTH1")
    assert "mode=none" in daemon.wait_for("4AUTH1")[0]


def test_a_mechanism_without_a_name_is_a_login(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(MESSAGE, macros={"auth_type": "EXTERNAL"}, queue_id="4AUTH2")
    assert "mode=none" in daemon.wait_for("4AUTH2")[0]


def test_without_a_mechanism_and_a_name_nobody_is_logged_in(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(MESSAGE, macros={"auth_type": "", "auth_authen": ""}, queue_id="4AUTH3")
    assert "mode=verify" in daemon.wait_for("4AUTH3")[0]


def test_a_login_is_not_inherited_by_the_next_message_of_the_connection(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(MESSAGE, auth_user="us", queue_id="4AUTH4")
        client.send_message(MESSAGE, queue_id="4AUTH5")
    assert "mode=none" in daemon.wait_for("4AUTH4")[0]
    assert "mode=verify" in daemon.wait_for("4AUTH5")[0]


@pytest.mark.parametrize("leading_space", [True, False])
def test_a_connection_that_begins_anew_over_the_same_socket_is_served(
    daemon: Daemon, strict: Daemon, leading_space: bool
) -> None:
    protocol = ALL_PROTOCOL if leading_space else ALL_PROTOCOL & ~P_HDR_LEADSPC
    for target in (daemon, strict):
        for _ in range(2 * len(target.workers())):  # the worker may have served an MTA with other flags last
            with MilterClient(target.address, protocol=protocol) as client:
                client.send_message(MESSAGE, mail_from="a@good.example", abort=False)
                for name in ("client.example", b"no UTF-8: \xff"):
                    client.begin_anew()
                    outcome = client.send_message(MESSAGE, mail_from="a@good.example", client_name=name, abort=False)
                    assert outcome.reply is None
                    assert outcome.message.startswith(b"Authentication-Results: mx.rcpt.example;")
                    assert ("spf=pass" in outcome.headers("Authentication-Results")[0]) is isinstance(name, str)
                client.begin_anew()
                refused = client.send_message(MESSAGE, mail_from="a@forger.example")
                assert (refused.reply is not None) is (target is strict)


def test_an_aborted_message_leaves_nothing_for_the_next_one(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(MESSAGE)
        client.mail("<a@forger.example>")
        client.header("Authentication-Results", b" mx.rcpt.example; spf=pass")
        client.abort()
        outcome = client.send_message(MESSAGE, mail_from="a@good.example")
        assert outcome.deleted == ()
        assert "spf=pass" in outcome.headers("Authentication-Results")[0]


@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::1", None])
def test_every_kind_of_client_address_is_understood(daemon: Daemon, address: str | None) -> None:
    with MilterClient(daemon.address) as client:
        outcome = client.send_message(MESSAGE, mail_from="a@good.example", client_ip=address, queue_id="4ADDR")
        assert outcome.reply is None
        assert ("spf=pass" in outcome.headers("Authentication-Results")[0]) is (address == "192.0.2.10")


def test_hostile_text_in_the_envelope_can_not_forge_a_log_line(daemon: Daemon) -> None:
    with MilterClient(daemon.address) as client:
        client.send_message(
            MESSAGE, helo='x" action=accept\x1b[31m', mail_from=b'"\n2026-01-01 info forged"@x.example', queue_id="4LOG"
        )
    (line,) = daemon.wait_for("4LOG")
    assert "\x1b" not in line
    assert not daemon.lines("2026-01-01 info forged")[0].startswith("2026-01-01")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff" * 100,
        struct.pack(">I", 0),
        struct.pack(">I", 0xFFFFFFFF) + b"O",
        struct.pack(">IcIII", 13, b"O", 1, 0, 0),  # version 1
        struct.pack(">Ic", 5, b"O") + b"\0\0\0\6",  # too short
        struct.pack(">Ic", 1, b"Z"),
        struct.pack(">Ic", 1, b"E"),  # an end without a beginning
        struct.pack(">Ic", 3, b"C") + b"x\0",
        b"\x00\x00\x00\x0d" + b"A" * 100_000,
    ],
)
def test_garbage_in_the_place_of_the_protocol_harms_nobody(daemon: Daemon, garbage: bytes) -> None:
    workers = daemon.workers()
    with MilterClient(daemon.address, negotiate=False, timeout=1) as client:
        client.sock.sendall(garbage)
    with MilterClient(daemon.address) as client:
        assert client.send_message(MESSAGE).reply is None
    assert daemon.workers() == workers


@pytest.mark.parametrize(
    "command", [b"C", b"H", b"M", b"R", b"L", b"N", b"B", b"E", b"D", b"A", b"O", b"U", b"T", b"K"]
)
@pytest.mark.parametrize("data", [b"", b"\0", b"x", b"x\0", b"x\0y", b"\0\0\0\0", b"\xff\xfe\0\xff\0", b"x" * 70_000])
def test_malformed_events_after_the_negotiation_harm_nobody(daemon: Daemon, command: bytes, data: bytes) -> None:
    workers = daemon.workers()
    client = MilterClient(daemon.address, timeout=1)
    try:
        client.send_packet(command, data)
        client.send_packet(b"M", b"<a@x.example>\0")
        client.send_packet(command, data)
        client.flush()
    except MilterClosedError:
        pass
    client.close()
    with MilterClient(daemon.address) as other:
        assert other.send_message(MESSAGE).reply is None
    assert daemon.workers() == workers
