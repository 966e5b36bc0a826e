"""The files that verify, explain and sign take, and those that only look like a message."""

import gzip
import io
import json
import mailbox
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.cli.messages import read_messages
from mailnotary.mail.message import first_bad_line
from support.dkim import KEY_NAME, craft, key, key_record
from support.mail import MESSAGE, ed_pem

FROM = b"From alice@example.org Tue Nov 14 22:13:20 2023\n"
LF = craft().replace(b"\r\n", b"\n")


@pytest.fixture
def zone(tmp_path: Path) -> str:
    path = tmp_path / "zone.yaml"
    path.write_text(json.dumps({KEY_NAME: [{"TXT": key_record(key()).decode()}]}))
    return str(path)


def verify(path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The results, "error" for what is not a message."""
    main(["verify", str(path), "--zone", zone, "--json"])
    found = json.loads(capsys.readouterr().out)
    messages = found.get("messages", [found])
    return ["error" if "error" in one else ",".join(each["status"] for each in one["dkim"]) for one in messages]


@pytest.mark.parametrize(
    "head",
    [
        FROM,
        FROM.replace(b"\n", b"\r\n"),
        b"From - Tue Nov 14 22:13:20 2023\n",  # Thunderbird
        FROM + b">From bob Tue Nov 14 22:13:20 2023 remote from relay\n",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf" + FROM,
    ],
    ids=["From_", "From_ with CRLF", "Thunderbird", "two separators", "BOM", "BOM and From_"],
)
def test_what_programs_put_before_a_header_is_skipped(
    head: bytes, tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.eml").write_bytes(head + LF)
    assert verify(tmp_path / "m.eml", zone, capsys) == ["pass"]


def test_every_message_of_an_mbox_is_verified(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    box = mailbox.mbox(tmp_path / "box")
    for data in (LF, MESSAGE.replace(b"\r\n", b"\n"), LF.replace(b"Subject: ", b"Subject: x")):
        box.add(data)
    box.close()
    assert verify(tmp_path / "box", zone, capsys) == ["pass", "", "fail"]
    assert main(["verify", str(tmp_path / "box"), "--zone", zone]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [
        number
        for number, line in enumerate((tmp_path / "box").read_bytes().split(b"\n"), 1)
        if line.startswith(b"From ")
    ]
    assert [line for line in lines if line.endswith(":")] == [f"{tmp_path}/box:{number}:" for number in numbers]


def test_a_from_line_in_a_body_is_read_as_it_was_before_the_mbox_quoted_it(
    tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = craft(MESSAGE + b"From here on\r\n>From there\r\n")
    quoted = signed.replace(b"\r\n>From", b"\r\n>>From").replace(b"\r\nFrom here", b"\r\n>From here")
    (tmp_path / "box").write_bytes(FROM + quoted + b"\r\n" + FROM + quoted)
    assert verify(tmp_path / "box", zone, capsys) == ["pass", "pass"]
    (tmp_path / "m.eml").write_bytes(signed)
    assert verify(tmp_path / "m.eml", zone, capsys) == ["pass"]


def test_every_message_of_a_maildir_is_verified(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cur/1:2,S", "cur/2:2,", "new/3"):
        (tmp_path / "box" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "box" / name).write_bytes(LF if "2:" not in name else b"> quoted\n")
    assert verify(tmp_path / "box", zone, capsys) == ["pass", "error", "pass"]
    assert main(["verify", str(tmp_path / "box"), "--zone", zone]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("pass") == 2
    assert f"{tmp_path}/box/cur/2:2,: line 1 is not a header field (> quoted)" in captured.err


def test_a_directory_that_holds_no_mail_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "not a Maildir" in capsys.readouterr().err
    (tmp_path / "new").mkdir()
    assert main(["verify", str(tmp_path)]) == 1
    assert "no messages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n" + LF, "line 1 is not a header field: the file begins with an empty line"),
        (b"3141\n" + LF, "line 1 is not a header field (3141): it looks like Apple Mail's .emlx"),
        (gzip.compress(LF), "`zcat FILE | mailnotary"),
        (LF.decode().encode("utf-16"), "iconv -f UTF-16"),
        (LF.decode().encode("utf-16-le"), "iconv -f UTF-16"),
        (b"> " + LF.replace(b"\n", b"\n> "), "line 1 is not a header field (> "),
        (b"  " + LF.replace(b"\n", b"\n  "), "looks indented"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Outlook"),
        (b"Hello, this is not a message\n", "does not look like a message"),
        (b"Return-Path: <a@example.org>\nDelivered To: bob\n" + LF, "line 2 is not a header field (Delivered To: bob)"),
        (b"X: y\n\x1b[2Jevil\n" + LF, r"(\x1b[2Jevil)"),
        (FROM + b"X: y\nevil\n" + LF, "line 3 is not a header field"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "explain", "sign"])
def test_a_file_of_another_kind_is_not_a_message_without_signatures(
    command: str, data: bytes, words: str, tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.eml").write_bytes(data)
    arguments = {
        "verify": ["--zone", zone],
        "explain": ["--zone", zone, "--ip", "192.0.2.1", "--helo", "h", "--mail-from", ""],
        "sign": [],
    }
    assert main([command, str(tmp_path / "m.eml"), *arguments[command]]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_explain_takes_every_message_of_an_mbox(tmp_path: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "box").write_bytes(FROM + LF + b"\n" + FROM + LF)
    arguments = ["--zone", zone, "--ip", "192.0.2.1", "--helo", "h.example", "--mail-from", ""]
    assert main(["explain", str(tmp_path / "box"), *arguments]) == 0
    assert capsys.readouterr().out.count("Verdict") == 2
    assert main(["explain", str(tmp_path / "box"), *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["messages"]
    assert [one["dkim"][0]["status"] for one in found] == ["pass", "pass"]
    assert all(one["dns"] for one in found)


def test_sign_leaves_out_a_separator_and_takes_one_message(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "k.pem").touch(0o600)
    (tmp_path / "k.pem").write_bytes(ed_pem())
    (tmp_path / "keystore.yaml").write_text("domains: {example.org: {keys: [{selector: s, file: k.pem}]}}\n")
    (tmp_path / "m.yaml").write_text("{}\n")
    plain = MESSAGE.replace(b"\r\n", b"\n")
    (tmp_path / "m.eml").write_bytes(FROM + plain)
    arguments = ["sign", str(tmp_path / "m.eml"), "-c", str(tmp_path / "m.yaml")]
    assert main(arguments) == 0
    out = capsysbinary.readouterr().out
    assert out.startswith(b"DKIM-Signature: ")
    assert out.endswith(plain.removesuffix(b"\n"))
    (tmp_path / "m.eml").write_bytes(FROM + plain + b"\n" + FROM + plain)
    assert main(arguments) == 1
    assert b"several messages" in capsysbinary.readouterr().err
    (tmp_path / "m.eml").write_bytes(plain)
    (tmp_path / "k.pem").unlink()
    assert main(arguments) == 1
    said = f"mailnotary sign: {tmp_path}/m.eml: not signed: {tmp_path}/k.pem: does not exist: "
    assert capsysbinary.readouterr().err.decode().startswith(said)


def test_standard_input_may_be_an_mbox(
    zone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FROM + LF + b"\n" + FROM + LF)))
    assert main(["verify", "-", "--zone", zone]) == 0
    assert capsys.readouterr().out.count("pass") == 2


@given(st.binary(max_size=300), st.sampled_from([b"", FROM, b"X: y\r\n", b"X: y\n\n" + FROM]))
def test_any_octets_are_messages_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.eml"
    path.write_bytes(head + data)
    assert list(read_messages(str(path)))


def test_a_bad_line_is_found_where_the_header_ends_for_a_mail_server() -> None:
    assert first_bad_line(b"A: b\r\n c\r\n\r\nbody") is None
    assert first_bad_line(b"A: b\r\n") is None
    assert first_bad_line(b"A: b\r\n c\r\nbad\r\n\r\n") == (2, b"bad")
    assert first_bad_line(b"\r\nA: b\r\n") == (0, b"")
    assert first_bad_line(b"") == (0, b"")
