"""`mailnotary explain`: the daemon's own session, told for people and programs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailnotary import dkim
from mailnotary.cli import main
from mailnotary.mail.message import crlf
from mailnotary.resolver import ZoneResolver
from support.mail import BAD_IP, GOOD_IP, MESSAGE, NOW, ed_pem, rsa_pem, signed, zone


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration, keys, and the zone as a file."""
    (tmp_path / "zone.yaml").write_text(yaml.safe_dump(zone()))
    (tmp_path / "keys").mkdir()
    for name, pem in (("rsa", rsa_pem()), ("ed", ed_pem())):
        path = tmp_path / "keys" / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(pem)
    (tmp_path / "keystore.yaml").write_text(
        "domains:\n"
        "  example.org:\n"
        "    keys:\n"
        "      - {selector: rsa, file: keys/rsa.pem}\n"
        "      - {selector: ed, file: keys/ed.pem}\n"
    )
    (tmp_path / "mailnotary.yaml").write_text("authserv_id: mx.example.net\nuser: root\n")
    return tmp_path


def explain(place: Path, message: bytes, capsys: pytest.CaptureFixture[str], *extra: str, ip: str = GOOD_IP) -> Any:
    (place / "message.eml").write_bytes(message.replace(b"\r\n", b"\n"))
    arguments = ["explain", str(place / "message.eml"), "--ip", ip, "--helo", "mail.example.org"]
    arguments += ["--mail-from", "alice@example.org", "--rcpt", "bob@example.net", "--zone", str(place / "zone.yaml")]
    arguments += ["--now", str(NOW), "-c", str(place / "mailnotary.yaml"), *extra]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    return json.loads(output) if "--json" in extra else output


def test_verified_mail_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = explain(place, signed(), capsys, "--json")
    assert told["mode"] == "verify"
    assert [(one["status"], one["identity"]) for one in told["spf"]] == [("pass", "helo"), ("pass", "mailfrom")]
    assert [one["status"] for one in told["dkim"]] == ["pass"]
    assert told["dmarc"]["status"] == "pass"
    assert told["reply"] is None
    assert [name for name, _ in told["headers_added"]] == ["Authentication-Results"]
    assert {"name": "_dmarc.example.org", "kind": "TXT", "answer": ["v=DMARC1; p=reject"]} in told["dns"]


def test_removed_fields_are_told_with_their_values(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forged = b"Authentication-Results: mx.example.net; spf=pass\r\nAuthentication-Results: other; none\r\n"
    told = explain(place, forged + MESSAGE, capsys, "--json", ip=BAD_IP)
    assert told["headers_removed"] == [["Authentication-Results", "mx.example.net; spf=pass"]]
    assert told["dmarc"]["status"] == "fail"
    assert told["would"] == "reject"


def test_signed_mail_as_json_can_be_put_together_and_verified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = explain(place, MESSAGE, capsys, "--json", "--auth-user", "alice", ip=BAD_IP)
    assert told["mode"] == "sign"
    assert told["dmarc"] is None
    head = "".join(f"{name}: {value}\n" for name, value in reversed(told["headers_added"])).encode()
    results = dkim.verify(crlf(head + MESSAGE), ZoneResolver(zone()), now=NOW)
    assert [one.status for one in results] == ["pass", "pass"]


def test_an_enforced_policy_shows_its_reply(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mailnotary.yaml").write_text("user: root\ndmarc: {mode: enforce, reject: reject}\n")
    told = explain(place, MESSAGE, capsys, "--json", ip=BAD_IP)
    assert told["reply"]["code"] == 550
    assert told["reply"]["enhanced_code"] == "5.7.1"
    assert told["headers_added"] == []


def test_the_text_says_what_was_done_and_why(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = explain(place, signed().replace(b"Noon", b"Nine"), capsys, ip=BAD_IP)
    for part in (
        "accept",
        "body hash",
        "none of the common rewrites",
        "v=spf1 ip4:192.0.2.0/24 -all",
        "_dmarc.example.org",
        "would=reject",
        "Added",
    ):
        assert part in text
    outgoing = explain(place, MESSAGE, capsys, ip="127.0.0.1")
    assert "sign_for.networks" in outgoing
    assert "DKIM-Signature: " in outgoing


def test_a_long_spf_record_is_one_whole_line_in_a_pipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = " ".join(f"ip4:198.51.100.{number}" for number in range(12))
    records = zone() | {"example.org": [{"TXT": f"v=spf1 {networks} ip4:{GOOD_IP} -all"}]}
    (place / "zone.yaml").write_text(yaml.safe_dump(records))
    lines = explain(place, signed(), capsys).splitlines()
    assert f'          example.org  TXT "v=spf1 {networks} ip4:{GOOD_IP} -all"' in lines
    assert f"          └─ ip4:{GOOD_IP}  match: pass  <- decides" in lines


def test_nothing_untrusted_reaches_the_terminal_raw(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = b"From: \x1b[31mred\x07 <a@ex\x1bample.org>\r\nSubject: \x1b]0;title\x07\r\n"
    evil += b"Authentication-Results: mx.example.net; \x1b[2J\r\nDKIM-Signature: v=1; d=\x1b[1m; s=\x9b\r\n\r\nx\r\n"
    text = explain(place, evil, capsys, ip=BAD_IP)
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--zone", "missing.yaml"], "missing.yaml"),
        (["-c", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_can_not_be_done_is_said_with_exit_code_1(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    (place / "message.eml").write_bytes(MESSAGE)
    given = [
        "explain",
        str(place / "message.eml"),
        "--ip",
        GOOD_IP,
        "--helo",
        "h.example",
        "--mail-from",
        "",
        *arguments,
    ]
    assert main(given) == 1
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["-", "--ip", "not-an-ip", "--helo", "h.example", "--mail-from", ""], ["-", "--no-such-option"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    assert ended.value.code == 2


def test_more_forged_fields_than_an_mta_can_remove_are_a_refusal(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = b"Authentication-Results: mx.example.net; none\r\n"
    explained = explain(place, forged * 900 + MESSAGE, capsys, "--json", ip=BAD_IP)
    assert explained["headers_removed"] == []
    assert explained["reply"]["code"] // 100 == 5


def test_sign_prints_the_signed_message(place: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = place / "message.eml"
    for message in (MESSAGE, MESSAGE.replace(b"\r\n", b"\n")):
        path.write_bytes(message)
        assert main(["sign", str(path), "-c", str(place / "mailnotary.yaml")]) == 0
        output = capfdbinary.readouterr().out
        assert output.endswith(message)
        assert (b"\r\n" in output) == (b"\r\n" in message)
        results = dkim.verify(crlf(output), ZoneResolver(zone()))
        assert [(one.status, one.selector) for one in results] == [("pass", "rsa"), ("pass", "ed")]


def test_sign_says_why_it_did_not_sign(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "message.eml"
    path.write_bytes(MESSAGE.replace(b"alice@example.org", b"x@other.example"))
    assert main(["sign", str(path), "-c", str(place / "mailnotary.yaml")]) == 1
    assert "no entry of the keystore covers the From domain other.example" in capsys.readouterr().err


def test_a_verdict_against_a_signature_and_a_relay_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = b"Authentication-Results: mx.example.net; dmarc=fail header.from=example.org\r\n"
    told = explain(place, judged + MESSAGE, capsys, "--json", ip="127.0.0.1")
    assert (told["mode"], told["signed"], told["headers_removed"]) == ("none", [], [])
    assert "not signed, because it came from elsewhere" in told["why"]
    with (place / "mailnotary.yaml").open("a") as file:
        file.write("trusted_relays: {daemon_names: [PROXIED]}\nsign_for: {tls_clients: [mail2.example.org]}\n")
    relayed = f"Received: from mail.example.org (unknown [{BAD_IP}])\r\n\tby mx; date\r\n".encode()
    told = explain(place, relayed + MESSAGE, capsys, "--json", "--daemon-name", "PROXIED", ip="127.0.0.1")
    assert told["mode"] == "verify"
    assert told["dmarc"]["status"] == "fail"
    told = explain(place, MESSAGE, capsys, "--json", "--tls-client", "mail2.example.org", ip=BAD_IP)
    assert told["signed"]
